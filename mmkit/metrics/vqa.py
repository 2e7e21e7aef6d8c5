"""vqa_accuracy of a model that answers questions, over all of them and by their type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.data.answers import by_type, normalise, vqa_accuracy
from mmkit.decoding import Example, Sampling, Written, generate, others
from mmkit.encode import Pace
from mmkit.errors import UserError
from mmkit.metrics import heads, intervals, shots
from mmkit.metrics.caption import written_by
from mmkit.metrics.evaluation import Request, Result, Val
from mmkit.talk import Measured

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

METRIC, SELECT = "vqa", "vqa_accuracy"
WRITTEN = True  # also of a checkpoint that writes by itself
WHAT = "to answer questions (loss kind answers, or lm with answers)"
VAL_ROWS = 200  # of val, whose answers are written in training where a model writes them


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Answer the questions of a split; those without an answer are not counted.

    Raises:
        UserError: the model answers no questions, or there is none with an answer.
    """
    objective = heads.objective_of(model, METRIC, WHAT)
    split, record, stem = heads.scope(model, data, request, METRIC)
    samples, said = _said(model, objective, data, split, request)
    if not samples:
        raise UserError("no question of the split has an answer", f"{data.path} {split or 'all'}")
    worth = _worth(samples, said)
    blind = _blind(column_of(objective, data), data, samples)
    types = by_type((one.target["type"], value) for one, value in zip(samples, worth, strict=True))
    blind_types = by_type((one.target["type"], value) for one, value in zip(samples, blind, strict=True))
    record |= {
        "task": "vqa",
        **({} if hasattr(objective, "classes") else written_by(request)),
        "n": {**heads.counted(model, objective, samples), "answers": len(samples)},
        "metrics": {SELECT: float(np.mean(worth)), **{f"{SELECT}/{kind}": one["mean"] for kind, one in types.items()}},
        "chance": {SELECT: float(np.mean(blind)), **{f"{SELECT}/{kind}": one["mean"] for kind, one in blind_types.items()}},
        "counts": {
            **_vocabulary(objective, samples),
            **{f"questions/{kind}": int(one["n"]) for kind, one in types.items()},
        },
        **heads.asked_of(model, objective),
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
    objective = heads.objective_of(model, METRIC, WHAT)
    samples, answers = (_writing if heads.writes(objective) else _choosing)(model, objective, val)
    if not samples:
        raise UserError(f"no question of {val.split} has an answer: nothing to measure by", val.data.path)

    def measure(model: Model) -> Measured:
        worth = _worth(samples, answers(model))
        types = by_type((one.target["type"], value) for one, value in zip(samples, worth, strict=True))
        values = {f"{SELECT}/{kind}": each["mean"] for kind, each in types.items()}
        mean = float(np.mean(worth))
        return Measured(SELECT, mean, {SELECT: mean, **values})

    return measure


Asking = tuple[list[heads.Asked], Callable[[Any], list[str]]]


def _choosing(model: Model, objective: Any, val: Val) -> Asking:
    """The questions of val, and what chooses the answer of each among the classes."""
    samples, probabilities = heads.of_val(objective, model, val, _answered)
    return samples, lambda model: [objective.classes[i] for i in probabilities(model).argmax(1)]


def _writing(model: Model, objective: Any, val: Val) -> Asking:
    """As `_choosing`, of a model that writes: one token costs a pass through it, so not all of val."""
    limit, names = min(VAL_ROWS, val.limit or VAL_ROWS), others(model, objective)
    chunks = heads.asked(model, objective, val.data, val.split, limit, val.pace, val.features, limit, names)
    samples = [one for chunk in chunks for one in chunk if _answered(one)]
    inputs, questions = [one.inputs for one in samples], [one.target["question"] for one in samples]

    def answers(model: Model) -> list[str]:
        try:
            found = written(model, model.loss[objective.name], inputs, questions, features=val.features)
        except UserError as e:
            raise FloatingPointError(e.what) from e
        return [texts[0].text for texts in found]

    return samples, answers


def _answered(one: heads.Asked) -> bool:
    return bool(one.target["answers"])


def column_of(objective: Any, data: Dataset) -> str:
    """The column of the questions; of a checkpoint that was trained on other data the first of the kind."""
    own = str(objective.column)
    return own if own in data.columns else next(iter(data.columns_of("questions")), own)


def _said(
    model: Model, objective: Any, data: Dataset, split: str | None, request: Request
) -> tuple[list[heads.Asked], list[str]]:
    """The questions of a split that have an answer, and what the model answers."""
    if hasattr(objective, "classes"):
        if request.shots or request.sampling:
            what = "the model chooses among the answers that it knows: it takes no examples, and draws nothing"
            raise UserError(what, model.name, "no --shots, --top-p and --temperature")
        samples, probabilities = heads.of_split(model, objective, data, split, request, "answered", _answered)
        return samples, [objective.classes[i] for i in probabilities.argmax(1)] if samples else []
    pace = Pace(request.batch_size, request.workers, request.progress("answered"))
    total, names = heads.rows_of(data, split, request.limit), others(model, objective)
    samples, said = [], list[str]()
    column = column_of(objective, data)
    examples = shots.drawn(model, objective, data, column, request.shots, request.seed, split)
    for chunk in heads.asked(model, objective, data, split, request.limit, pace, None, total, names, column):
        kept = [one for one in chunk if _answered(one)]
        inputs, questions = [one.inputs for one in kept], [one.target["question"] for one in kept]
        said += answers(model, objective, inputs, questions, request, len(said), examples)
        samples += [one._replace(inputs=dict.fromkeys([*one.inputs, objective.text])) for one in kept]
    return samples, said


def answers(
    model: Model,
    objective: Any,
    inputs: Sequence[dict[str, Any]],
    questions: Sequence[str],
    request: Request,
    first: int = 0,
    examples: Sequence[Example] = (),
) -> list[str]:
    """What a model answers to questions: of the answers that it was trained on, or in its own words.

    Args:
        inputs: what each question is about, prepared.
        first: the number of the first of them, by which it is drawn.
        examples: they stand before each.
    """
    if hasattr(objective, "classes"):
        asked = heads.question_of(model, objective)
        samples = [one | {asked: model.reader(asked).prepare(question)} for one, question in zip(inputs, questions, strict=True)]
        probabilities = heads.scored(model, objective, samples, request.batch_size)[1]
        return [objective.classes[i] for i in probabilities.argmax(1)]
    how: dict[str, Any] = {"batch_size": request.batch_size * request.beams, "examples": examples}
    sampling = request.sampling and request.sampling._replace(first=first)
    found = written(model, objective, inputs, questions, request.beams, sampling=sampling, **how)
    return [texts[0].text for texts in found]


def written(
    model: Model,
    objective: Any,
    inputs: Sequence[dict[str, Any]],
    questions: Sequence[str],
    beams: int = 1,
    top: int = 1,
    batch_size: int = 256,
    features: Mapping[str, Any] | None = None,
    sampling: Sampling | None = None,
    examples: Sequence[Example] = (),
) -> list[list[Written]]:
    """What a model without classes writes in answer to each question; see `decoding.generate`. A loss of language goes on from
    its prompt, a checkpoint reads the question as an input."""
    if heads.writes(objective):
        prompts = [objective.prompt(question) for question in questions]
        return generate(model, objective, inputs, beams, top, None, batch_size, features, sampling, prompts, examples)
    name = objective.text
    read = [one | {name: model.reader(name).prepare(question)} for one, question in zip(inputs, questions, strict=True)]
    return generate(model, objective, read, beams, top, None, batch_size, None, sampling, None, examples)


def _vocabulary(objective: Any, samples: Sequence[heads.Asked]) -> dict[str, int]:
    """What a model that chooses has to choose from."""
    if not hasattr(objective, "classes"):
        return {}
    outside = sum(not any(normalise(a) in objective.number for a in one.target["answers"]) for one in samples)
    return {"answers_outside_vocabulary": outside, "classes": len(objective.classes)}


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
