"""Bootstrap intervals: how far a figure would move had other samples been drawn (Efron and Tibshirani, 1993, chapter 13).

What is drawn again, with replacement, are groups: all rows of a sample, such as the captions of one image, come or stay away
together. No torch here.

Shapes: n rows, G groups, M figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import NormalDist

import numpy as np

DRAWS = 1000
LEVEL = 0.95
FEW = 5  # samples on one side of a share: what is drawn of so few says little of how rare they are
CHUNK = 4 << 20  # weights held at a time


def numbers(ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """Equal ids as equal integers from 0, in the order in which they first appear: (n,)."""
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(id, len(seen)) for id in ids], np.int64)


def means(values: np.ndarray, groups: np.ndarray | None = None, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """The mean of each column of values (n, M) in every draw: (draws, M).

    A nan is left out of its column; where a draw has nothing else its mean is nan.

    Args:
        groups: (n,) integers from 0; each row its own group where None.
    """
    groups = np.arange(len(values)) if groups is None else groups
    mean = weighted_mean(values, groups)
    return weighted(lambda weights: {"means": mean(weights)}, groups, draws, seed)["means"]


def weighted_mean(values: np.ndarray, groups: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function of the weights of groups (D, G) to the mean of each column of values (n, M), nan left out: (D, M)."""
    values = np.asarray(values, np.float64)
    there, count = ~np.isnan(values), int(groups.max(initial=-1)) + 1
    sums = np.array([np.bincount(groups, column, count) for column in np.where(there, values, 0.0).T])
    sizes = np.array([np.bincount(groups, column, count) for column in there.T])

    def mean(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.asarray((weights @ sums.T) / (weights @ sizes.T))

    return mean


def statistics(
    statistic: Callable[[np.ndarray], Mapping[str, float]], groups: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> dict[str, np.ndarray]:
    """What `statistic` gives of the rows of every draw, by name: (draws,) each; nan where a draw lacks one.

    Args:
        statistic: of the numbers of the rows, those of a group that is drawn twice standing there twice.
        groups: (n,) integers from 0.
    """
    count = int(groups.max(initial=-1)) + 1
    found: list[Mapping[str, float]] = []
    for weights in _weights(count, draws, seed):
        for weight in weights.astype(np.int64):
            found.append(statistic(np.repeat(np.arange(len(groups)), weight[groups])))
    names = dict.fromkeys(name for one in found for name in one)
    return {name: np.array([one.get(name, np.nan) for one in found]) for name in names}


def weighted(
    statistic: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    groups: np.ndarray,
    draws: int = DRAWS,
    seed: int = 0,
    room: int = 1,
) -> dict[str, np.ndarray]:
    """What `statistic` gives of how often the groups are in each draw, by name: (draws, …) each. The draws are those of `means`.

    Args:
        statistic: of the weights (some draws, G), (some draws, …) by name; always the same names.
        groups: (n,) integers from 0.
        room: numbers that it holds for each draw, where they are more than G.
    """
    found: list[Mapping[str, np.ndarray]] = []
    for weights in _weights(int(groups.max(initial=-1)) + 1, draws, seed, room):
        found.append(statistic(weights))
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def interval(samples: np.ndarray, level: float = LEVEL) -> list[float]:
    """The percentile interval of one figure's draws, nan left out; [nan, nan] of none."""
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return [float("nan")] * 2
    return [float(end) for end in np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])]


def share(samples: np.ndarray, value: float, n: float, level: float = LEVEL) -> list[float]:
    """The interval of a share `value` of n independent samples, of which the draws gave `samples`.

    The percentile interval; but where fewer than 5 of the n lie on one side, Wilson's score interval (1927), because draws of
    a share of 0 or 1 are all alike and would give it a width of none. Near 0 and 1 it holds the truth as often as it should
    (Brown, Cai and DasGupta, 2001, doi:10.1214/ss/1009213286).
    """
    if min(value, 1 - value) * n >= FEW:
        return interval(samples, level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle, reach = value + z * z / (2 * n), z * math.sqrt(value * (1 - value) / n + (z / (2 * n)) ** 2)
    # rounding must not leave the value outside of its interval, nor the interval outside of 0..1
    low, high = ((middle + sign * reach) / (1 + z * z / n) for sign in (-1, 1))
    return [max(0.0, min(value, low)), min(1.0, max(value, high))]


def _weights(count: int, draws: int, seed: int, room: int = 1) -> Iterator[np.ndarray]:
    """How often each of `count` groups is in each draw: (some draws, count), in chunks that fit into memory."""
    rng = np.random.default_rng(seed)
    height = max(1, CHUNK // max(count, room, 1))
    for begin in range(0, draws, height):
        weights = np.zeros((min(height, draws - begin), count))
        for row in weights if count else ():
            row[:] = np.bincount(rng.integers(0, count, count), minlength=count)
        yield weights
