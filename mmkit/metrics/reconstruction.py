"""How close pictures that are made of codes come to the pictures themselves, and how many of the codes are used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    ids: list[str] = []

    def parts() -> Iterator[list[Any]]:
        for names, items in _parts(model, objective, data, split, request.limit, pace):
            ids.extend(names)
            yield items

    errors, values, mean = measured(model, objective, parts())
    if not ids:
        raise UserError(f"no row of the split has a {objective.input}", f"{data.path} {split or 'all'}")
    if not np.isfinite(errors).all():
        raise diverged(model, "a pixel is not finite")
    record |= {"task": METRIC, "n": {objective.input: len(ids)}, "metrics": values, "chance": {"mse": mean}}
    return [Result(record, {"id": ids, "mse": errors}, "rows", stem)]


def names(model: Model) -> list[str]:
    """What is measured on val, that which weights are chosen by first."""
    return [SELECT, "mse", "codes_used", "code_perplexity"]


def during(model: Model, val: Val) -> Callable[[Model], Measured]:
    """Prepare the pictures of val once; the function makes them anew."""
    objective = heads.objective_of(model, METRIC, "to make pictures of codes")
    parts = [items for _, items in _parts(model, objective, val.data, val.split, val.limit, val.pace)]
    if not any(parts):
        raise UserError(f"no row of {val.split} has a {objective.input}: nothing to measure by", val.data.path)

    def measure(model: Model) -> Measured:
        errors, values, _ = measured(model, model.loss[objective.name], parts)
        if not np.isfinite(errors).all():
            raise FloatingPointError("a pixel is not finite")
        return Measured(SELECT, -values["mse"], {SELECT: -values["mse"], **values})

    return measure


@torch.inference_mode()
def measured(model: Model, objective: Any, parts: Iterable[Sequence[Any]]) -> tuple[np.ndarray, dict[str, float], float]:
    """Of prepared pictures (n,), a batch at a time, the mean squared error of each, of pixels in 0..1; the metrics; and the mean
    squared error of the mean picture."""
    from mmkit.losses.dvae import usage

    errors: list[float] = []
    counts, sums, squares = torch.zeros(objective.encoder[0].dim), torch.zeros((), dtype=torch.float64), 0.0
    for part in filter(None, parts):
        batch = Batch([""] * len(part), {objective.input: model.reader(objective.input).collate(list(part))}).to(model.device)
        picture, want = objective.pictures(batch), Want(objective.input, "tokens")
        codes = model(batch, [want])[want].argmax(-1)
        errors += (objective.encoder[0].pictures(codes) - picture).square().mean((1, 2, 3)).tolist()
        counts += codes.flatten().cpu().bincount(minlength=len(counts))
        exact = picture.cpu().double()  # not every device has float64
        sums, squares = sums + exact.sum(0), squares + float(exact.square().sum())
    n = max(1, len(errors))
    mean = squares / (n * sums.numel()) - float((sums / n).square().mean())
    return np.array(errors), {"mse": float(np.mean(errors or 0.0)), **usage(counts)}, mean


def _parts(
    model: Model, objective: Any, data: Dataset, split: str | None, limit: int | None, pace: Pace
) -> Iterator[tuple[list[str], list[Any]]]:
    """The ids and the prepared pictures of a split, some at a time.

    Raises:
        UserError: the data has no column of them.
    """
    columns = columns_of(model, data, [objective.input])
    if not columns:
        raise UserError(f"the dataset has no {objective.input} column", data.path, f"it has: {', '.join(data.columns)}")
    done, total = 0, heads.rows_of(data, split, limit)
    for chunk, found in chunks(model, columns, data.rows(split, ["id", *columns.values()], limit), pace):
        items = found[objective.input]
        yield [chunk[item.row]["id"] for item in items], [item.value for item in items]
        pace.progress(done := done + len(chunk), total)
