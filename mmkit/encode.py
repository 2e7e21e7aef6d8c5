"""Run a model's encoders over rows: the one way in which embeddings, the val split and cached features are made."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from os import cpu_count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmkit.batch import Batch, Want
from mmkit.data.loader import prepare
from mmkit.data.modalities import MODALITIES
from mmkit.errors import MissingPackage, UserError
from mmkit.model import Model
from mmkit.ragged import Ragged

BATCHES_AHEAD = 2
ENCODED_LIMIT = 8 << 20  # bytes of prepared items that are encoded together: a video is as many pictures as it has frames

Row = dict[str, Any]


@dataclass(frozen=True)
class Pace:
    """How a run over data goes; none of it changes the vectors beyond rounding."""

    batch_size: int = 64
    workers: int | None = None
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)


@dataclass
class Cost:
    """Time spent inside the encoders, by input."""

    items: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, items: int, seconds: float) -> None:
        self.items[name] = self.items.get(name, 0) + items
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def summary(self) -> dict[str, float]:
        """Milliseconds per item, of what was encoded."""
        return {f"ms_per_{name}": round(1000 * self.seconds[name] / n, 3) for name, n in self.items.items() if n}


@dataclass(frozen=True)
class Item:
    """One item of one input: the number of its row in the chunk, its own number in its cell, and it prepared."""

    row: int
    number: int
    value: Any


def columns_of(model: Model, data: Any, names: Iterable[str]) -> dict[str, str]:
    """input -> its column in a dataset, for those it has: the one that the model was trained on, else the first of its kind."""
    found = {}
    for name in names:
        one = model.inputs[name]
        kinds = MODALITIES[str(one.modality)].KINDS
        kind = kinds[0]
        if data.columns.get(one.column) in kinds:  # a column of boxes is called as one of regions is
            found[name] = str(one.column)
        elif name == one.modality and data.columns_of(kind):
            found[name] = data.column(kind)
    return found


def chunks(
    model: Model, columns: Mapping[str, str], rows: Iterable[Row], pace: Pace, lenient: bool = False
) -> Iterator[tuple[list[Row], dict[str, list[Item]]]]:
    """Rows with all items of some inputs, prepared by threads a few chunks ahead of the model.

    Args:
        columns: input -> the column that holds it.
        rows: dicts that hold `id` and these columns.
        lenient: leave out items that cannot be read.

    Raises:
        UserError: an item cannot be read; its row is named.
    """
    source = iter(rows)
    waiting: deque[tuple[list[Row], list[Future[dict[str, list[Item]]]]]] = deque()

    def read(i: int, row: Row) -> dict[str, list[Item]]:
        found: dict[str, list[Item]] = {}
        for name, column in columns.items():
            found[name] = []
            for number, item in enumerate(cell_items(model, name, row[column])):
                try:
                    value = prepare(model.reader(name), item, name, row["id"], "prepare the dataset again")
                    found[name].append(Item(i, number, value))
                except UserError as e:
                    if not lenient or isinstance(e, MissingPackage):
                        raise
        return found

    with ThreadPoolExecutor(pace.workers or cpu_count()) as pool:
        try:
            while True:
                while len(waiting) <= BATCHES_AHEAD and (chunk := list(islice(source, pace.batch_size))):
                    waiting.append((chunk, [pool.submit(read, i, row) for i, row in enumerate(chunk)]))
                if not waiting:
                    return
                chunk, futures = waiting.popleft()
                rows_read = [future.result() for future in futures]
                yield chunk, {name: [item for row in rows_read for item in row[name]] for name in columns}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def cell_items(model: Model, name: str, cell: Any) -> list[Any]:
    """The items that a cell holds of an input."""
    return MODALITIES[str(model.inputs[name].modality)].items(cell)


def at_once(
    model: Model, names: Iterable[str], samples: Sequence[Mapping[str, Any]], most: int, features: Mapping[str, Any] | None = None
) -> int:
    """How many of some samples are encoded together: at most `most`, and no more than fill ENCODED_LIMIT.

    Args:
        names: inputs; samples: for each of them the prepared item, or none.
        features: of the inputs whose encoder ran before, which weigh nothing.
    """
    weights = {name: model.reader(name).weight for name in names if not features or name not in features}
    own = (sum(weight(one[name]) for name, weight in weights.items() if one.get(name) is not None) for one in samples)
    return max(1, min(most, ENCODED_LIMIT // max(1, max(own, default=0))))


@torch.inference_mode()
def encode(
    model: Model,
    name: str,
    items: Sequence[Any],
    wants: Sequence[str],
    batch_size: int = 64,
    cost: Cost | None = None,
    features: Any = None,
) -> dict[str, list[Tensor]]:
    """What the encoder of an input gives of prepared items.

    Args:
        wants: vector, vectors, pooled, tokens or mask.
        features: where they come from, if the encoder ran before: `items` are its.

    Returns:
        want -> one tensor an item, float32 (or bool) on the CPU: (d,), (D,), or (N, d) with N as of its batch.
    """
    begin = time.perf_counter()
    reader = model.reader(name)
    # items of like length share a batch, since a batch is as long as its longest
    order = list(range(len(items)))
    if features is None:
        order.sort(key=lambda i: reader.length(items[i]))
        batch_size = at_once(model, [name], [{name: item} for item in items], batch_size)
    collate = reader.collate if features is None else features.collate
    found: dict[str, list[Any]] = {what: [None] * len(items) for what in wants}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        batch = Batch([""] * len(part), {name: collate([items[i] for i in part])}).to(model.device)
        got = model(batch, [Want(name, what) for what in wants])
        for what in wants:
            tensors = got[Want(name, what)].cpu()
            for i, tensor in zip(part, tensors if tensors.dtype == torch.bool else tensors.float(), strict=True):
                found[what][i] = tensor
    if cost is not None:
        cost.add(name, len(items), time.perf_counter() - begin)
    return found


Vectors = np.ndarray | Ragged


def vectors(
    model: Model,
    name: str,
    items: Sequence[Any],
    batch_size: int = 64,
    cost: Cost | None = None,
    features: Any = None,
) -> Vectors:
    """How items stand in the shared space: (n, d) float32; of a model that compares token by token several vectors an item.

    Raises:
        UserError: a vector is not finite.
    """
    if model.tokenwise:
        got = encode(model, name, items, ["vectors", "mask"], batch_size, cost, features)
        found: Vectors = Ragged.of([v[m].numpy() for v, m in zip(got["vectors"], got["mask"], strict=True)], model.dim)
    else:
        each = encode(model, name, items, ["vector"], batch_size, cost, features)["vector"]
        found = torch.stack(each).numpy() if each else np.empty((0, model.dim), np.float32)
    flat = found.flat if isinstance(found, Ragged) else found
    if not np.isfinite(flat).all():
        raise diverged(model, f"vector {int(np.flatnonzero(~np.isfinite(flat).all(1))[0])} is not finite")
    return found


def diverged(model: Model, what: str) -> UserError:
    """The error for weights that answer with something that is not finite."""
    hint = "the model has diverged"
    if model.folder:
        hint += f"; an earlier checkpoint of the run may not have: --model {model.folder}/checkpoints/step-…"
    return UserError(what, model.name, hint)


def answer(
    model: Model,
    names: Sequence[str],
    samples: Sequence[dict[str, Any]],
    want: Want,
    batch_size: int = 64,
    features: Mapping[str, Any] | None = None,
) -> Tensor:
    """What the model says of some samples: (n, …) float32 on the CPU.

    Args:
        names: inputs; samples: for each of them the prepared item, or none.
        features: of the inputs whose encoder ran before: where their items come from.
    """
    parts, batch_size = [], at_once(model, names, samples, batch_size, features)
    for start in range(0, len(samples), batch_size):
        part = samples[start : start + batch_size]
        with torch.inference_mode():
            have = {r: x for name in names for r, x in encoded_once(model, name, part, want, features or {}).items()}
            parts.append(model(Batch([""] * len(part), {}), [want], have)[want].float().cpu())
    return torch.cat(parts) if parts else torch.empty(0, 0)


def encoded_once(
    model: Model, name: str, samples: Sequence[dict[str, Any]], want: Want, features: Mapping[str, Any]
) -> dict[Want, Tensor]:
    """What the encoder of an input gives of some samples; an item that several of them show, such as a picture that several
    questions are about, is encoded once."""
    values = [sample.get(name) for sample in samples]
    places = {key: i for i, key in enumerate(dict.fromkeys(map(id, values)))}
    once = {id(value): value for value in values}
    batch = joined(model, name, [once[key] for key in places], features).to(model.device)
    index = torch.tensor([places[id(value)] for value in values], device=model.device)
    return {root: x[index] for root, x in model(batch, [r for r in model.roots(want) if r.part == name]).items()}


def joined(model: Model, name: str, items: Sequence[Any], features: Mapping[str, Any]) -> Batch:
    """Items of an input as a batch; one that is None is blank."""
    source = features.get(name) or model.reader(name)
    has = torch.tensor([item is not None for item in items])
    tensors = source.collate([source.blank if item is None else item for item in items])
    return Batch([""] * len(items), {name: tensors}, {name: has}, nowhere=frozenset() if has.any() else frozenset([name]))
