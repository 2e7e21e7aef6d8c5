"""Where two modalities lie in the shared space (arXiv:2203.02053)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mmkit.bootstrap import numbers
from mmkit.ragged import unit


@dataclass(frozen=True)
class Gap:
    """How two modalities lie to each other, of vectors of length 1.

    Args:
        between: the two.
        distance: from one mean vector to the other; 0 is no gap, 2 the most there can be.
        matching: mean cosine of two of one id, nan where there are none.
        other: mean cosine of two of different ids, nan where there are none.
    """

    between: tuple[str, str]
    distance: float
    matching: float
    other: float


def modality_gaps(vectors: np.ndarray, modality: np.ndarray, ids: np.ndarray) -> list[Gap]:
    """The gap between each two modalities that are there, in the order in which they first appear.

    Args:
        vectors: (n, d); modality, ids: (n,).
    """
    vectors, groups = unit(vectors), numbers(ids)
    there = list(dict.fromkeys(modality.tolist()))
    return [_gap(vectors, modality == one, modality == two, groups, (one, two)) for one, two in combinations(there, 2)]


def _gap(vectors: np.ndarray, one: np.ndarray, two: np.ndarray, groups: np.ndarray, between: tuple[str, str]) -> Gap:
    """Sums of all products from products of sums: no (n, n) is made."""
    (first, of_first), (second, of_second) = (_sums(vectors[rows], groups[rows], groups) for rows in (one, two))
    counts, products = of_first @ of_second, np.einsum("gd,gd->", first, second)
    pairs, total = one.sum() * two.sum(), first.sum(0) @ second.sum(0)
    distance = np.linalg.norm(first.sum(0) / one.sum() - second.sum(0) / two.sum())
    return Gap(between, float(distance), _mean(products, counts), _mean(total - products, pairs - counts))


def _mean(total: float, count: float) -> float:
    """nan of none; what rounding leaves of a total of 0 would be infinite."""
    return float(total / count) if count else math.nan


def _sums(vectors: np.ndarray, of: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the vectors of each group (G, d), and how many they are (G,)."""
    count = int(groups.max()) + 1
    order = np.argsort(of, kind="stable")
    starts = np.flatnonzero(np.diff(of[order], prepend=-1))
    sums = np.zeros((count, vectors.shape[1]))
    sums[of[order][starts]] = np.add.reduceat(vectors[order].astype(np.float64), starts)
    return sums, np.bincount(of, minlength=count).astype(np.float64)
