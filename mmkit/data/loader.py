"""From places in the stream to batches of tensors. Threads decode; they hold no state, so resuming is exact."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from mmkit.batch import Batch
from mmkit.data.augment import draws
from mmkit.data.order import Order, Place
from mmkit.data.shards import Dataset, Group, GroupCache
from mmkit.errors import MissingPackage, UserError
from mmkit.files import stable_hash

DECODED_LIMIT = 128 << 20  # bytes of prepared items kept in memory; a larger dataset is decoded anew each epoch
AHEAD = 3  # batches prepared before they are asked for
LIGHT_LIMIT = 64 << 20  # bytes of row groups of texts alone


@dataclass(frozen=True)
class Source:
    """Where an input comes from.

    Args:
        column: of the dataset; row: of the table of modalities; reader: what turns an item into tensors.
        features: what its frozen encoder gives, computed before (`mmkit.training.features.Features`); nothing is read then
            but texts.
    """

    column: str
    row: Any
    reader: Any
    features: Any = None

    @property
    def light(self) -> bool:
        """It is words: small enough to be read alone and often."""
        return bool(self.row.LANGUAGE)


class Loader:
    """Training batches; see `Batch`. Of a cell of several items, such as captions, each epoch shows one.

    Args:
        data: the dataset and its split.
        inputs: input -> where it comes from.
        batch_size: samples of a global batch; `rank` of `world` takes its slice of each.
        targets: columns whose values go along.
        listed: of these, those whose cells are lists; a sample has one, that which an input of the column would show.
        limit: use only the first rows.
    """

    def __init__(
        self,
        data: Dataset,
        split: str,
        inputs: Mapping[str, Source],
        batch_size: int,
        seed: int = 0,
        workers: int = 2,
        targets: Sequence[str] = (),
        listed: Sequence[str] = (),
        limit: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.data, self.split, self.inputs, self.targets = data, split, dict(inputs), list(dict.fromkeys(targets))
        read = {source.column for source in self.inputs.values()}
        self._unread = [column for column in dict.fromkeys(listed) if column not in read]
        self.batch_size, self.seed, self.workers = batch_size, seed, workers
        self.rank, self.world = rank, world
        # words first: what is drawn about a picture depends on what is said of it
        self._drawn_in_order = sorted(self.inputs, key=lambda name: not self.inputs[name].light)
        self._spread = next((name for name in self._drawn_in_order if self.inputs[name].light), None)
        groups = first_rows(data.groups(split), limit)
        self.order = Order(groups, seed, batch_size, self._item_keys if self._spread else None)
        light = [source.column for source in self.inputs.values() if source.light]
        heavy = [source.column for source in self.inputs.values() if not source.light and source.features is None]
        columns = list(dict.fromkeys(["id", *light, *self.targets, *heavy]))
        # a batch may span two windows; with less, a picture would cost a row group
        self._rows = GroupCache(data, columns, 2 * self.order.window_bytes if heavy else LIGHT_LIMIT)
        self._texts = GroupCache(data, list(dict.fromkeys(["id", *light])), LIGHT_LIMIT)
        self._held: dict[tuple[str, int, int], _Row] = {}
        self._held_bytes = 0

    @property
    def rows(self) -> int:
        return self.order.rows

    def batches(self, position: int = 0) -> Iterator[Batch]:
        """Batches from number `position` on, without end, prepared by a background thread."""
        ready: queue.Queue[Any] = queue.Queue(AHEAD)
        stop = threading.Event()

        def produce() -> None:
            try:
                with ThreadPoolExecutor(self.workers) as pool:
                    for number, places in enumerate(self.order.batches(position), position):
                        if stop.is_set():
                            return
                        share = len(places) // self.world
                        mine = places[self.rank * share : (self.rank + 1) * share]
                        _put(ready, self._collate(self._samples(pool, mine), number), stop)
            except BaseException as e:  # handed to the consumer, which raises it
                _put(ready, e, stop)

        thread = threading.Thread(target=produce, daemon=True, name="loader")
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            thread.join(timeout=10)

    def _samples(self, pool: ThreadPoolExecutor, places: list[Place]) -> list[_Sample]:
        # a task a thread, not a sample: handing over small pictures one by one costs more than decoding them
        size = -(-len(places) // self.workers)
        slices = [places[i : i + size] for i in range(0, len(places), size)]
        return [sample for part in pool.map(lambda part: [self._sample(p) for p in part], slices) for sample in part]

    def _sample(self, place: Place) -> _Sample:
        row = self._row(place)
        drawn, keys, said, targets = {}, {}, {}, dict(row.targets)
        for column in self._unread:
            cell = targets[column] or ()
            number = chosen(len(cell), self.seed, place.epoch, row.id, column)
            targets[column] = None if number is None else cell[number]
        for name in self._drawn_in_order:
            source = self.inputs[name]
            count = source.features.count(place) if source.features and not source.light else len(row.items[name])
            number = chosen(count, self.seed, place.epoch, row.id, source.column)
            if source.column in targets:
                targets[source.column] = None if number is None else row.targets[source.column][number]
            if number is None:
                continue
            if source.light:
                # the key is of the text as written: with words left out, others look equal, and equal ones do not
                keys[name] = source.reader.key(row.items[name][number])
                said[name] = row.items[name][number]
            else:
                keys[name] = source.features.key(place) if source.features else row.keys[name]
            if source.features:
                drawn[name] = source.features.item(place, number)
                continue
            drawn[name] = row.items[name][number]
            if not source.reader.still:  # seeding is not free, and mostly nothing is drawn
                rng = draws(self.seed, place.epoch, f"{row.id} {name}")
                drawn[name] = source.reader.draw(drawn[name], rng, list(said.values()))
            if source.light:
                said[name] = drawn[name]
        return _Sample(row.id, drawn, keys, said, targets)

    def _row(self, place: Place) -> _Row:
        """A row with its heavy items prepared; kept in memory as far as there is room."""
        key = (place.group.file, place.group.index, place.row)
        held = self._held.get(key)
        if held is None:
            held = self._read(self._rows.row(place.group, place.row))
            heavy = [(name, source) for name, source in self.inputs.items() if not source.light and source.features is None]
            weight = sum(source.reader.weight(item) for name, source in heavy for item in held.items[name])
            if weight and self._held_bytes + weight <= DECODED_LIMIT:
                self._held_bytes += weight
                self._held[key] = held
        return held

    def _read(self, row: dict[str, Any]) -> _Row:
        items, keys = {}, {}
        for name, source in self.inputs.items():
            if source.light or source.features is None:
                items[name] = source.row.items(row[source.column])
            if not source.light and source.features is None:
                keys[name] = source.reader.key(items[name][0]) if items[name] else 0
                items[name] = [prepare(source.reader, item, name, row["id"]) for item in items[name]]
        return _Row(row["id"], items, keys, {column: row[column] for column in self.targets})

    def _item_keys(self, epoch: int, group: Group) -> list[int]:
        """Of each row of a group the key of the text that an epoch shows: equal ones are spread over the batches."""
        assert self._spread
        source, table = self.inputs[self._spread], self._texts.table(group)
        ids, cells = (table.column(name).to_pylist()[: group.rows] for name in ("id", source.column))
        keys = []
        for id, cell in zip(ids, cells, strict=True):
            items = source.row.items(cell)
            number = chosen(len(items), self.seed, epoch, id, source.column)
            keys.append(stable_hash(f"without {id}") if number is None else source.reader.key(items[number]))
        return keys

    def _collate(self, samples: list[_Sample], number: int) -> Batch:
        inputs, present, keys, said = {}, {}, {}, {}
        for name, source in self.inputs.items():
            has = [name in sample.drawn for sample in samples]
            collate = source.features.collate if source.features else source.reader.collate
            blank = None if all(has) else _blank(source)
            inputs[name] = collate([sample.drawn.get(name, blank) for sample in samples])
            present[name] = torch.tensor(has)
            keys[name] = torch.from_numpy(np.array([sample.keys.get(name, 0) for sample in samples], dtype=np.int64))
            if source.light:
                said[name] = [sample.said.get(name, "") for sample in samples]
        targets = {column: [sample.targets[column] for sample in samples] for column in self.targets}
        epoch = (number + 1) * self.batch_size / self.rows
        return Batch([sample.id for sample in samples], inputs, present, keys, targets, said, epoch)


def _blank(source: Source) -> Any:
    """What stands for an item that a row lacks, ready to be collated."""
    if source.features:
        return source.features.blank
    # prepared as any other item, so that a draw may be what makes a tensor of it
    return source.reader.blank if source.reader.still else source.reader.draw(source.reader.blank, draws(0, 0, ""), [])


class _Row(NamedTuple):
    """A row of the dataset: the items of each input, heavy ones prepared, with their key; and the cells of targets."""

    id: str
    items: dict[str, list[Any]]
    keys: dict[str, int]
    targets: dict[str, Any]


class _Sample(NamedTuple):
    """What a batch shows of a row: of each input that it has one item, ready to be collated."""

    id: str
    drawn: dict[str, Any]
    keys: dict[str, int]
    said: dict[str, str]
    targets: dict[str, Any]


def chosen(count: int, seed: int, epoch: int, sample: str, column: str) -> int | None:
    """The number of the item that an epoch shows; it depends on the sample alone, so that the order can ask for it beforehand.

    None where there is none.
    """
    if count > 1:
        return stable_hash(f"{column} {seed} {epoch} {sample}") % count
    return 0 if count else None


def prepare(reader: Any, item: Any, name: str, id: str, hint: str = "run the same `mmkit prep` again with --force") -> Any:
    """An item of the input `name` of a row as its Reader prepares it.

    Raises:
        UserError: it cannot be read; the row is named. Or nothing is installed that reads such items.
    """
    try:
        return reader.prepare(item)
    except MissingPackage:
        raise
    except (OSError, ValueError, UserError) as e:
        reason = e.what if isinstance(e, UserError) else str(e)
        where = (item.get("path") if isinstance(item, dict) else None) or ""
        raise UserError(
            f"the {name} of row {id} cannot be read ({reason})", where, (e.hint if isinstance(e, UserError) else "") or hint
        ) from e


def first_rows(groups: list[Group], limit: int | None) -> list[Group]:
    """The row groups that hold the first `limit` rows, the last one cut short."""
    if limit is None:
        return groups
    kept: list[Group] = []
    for group in groups:
        rows = min(group.rows, limit)
        if rows <= 0:
            break
        kept.append(replace(group, rows=rows))
        limit -= rows
    return kept


def _put(ready: queue.Queue[Any], item: Any, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.2)
            return
        except queue.Full:
            continue
