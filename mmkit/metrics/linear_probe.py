"""What an encoder knows of classes: a logistic regression on its frozen pooled features, learnt on train and measured on a split.

The protocol is CLIP's (arXiv:2103.00020, appendix A.3): the strength of L2 is chosen on val, train and val together are learnt
from at the end, features are taken as they are.

Shapes: N rows, C classes, D width of the encoder.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmkit.encode import Pace, chunks, columns_of, diverged, encode
from mmkit.errors import UserError
from mmkit.files import stable_hash
from mmkit.losses.classify import labels_of
from mmkit.metrics import heads, intervals, scores, zero_shot
from mmkit.metrics.evaluation import Request, Result

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

METRIC = "linear-probe"
FIGURE = "confusion"
DECADES, STEPS = (-6, 6), 8  # of the strength of L2, and its steps a decade
ITERATIONS = 1000
HELD_OUT = 5  # without a val split, each fifth training row stands in for it


class Rows(NamedTuple):
    """Labelled rows of a split."""

    ids: list[str]
    labels: list[str]
    features: np.ndarray  # (N, D) float32

    def take(self, kept: Sequence[bool]) -> Rows:
        one = np.flatnonzero(kept)
        return Rows([self.ids[i] for i in one], [self.labels[i] for i in one], self.features[one])

    def and_those(self, other: Rows) -> Rows:
        return Rows(self.ids + other.ids, self.labels + other.labels, np.concatenate([self.features, other.features]))


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Probe the encoders of the inputs that are no words, or of all where there are only words: one result an input.

    A label that train has not counts as wrong; a row with none or several is left out.

    Raises:
        UserError: the data has no labels, no such input, no train split, or nothing but what is learnt from.
    """
    split, record, stem = heads.scope(model, data, request, METRIC)
    if not data.splits.get("train") or split in (None, "train"):
        what = "a linear probe learns from train and is measured on another split"
        raise UserError(what, f"{data.path}: {', '.join(data.splits)}", "prepare the data with --splits train:0.8,test:0.2")
    there = columns_of(model, data, model.inputs)
    names = [name for name in there if not model.config.is_language(name)] or list(there)
    if not names:
        raise UserError(f"the dataset has no {' and no '.join(model.inputs)} column", data.path)
    results = []
    for name in names:
        read = lambda which, limit=None, n=name: _read(model, n, there[n], data, which, request, limit)  # noqa: E731
        train, measured = read("train"), read(split, request.limit)
        val = read("val") if data.splits.get("val") and split != "val" else None
        own = stem if len(names) == 1 else f"{stem.removesuffix(METRIC)}{name}-{METRIC}"
        results.append(_result(name, *_divided(train, val), measured, record, own, request))
    return results


def _read(
    model: Model, name: str, column: str, data: Dataset, split: str | None, request: Request, limit: int | None = None
) -> Rows:
    """The rows of a split that have one label and the input; of several items the first counts."""
    label, total, done = data.column("label"), heads.rows_of(data, split, limit), 0
    pace = Pace(request.batch_size, request.workers, request.progress(f"{name} features of {split}"))
    ids, labels, found = [], [], [np.empty((0, model.encoder[model.encoder_of(name)].dim), np.float32)]
    for rows, items in chunks(model, {name: column}, data.rows(split, ["id", label, column], limit), pace):
        first = {item.row: item.value for item in reversed(items[name])}
        kept = [i for i, row in enumerate(rows) if i in first and len(labels_of(row[label])) == 1]
        if kept:
            found.append(np.stack(encode(model, name, [first[i] for i in kept], ["pooled"], request.batch_size)["pooled"]))
        ids += [rows[i]["id"] for i in kept]
        labels += [str(labels_of(rows[i][label])[0]) for i in kept]
        pace.progress(done := done + len(rows), total)
    if not ids:
        raise UserError(f"no row has a label and {name}", f"{data.path} {split}")
    features = np.concatenate(found)
    if not np.isfinite(features).all():
        raise diverged(model, "a feature is not finite")
    return Rows(ids, labels, features)


def _divided(train: Rows, val: Rows | None) -> tuple[Rows, Rows]:
    """What is learnt from and what the strength of L2 is chosen on."""
    if val is not None:
        return train, val
    held = [stable_hash(id) % HELD_OUT == 0 for id in train.ids]
    return train.take([not one for one in held]), train.take(held)


def _result(name: str, train: Rows, val: Rows, test: Rows, record: dict[str, Any], stem: str, request: Request) -> Result:
    both = train.and_those(val)
    classes = sorted(set(both.labels))
    if len(set(train.labels)) < 2:
        raise UserError("a probe needs two classes", record["dataset"], f"the labels of train: {', '.join(classes)}")
    l2 = chosen(lambda strength: _score(train, val, strength) if val.ids else (0.0, 0.0))
    found = _probe(both, l2).predict_proba(test.features)  # its classes are sorted, too
    number = {label: i for i, label in enumerate(classes)}
    target = np.array([number.get(label, -1) for label in test.labels])
    right = scores.each(found, target)
    metrics = zero_shot.metrics(right, target)
    prior = scores.frequency(np.array([number[label] for label in both.labels]), len(classes))
    always = scores.chance(target, prior)
    record = record | {
        "task": "linear_probe",
        "n": {name: len(test.ids)},
        "metrics": _named(metrics),
        "chance": _named(zero_shot.chance([[i] if i >= 0 else [] for i in target], len(classes))),
        "majority": _named({key: always[key] for key in metrics}),
        "counts": {"classes": len(classes), "labels_outside_vocabulary": int((target < 0).sum())},
        "probe": {"l2": l2, "width": both.features.shape[1], "train": len(train.ids), "val": len(val.ids)},
    }
    if request.intervals:
        record["interval"] = _named(intervals.of_classes(metrics, found, target, test.ids))
    table = {
        "id": test.ids,
        "target": test.labels,
        "predicted": [classes[i] for i in found.argmax(1)],
        "probability": found.max(1).tolist(),
        **_named(right),
    }
    return Result(record, table, "rows", stem, confusion=(scores.confusion(target, found.argmax(1), len(classes)), classes))


def _named(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics as CLIP_benchmark calls those of a linear probe."""
    return {f"lp_{name}" if name.startswith("acc") else name: value for name, value in metrics.items()}


def _score(train: Rows, val: Rows, strength: float) -> tuple[float, float]:
    """The accuracy on val and, as a few rows give many strengths the same, the mean log-probability of what is true."""
    probe = _probe(train, strength)
    found, number = probe.predict_proba(val.features), {label: i for i, label in enumerate(probe.classes_)}
    true = [found[i, number[label]] if label in number else 0.0 for i, label in enumerate(val.labels)]
    accuracy = float(np.mean(probe.classes_[found.argmax(1)] == np.array(val.labels)))
    return accuracy, float(np.log(np.maximum(true, 1e-12)).mean())


def chosen(score: Callable[[float], Any]) -> float:
    """The strength of L2 with the best score, the stronger of equal ones, by CLIP's search: seven strengths two decades apart,
    then halves of the way to both sides of the best, down to 8 steps a decade.

    >>> chosen(lambda strength: -abs(np.log10(strength) - 1.1))
    13.33521432163324
    """
    found: dict[int, Any] = {}

    def best(steps: range | list[int]) -> int:
        for step in steps:
            if 0 <= step <= top and step not in found:
                found[step] = score(_strength(step))
        return max(found, key=lambda step: (found[step], step))

    top, stride = (DECADES[1] - DECADES[0]) * STEPS, 2 * STEPS
    peak = best(range(0, top + 1, stride))
    while stride := stride // 2:
        peak = best([peak - stride, peak + stride])
    return _strength(peak)


def _strength(step: int) -> float:
    return float(10.0 ** (DECADES[0] + step / STEPS))


def _probe(rows: Rows, l2: float) -> Any:
    """The least sum over rows of the cross-entropy, plus l2 / 2 times the squared weights, by L-BFGS."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where L2 is weak 1,000 iterations are the protocol's
        return LogisticRegression(C=1 / l2, max_iter=ITERATIONS).fit(rows.features, rows.labels)
