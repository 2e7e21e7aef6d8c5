"""Bootstrap intervals: how far a figure would move had other samples been drawn (Efron and Tibshirani, 1993, chapter 13).

What is drawn again, with replacement, are groups: all rows of a sample, such as the captions of one image, come or stay away
together. No torch here.

Shapes: n rows, G groups, M figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

DRAWS = 1000
LEVEL = 0.95
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
    values = np.asarray(values, np.float64)
    groups = np.arange(len(values)) if groups is None else groups
    there = ~np.isnan(values)
    count = int(groups.max(initial=-1)) + 1
    sums, sizes = np.zeros((count, values.shape[1])), np.zeros((count, values.shape[1]))
    np.add.at(sums, groups, np.where(there, values, 0.0))
    np.add.at(sizes, groups, there)
    found = []
    for weights in _weights(count, draws, seed):
        with np.errstate(invalid="ignore"):
            found.append((weights @ sums) / (weights @ sizes))
    return np.concatenate(found)


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


def interval(samples: np.ndarray, level: float = LEVEL) -> list[float]:
    """The percentile interval of one figure's draws, nan left out; [nan, nan] of none."""
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return [float("nan")] * 2
    return [float(end) for end in np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])]


def _weights(count: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of `count` groups is in each draw: (some draws, count), in chunks that fit into memory."""
    rng = np.random.default_rng(seed)
    height = max(1, CHUNK // max(count, 1))
    for begin in range(0, draws, height):
        rows = min(height, draws - begin)
        # row by row, so that chunks of any height hold the same draws
        chosen = np.array([rng.integers(0, count, count) if count else [] for _ in range(rows)], np.int64)
        flat = np.bincount((chosen + count * np.arange(rows)[:, None]).ravel(), minlength=rows * count)
        yield flat.reshape(rows, count).astype(np.float64)
