"""How close the numbers that a model predicts are to the targets: their mean error, correlation, and of sentiment the signs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.errors import UserError
from mmkit.metrics import heads, numbers
from mmkit.metrics.evaluation import Request, Result, Val
from mmkit.talk import Measured

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

# of errors less is better, and weights are chosen by what is most
METRIC, SELECT = "regress", "-mae"
FIGURE = "scatter"


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Predict the targets of a split; chance is what always predicting the mean of the training targets reaches.

    Raises:
        UserError: the model predicts no numbers, or no row has a target.
    """
    objective = heads.objective_of(model, METRIC, "to predict numbers (loss kind regress)")
    split, record, stem = heads.scope(model, data, request, METRIC)
    samples, found = heads.of_split(model, objective, data, split, request, "predicted", _known(objective))
    if not samples:
        raise UserError(f"no row of the split has a {objective.column}", f"{data.path} {split or 'all'}")
    predicted, target = found[:, 0].astype(np.float64), _targets(samples)
    reach = objective.targets["min"], objective.targets["max"]
    always = np.full(len(target), objective.mean)
    metrics = numbers.measured(predicted, target, *reach)
    record |= {
        "task": "regression",
        "n": heads.counted(model, objective, samples),
        "metrics": metrics,
        "chance": numbers.measured(always, target, *reach),
        "baseline": {"always": objective.mean, "what": f"the mean {objective.column} of the training rows"},
    }
    if "acc2" in metrics:
        record["acc2"] = numbers.SIGNS
    ids = [one.id for one in samples]
    if request.intervals:
        record["interval"] = numbers.intervals(predicted, target, *reach, ids)
    each = numbers.columns(predicted, target, *reach)
    rows = {"id": ids, "target": target, "predicted": predicted, **{name: each[name] for name in metrics if name in each}}
    return [Result(record, rows, "rows", stem, scatter=(target, predicted))]


def names(model: Model) -> list[str]:
    """What is measured on val, that which weights are chosen by first."""
    targets = heads.objective_of(model, METRIC, "to predict numbers").targets
    low, high = targets["min"], targets["max"]
    seven, two = numbers.has_sevenths(low, high), numbers.has_signs(low, high)
    return [SELECT, "mae", "pearson", *(["acc7"] if seven else []), *(["acc2", "f1"] if two else [])]


def during(model: Model, val: Val) -> Callable[[Model], Measured]:
    """Prepare the rows of val that have a target once; the function predicts them.

    Raises:
        UserError: none has one.
    """
    objective = heads.objective_of(model, METRIC, "to predict numbers")
    samples, predict = heads.of_val(objective, model, val, _known(objective))
    if not samples:
        raise UserError(f"no row of {val.split} has a {objective.column}: nothing to measure by", val.data.path)
    target, low, high = _targets(samples), objective.targets["min"], objective.targets["max"]

    def measure(model: Model) -> Measured:
        values = numbers.measured(predict(model)[:, 0], target, low, high)
        return Measured(SELECT, -values["mae"], {SELECT: -values["mae"], **values})

    return measure


def _known(objective: Any) -> Callable[[heads.Asked], bool]:
    return lambda one: objective.is_target(one.target)


def _targets(samples: list[heads.Asked]) -> np.ndarray:
    return np.array([float(one.target) for one in samples])
