"""Whether one model is better than another, from what each made of the same items: a paired bootstrap. No torch here.

The difference is that of B minus A. Samples, such as images with all their captions, are drawn again, and in every draw both
models answer the same ones (Efron and Tibshirani, 1993, chapters 13 and 16): what makes an image hard for both cancels out.

Shapes: n items, D draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmkit import bootstrap
from mmkit.errors import UserError
from mmkit.metrics.intervals import weighted_median
from mmkit.metrics.items import Items

DRAWS = 2000
HINT = {
    "data": "of runs, --data FOLDER measures both on one dataset",
    "splits": "of runs, --split NAME measures both on one split",
}
FEW = 20  # samples; draws of fewer say too often that there is a difference


def aligned(a: Items, b: Items, names: Sequence[str]) -> Items:
    """B's items in the order of A's.

    Args:
        names: of A and B, for the error.

    Raises:
        UserError: they were measured on different data or splits: by what their records say, or by the items themselves.
    """
    for key, kind in (("data_hash", "data"), ("split", "splits")):
        first, second = (items.record.get(key) for items in (a, b))
        if first and second and first != second:
            what = " and ".join(f"{name} on {scope_words(items.record)}" for name, items in zip(names, (a, b), strict=True))
            raise UserError(f"they were measured on different {kind}", what, HINT[kind])
    places = {key: place for place, key in enumerate(b.keys)}
    lacking = [key for key in a.keys if key not in places]
    if lacking or len(a.keys) != len(b.keys):
        extra = lacking[0] if lacking else next(key for key in b.keys if key not in set(a.keys))
        where = f"{names[0]} has {len(a.keys):,}, {names[1]} {len(b.keys):,}; only one has {extra.partition('#')[0]}"
        raise UserError("they were measured on different items", where, HINT["data"])
    order = np.array([places[key] for key in a.keys])
    values, medians = ({name: each[order] for name, each in own.items()} for own in (b.values, b.medians))
    return replace(b, keys=b.keys[order], ids=b.ids[order], values=values, medians=medians, shown=b.shown[order])


def scope_words(record: Mapping[str, Any]) -> str:
    """What a result is of, for people: the dataset and its split."""
    return " ".join(str(record[key]) for key in ("dataset", "split") if key in record) or "a table of its own"


def compared(a: Items, b: Items, draws: int = DRAWS, seed: int = 0) -> list[dict[str, Any]]:
    """One object for each metric that both have: `metric`, `a`, `b`, `difference` (b - a), its 95 % `interval`, `p`, `n` items.

    `p` is twice the share of draws on the rarer side of 0, zeros counting for both sides and one draw added to each: never 0,
    and 1 for a run and itself.

    Args:
        b: aligned with a.
    """
    groups = bootstrap.numbers(a.ids)
    shares, medians = ([name for name in own if name in other] for own, other in ((a.values, b.values), (a.medians, b.medians)))
    pairs = {name: _shared(a.values[name], b.values[name]) for name in shares}
    pairs |= {name: _shared(a.medians[name], b.medians[name]) for name in medians}
    pairs = {name: pair for name, pair in pairs.items() if not np.isnan(pair[0]).all()}
    rows = []
    drawn = _drawn(pairs, medians, groups, draws, seed)
    for name, pair in pairs.items():
        figures = [float((np.nanmedian if name in medians else np.nanmean)(each)) for each in pair]
        rows.append(
            {
                "metric": name,
                "a": figures[0],
                "b": figures[1],
                "difference": figures[1] - figures[0],
                "interval": bootstrap.interval(drawn[name]),
                "p": two_sided(drawn[name]),
                "n": int(np.count_nonzero(~np.isnan(pair[0]))),
            }
        )
    return rows


def _shared(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both figures of the items for which both have one, nan elsewhere."""
    there = ~np.isnan(a) & ~np.isnan(b)
    return np.where(there, a, np.nan), np.where(there, b, np.nan)


def _drawn(
    pairs: dict[str, tuple[np.ndarray, np.ndarray]], medians: Sequence[str], groups: np.ndarray, draws: int, seed: int
) -> dict[str, np.ndarray]:
    """The difference in every draw, by metric: (D,), all by the same draws."""
    shares = [name for name in pairs if name not in medians]
    differences = [pairs[name][1] - pairs[name][0] for name in shares]
    means = bootstrap.weighted_mean(np.array(differences).T.reshape(len(groups), -1), groups)
    halves = {name: [weighted_median(each, groups) for each in pair] for name, pair in pairs.items() if name in medians}

    def differ(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = dict(zip(shares, means(weights).T, strict=True))
        return found | {name: second(weights) - first(weights) for name, (first, second) in halves.items()}

    return bootstrap.weighted(differ, groups, draws, seed)


def two_sided(differences: np.ndarray) -> float:
    """How often draws would lie so far on one side of 0 if there were no difference; see `compared`."""
    drawn = differences[~np.isnan(differences)]
    rarer = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return float(min(1.0, 2 * (rarer + 1) / (len(drawn) + 1)))
