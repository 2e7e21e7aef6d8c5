"""What a head over a fusion of two inputs says of many pairs: each item is encoded once, kept on disk, and fused in batches.

n pairs, R items of a batch, N tokens, D width
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mmkit.batch import Batch, Want
from mmkit.encode import Pace, cell_items, chunks, columns_of, diverged, encode
from mmkit.errors import UserError

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.losses.matching import Matching
    from mmkit.model import Model

TRAINED = "to match (loss kind itm)"


class Kept:
    """What a fusion reads of the items of one input, in temporary files: memory holds only what is taken.

    Args:
        whats: what it reads: pooled (D,), tokens or embedded (N, D), and mask (N,), as encoders give them.
    """

    def __init__(self, whats: Sequence[str]) -> None:
        self.whats = list(whats)
        self.starts = [0]
        self._files = {what: tempfile.TemporaryFile() for what in self.whats}  # noqa: SIM115  open as long as this lives
        self._shape: dict[str, tuple[int, ...]] = {}
        self._maps: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.starts) - 1

    def add(self, found: Mapping[str, Sequence[Tensor]]) -> None:
        """Keep further items, without the padding that they came with."""
        for i, mask in enumerate(found["mask"]):
            tokens = int(mask.nonzero().max()) + 1 if mask.any() else 1
            self.starts.append(self.starts[-1] + tokens)
            for what in self.whats:
                x = found[what][i]
                self._shape[what] = x.shape[0 if what == "pooled" else 1 :]
                (x if what == "pooled" else x[:tokens]).numpy().tofile(self._files[what])
        self._maps = {}

    def take(self, items: np.ndarray) -> dict[str, Tensor]:
        """Some of them, padded to the longest: (R, D) or (R, N, D) float32, the mask (R, N) bool."""
        if not self._maps:
            for what, file in self._files.items():
                file.flush()
                flat = np.memmap(file, bool if what == "mask" else np.float32, "r")
                self._maps[what] = flat.reshape(-1, *self._shape[what])
        spans = [slice(self.starts[i], self.starts[i + 1]) for i in items.tolist()]
        found = {}
        for what, kept in self._maps.items():
            if what == "pooled":
                found[what] = torch.from_numpy(kept[items])
            else:
                each = [torch.from_numpy(np.array(kept[span])) for span in spans]
                found[what] = torch.nn.utils.rnn.pad_sequence(each, batch_first=True)
        return found


@dataclass
class Items:
    """The items of one input over some rows: of each the number of its row, what tells it from others, and what it says (None
    where that is no text)."""

    rows: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    said: list[str | None] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)


@dataclass
class Split:
    """Rows of a dataset by their ids, and the items that they have of each input."""

    ids: list[str]
    items: dict[str, Items]


def split_of(
    model: Model,
    objective: Matching,
    data: Dataset,
    split: str | None,
    limit: int | None,
    pace: Pace,
    features: Mapping[str, Any] | None = None,
    total: int = 0,
    keep: Callable[[str, list[Any]], None] | None = None,
) -> Split:
    """The items of a split of both inputs that a head reads, prepared; or handed to `keep`, chunk by chunk, and not held.

    Args:
        features: input -> what its still encoder gives of these rows: its items.
        total: rows in all, for the progress.

    Raises:
        UserError: the data has not both.
    """
    features = dict(features or {})
    columns = columns_of(model, data, objective.pair)
    if lacking := [name for name in objective.pair if name not in columns]:
        has = ", ".join(sorted(set(data.columns.values())))
        raise UserError(f"the dataset has no {' and no '.join(lacking)} column", data.path, f"it has: {has}")
    language = [name for name in columns if model.config.is_language(name)]
    read = {name: column for name, column in columns.items() if name in language or name not in features}
    found = Split([], {name: Items() for name in objective.pair})
    for rows, items in chunks(model, read, data.rows(split, list(dict.fromkeys(["id", *read.values()])), limit), pace):
        done = len(found.ids)
        for name, own in found.items.items():
            held = [features[name].row(done + i) for i in range(len(rows))] if name in features else []
            values = [one for row in held for one in row] if name in features else [item.value for item in items[name]]
            if name in read:
                raw = [cell_items(model, name, rows[item.row][columns[name]])[item.number] for item in items[name]]
                own.rows += [done + item.row for item in items[name]]
                own.keys += [model.reader(name).key(one) for one in raw]
            else:
                raw, counts = [None] * len(values), [*map(len, held)]
                own.rows += np.repeat(np.arange(done, done + len(rows)), counts).tolist()
                own.keys += np.repeat(features[name].keys[done : done + len(rows)], counts).tolist()
            own.said += raw if name in language else [None] * len(raw)
            if keep:
                keep(name, values)
            else:
                own.values += values
        found.ids += [row["id"] for row in rows]
        pace.progress(len(found.ids), total)
    return found


def keeper(model: Model, objective: Matching, name: str) -> Kept:
    """An empty place for what the fusion of a head reads of an input."""
    return Kept([root.what for root in model.roots(objective.wants()[0]) if root.part == name])


def keep(model: Model, name: str, items: Sequence[Any], kept: Kept, batch_size: int = 64, features: Any = None) -> None:
    """Encode items, or take what their encoder gave before, and keep what a fusion reads of them."""
    kept.add(encode(model, name, items, kept.whats, batch_size, features=features))


def logits_of(
    model: Model,
    objective: Matching,
    kept: Mapping[str, Kept],
    pairs: np.ndarray,
    batch_size: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """The logits (n, C) of the head for some pairs.

    Args:
        pairs: (n, 2), the items of the first and of the second input.

    Raises:
        UserError: one is not finite.
    """
    want = objective.wants()[0]
    found = np.empty((len(pairs), len(objective.classes)), np.float32)
    for start in range(0, len(pairs), batch_size):
        part = pairs[start : start + batch_size]
        with torch.inference_mode():
            have = dict(_read(model, objective.pair, kept, part))
            logits = model(Batch([""] * len(part), {}), [want], have)[want].float().cpu()
        found[start : start + len(part)] = logits.numpy()
        progress(start + len(part), len(pairs))
    if not np.isfinite(found).all():
        raise diverged(model, "a probability is not finite")
    return found


def _read(model: Model, pair: Sequence[str], kept: Mapping[str, Kept], pairs: np.ndarray) -> Iterator[tuple[Want, Tensor]]:
    for column, name in enumerate(pair):
        once, places = np.unique(pairs[:, column], return_inverse=True)
        for what, x in kept[name].take(once).items():
            yield Want(name, what), x.to(model.device)[torch.from_numpy(places).to(model.device)]


def scores(logits: np.ndarray) -> np.ndarray:
    """How much more a pair matches than it does not: the difference of the two logits, (n,)."""
    return logits[:, 1] - logits[:, 0]
