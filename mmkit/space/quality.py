"""How far the neighbours on a map can be trusted (Venna and Kaski, 2001)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmkit.space.neighbours import TILE_CELLS, distances_to, nearest, straightened

NEIGHBOURS = 5  # as in scikit-learn
MOST = 2000  # points whose neighbours are looked at


class Quality(NamedTuple):
    """Trustworthiness from 0 to 1, and of how many points it is measured: of all, or of some that were drawn."""

    trustworthiness: float
    points: int


def trustworthiness(
    vectors: np.ndarray, points: np.ndarray, metric: str = "cosine", seed: int = 0, of: np.ndarray | None = None
) -> Quality | None:
    """1 where the five nearest on the map are the five nearest in the space; less for each that comes from farther away.

    For up to 2,000 points it is scikit-learn's figure; for more the mean over 2,000 of them, each among all.

    Args:
        vectors: (n, d); points: (n, 2).
        of: the row numbers of the points to judge; all where None.

    Returns:
        None for so few points that there is nothing to measure.
    """
    n, k = len(vectors), NEIGHBOURS
    if n < 2 * k + 2:
        return None
    of = np.arange(n) if of is None else of
    if len(of) > MOST:
        of = np.sort(np.random.default_rng(seed).choice(of, MOST, replace=False))
    space = straightened(vectors, metric)
    ahead = 0
    height = max(1, TILE_CELLS // n)
    for begin in range(0, len(of), height):
        asked = of[begin : begin + height]
        ahead += _ahead(space, points, asked, metric)
    return Quality(float(1 - ahead * 2 / (len(of) * k * (2 * n - 3 * k - 1))), len(of))


def _ahead(space: np.ndarray, points: np.ndarray, asked: np.ndarray, metric: str) -> int:
    """By how many places in all the neighbours on the map stand behind the k-th in the space."""
    # one more, for the point itself is among them
    near = nearest(points, NEIGHBOURS + 1, "euclidean", points[asked]).rows
    apart = distances_to(space[asked], space, metric)
    apart[np.arange(len(asked)), asked] = np.inf
    own = near == asked[:, None]
    # where many points lie on one spot it may be missing; the last one goes then
    own[~own.any(1), -1] = True
    near = near[~own].reshape(len(asked), NEIGHBOURS)
    places = [1 + (apart < np.take_along_axis(apart, near[:, [c]], 1)).sum(1) for c in range(NEIGHBOURS)]
    return int(np.maximum(np.stack(places) - NEIGHBOURS, 0).sum())
