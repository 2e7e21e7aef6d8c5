"""The losses of a model on a split, what is drawn being the same each time: for models that nothing else measures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from mmkit.batch import Batch
from mmkit.data.loader import Loader, Source, first_rows
from mmkit.data.modalities import MODALITIES
from mmkit.encode import columns_of, diverged
from mmkit.errors import UserError
from mmkit.losses.objective import early_versions, late_versions
from mmkit.metrics import heads
from mmkit.metrics.evaluation import Request, Result, Val
from mmkit.talk import Measured

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

METRIC = "loss"
DRAW = "measured"  # the seed of all that losses draw


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Each loss of a model, and their sum as it is trained, over the rows of a split in batches as of its training.

    Raises:
        UserError: the data lacks what the losses read, or a loss is not finite.
    """
    from mmkit.data.shards import default_split

    split = data.split_name(request.split) if request.split else default_split(data)
    request = replace(request, split=split or next(iter(data.splits)))
    split, record, stem = heads.scope(model, data, request, METRIC)
    workers, report = request.workers or 2, request.progress("scored")
    batches, total = _batches(model, data, str(split), request.limit, workers, {})
    n: dict[str, int] = defaultdict(int)

    def counted() -> Iterator[Batch]:
        done = 0
        for batch in batches:
            for name in model.inputs:
                n[name] += int(batch.present[name].sum())
            yield batch
            report(done := done + batch.rows, total)

    values = measured(model, counted())
    if not all(map(torch.isfinite, map(torch.tensor, values.values()))):
        raise diverged(model, "the loss is not finite")
    record |= {"task": METRIC, "n": dict(n), "metrics": values, "chance": {}}
    return [Result(record, {}, "rows", stem)]


def names(model: Model) -> list[str]:
    """What is measured on val, that which weights are chosen by first: the less the better."""
    return [f"-{METRIC}"]


def during(model: Model, val: Val) -> Callable[[Model], Measured]:
    """Read the batches of val once; the function scores them, and raises FloatingPointError where a loss is not finite."""
    workers = val.pace.workers or 2
    found, _ = _batches(model, val.data, val.split, val.limit, workers, val.features)
    batches = list(found)

    def measure(model: Model) -> Measured:
        values = measured(model, batches)
        if not torch.tensor(values[METRIC]).isfinite():
            raise FloatingPointError("the loss on val is not finite")
        name, value = f"-{METRIC}", -values[METRIC]
        return Measured(name, value, {name: value, **values})

    return measure


def _batches(
    model: Model, data: Dataset, split: str, limit: int | None, workers: int, features: Mapping[str, Any]
) -> tuple[Iterator[Batch], int]:
    """The rows of a split, each once, in batches of the size that the model was trained with; and how many they are.

    Raises:
        UserError: the data lacks an input or a column of targets.
    """
    columns = columns_of(model, data, model.inputs)
    losses = [loss for loss in model.loss.values() if loss.column]
    lacking = [n for n in model.inputs if n not in columns] + [x.column for x in losses if x.column not in data.columns]
    if lacking:
        raise UserError(
            f"the dataset has no {lacking[0]} column", data.path, f"it has: {', '.join(sorted(set(data.columns.values())))}"
        )
    inputs = {
        name: Source(columns[name], MODALITIES[str(one.modality)], model.reader(name), features.get(name))
        for name, one in model.inputs.items()
    }
    targets, listed = [loss.column for loss in losses], [loss.column for loss in losses if loss.listed]
    rows = sum(group.rows for group in first_rows(data.groups(split), limit))
    size = min(model.config.train.batch_size or 1, rows)
    loader = Loader(data, split, inputs, size, 0, workers, targets, listed, limit)

    def each() -> Iterator[Batch]:
        with closing(loader.batches()) as batches:  # type: ignore[type-var]  # a generator
            for number, batch in enumerate(islice(batches, -(-rows // size))):
                yield batch.take(range(min(size, rows - number * size)))

    return each(), rows


@torch.inference_mode()
def measured(model: Model, batches: Iterator[Batch] | list[Batch]) -> dict[str, float]:
    """`loss` and each `loss/NAME` over some batches: sums over rows divided by what all of them count, and those of a whole
    batch as their mean. Of losses that are drawn by `share`, the sum holds each in proportion."""
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, float] = defaultdict(float)
    for batch in batches:
        for name, (value, count) in _of_batch(model, batch.to(model.device)).items():
            sums[name] += value
            counts[name] += count
    values = {name: sums[name] / counts[name] if counts[name] else 0.0 for name in model.loss}
    shares = sum(loss.share for loss in model.loss.values() if loss.share is not None)
    parts = [loss.weight * (1 if loss.share is None else loss.share / shares) for loss in model.loss.values()]
    total = sum(part * value for part, value in zip(parts, values.values(), strict=True))
    return {METRIC: total, **{f"{METRIC}/{name}": value for name, value in values.items()}}


def _of_batch(model: Model, batch: Batch) -> dict[str, tuple[float, float]]:
    """Of each loss the sum over a batch, and what it is divided by."""
    batch = replace(batch, nowhere=frozenset(name for name, there in batch.present.items() if not there.any()))
    objectives = dict(model.loss.items())
    batch = replace(batch, versions=early_versions(objectives.values(), batch, DRAW))
    clean = model(batch, [want for objective in objectives.values() for want in objective.sees()])
    batch = replace(batch, versions={**batch.versions, **late_versions(objectives.values(), batch, DRAW, clean)})
    got = model(batch, model.wants())
    found = {}
    for name, objective in objectives.items():
        count = float(batch.rows if objective.whole else objective.count(batch))
        value = float(objective.score(got, batch)) if count else 0.0
        found[name] = (value * count if objective.whole else value, count)
    return found
