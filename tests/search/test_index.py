from __future__ import annotations

import numpy as np
import pytest

from mmkit.errors import UserError
from mmkit.ragged import Ragged
from mmkit.search import index
from mmkit.search.index import top, top_late


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


def several(lengths, seed=0):
    """Items of several vectors of any length."""
    random = np.random.default_rng(seed)
    return Ragged.of([random.standard_normal((n, 8)).astype(np.float32) for n in lengths], 8)


def naive_late(query, item):
    def unit(v):
        return v / np.linalg.norm(v)

    return float(np.mean([max(float(unit(q) @ unit(v)) for v in item) for q in query]))


@pytest.mark.parametrize("tile", [3, 1024])
@pytest.mark.parametrize("rows", [None, [1, 4, 5, 18]])
def test_late_interaction_equals_the_naive_loop(monkeypatch, tile, rows):
    monkeypatch.setattr(index, "LATE_ROWS", tile)
    items, query = several([3, 7, 1, 5, 4] * 4), several([6], 1)[0]
    searched = list(range(20)) if rows is None else rows
    scores = {row: naive_late(query, items[row]) for row in searched}
    best = sorted(searched, key=lambda row: -scores[row])[:10]
    found = top_late(query, items, 10, None if rows is None else np.array(rows))
    assert [row for row, _ in found] == best
    assert [score for _, score in found] == pytest.approx([scores[row] for row in best], abs=1e-6)


def test_late_interaction_of_one_vector_an_item_is_the_cosine():
    items = several([1] * 30)
    query = several([1], 1)[0]
    found = top_late(query, items, 5)
    assert [row for row, _ in found] == [row for row, _ in top(query[0], items.flat, 5)]


def test_what_late_interaction_cannot_compare():
    with pytest.raises(UserError, match="3 dimensions, the embeddings 8"):
        top_late(np.ones((2, 3), np.float32), several([2, 2]), 1)
    assert top_late(np.ones((2, 8), np.float32), several([2, 2]), 1, np.array([], int)) == []
