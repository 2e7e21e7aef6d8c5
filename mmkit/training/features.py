"""Pooled features of frozen encoders: computed once, kept on disk, memory-mapped.

An entry belongs to what it was made of: the encoder's weights, the preprocessing or the tokenizer, and the rows. Change one and
it is another entry; the folder is safe to delete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from mmkit.data.loader import image_key, picture
from mmkit.data.order import Place
from mmkit.data.shards import Dataset, Group
from mmkit.errors import UserError
from mmkit.files import cache_folder, disk_error
from mmkit.model import Model

FORMAT = 2
PARTIAL = ".partial-"
ABANDONED = 24 * 3600  # seconds
CHUNK = 64  # pictures or captions encoded at once
VECTORS, STARTS, KEYS = "vectors.npy", "starts.npy", "keys.npy"


class Features:
    """The pooled vectors of one modality over some rows: one for each picture, one for each caption.

    Args:
        folder: of a finished cache entry.
        groups: the row groups it covers, in order.
    """

    def __init__(self, folder: Path, groups: list[Group]) -> None:
        self.vectors = np.load(folder / VECTORS, mmap_mode="r")  # (items, D) float32
        self.starts, self.keys = np.load(folder / STARTS), np.load(folder / KEYS)
        firsts = np.cumsum([0, *(g.rows for g in groups)])
        self._first = {(g.file, g.index): int(n) for g, n in zip(groups, firsts, strict=False)}

    def pooled(self, place: Place, item: int = 0) -> torch.Tensor:
        """The vector (D,) of the picture, or of the caption number `item`, of a row."""
        return torch.from_numpy(np.array(self.vectors[self.starts[self._row(place)] + item]))

    def key(self, place: Place) -> int:
        """The `image_key` of a row's picture."""
        return int(self.keys[self._row(place)])

    def slices(self, size: int) -> Iterator[torch.Tensor]:
        """All vectors in order, `size` at a time."""
        for start in range(0, len(self.vectors), size):
            yield torch.from_numpy(np.array(self.vectors[start : start + size]))

    def _row(self, place: Place) -> int:
        return self._first[place.group.file, place.group.index] + place.row


@dataclasses.dataclass
class Cache:
    """Where features are kept and how much of them.

    Args:
        limit: bytes; the entries used longest ago make room. An entry that would not fit alone is not made.
        workers: threads that decode pictures.
        say: told what is computed, its size and its time.
        progress: progress(title) gives a function of (items done, items in all).
    """

    limit: int
    workers: int = 2
    say: Callable[[str], None] = lambda text: None
    progress: Callable[[str], Callable[[int, int], None]] = lambda title: lambda done, total: None

    def features(self, model: Model, modality: str, data: Dataset, split: str, groups: list[Group]) -> Features | None:
        """The features of one modality, made if they are not there; None where they would be larger than the limit.

        Raises:
            UserError: the disk is full, or a picture cannot be read.
        """
        counts = _counts(data, modality, groups)
        size = 4 * int(counts.sum()) * model.encoder[modality].dim
        what = f"{modality} features of {split}: {int(counts.sum()):,} x {model.encoder[modality].dim}, {size / 1e6:,.1f} MB"
        if size > self.limit:
            self.say(f"cache     {what} are more than --cache-limit: the frozen encoder runs in every step")
            return None
        root = cache_folder() / "features"
        folder = root / _key(model, modality, data, split, counts)
        if (folder / KEYS).exists():
            folder.touch()
            self.say(f"cache     {what}, there already ({folder})")
            return Features(folder, groups)
        self._make_room(root, size)
        start = time.perf_counter()
        try:
            root.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=root, prefix=PARTIAL))
            try:
                report = self.progress(f"{modality} features of {split}")
                report(0, int(counts.sum()))
                _compute(model, modality, data, groups, counts, temporary, self.workers, report)
                try:
                    temporary.rename(folder)
                except OSError:
                    if not (folder / KEYS).exists():  # else another process made the same meanwhile
                        raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as e:
            raise disk_error(e, root) from e
        self.say(f"cache     {what}, computed in {time.perf_counter() - start:.1f} s ({folder})")
        return Features(folder, groups)

    def _make_room(self, root: Path, size: int) -> None:
        _sweep(root)
        whole = [p for p in root.glob("*") if p.is_dir() and not p.name.startswith(".")]
        entries = sorted(whole, key=lambda p: p.stat().st_mtime)
        sizes = {p: sum(f.stat().st_size for f in p.iterdir()) for p in entries}
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


def _counts(data: Dataset, modality: str, groups: list[Group]) -> np.ndarray:
    """Items in each row: one picture, or its captions."""
    if modality == "image":
        return np.ones(sum(g.rows for g in groups), dtype=np.int64)
    column = data.column(modality)
    lengths = [len(c) for g in groups for c in data.read(g, [column]).column(column)[: g.rows].to_pylist()]
    return np.array(lengths, dtype=np.int64)


def _key(model: Model, modality: str, data: Dataset, split: str, counts: np.ndarray) -> str:
    encoder = model.encoder[modality]
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    made_of = [FORMAT, modality, model.made_of(modality), data.hash, split, len(counts), int(counts.sum())]
    digest.update(json.dumps(made_of, sort_keys=True).encode())
    return digest.hexdigest()[:24]


@torch.inference_mode()
def _compute(
    model: Model,
    modality: str,
    data: Dataset,
    groups: list[Group],
    counts: np.ndarray,
    folder: Path,
    workers: int,
    report: Callable[[int, int], None],
) -> None:
    encoder = model.encoder[modality]
    was_training = encoder.training
    encoder.eval()
    shape = (int(counts.sum()), encoder.dim)
    vectors = np.lib.format.open_memmap(folder / VECTORS, mode="w+", dtype=np.float32, shape=shape)
    keys = np.zeros(len(counts), dtype=np.int64)
    try:
        if modality == "image":
            _pictures(model, data, groups, vectors, keys, workers, report)
        else:
            _texts(model, modality, data, groups, vectors, report)
        vectors.flush()
    finally:
        encoder.train(was_training)
    np.save(folder / STARTS, np.cumsum([0, *counts]))
    np.save(folder / KEYS, keys)  # last: its presence says that the entry is whole


def _pictures(
    model: Model,
    data: Dataset,
    groups: list[Group],
    vectors: np.ndarray,
    keys: np.ndarray,
    workers: int,
    report: Callable[[int, int], None],
) -> None:
    column, done = data.column("image"), 0
    with ThreadPoolExecutor(workers) as pool:
        for group in groups:
            rows = data.read(group, ["id", column]).slice(0, group.rows)
            for start in range(0, group.rows, CHUNK):
                part = rows.slice(start, CHUNK).to_pylist()
                squares = torch.stack(list(pool.map(lambda row: model.pixels(picture(row, column)), part)))
                pooled = model.pooled("image", squares.to(model.device)).float().cpu().numpy()
                vectors[done : done + len(part)] = pooled
                keys[done : done + len(part)] = [image_key(row[column]) for row in part]
                done += len(part)
                report(done, len(vectors))


def _texts(
    model: Model,
    modality: str,
    data: Dataset,
    groups: list[Group],
    vectors: np.ndarray,
    report: Callable[[int, int], None],
) -> None:
    column, done = data.column(modality), 0
    for group in groups:
        texts = [c for row in data.read(group, [column]).column(column)[: group.rows].to_pylist() for c in row]
        # captions of like length share a batch, which is as long as its longest
        order = np.argsort([len(text) for text in texts], kind="stable")
        for start in range(0, len(order), CHUNK):
            part = order[start : start + CHUNK]
            tokens = {k: v.to(model.device) for k, v in model.tokenizer([texts[i] for i in part]).items()}
            vectors[done + part] = model.pooled(modality, tokens).float().cpu().numpy()
            report(done + start + len(part), len(vectors))
        done += len(texts)


def check_limit(gigabytes: float) -> int:
    """`--cache-limit` in bytes.

    Raises:
        UserError: it is negative.
    """
    if gigabytes < 0:
        raise UserError(f"train.cache_limit = {gigabytes:g} is negative", hint="GB; 0 for no cache")
    return int(gigabytes * 1e9)
