"""How close pictures that are made of codes come to the pictures themselves, and how many of the codes are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmkit.batch import Batch, Want
from mmkit.encode import Pace, chunks, columns_of, diverged
from mmkit.errors import UserError
from mmkit.metrics import heads
from mmkit.metrics.evaluation import Request, Result, Val
from mmkit.talk import Measured

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

# of errors less is better, and weights are chosen by what is most
METRIC, SELECT = "reconstruction", "-mse"


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Make the pictures of a split anew, each place of its likeliest code; chance is what the mean of these pictures reaches.

    Raises:
        UserError: the model has no codes, or no row has a picture.
    """
    objective = heads.objective_of(model, METRIC, "to make pictures of codes (loss kind dvae)")
    split, record, stem = heads.scope(model, data, request, METRIC)
    pace = Pace(request.batch_size, request.workers, request.progress("made anew"))
    ids, items = _items(model, objective, data, split, request.limit, pace)
    if not items:
        raise UserError(f"no row of the split has a {objective.input}", f"{data.path} {split or 'all'}")
    errors, values, mean = measured(model, objective, items, request.batch_size)
    if not np.isfinite(errors).all():
        raise diverged(model, "a pixel is not finite")
    record |= {"task": METRIC, "n": {objective.input: len(items)}, "metrics": values, "chance": {"mse": mean}}
    return [Result(record, {"id": ids, "mse": errors}, "rows", stem)]


def names(model: Model) -> list[str]:
    """What is measured on val, that which weights are chosen by first."""
    return [SELECT, "mse", "codes_used", "code_perplexity"]


def during(model: Model, val: Val) -> Callable[[Model], Measured]:
    """Prepare the pictures of val once; the function makes them anew."""
    objective = heads.objective_of(model, METRIC, "to make pictures of codes")
    _, items = _items(model, objective, val.data, val.split, val.limit, val.pace)
    if not items:
        raise UserError(f"no row of {val.split} has a {objective.input}: nothing to measure by", val.data.path)

    def measure(model: Model) -> Measured:
        errors, values, _ = measured(model, model.loss[objective.name], items)
        if not np.isfinite(errors).all():
            raise FloatingPointError("a pixel is not finite")
        return Measured(SELECT, -values["mse"], {SELECT: -values["mse"], **values})

    return measure


@torch.inference_mode()
def measured(
    model: Model, objective: Any, items: Sequence[Any], batch_size: int = 64
) -> tuple[np.ndarray, dict[str, float], float]:
    """Of prepared pictures (n,) the mean squared error of each, of pixels in 0..1; the metrics; and the mean squared error of the
    mean picture."""
    from mmkit.losses.dvae import usage

    errors, counts, sums, squares = [], torch.zeros(objective.encoder[0].dim), 0.0, 0.0
    for begin in range(0, len(items), batch_size):
        part = items[begin : begin + batch_size]
        batch = Batch([""] * len(part), {objective.input: model.reader(objective.input).collate(list(part))}).to(model.device)
        picture, want = objective.pictures(batch), Want(objective.input, "tokens")
        codes = model(batch, [want])[want].argmax(-1)
        errors.append((objective.encoder[0].pictures(codes) - picture).square().mean((1, 2, 3)).cpu().numpy())
        counts += codes.flatten().cpu().bincount(minlength=len(counts))
        sums, squares = sums + picture.double().sum(0), squares + float(picture.double().square().sum())
    found, places = np.concatenate(errors).astype(np.float64), torch.as_tensor(sums)
    mean = squares / (len(items) * places.numel()) - float((places / len(items)).square().mean())
    return found, {"mse": float(found.mean()), **usage(counts)}, mean


def _items(
    model: Model, objective: Any, data: Dataset, split: str | None, limit: int | None, pace: Pace
) -> tuple[list[str], list[Any]]:
    """The ids and the prepared pictures of a split.

    Raises:
        UserError: the data has no column of them.
    """
    columns = columns_of(model, data, [objective.input])
    if not columns:
        raise UserError(f"the dataset has no {objective.input} column", data.path, f"it has: {', '.join(data.columns)}")
    total = heads.rows_of(data, split, limit)
    found = list(_each(model, columns, data.rows(split, ["id", *columns.values()], limit), pace, total))
    return [id for id, _ in found], [item for _, item in found]


def _each(model: Model, columns: dict[str, str], rows: Any, pace: Pace, total: int) -> Iterator[tuple[str, Any]]:
    done = 0
    for chunk, found in chunks(model, columns, rows, pace):
        for items in found.values():
            for item in items:
                yield chunk[item.row]["id"], item.value
        pace.progress(done := done + len(chunk), total)
