"""How well a classifier names the classes of rows: accuracy, mean per class, F1, AUROC, and what is taken for what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.errors import UserError
from mmkit.losses.classify import labels_of
from mmkit.metrics import heads, intervals, scores
from mmkit.metrics.evaluation import Request, Result, Val
from mmkit.talk import Measured

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

METRIC, SELECT = "classify", "acc1"
FIGURE = "confusion"
SOME = 5  # labels that an error names


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Classify the rows of a split that have a label; one outside the model's classes counts as wrong.

    Raises:
        UserError: the model is no classifier, no row has a label, or none of the labels is a class of the model.
    """
    objective = heads.objective_of(model, METRIC, "to classify (loss kind classify)")
    split, record, stem = heads.scope(model, data, request, METRIC)
    samples, probabilities = heads.of_split(model, objective, data, split, request, "classified", _labelled)
    if not samples:
        raise UserError(f"no row of the split has a {objective.column}", f"{data.path} {split or 'all'}")
    note = _check_labels(objective, samples, f"{data.path} {split or 'all'}")
    target, outside = _targets(objective, samples)
    predicted = _predicted(objective, probabilities)
    prior = scores.frequency(*_train_targets(objective, data))
    record |= {
        "task": "classification",
        "n": heads.counted(model, objective, samples),
        "metrics": _metrics(objective, probabilities, target, outside),
        "chance": scores.chance(target, prior, outside if objective.many else None),
        "counts": {"labels_outside_vocabulary": int(outside.sum()), "classes": len(objective.classes)},
    }
    if request.intervals:
        ids = [one.id for one in samples]
        record["interval"] = intervals.of_classes(record["metrics"], probabilities, target, ids, outside)
    rows = {
        "id": [one.id for one in samples],
        "target": [", ".join(labels_of(one.target)) for one in samples],
        "predicted": [", ".join(objective.classes[c] for c in classes) for classes in predicted],
        "probability": [float(p.max()) for p in probabilities],
        **scores.each(probabilities, target, outside),
    }
    result = Result(record, rows, "rows", stem, note=note)
    if not objective.many:
        counts = scores.confusion(target, probabilities.argmax(1), len(objective.classes))
        result.confusion = (counts, objective.classes)
    return [result]


def names(model: Model) -> list[str]:
    """What is measured on val, that which weights are chosen by first."""
    return [SELECT, "acc5", "mean_per_class_recall", "macro_f1", "micro_f1", "auroc"]


def during(model: Model, val: Val) -> Callable[[Model], Measured]:
    """Prepare the labelled rows of val once; the function classifies them.

    Raises:
        UserError: none has a label.
    """
    objective = heads.objective_of(model, METRIC, "to classify")
    samples, probabilities = heads.of_val(objective, model, val, _labelled)
    if not samples:
        raise UserError(f"no row of {val.split} has a {objective.column}: nothing to measure by", val.data.path)
    target, outside = _targets(objective, samples)

    def measure(model: Model) -> Measured:
        values = _metrics(objective, probabilities(model), target, outside)
        return Measured(SELECT, values[SELECT], values)

    return measure


def _check_labels(objective: Any, samples: Sequence[heads.Asked], where: str) -> str:
    """What is to be said of labels that are no class of the model: nothing where they are few.

    Raises:
        UserError: all are.
    """
    labels = [label for one in samples for label in labels_of(one.target)]
    lost = [label for label in labels if label not in objective.number]
    if lost and len(lost) == len(labels):
        hint = f"the labels: {_some(lost)}; the classes: {_some(objective.classes)}"
        raise UserError("none of the labels of the split is a class of the model", where, hint)
    if 2 * len(lost) <= len(labels):
        return ""
    return f"{len(lost):,} of {len(labels):,} labels are no class of the model, and count as wrong: {_some(lost)}"


def _some(words: Sequence[str]) -> str:
    found = sorted(set(words))
    return ", ".join(found[:SOME]) + (f" and {len(found) - SOME:,} more" if len(found) > SOME else "")


def _labelled(one: heads.Asked) -> bool:
    return one.target is not None


def _metrics(objective: Any, probabilities: np.ndarray, target: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    if objective.many:
        return scores.multi_label(probabilities, target, outside)
    return scores.single_label(probabilities, target)


def _targets(objective: Any, samples: Sequence[heads.Asked]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) class numbers, -1 outside the vocabulary, or (N, C) booleans; and how many labels of each row lie outside."""
    labels = [labels_of(one.target) for one in samples]
    outside = np.array([sum(label not in objective.number for label in found) for found in labels])
    if objective.many:
        return np.array([[name in found for name in objective.classes] for found in labels]), outside
    return np.array([objective.number.get(found[0], -1) if found else -1 for found in labels]), outside


def _predicted(objective: Any, probabilities: np.ndarray) -> list[list[int]]:
    if objective.many:
        return [np.flatnonzero(row > scores.THRESHOLD).tolist() for row in probabilities]
    return [[int(row.argmax())] for row in probabilities]


def _train_targets(objective: Any, data: Dataset) -> tuple[np.ndarray, int]:
    """The targets of the training rows of this dataset, of all of its rows where it has none."""
    split = "train" if data.splits.get("train") else None
    column = objective.column
    rows = [heads.Asked("", {}, row[column]) for row in data.rows(split, [column]) if row[column] is not None]
    return _targets(objective, rows)[0], len(objective.classes)
