"""vqa_accuracy of a model that answers questions, over all of them and by their type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmkit.data.answers import by_type, normalise, vqa_accuracy
from mmkit.errors import UserError
from mmkit.metrics import heads, intervals
from mmkit.metrics.evaluation import Request, Result, Val
from mmkit.talk import Measured

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

METRIC, SELECT = "vqa", "vqa_accuracy"


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Answer the questions of a split; those without an answer are not counted.

    Raises:
        UserError: the model answers no questions, or there is none with an answer.
    """
    objective = heads.objective_of(model, METRIC, "to answer questions (loss kind answers)")
    split, record, stem = heads.scope(model, data, request, METRIC)
    samples, probabilities = heads.of_split(model, objective, data, split, request, "answered", _answered)
    if not samples:
        raise UserError("no question of the split has an answer", f"{data.path} {split or 'all'}")
    said = [objective.classes[i] for i in probabilities.argmax(1)]
    worth = _worth(samples, said)
    blind = _blind(objective.column, data, samples)
    types = by_type((one.target["type"], value) for one, value in zip(samples, worth, strict=True))
    blind_types = by_type((one.target["type"], value) for one, value in zip(samples, blind, strict=True))
    outside = sum(not any(normalise(a) in objective.number for a in one.target["answers"]) for one in samples)
    record |= {
        "task": "vqa",
        "n": {**heads.counted(model, objective, samples), "answers": len(samples)},
        "metrics": {SELECT: float(np.mean(worth)), **{f"{SELECT}/{kind}": one["mean"] for kind, one in types.items()}},
        "chance": {SELECT: float(np.mean(blind)), **{f"{SELECT}/{kind}": one["mean"] for kind, one in blind_types.items()}},
        "counts": {
            "answers_outside_vocabulary": outside,
            "classes": len(objective.classes),
            **{f"questions/{kind}": int(one["n"]) for kind, one in types.items()},
        },
    }
    if request.intervals:
        record["interval"] = _intervals(samples, worth)
    rows = {
        "sample": [one.id for one in samples],
        "id": [one.target["id"] for one in samples],
        "question": [one.target["question"] for one in samples],
        "type": [one.target["type"] for one in samples],
        "answer": said,
        "truth": [Counter(one.target["answers"]).most_common(1)[0][0] for one in samples],
        "vqa_accuracy": worth,
    }
    return [Result(record, rows, "rows", stem)]


def names(model: Model) -> list[str]:
    """What is measured on val, that which weights are chosen by first."""
    return [SELECT]


def during(model: Model, val: Val) -> Callable[[Model], Measured]:
    """Prepare the questions of val once; the function answers them.

    Raises:
        UserError: none has an answer.
    """
    objective = heads.objective_of(model, METRIC, "to answer questions")
    samples, probabilities = heads.of_val(objective, model, val, _answered)
    if not samples:
        raise UserError(f"no question of {val.split} has an answer: nothing to measure by", val.data.path)

    def measure(model: Model) -> Measured:
        worth = _worth(samples, [objective.classes[i] for i in probabilities(model).argmax(1)])
        types = by_type((one.target["type"], value) for one, value in zip(samples, worth, strict=True))
        values = {f"{SELECT}/{kind}": each["mean"] for kind, each in types.items()}
        mean = float(np.mean(worth))
        return Measured(SELECT, mean, {SELECT: mean, **values})

    return measure


def _answered(one: heads.Asked) -> bool:
    return bool(one.target["answers"])


def _worth(samples: Sequence[heads.Asked], said: Sequence[str]) -> list[float]:
    return [vqa_accuracy(answer, one.target["answers"]) for one, answer in zip(samples, said, strict=True)]


def _intervals(samples: Sequence[heads.Asked], worth: Sequence[float]) -> intervals.Intervals:
    """Of all questions and of each type, those of a sample drawn together."""
    kinds, figures = np.array([one.target["type"] for one in samples], object), np.array(worth)
    values = {SELECT: figures}
    for kind in sorted({kind for kind in kinds if kind is not None}):
        values[f"{SELECT}/{kind}"] = np.where(kinds == kind, figures, np.nan)
    return intervals.of_shares(values, [one.id for one in samples])


def _blind(column: str, data: Dataset, samples: Sequence[heads.Asked]) -> list[float]:
    """What the most frequent training answer of each type of question is worth: nothing but the type is known."""
    seen: dict[str | None, Counter[str]] = {}
    split = "train" if data.splits.get("train") else None
    for row in data.rows(split, [column]):
        for question in row[column] or ():
            for kind in {question["type"], None}:
                seen.setdefault(kind, Counter()).update(question["answers"] or ())
    best = {kind: max(found, key=lambda answer: (found[answer], answer)) for kind, found in seen.items() if found}
    fallback = best.get(None, "")
    return _worth(samples, [best.get(one.target["type"], fallback) for one in samples])
