"""Metrics of a classifier from its scores: accuracy, recall of each class, F1, AUROC, confusion. No torch here.

Shapes: N rows, C classes of the model's vocabulary. True labels outside the vocabulary cannot be answered and count as
wrong: all of them together are one more class, whose recall and F1 are 0. A metric that is undefined is left out; no NaN.
"""

from __future__ import annotations

import numpy as np

from mmkit.errors import UserError

THRESHOLD = 0.5  # a label is given where its probability is above


def single_label(scores: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Metrics of a classifier that gives each row one label, its highest score (of equal ones the first class).

    Args:
        scores: (N, C) floats, comparable between rows, because AUROC ranks rows by them: probabilities or cosines, not logits.
        target: (N,) integers in 0..C-1; -1 is a label outside the vocabulary.

    Returns:
        `acc1`; `acc5` where C > 5; `mean_per_class_recall` over the classes with a true row, as scikit-learn's
        `balanced_accuracy_score`; `macro_f1` over the classes with a true or a predicted row and `micro_f1` (here equal to
        `acc1`), both as scikit-learn's `f1_score` by its defaults, -1 being a class like any other; `auroc`, the mean of each
        class against the rest over the classes that have both. {} without rows.

    Raises:
        UserError: a score is not finite.
        ValueError: the shapes do not fit, or a target is not in -1..C-1.
    """
    scores, target = np.asarray(scores), np.asarray(target)
    N, C = _shape(scores)
    if target.shape != (N,) or (N and not -1 <= target.min() <= target.max() < C):
        raise ValueError(f"targets {target.shape} do not fit scores {scores.shape}")
    if not N:
        return {}
    predicted = scores.argmax(1)
    true = np.where(target < 0, C, target)  # C: outside the vocabulary
    right, support, chosen = (np.bincount(found, minlength=C + 1) for found in (true[true == predicted], true, predicted))
    metrics = {name: float(found.mean()) for name, found in each(scores, target).items()}
    return metrics | recall_and_f1(right, support, chosen) | _auroc(scores, target[:, None] == np.arange(C))


def multi_label(probabilities: np.ndarray, target: np.ndarray, outside: np.ndarray | None = None) -> dict[str, float]:
    """Metrics of a classifier that gives each row the set of labels whose probability is above 0.5.

    Args:
        probabilities: (N, C) floats.
        target: (N, C) booleans.
        outside: (N,) integers, how many true labels of the row are outside the vocabulary: all of them are missed.

    Returns:
        `acc1`, which is the exact match of the whole set, `outside` included, not of the best label; it is scikit-learn's
        `accuracy_score`. `mean_per_class_recall` over the classes with a true row; `macro_f1` over the classes with a true or
        a predicted row, as scikit-learn's `f1_score` with `labels` the classes that are there (by default it averages zeros
        for those that are not); `micro_f1`; `auroc` as in `single_label`. {} without rows.

    Raises:
        UserError: a probability is not finite.
        ValueError: the shapes do not fit.
    """
    probabilities, target = np.asarray(probabilities), np.asarray(target, bool)
    N, C = _shape(probabilities)
    outside = np.zeros(N, int) if outside is None else np.asarray(outside)
    if target.shape != (N, C) or outside.shape != (N,):
        raise ValueError(f"targets {target.shape} and {outside.shape} do not fit probabilities {probabilities.shape}")
    if not N:
        return {}
    predicted = probabilities > THRESHOLD
    right, support, chosen = ((predicted & target).sum(0), target.sum(0), predicted.sum(0))
    counts = np.append(right, 0), np.append(support, outside.sum()), np.append(chosen, 0)
    exact = each(probabilities, target, outside)["acc1"]
    return {"acc1": float(exact.mean())} | recall_and_f1(*counts) | _auroc(probabilities, target)


def each(scores: np.ndarray, target: np.ndarray, outside: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """What every row adds to the metrics that are means over rows, (N,) booleans: `acc1`, and `acc5` as above.

    Args:
        scores, target, outside: as of `single_label`, or of `multi_label` where target is (N, C).
    """
    scores, target = np.asarray(scores), np.asarray(target)
    if target.ndim == 2:
        right = ((scores > THRESHOLD) == target).all(1)
        return {"acc1": right if outside is None else right & (np.asarray(outside) == 0)}
    found = {"acc1": scores.argmax(1) == target}
    return found | ({"acc5": _place(scores, target) < 5} if scores.shape[1] > 5 else {})


def frequency(target: np.ndarray, classes: int) -> np.ndarray:
    """(C,) the share of rows with each class: of (N,) integers, where -1 is none of them, or of (N, C) booleans."""
    target = np.asarray(target)
    counts = target.sum(0) if target.ndim == 2 else np.bincount(target[target >= 0], minlength=classes)
    return counts / max(len(target), 1)


def chance(target: np.ndarray, prior: np.ndarray, outside: np.ndarray | None = None) -> dict[str, float]:
    """The same metrics of a model that knows how frequent the classes are and sees nothing: every row gets the scores `prior`.

    It answers the most frequent class, or the labels that more than half of the rows have; its `auroc` is 0.5.

    Args:
        target, outside: as of `single_label` (N,) or of `multi_label` (N, C).
        prior: (C,) shares in 0..1, the `frequency` in the rows that the model was trained on.
    """
    target = np.asarray(target)
    scores = np.broadcast_to(prior, (len(target), len(prior)))
    return single_label(scores, target) if target.ndim == 1 else multi_label(scores, target, outside)


def confusion(target: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(C, C) integers: rows of the true class (first axis) that were given each class (second axis).

    Rows whose true label is outside the vocabulary (-1) have no place in it and are left out.
    """
    target, predicted = np.asarray(target), np.asarray(predicted)
    known = target >= 0
    pairs = target[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def _shape(scores: np.ndarray) -> tuple[int, int]:
    if not np.isfinite(scores).all():
        raise UserError("a score of the model is not finite: nothing can be measured", hint="a training that diverged ends so")
    N, C = scores.shape
    return N, C


def _place(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N,) how many classes stand before the true one, of equal scores the first class first; C for a label outside."""
    C = scores.shape[1]
    own = np.take_along_axis(scores, np.maximum(target, 0)[:, None], 1)
    ties_before = (scores == own) & (np.arange(C) < target[:, None])
    return np.where(target < 0, C, (scores > own).sum(1) + ties_before.sum(1))


def recall_and_f1(right: np.ndarray, support: np.ndarray, chosen: np.ndarray) -> dict[str, float]:
    """From the rows of each class that are right, that are truly of it, that were given it; F1 = 2 right / (true + given)."""
    metrics = {}
    true, seen = support > 0, support + chosen > 0
    if true.any():
        metrics["mean_per_class_recall"] = float(np.mean(right[true] / support[true]))
    if seen.any():
        metrics["macro_f1"] = float(np.mean(2 * right[seen] / (support + chosen)[seen]))
        metrics["micro_f1"] = float(2 * right.sum() / (support + chosen).sum())
    return metrics


def _auroc(scores: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Mean over the classes that have rows of both kinds; `scores` and `target` (N, C)."""
    from sklearn.metrics import roc_auc_score

    both = np.flatnonzero(target.any(0) & ~target.all(0))
    if not len(both):
        return {}
    return {"auroc": float(np.mean([roc_auc_score(target[:, c], scores[:, c]) for c in both]))}
