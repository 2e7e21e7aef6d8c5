from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness as theirs
from sklearn.metrics import pairwise_distances

from mmkit.errors import UserError
from mmkit.space import neighbours, quality
from mmkit.space.neighbours import METRICS, nearest
from mmkit.space.place import place
from mmkit.space.quality import trustworthiness


def some(n: int = 120, d: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("height", [7, 1000])
def test_neighbours_are_those_of_all_distances(metric: str, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = some()
    monkeypatch.setattr(neighbours, "TILE_CELLS", height * len(vectors))
    rows, distances = nearest(vectors, 6, metric)
    apart = pairwise_distances(vectors.astype(np.float64), metric=metric)
    np.testing.assert_allclose(distances, np.sort(apart, 1)[:, :6], atol=2e-6)
    np.testing.assert_array_equal(rows[:, 1:], np.argsort(apart, 1)[:, 1:6])
    asked = nearest(vectors, 3, metric, some(4, seed=1))
    np.testing.assert_array_equal(asked.rows, np.argsort(pairwise_distances(some(4, seed=1), vectors, metric=metric), 1)[:, :3])


def test_a_row_comes_first_in_its_own_list_also_beside_its_doubles() -> None:
    vectors = np.repeat(some(5), 4, axis=0)
    rows, distances = nearest(vectors, 4)
    np.testing.assert_array_equal(rows[:, 0], np.arange(20))
    # what rounding leaves of a distance of 0 is neither negative nor more than 0
    assert not distances.any()
    np.testing.assert_array_equal(np.sort(rows, 1), np.arange(20).reshape(5, 4).repeat(4, axis=0))


def test_a_vector_that_is_not_finite_is_named() -> None:
    vectors = some()
    vectors[3, 2] = np.nan
    with pytest.raises(UserError, match="vector 3 is not finite"):
        nearest(vectors, 3)


@pytest.mark.parametrize("metric", ["cosine", "correlation", "euclidean", "manhattan"])
def test_trustworthiness_is_that_of_scikit_learn(metric: str) -> None:
    vectors = some()
    points = vectors[:, :2] + 0.1 * some(d=2, seed=1)
    found = trustworthiness(vectors, points, metric)
    assert found
    assert found.points == 120
    assert found.trustworthiness == pytest.approx(theirs(vectors, points, metric=metric), abs=1e-12)


def test_a_vector_of_length_0_is_as_far_as_scikit_learn_says() -> None:
    vectors = some()
    vectors[7] = 0
    points = vectors[:, :2] + 0.1 * some(d=2, seed=1)
    apart = pairwise_distances(vectors, metric="cosine")
    # all are equally far from it: none of them is nearer than its neighbours on the map
    apart[7] = pairwise_distances(points[7:8], points)
    found = trustworthiness(vectors, points)
    assert found
    assert found.trustworthiness == pytest.approx(theirs(apart, points, metric="precomputed"), abs=1e-12)


def test_trustworthiness_of_drawn_points_is_near_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = some(600)
    points = vectors[:, :2]
    monkeypatch.setattr(quality, "MOST", 200)
    found = trustworthiness(vectors, points)
    assert found
    assert found.points == 200
    assert found.trustworthiness == pytest.approx(theirs(vectors, points, metric="cosine"), abs=0.03)
    assert trustworthiness(some(8), some(8, 2)) is None


def clustered(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    centres, label = some(6, 32, seed=9), np.random.default_rng(seed).integers(6, size=n)
    return centres[label] + 0.3 * some(n, 32, seed), label


def test_new_points_land_in_their_cluster_and_old_ones_on_themselves() -> None:
    old, label = clustered(200, 1)
    places = np.stack([np.cos(np.arange(6)), np.sin(np.arange(6))], 1) * 10
    points = (places[label] + 0.2 * some(200, 2)).astype(np.float32)
    new, truth = clustered(80, 2)
    placed = place(new, old, points)
    nearest_place = np.linalg.norm(placed[:, None] - places, axis=2).argmin(1)
    assert (nearest_place == truth).all()
    np.testing.assert_allclose(place(old[:20], old, points), points[:20], atol=1e-2)
    # of fewer old points than are looked at
    np.testing.assert_allclose(place(old[:1], old[:1], points[:1]), points[:1], atol=1e-4)
