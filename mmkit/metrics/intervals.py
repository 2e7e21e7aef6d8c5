"""The interval of every metric: where 95 of 100 would fall had other samples of the data been drawn. No torch here.

All queries, rows or questions of a sample are drawn together; the model and the gallery stay as they are.

Shapes: n items, G samples, D draws, N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mmkit import bootstrap
from mmkit.metrics import ngrams
from mmkit.metrics import scores as scoring

Ids = Sequence[str] | np.ndarray
Intervals = dict[str, list[float]]

MEANS = ("mean_per_class_recall", "macro_f1", "auroc")  # over classes
# rows times classes that are sorted into AUROC, in all draws together: seconds
AUROC_WORK = 1 << 30
FEWEST_DRAWS = 200


def of_shares(values: Mapping[str, np.ndarray], ids: Ids, draws: int = bootstrap.DRAWS) -> Intervals:
    """Of metrics that are means of figures in 0..1, such as recall@k.

    Args:
        values: metric -> (n,); nan where an item is none of its.
        ids: (n,) the sample of each item.
    """
    return _of(values, {}, bootstrap.numbers(ids), draws)


def _of(values: Mapping[str, np.ndarray], medians: Mapping[str, np.ndarray], groups: np.ndarray, draws: int) -> Intervals:
    """Of means and of medians, all by the same draws."""
    means = bootstrap.weighted_mean(np.stack(list(values.values()), 1), groups)
    halves = {name: weighted_median(each, groups) for name, each in medians.items()}
    drawn = bootstrap.weighted(
        lambda weights: {"means": means(weights)} | {name: half(weights) for name, half in halves.items()}, groups, draws
    )
    found: Intervals = {}
    for column, (name, each) in enumerate(values.items()):
        there = ~np.isnan(each)
        if there.any():
            value, samples = float(each[there].mean()), len(np.unique(groups[there]))
            found[name] = bootstrap.share(drawn["means"][:, column], value, samples)
    return found | {name: bootstrap.interval(drawn[name]) for name in medians}


def weighted_median(values: np.ndarray, groups: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function of the weights of groups (D, G), whole numbers, to the median of values (n,), nan left out: (D,)."""
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]
    ordered, own = np.asarray(values, np.float64)[order], groups[order]

    def median(weights: np.ndarray) -> np.ndarray:
        found = np.full(len(weights), np.nan)
        for draw, row in enumerate(weights):
            reached = np.cumsum(row[own])
            if len(reached) and reached[-1]:
                middles = np.floor([(reached[-1] - 1) / 2, reached[-1] / 2])
                found[draw] = ordered[np.searchsorted(reached, middles, side="right")].mean()
        return found

    return median


def of_captions(
    counts: ngrams.Counts, each: Mapping[str, np.ndarray], ids: Ids, bleu: str, unbounded: str, draws: int = bootstrap.DRAWS
) -> Intervals:
    """Of BLEU, which is no mean, of metrics that are means of figures in 0..1, and of one whose figures know no bound of 1, such
    as CIDEr. The weights of n-grams stay as they are.

    Args:
        counts: what BLEU is made of; each: metric -> (n,), of both other kinds.
        ids: (n,) the sample of each caption.
        bleu, unbounded: names of these two.
    """
    groups = bootstrap.numbers(ids)
    drawn = bootstrap.weighted(lambda weights: {bleu: ngrams.bleu(counts, weights[:, groups])}, groups, draws, room=len(groups))
    found = of_shares({name: values for name, values in each.items() if name != unbounded}, ids, draws)
    free = bootstrap.means(each[unbounded][:, None], groups, draws)[:, 0]
    return {unbounded: bootstrap.interval(free), bleu: bootstrap.interval(drawn[bleu])} | found


def of_ranks(
    ranks: Mapping[str, np.ndarray], ids: Mapping[str, Ids], ks: Sequence[int], draws: int = bootstrap.DRAWS
) -> Intervals:
    """Of what `ranking.retrieval` gives.

    Args:
        ranks: direction -> (Q,), nan where a query has no positive.
        ids: direction -> (Q,) the sample of each query.
    """
    groups = bootstrap.numbers(np.concatenate([np.asarray(ids[name], object) for name in ranks]))
    begins = np.cumsum([0, *map(len, ranks.values())])
    values: dict[str, np.ndarray] = {}
    medians: dict[str, np.ndarray] = {}
    for name, own, begin in zip(ranks, ranks.values(), begins, strict=False):
        whole = np.full(len(groups), np.nan)
        whole[begin : begin + len(own)] = own
        values |= {f"{name}_recall@{k}": np.where(np.isnan(whole), np.nan, whole <= k) for k in ks}
        medians[f"{name}_median_rank"] = whole
    return _of(values, medians, groups, draws)


def of_classes(
    metrics: Mapping[str, float],
    scores: np.ndarray,
    target: np.ndarray,
    ids: Ids,
    outside: np.ndarray | None = None,
    draws: int = bootstrap.DRAWS,
) -> Intervals:
    """Of what `scores.single_label` gives, or some of it, or where the target is (N, C) `scores.multi_label`.

    Near 0 and 1 a mean over classes counts as a share of as many rows as classes of one size would need to be as well known,
    C² / Σ 1/n_c.

    Args:
        metrics: what these give of all rows.
        scores, target, outside: as of these.
        ids: (N,) the sample of each row.
    """
    scores, target = np.asarray(scores), np.asarray(target)
    found = of_shares(scoring.each(scores, target, outside), ids, draws)
    sizes = _class_sizes(target, scores.shape[1])
    groups = bootstrap.numbers(ids)
    drawn = _drawn_classes(scores, target, outside, groups, draws, ranked="auroc" in metrics)
    for name, value in metrics.items():
        if name not in found:
            n = len(sizes) ** 2 / float((1 / sizes).sum()) if name in MEANS else float(groups.max() + 1)
            found[name] = bootstrap.share(drawn[name], value, n)
    return {name: found[name] for name in metrics}


def _class_sizes(target: np.ndarray, classes: int) -> np.ndarray:
    """The rows of each class that has some; those of labels outside the vocabulary are one class."""
    counts = target.sum(0) if target.ndim == 2 else np.bincount(np.where(target < 0, classes, target))
    return counts[counts > 0] if counts.any() else np.ones(1)


def _drawn_classes(
    scores: np.ndarray, target: np.ndarray, outside: np.ndarray | None, groups: np.ndarray, draws: int, ranked: bool
) -> dict[str, np.ndarray]:
    """Recall, F1 and, if `ranked`, AUROC of every draw, by name; nan where it lacks what they need. AUROC of large data is of
    fewer draws."""
    counted = weighted_counts(scores, target, outside)

    def recall_and_f1(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = [scoring.recall_and_f1(*counted(row)) for row in weights[:, groups]]
        names = ("mean_per_class_recall", "macro_f1", "micro_f1")
        return {name: np.array([one.get(name, np.nan) for one in found]) for name in names}

    found = bootstrap.weighted(recall_and_f1, groups, draws, room=len(groups))
    if not ranked:
        return found
    positive = target if target.ndim == 2 else target[:, None] == np.arange(scores.shape[1])
    auroc = weighted_auroc(scores, positive)
    fewer = max(min(draws, FEWEST_DRAWS), min(draws, AUROC_WORK // max(scores.size, 1)))
    return found | bootstrap.weighted(lambda weights: {"auroc": auroc(weights[:, groups])}, groups, fewer, room=len(groups))


def weighted_counts(
    scores: np.ndarray, target: np.ndarray, outside: np.ndarray | None
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A function of weights (N,) to that of the rows of each class that are right, that are truly of it, that were given it:
    (C + 1,) each, the last of labels outside the vocabulary."""
    C = scores.shape[1]
    if target.ndim == 2:
        predicted = scores > scoring.THRESHOLD
        beyond = np.zeros(len(scores)) if outside is None else np.asarray(outside, float)
        nothing = np.zeros((len(scores), 1))
        tables = [
            np.concatenate([table, last], 1).astype(np.float64)
            for table, last in ((predicted & target, nothing), (target, beyond[:, None]), (predicted, nothing))
        ]
        return lambda weights: (weights @ tables[0], weights @ tables[1], weights @ tables[2])
    true, chosen = np.where(target < 0, C, target), scores.argmax(1)
    right = np.where(true == chosen, true, C + 1)
    return lambda weights: (
        np.bincount(right, weights, C + 2)[: C + 1],
        np.bincount(true, weights, C + 1),
        np.bincount(chosen, weights, C + 1),
    )


def weighted_auroc(scores: np.ndarray, positive: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function of weights (D, N) to the mean AUROC over the classes that have rows of both kinds, (D,); nan where none has.

    Of one class it is the weight of the pairs in which the positive row stands above, and half of those that tie, over that of
    all pairs, as scikit-learn's `roc_auc_score` with `sample_weight`.

    Args:
        scores, positive: (N, C), floats and booleans.
    """
    both = np.flatnonzero(positive.any(0) & ~positive.all(0))
    ladders = [_ladder(scores[:, c], positive[:, c]) for c in both]

    def measure(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(1)
        sums, classes = np.zeros(len(weights)), np.zeros(len(weights))
        rows = np.ascontiguousarray(weights.T)  # (N, D): a row of it is moved at once
        for ladder in ladders:
            every = np.add.reduceat(rows[ladder.order], ladder.begins, axis=0)
            true = np.zeros_like(every)
            true[ladder.steps] = np.add.reduceat(rows[ladder.positive], ladder.firsts, axis=0)
            wrong = every - true
            above = np.einsum("ud,ud->d", true, np.cumsum(wrong, axis=0) - wrong / 2)
            pairs = true.sum(0) * (total - true.sum(0))
            there = pairs > 0
            sums[there] += above[there] / pairs[there]
            classes += there
        with np.errstate(invalid="ignore"):
            return sums / classes

    return measure


class Ladder(NamedTuple):
    """Rows by their score, in steps: a step is a score that positive rows have, or all negative rows between two of these.

    Args:
        order: (N,) rows; begins: where in it each step begins.
        positive: the positive rows in this order; firsts: where among them those of each of the `steps` that have some begin.
    """

    order: np.ndarray
    begins: np.ndarray
    positive: np.ndarray
    firsts: np.ndarray
    steps: np.ndarray


def _ladder(scores: np.ndarray, positive: np.ndarray) -> Ladder:
    order = np.argsort(scores, kind="stable").astype(np.int32)  # one for each class is kept
    ties = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) != 0)
    has = np.add.reduceat(positive[order].astype(np.int64), ties) > 0
    begins = ties[has | np.concatenate([[True], has[:-1]])]
    places = np.flatnonzero(positive[order])
    steps, firsts = np.unique(np.searchsorted(begins, places, side="right") - 1, return_index=True)
    return Ladder(order, begins, order[places], firsts, steps)
