"""Retrieval in two steps: the nearest items by their vectors, put in a new order by a head that reads pairs (ALBEF,
arXiv:2107.07651, section 4).

Shapes: Q queries, N gallery items, k nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mmkit.encode import Pace
from mmkit.errors import UserError
from mmkit.metrics import fused, heads
from mmkit.metrics.evaluation import Request
from mmkit.metrics.ranking import Vectors, nearest, rank, rank_in

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

METRIC = "match"  # of the losses whose head reads pairs
TIE = 1e-4  # the same pair scored in another batch differs by less

Ranker = Callable[[Vectors, np.ndarray, Vectors, np.ndarray, Callable[[int], None] | None], np.ndarray]


def rankers(model: Model, data: Dataset, split: str | None, request: Request) -> dict[str, Ranker]:
    """For each of the two inputs that a head matches what ranks its items in the place of `ranking.rank`: all items by their
    vectors, the `request.rerank` nearest among themselves by the head.

    Every item is encoded once and kept on disk; pairs are fused in batches.

    Raises:
        UserError: the model has no such head, or does not compare what it matches.
    """
    objective = heads.find(model, METRIC)
    if objective is None:
        kinds = ", ".join(table["kind"] for table in model.config.loss.values())
        hint = f"its losses: {kinds}; mmkit train --recipe match makes one"
        raise UserError("the model has no matching head to re-rank with", model.name, hint)
    if lacking := [name for name in objective.pair if name not in model.embedded]:
        raise UserError(f"the model matches {lacking[0]}s, but does not compare them", model.name, "leave --rerank out")
    kept = {name: fused.keeper(model, objective, name) for name in objective.pair}
    pace = Pace(request.batch_size, request.workers, request.progress("encoded"))
    total = heads.rows_of(data, split, request.limit)

    def keep(name: str, items: list[object]) -> None:
        fused.keep(model, name, items, kept[name], request.batch_size)

    fused.split_of(model, objective, data, split, request.limit, pace, total=total, keep=keep)

    def ranker(name: str) -> Ranker:
        column = objective.pair.index(name)

        def ranked(
            queries: Vectors,
            query_ids: np.ndarray,
            gallery: Vectors,
            gallery_ids: np.ndarray,
            progress: Callable[[int], None] | None = None,
        ) -> np.ndarray:
            ranks = rank(queries, query_ids, gallery, gallery_ids, progress)
            near = nearest(queries, gallery, request.rerank or 0)
            pairs = np.empty((near.size, 2), np.int64)
            pairs[:, column] = near.ravel()
            pairs[:, 1 - column] = np.repeat(np.arange(len(near)), near.shape[1])
            report = request.progress(f"re-ranked {name}s")
            logits = fused.logits_of(model, objective, kept, pairs, request.batch_size, report)
            return reordered(ranks, near, fused.scores(logits).reshape(near.shape), query_ids, gallery_ids)

        return ranked

    return {name: ranker(name) for name in objective.pair}


def reordered(
    ranks: np.ndarray, near: np.ndarray, scores: np.ndarray, query_ids: np.ndarray, gallery_ids: np.ndarray
) -> np.ndarray:
    """The rank of each query's best positive after the nearest items are put in the order of their scores; those behind keep
    their places, so that a positive among them keeps its rank.

    Args:
        ranks: (Q,) before, nan where a query has no positive.
        near: (Q, k) items of the gallery; scores: (Q, k) of each.
    """
    found = ranks.copy()
    for i in np.flatnonzero(ranks <= near.shape[1]):  # one that ties with what is left out keeps its rank
        positives = np.flatnonzero(gallery_ids[near[i]] == query_ids[i])
        if len(positives):
            found[i] = rank_in(scores[i].astype(np.float64), positives, TIE)
    return found
