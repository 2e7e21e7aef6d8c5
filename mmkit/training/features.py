"""Features of frozen encoders: computed once, kept on disk, memory-mapped.

An entry belongs to what it was made of: the encoder's weights, the preprocessing or the tokenizer, and the rows. Change one and
it is another entry; the folder is safe to delete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmkit.data.order import Place
from mmkit.data.shards import Dataset, Group
from mmkit.encode import Pace, cell_items, chunks, encode
from mmkit.errors import UserError
from mmkit.files import cache_folder, disk_error
from mmkit.model import Model
from mmkit.talk import Talk

FORMAT = 3
PARTIAL = ".partial-"
ABANDONED = 24 * 3600  # seconds
VECTORS, TOKENS, ENDS, STARTS, KEYS = "vectors.npy", "tokens.npy", "ends.npy", "starts.npy", "keys.npy"


class Features:
    """What a frozen encoder gives of one input over some rows: of each item, such as a picture or a caption.

    Args:
        folder: of a finished cache entry.
        groups: the row groups it covers, in order.
    """

    def __init__(self, folder: Path, groups: list[Group]) -> None:
        self.vectors = np.load(folder / VECTORS, mmap_mode="r")  # (items, D) float32
        self.tokens = np.load(folder / TOKENS, mmap_mode="r") if (folder / TOKENS).exists() else None  # (tokens, D) float32
        self.ends = np.load(folder / ENDS) if self.tokens is not None else None  # (items,): of each item's tokens
        self.starts, self.keys = np.load(folder / STARTS), np.load(folder / KEYS)
        firsts = np.cumsum([0, *(g.rows for g in groups)])
        self._first = {(g.file, g.index): int(n) for g, n in zip(groups, firsts, strict=False)}

    def count(self, place: Place) -> int:
        """Items of a row."""
        row = self._row(place)
        return int(self.starts[row + 1] - self.starts[row])

    def item(self, place: Place, number: int = 0) -> dict[str, torch.Tensor]:
        """Item `number` of a row: pooled (D,) and, where they are kept, tokens (N, D)."""
        return self._item(int(self.starts[self._row(place)]) + number)

    def items(self) -> Iterator[dict[str, torch.Tensor]]:
        """All of them, in order."""
        return (self._item(i) for i in range(len(self.vectors)))

    def row(self, number: int) -> list[dict[str, torch.Tensor]]:
        """The items of row `number`, counted from the first."""
        return [self._item(i) for i in range(int(self.starts[number]), int(self.starts[number + 1]))]

    def key(self, place: Place) -> int:
        """The key of a row's first item."""
        return int(self.keys[self._row(place)])

    @property
    def blank(self) -> dict[str, torch.Tensor]:
        """What stands for an item that a row lacks."""
        D = self.vectors.shape[1]
        found = {"pooled": torch.zeros(D)}
        return found if self.tokens is None else found | {"tokens": torch.zeros(1, self.tokens.shape[1])}

    @staticmethod
    def collate(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """pooled (B, D), and where there are tokens (B, N, D) with their mask (B, N)."""
        found = {"pooled": torch.stack([item["pooled"] for item in items])}
        if "tokens" in items[0]:
            lengths = torch.tensor([len(item["tokens"]) for item in items])
            found["tokens"] = torch.nn.utils.rnn.pad_sequence([item["tokens"] for item in items], batch_first=True)
            found["mask"] = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        return found

    def _item(self, i: int) -> dict[str, torch.Tensor]:
        found = {"pooled": torch.from_numpy(np.array(self.vectors[i]))}
        if self.tokens is not None and self.ends is not None:
            start = int(self.ends[i - 1]) if i else 0
            found["tokens"] = torch.from_numpy(np.array(self.tokens[start : int(self.ends[i])]))
        return found

    def _row(self, place: Place) -> int:
        return self._first[place.group.file, place.group.index] + place.row


@dataclass
class Cache:
    """Where features are kept and how much of them.

    Args:
        limit: bytes; the entries used longest ago make room. An entry that would not fit alone is not made.
        workers: threads that prepare items.
        talk: told what is computed, its size and its time.
    """

    limit: int
    workers: int = 2
    talk: Talk = field(default_factory=Talk)

    def features(
        self, model: Model, name: str, data: Dataset, split: str, groups: list[Group], tokens: bool = False
    ) -> Features | None:
        """The features of one input, made if they are not there; None where they would be larger than the limit.

        Args:
            tokens: those of each item, too, and not its pooled vector alone.

        Raises:
            UserError: the disk is full, or an item cannot be read.
        """
        counts = _counts(data, model, name, groups)
        width = model.encoder[model.inputs[name].encoder].dim
        root = cache_folder() / "features"
        folder = root / _key(model, name, data, split, counts, tokens)
        what = f"{name} features of {split}: {int(counts.sum()):,} x {width}"
        if (folder / KEYS).exists():
            folder.touch()
            self.talk.say(f"cache     {what}, {_size(folder) / 1e6:,.1f} MB, there already ({folder})")
            return Features(folder, groups)
        size = 4 * int(counts.sum()) * width * (1 + (_tokens_of_first(model, name, data, groups) if tokens else 0))
        what += f", {size / 1e6:,.1f} MB"
        if size > self.limit:
            self.talk.say(f"cache     {what} are more than --cache-limit: the frozen encoder runs in every step")
            return None
        self._make_room(root, size)
        start = time.perf_counter()
        try:
            root.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=root, prefix=PARTIAL))
            try:
                report = self.talk.progress(f"{name} features of {split}")
                report(0, int(counts.sum()))
                _compute(model, name, data, groups, counts, temporary, Pace(workers=self.workers, progress=report), tokens)
                try:
                    temporary.rename(folder)
                except OSError:
                    if not (folder / KEYS).exists():  # else another process made the same meanwhile
                        raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as e:
            raise disk_error(e, root) from e
        self.talk.say(f"cache     {what}, computed in {time.perf_counter() - start:.1f} s ({folder})")
        return Features(folder, groups)

    def _make_room(self, root: Path, size: int) -> None:
        _sweep(root)
        whole = [p for p in root.glob("*") if p.is_dir() and not p.name.startswith(".")]
        entries = sorted(whole, key=lambda p: p.stat().st_mtime)
        sizes = {p: _size(p) for p in entries}
        held = sum(sizes.values())
        for entry in entries:
            if held + size <= self.limit:
                return
            # a run that still reads a deleted file keeps it until it ends
            shutil.rmtree(entry, ignore_errors=True)
            held -= sizes[entry]


def _sweep(root: Path) -> None:
    """Remove what killed runs left half made; a day without a write tells them from those that still go on."""
    for left in root.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError):  # it may be finished and renamed just now
            if time.time() - max(p.stat().st_mtime for p in (left, *left.iterdir())) > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.iterdir())


def _rows(data: Dataset, groups: list[Group], columns: list[str]) -> Iterator[dict[str, Any]]:
    for group in groups:
        yield from data.read(group, columns).slice(0, group.rows).to_pylist()


def _counts(data: Dataset, model: Model, name: str, groups: list[Group]) -> np.ndarray:
    """Items in each row."""
    column = str(model.inputs[name].column)
    if data.columns[column] == model.inputs[name].modality and not model.config.is_language(name):
        nulls = [data.read(g, [column]).column(column).slice(0, g.rows).is_valid().to_numpy() for g in groups]
        return np.concatenate(nulls).astype(np.int64)
    return np.array([len(cell_items(model, name, row[column])) for row in _rows(data, groups, [column])], dtype=np.int64)


def _key(model: Model, name: str, data: Dataset, split: str, counts: np.ndarray, tokens: bool) -> str:
    one = model.inputs[name]
    digest = hashlib.sha256()
    for key, value in sorted(model.encoder[one.encoder].state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    rows = [data.hash, split, one.column, len(counts), int(counts.sum())]
    digest.update(json.dumps([FORMAT, model.made_of(str(one.encoder)), tokens, *rows], sort_keys=True).encode())
    return digest.hexdigest()[:24]


def _tokens_of_first(model: Model, name: str, data: Dataset, groups: list[Group]) -> int:
    """How many tokens an item has, of the first row that has one; at most as many as any."""
    column = str(model.inputs[name].column)
    for row in _rows(data, groups, ["id", column]):
        for item in cell_items(model, name, row[column]):
            return encode(model, name, [model.reader(name).prepare(item)], ["tokens"])["tokens"][0].size(0)
    return 0


def _compute(
    model: Model,
    name: str,
    data: Dataset,
    groups: list[Group],
    counts: np.ndarray,
    folder: Path,
    pace: Pace,
    tokens: bool,
) -> None:
    encoder, column = model.encoder[model.inputs[name].encoder], str(model.inputs[name].column)
    was_training = encoder.training
    encoder.eval()
    total = int(counts.sum())
    vectors = np.lib.format.open_memmap(folder / VECTORS, mode="w+", dtype=np.float32, shape=(total, encoder.dim))
    keys, lengths, done, seen = np.zeros(len(counts), dtype=np.int64), [0], 0, 0
    wants = ["pooled", "tokens", "mask"] if tokens else ["pooled"]
    try:
        with tempfile.TemporaryFile(dir=folder) as flat:
            for rows, items in chunks(model, {name: column}, _rows(data, groups, ["id", column]), pace):
                found = encode(model, name, [item.value for item in items[name]], wants, pace.batch_size)
                for i, pooled in enumerate(found["pooled"]):
                    vectors[done + i] = pooled.numpy()
                for x, mask in zip(found.get("tokens", ()), found.get("mask", ()), strict=True):
                    real = x[mask].numpy()
                    flat.write(np.ascontiguousarray(real, np.float32).data)
                    lengths.append(lengths[-1] + len(real))
                for i, row in enumerate(rows):
                    first = next(iter(cell_items(model, name, row[column])), None)
                    keys[seen + i] = 0 if first is None else model.reader(name).key(first)
                done, seen = done + len(items[name]), seen + len(rows)
                pace.progress(done, total)
            if tokens:
                flat.flush()
                shape = (lengths[-1], encoder.dim)
                np.save(
                    folder / TOKENS, np.memmap(flat, np.float32, "r", shape=shape) if lengths[-1] else np.zeros(shape, np.float32)
                )
                np.save(folder / ENDS, np.array(lengths[1:], dtype=np.int64))
        vectors.flush()
    finally:
        encoder.train(was_training)
    np.save(folder / STARTS, np.cumsum([0, *counts]))
    np.save(folder / KEYS, keys)  # last: its presence says that the entry is whole


def check_limit(gigabytes: float) -> int:
    """`--cache-limit` in bytes.

    Raises:
        UserError: it is negative.
    """
    if gigabytes < 0:
        raise UserError(f"train.cache_limit = {gigabytes:g} is negative", hint="GB; 0 for no cache")
    return int(gigabytes * 1e9)
