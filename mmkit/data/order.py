"""Which sample at which step: a pure function of (seed, epoch, position), the same for every number of processes.

The samples of all epochs form one endless stream, cut into batches; an epoch shows each row once. Row groups are permuted,
then samples within a window of several row groups, so that reading stays sequential.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mmkit.data.shards import Group

WINDOW_GROUPS = 8
WINDOW_BATCHES = 10
WINDOW_BYTES = 128 << 20  # a window never holds much more, whatever the batch
GOLDEN = (5**0.5 - 1) / 2


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
        keys: (epoch, group) -> a key per row; samples of equal key are spread evenly over the batches.
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
        rng = random.Random(f"{self.seed} {epoch} {number}")
        keyed = list(zip([k for g in window for k in self.keys(epoch, g)], places, strict=True))
        rng.shuffle(keyed)
        return [keyed[i][1] for i in spread([k for k, _ in keyed], self.batch_size, start % self.batch_size, rng.random())]


def spread(keys: Sequence[int], batch_size: int, offset: int, turn: float) -> np.ndarray:
    """The rows of a window in an order in which each key is spread evenly over the batches, and within each of them.

    Rows are dealt like cards, key by key: of a key with c rows, a batch gets a row more or less than its share of c, and none
    gets two while another has none. Batches, and the places in a batch, take turns in a sequence of which every run is spread
    evenly: a slice of a batch looks like the batch, for any number of slices, and the last batch looks like the first.

    Args:
        keys: of the rows in shuffled order, (n,).
        offset: how full the batch already is in which the first row falls.
        turn: where the sequence begins, in 0..1.

    Returns:
        Row numbers, (n,) int64.
    """
    _, firsts, inverse = np.unique(np.asarray(keys, dtype=np.int64), return_index=True, return_inverse=True)
    by_key = np.argsort(firsts[inverse], kind="stable")  # keys by first appearance: in another sequence each epoch
    batch = (offset + np.arange(len(keys))) // batch_size
    sizes = np.bincount(batch)
    turns = {int(size): _turns(size, turn) for size in np.unique(sizes)}
    # a batch that this window fills in part takes part that much more rarely
    within = np.concatenate([(turns[int(size)] + 0.5) / size for size in sizes])
    order = np.empty(len(keys), dtype=np.int64)
    order[np.lexsort((_turns(len(sizes), turn)[batch], within))] = by_key
    return order


def _turns(n: int, start: float) -> np.ndarray:
    """When each of n neighbours takes its turn, (n,): the multiples of the golden ratio modulo 1, evenly spread at every time."""
    return np.argsort((start + np.arange(n) * GOLDEN) % 1, kind="stable")
