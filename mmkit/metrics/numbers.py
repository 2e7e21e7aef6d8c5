"""How close predicted numbers are to true ones. No torch here.

Everything follows from means over rows, so that a draw of the bootstrap is a weighted mean of the same columns.

Shapes: N rows, D draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmkit import bootstrap

BOUND = 3  # of sentiment in CMU-MOSI and CMU-MOSEI
SIGNS = "negative/non-negative"  # papers mix it with negative/positive, which leaves out the targets of 0
SHARES = ("acc7", "acc2")

Columns = dict[str, np.ndarray]


def has_signs(low: float, high: float) -> bool:
    """Whether targets in this range have two signs to tell apart."""
    return low < 0 <= high


def has_sevenths(low: float, high: float) -> bool:
    """Whether they are such as CMU-MOSI has, from -3 to 3."""
    return has_signs(low, high) and max(-low, high) <= BOUND


def columns(predicted: np.ndarray, target: np.ndarray, low: float, high: float) -> Columns:
    """What the figures are means of: (N,) each.

    Args:
        predicted, target: (N,).
        low, high: the range of the training targets, by which it is known what can be told.
    """
    x, y = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    found = {"mae": np.abs(x - y)}
    # about their means, for a sum of squares of large numbers has no digits left
    x0, y0 = x - x.mean(), y - y.mean()
    found |= {"x": x0, "y": y0, "xx": x0 * x0, "yy": y0 * y0, "xy": x0 * y0}
    if has_sevenths(low, high):
        found["acc7"] = np.equal(*(np.clip(np.round(each), -BOUND, BOUND) for each in (x, y))).astype(float)
    if has_signs(low, high):
        said, true = x >= 0, y >= 0
        found |= {"acc2": said == true, "said": said, "true": true, "both": said & true, "neither": ~said & ~true}
    return {name: np.asarray(each, np.float64) for name, each in found.items()}


def figures(means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The metrics, from the means of `columns`: of any shape.

    Returns:
        `mae`; `pearson`, the correlation, 0 where either is constant; where they can be told `acc7`, of both rounded to whole
        numbers from -3 to 3 (halves to the even one, as numpy and so MulT rounds), `acc2`, of the signs, 0 counting as
        non-negative, and `f1` of these, the mean over both signs weighted by how many rows have it, as scikit-learn's
        `f1_score(average="weighted")`.
    """
    found = {"mae": means["mae"], "pearson": _correlation(means)}
    found |= {name: means[name] for name in SHARES if name in means}
    if "acc2" in means:
        said, true = means["said"], means["true"]
        found["f1"] = true * _f1(means["both"], said, true) + (1 - true) * _f1(means["neither"], 1 - said, 1 - true)
    return found


def measured(predicted: np.ndarray, target: np.ndarray, low: float, high: float) -> dict[str, float]:
    """The metrics of some rows, by name; see `columns` and `figures`. {} without rows."""
    if not len(target):
        return {}
    means = {name: each.mean() for name, each in columns(predicted, target, low, high).items()}
    return {name: float(value) for name, value in figures(means).items()}


def intervals(
    predicted: np.ndarray, target: np.ndarray, low: float, high: float, ids: Sequence[str], draws: int = bootstrap.DRAWS
) -> dict[str, list[float]]:
    """The interval of each of them.

    Args:
        ids: (N,) the sample of each row.
    """
    found, groups = columns(predicted, target, low, high), bootstrap.numbers(ids)
    mean = bootstrap.weighted_mean(np.stack(list(found.values()), 1), groups)

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        return figures(dict(zip(found, mean(weights).T, strict=True)))

    drawn, value = bootstrap.weighted(statistic, groups, draws), measured(predicted, target, low, high)
    samples = int(groups.max()) + 1
    return {
        name: bootstrap.share(each, value[name], samples) if name in SHARES else bootstrap.interval(each)
        for name, each in drawn.items()
    }


def _correlation(means: Mapping[str, np.ndarray]) -> np.ndarray:
    spread = (means["xx"] - means["x"] ** 2) * (means["yy"] - means["y"] ** 2)
    # what is left of a constant is rounding
    constant = spread <= 1e-12 * means["xx"] * means["yy"]
    together = means["xy"] - means["x"] * means["y"]
    return np.where(constant, 0.0, together / np.sqrt(np.where(constant, 1.0, spread)))


def _f1(right: np.ndarray, said: np.ndarray, true: np.ndarray) -> np.ndarray:
    both = said + true
    return np.where(both > 0, 2 * right / np.where(both > 0, both, 1.0), 0.0)
