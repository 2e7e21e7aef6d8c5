from __future__ import annotations

import numpy as np
import pytest

from mmkit.errors import UserError
from mmkit.search import index
from mmkit.search.index import top


@pytest.mark.parametrize("tile", [3, 65_536])
def test_equals_a_full_sort(monkeypatch, tile):
    monkeypatch.setattr(index, "TILE_ROWS", tile)
    random = np.random.default_rng(0)
    vectors, query = random.standard_normal((100, 8)).astype(np.float32), random.standard_normal(8).astype(np.float32)
    cosine = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    found = top(query, vectors, 10)
    assert [row for row, _ in found] == np.argsort(-cosine)[:10].tolist()
    assert [score for _, score in found] == pytest.approx(np.sort(cosine)[::-1][:10].tolist(), abs=1e-6)


@pytest.mark.parametrize("tile", [3, 65_536])
def test_equal_scores_stay_in_row_order(monkeypatch, tile):
    monkeypatch.setattr(index, "TILE_ROWS", tile)
    vectors = np.tile(np.random.default_rng(0).standard_normal(33).astype(np.float16), (50, 1))
    assert [row for row, _ in top(vectors[0], vectors, 7)] == list(range(7))


def test_only_the_given_rows_are_searched():
    vectors = np.eye(4, dtype=np.float32)
    assert top(vectors[0], vectors, 10, np.array([1, 3])) == [(1, 0.0), (3, 0.0)]
    assert top(vectors[3], vectors, 1, np.array([1, 3])) == [(3, 1.0)]


@pytest.mark.parametrize("tile", [3, 65_536])
def test_a_vector_that_is_not_finite_is_named(monkeypatch, tile):
    monkeypatch.setattr(index, "TILE_ROWS", tile)
    vectors = np.eye(8, dtype=np.float32)
    vectors[5, 2] = np.nan
    with pytest.raises(UserError, match="vector 5 is not finite"):
        top(vectors[0], vectors, 1)


def test_another_dimension_is_refused():
    with pytest.raises(UserError, match="3 dimensions, the embeddings 4"):
        top(np.ones(3), np.eye(4), 1)
