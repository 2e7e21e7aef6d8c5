"""Exact nearest neighbours by cosine, in tiles, over vectors that may be larger than memory. No torch here."""

from __future__ import annotations

import numpy as np

from mmkit.errors import UserError
from mmkit.ragged import Ragged, unit

TILE_ROWS = 65_536
LATE_ROWS = 1024


def top(query: np.ndarray, vectors: np.ndarray, k: int, rows: np.ndarray | None = None) -> list[tuple[int, float]]:
    """The k rows of highest cosine with the query, best first; equal scores in the order of the rows.

    Args:
        query: (d,).
        vectors: (n, d), any float type; may be a mapped file.
        k: how many; fewer come back where there are fewer rows.
        rows: the row numbers to search, ascending; all where None.

    Returns:
        (row of `vectors`, cosine) for each answer.

    Raises:
        UserError: the query has another number of dimensions than the vectors, or a vector is not finite.
    """
    if query.shape[-1] != vectors.shape[1]:
        raise UserError(
            f"the query has {query.shape[-1]} dimensions, the embeddings {vectors.shape[1]}",
            hint="they come from different models",
        )
    rows = np.arange(len(vectors)) if rows is None else rows
    query = query.astype(np.float32, copy=False)
    best_rows, best_scores = np.empty(0, np.int64), np.empty(0, np.float32)
    for begin in range(0, len(vectors), TILE_ROWS):
        tile = rows[slice(*np.searchsorted(rows, (begin, begin + TILE_ROWS)))]
        if not len(tile):
            continue
        # all rows of the tile are scored, since picking some would copy them
        scores = _cosines(query, vectors[begin : begin + TILE_ROWS])[tile - begin]
        if not np.isfinite(scores).all():
            unit(vectors[: begin + TILE_ROWS])  # raises, and names the first one
        # what is kept comes first, so that a stable sort leaves ties in row order
        best_rows = np.concatenate([best_rows, tile])
        best_scores = np.concatenate([best_scores, scores])
        keep = np.argsort(-best_scores, kind="stable")[:k]
        best_rows, best_scores = best_rows[keep], best_scores[keep]
    return [(int(row), float(score)) for row, score in zip(best_rows, best_scores, strict=True)]


def top_late(query: np.ndarray, items: Ragged, k: int, rows: np.ndarray | None = None) -> list[tuple[int, float]]:
    """As `top`, for items of several vectors each, by late interaction: the mean over the query's of the best of the item's.

    Args:
        query: (N, d); items: each has one vector at least.
    """
    if query.shape[-1] != items.flat.shape[1]:
        raise UserError(
            f"the query has {query.shape[-1]} dimensions, the embeddings {items.flat.shape[1]}",
            hint="they come from different models",
        )
    rows = np.arange(len(items)) if rows is None else rows
    query, scores = unit(query), np.empty(len(rows), np.float32)
    for begin in range(0, len(rows), LATE_ROWS):
        tile = items.take(rows[begin : begin + LATE_ROWS])
        scores[begin : begin + LATE_ROWS] = np.maximum.reduceat(query @ unit(tile.flat).T, tile.starts[:-1], axis=1).mean(0)
    best = np.argsort(-scores, kind="stable")[:k]
    return [(int(rows[i]), float(scores[i])) for i in best]


def _cosines(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32, copy=False)
    # einsum and not matmul: BLAS rounds a row by its place in the tile, which would break ties between equal vectors
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors) * (query @ query))
    return np.einsum("nd,d->n", vectors, query) / np.where(lengths == 0, 1, lengths)
