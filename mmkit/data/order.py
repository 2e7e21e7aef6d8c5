"""Which sample at which step: a pure function of (seed, epoch, position), the same for every number of processes.

The samples of all epochs form one endless stream, cut into batches; an epoch shows each row once. Row groups are permuted,
then samples within a window of several row groups, so that reading stays sequential.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mmkit.data.shards import Group

WINDOW_GROUPS = 8
WINDOW_BATCHES = 10
WINDOW_BYTES = 128 << 20  # a window never holds much more, whatever the batch
LOOK_BACK = 64


class Place(NamedTuple):
    """Where one sample of the stream lies."""

    epoch: int
    group: Group
    row: int


class Order:
    """The endless stream of training samples.

    Args:
        groups: the row groups of the split.
        seed: of the permutations.
        batch_size: samples a (global) batch.
        keys: (epoch, group) -> a key per row; samples of equal key are kept out of the same batch as far as possible.
    """

    def __init__(
        self, groups: Sequence[Group], seed: int, batch_size: int, keys: Callable[[int, Group], Sequence[int]] | None = None
    ) -> None:
        self.groups, self.seed, self.batch_size, self.keys = list(groups), seed, batch_size, keys
        self.rows = sum(g.rows for g in groups)

    def batches(self, position: int = 0) -> Iterator[list[Place]]:
        """Batches from number `position` on, without end."""
        first = position * self.batch_size
        batch: list[Place] = []
        for place in self._stream(first):
            batch.append(place)
            if len(batch) == self.batch_size:
                yield batch
                batch = []

    @property
    def window_bytes(self) -> int:
        """Uncompressed bytes of the largest window: what a reader must hold."""
        return max(sum(g.bytes for g in window) for window in self._windows(0))

    def _stream(self, first: int) -> Iterator[Place]:
        epoch, skip = divmod(first, self.rows)
        while True:
            start = epoch * self.rows
            for number, window in enumerate(self._windows(epoch)):
                size = sum(g.rows for g in window)
                if skip < size:
                    yield from self._shuffled(epoch, number, window, start)[skip:]
                skip = max(0, skip - size)
                start += size
            epoch += 1

    def _windows(self, epoch: int) -> Iterator[list[Group]]:
        groups = list(self.groups)
        random.Random(f"{self.seed} {epoch}").shuffle(groups)
        window: list[Group] = []
        for group in groups:
            window.append(group)
            full = len(window) >= WINDOW_GROUPS and sum(g.rows for g in window) >= WINDOW_BATCHES * self.batch_size
            if full or sum(g.bytes for g in window) >= WINDOW_BYTES:
                yield window
                window = []
        if window:
            yield window

    def _shuffled(self, epoch: int, number: int, window: list[Group], start: int) -> list[Place]:
        places = [Place(epoch, g, row) for g in window for row in range(g.rows)]
        if self.keys is None:
            random.Random(f"{self.seed} {epoch} {number}").shuffle(places)
            return places
        keyed = list(zip([k for g in window for k in self.keys(epoch, g)], places, strict=True))
        random.Random(f"{self.seed} {epoch} {number}").shuffle(keyed)
        return spread(keyed, self.batch_size, start % self.batch_size)


def spread(keyed: list[tuple[int, Place]], batch_size: int, offset: int) -> list[Place]:
    """Reorder so that a batch holds different keys as far as possible, moving as little as possible.

    Args:
        keyed: (key, place) in shuffled order.
        offset: how full the batch already is in which the first place falls.
    """
    waiting: deque[tuple[int, Place]] = deque()
    source = iter(keyed)
    out: list[Place] = []
    used: set[int] = set()
    room = batch_size - offset
    while len(out) < len(keyed):
        item = _next_unused(waiting, used) or _draw(source, waiting, used) or waiting.popleft()
        out.append(item[1])
        used.add(item[0])
        room -= 1
        if not room:
            used, room = set(), batch_size
    return out


def _next_unused(waiting: deque[tuple[int, Place]], used: set[int]) -> tuple[int, Place] | None:
    for i in range(min(len(waiting), LOOK_BACK)):
        if waiting[i][0] not in used:
            item = waiting[i]
            del waiting[i]
            return item
    return None


def _draw(source: Iterator[tuple[int, Place]], waiting: deque[tuple[int, Place]], used: set[int]) -> tuple[int, Place] | None:
    for item in source:
        if item[0] not in used:
            return item
        waiting.append(item)
    return None
