from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from mmkit.space import layout
from mmkit.space.clusters import clusters, typical
from mmkit.space.gap import modality_gaps
from mmkit.space.layout import lay_out
from mmkit.space.pairs import pairs, similarity
from mmkit.space.quality import trustworthiness
from tests.space.test_neighbours import clustered, some


@pytest.mark.parametrize("method", ["umap", "tsne", "pca"])
def test_the_same_seed_gives_the_same_points_bit_for_bit(method: str) -> None:
    vectors = clustered(90, 0)[0]
    first, again = lay_out(vectors, method, seed=1), lay_out(vectors, method, seed=1)
    np.testing.assert_array_equal(first.points, again.points)
    assert (first.method, first.notes, first.points.dtype) == (method, [], np.float32)
    if method == "umap":
        assert (first.points != lay_out(vectors, method, seed=2).points).any()
        found = trustworthiness(vectors, first.points)
        assert found
        assert found.trustworthiness > 0.8


def test_pca_is_that_of_scikit_learn_but_for_the_direction_of_its_axes() -> None:
    vectors = some()
    points = lay_out(vectors, "pca", metric="euclidean").points
    np.testing.assert_allclose(np.abs(points), np.abs(PCA(2).fit_transform(vectors)), atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 14])
def test_few_points_are_laid_out_by_pca_and_that_is_said(n: int) -> None:
    found = lay_out(some(n), "umap")
    assert (found.method, found.points.shape) == ("pca", (n, 2))
    assert found.notes == [f"too few points for UMAP ({n}, and it takes 15): this is PCA"]
    assert np.isfinite(found.points).all()


def test_vectors_without_spread_are_no_business_of_tsne() -> None:
    alike = np.repeat(some(1), 60, axis=0)
    found = lay_out(alike, "tsne")
    assert (found.method, found.points.shape) == ("pca", (60, 2))
    assert found.notes == ["all points are the same, and t-SNE cannot tell them apart: this is PCA"]
    assert np.ptp(found.points) < 1e-5
    alike[0] = some(1, seed=1)
    found = lay_out(alike, "tsne")
    assert (found.method, found.notes) == ("tsne", [])
    assert np.isfinite(found.points).all()


def test_one_dimension_is_enough_for_tsne() -> None:
    found = lay_out(np.arange(40.0)[:, None], "tsne", metric="euclidean")
    assert (found.method, found.points.shape) == ("tsne", (40, 2))
    assert np.linalg.norm(np.diff(found.points, axis=0), axis=1).max() < np.ptp(found.points) / 4


def test_fewer_points_than_neighbours_are_neighbours_all() -> None:
    found = lay_out(some(20), "umap", n_neighbors=50)
    assert found.notes == ["--n-neighbors is 19: there are 20 points"]
    assert np.isfinite(found.points).all()


def test_more_points_than_a_method_takes_are_placed_among_some(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, label = clustered(150, 0)
    monkeypatch.setitem(layout.MOST, "umap", 80)
    found = lay_out(vectors, "umap")
    assert found.notes == ["UMAP of 80 points; the other 70 are placed among their nearest"]
    centres = np.stack([found.points[label == c].mean(0) for c in range(6)])
    own = np.linalg.norm(found.points - centres[label], axis=1)
    assert np.median(own) < np.linalg.norm(found.points - found.points.mean(0), axis=1).mean() / 3


def test_the_gap_of_known_vectors_and_of_all_pairs() -> None:
    flat_x, flat_y = [1.0, 0.0], [0.0, 1.0]
    both = np.array([flat_x, flat_y, flat_x, flat_x])
    modality, ids = np.array(["image", "text"] * 2), np.array(["a", "a", "b", "b"])
    (gap,) = modality_gaps(both, modality, ids)
    # the mean picture is (1, 0), the mean sentence (0.5, 0.5)
    assert gap.between == ("image", "text")
    assert gap.distance == pytest.approx(0.5**0.5)
    assert (gap.matching, gap.other) == pytest.approx((0.5, 0.5))


def test_of_one_sample_there_are_no_others() -> None:
    # of some of these rounding leaves 1e-17 of a total of 0
    for seed in range(20):
        (gap,) = modality_gaps(some(2, 48, seed), np.array(["image", "text"]), np.array(["a", "a"]))
        assert np.isnan(gap.other)
        assert np.isfinite(gap.matching)
    (gap,) = modality_gaps(some(2), np.array(["image", "text"]), np.array(["a", "b"]))
    assert np.isnan(gap.matching)
    assert np.isfinite(gap.other)


def test_gaps_of_three_modalities_are_those_of_a_plain_loop() -> None:
    vectors = some(60, 8)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    modality = np.array(["image", "text", "series"] * 20)
    ids = np.array([str(i // 4) for i in range(60)])
    found = {gap.between: gap for gap in modality_gaps(vectors, modality, ids)}
    assert list(found) == [("image", "text"), ("image", "series"), ("text", "series")]
    for (one, two), gap in found.items():
        a, b = np.flatnonzero(modality == one), np.flatnonzero(modality == two)
        cosines, same = vectors[a] @ vectors[b].T, ids[a][:, None] == ids[b]
        assert gap.matching == pytest.approx(cosines[same].mean(), abs=1e-6)
        assert gap.other == pytest.approx(cosines[~same].mean(), abs=1e-6)


def test_pairs_and_their_similarity() -> None:
    modality = np.array(["text", "image", "text", "text", "image", "text"], object)
    sample = np.array([0, 0, 0, 1, 2, 2])
    found = pairs(modality, sample)
    assert found.tolist() == [[1, 0], [1, 2], [4, 5]]
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0], [1, 0], [-1, 0]], float)
    np.testing.assert_allclose(similarity(vectors, found), [1, 0.5, 0, np.nan, -1, -1])


def test_clusters_are_found_across_modalities_and_named_by_their_words() -> None:
    vectors, label = clustered(240, 0)
    modality = np.array(["image", "text"] * 120, object)
    # a gap that is wider than any two clusters are apart
    vectors[::2] += 8
    found = clusters(vectors, modality, 6)
    assert np.bincount(found).tolist() == sorted(np.bincount(label).tolist(), reverse=True)
    assert len({(a, b) for a, b in zip(found, label, strict=True)}) == 6
    words = ["cats", "dogs", "trees", "赤い花", "boats", "stars"]
    captions = [[f"the photo of {words[c]}"] if row % 2 else [] for row, c in enumerate(label)]
    names = dict(zip(typical(found, captions), range(6), strict=True))
    assert {"cats", "dogs", "trees", "boats", "stars", "い花, 赤い"} == set(names)
    assert typical(np.array([0, 1]), [[], []]) == ["cluster 1", "cluster 2"]
