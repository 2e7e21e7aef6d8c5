"""Recall@k between the items of two inputs, in strips of any gallery size; exact, with ties. No torch here.

Shapes: Q queries, N gallery items, d dimensions.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmkit.errors import UserError
from mmkit.ragged import Ragged, unit

TIE = 1e-6  # the same pair scored in another tile differs by 1.2e-7
STRIP_BYTES = 64 << 20

Ids = Sequence[str] | np.ndarray
Vectors = np.ndarray | Ragged


def retrieval(
    a_vectors: Vectors,
    a_ids: Ids,
    b_vectors: Vectors,
    b_ids: Ids,
    ks: Sequence[int] = (1, 5, 10),
    progress: Callable[[int, int], None] | None = None,
    *,
    names: tuple[str, str],
    rankers: Mapping[str, Callable[..., np.ndarray]] | None = None,
) -> tuple[dict[str, float], dict[str, float], dict[str, np.ndarray]]:
    """Rank the items of each of two inputs for each item of the other, by cosine: `image_retrieval` finds images for texts.

    Positives are the items of the same id; all of them count, the best one decides. A query without any is left out.

    Args:
        a_vectors, b_vectors: (n, d), any float type, of any length; or several vectors an item, compared by late interaction.
        a_ids, b_ids: their ids.
        ks: the k of recall@k.
        progress: called with (queries done, queries in all).
        names: of the two inputs.
        rankers: by the name of what is found, what ranks it in the place of `rank`.

    Returns:
        metrics: `<direction>_recall@k` in 0..1 and `<direction>_median_rank`.
        chance: the same keys for a random order.
        ranks: direction -> (queries,) float64, as in `rank`; nan where a query has no positive.

    Raises:
        UserError: the dimensions differ, a vector is not finite, or no id is on both sides.
    """
    widths = [_flat(vectors).shape[1] for vectors in (a_vectors, b_vectors)]
    if widths[0] != widths[1]:
        raise UserError(f"{names[0]}s have {widths[0]} dimensions, {names[1]}s {widths[1]}")
    a, b = _shared_numbers(a_ids, b_ids)
    total = len(a) + len(b)
    report = progress or (lambda done, total: None)
    directions = [f"{name}_retrieval" for name in names]
    pairs = {
        directions[0]: (b_vectors, b, a_vectors, a, lambda done: report(done, total)),
        directions[1]: (a_vectors, a, b_vectors, b, lambda done: report(len(b) + done, total)),
    }
    metrics, chance, ranks = {}, {}, {}
    for name, (direction, (queries, query_ids, gallery, gallery_ids, done)) in zip(names, pairs.items(), strict=True):
        ranks[direction] = (rankers or {}).get(name, rank)(queries, query_ids, gallery, gallery_ids, done)
        seen = ranks[direction][~np.isnan(ranks[direction])]
        if not len(seen):
            what = f"no {names[0]} shares an id with a {names[1]}: recall has no positives"
            raise UserError(what, hint="things that belong together carry the same id")
        positives = np.bincount(gallery_ids, minlength=int(query_ids.max()) + 1)[query_ids]
        random = Chance(positives[positives > 0], len(gallery_ids))
        for k in ks:
            metrics[f"{direction}_recall@{k}"] = float(np.mean(seen <= k))
            chance[f"{direction}_recall@{k}"] = random.recall(k)
        metrics[f"{direction}_median_rank"] = float(np.median(seen))
        chance[f"{direction}_median_rank"] = random.median_rank()
    return metrics, chance, ranks


def rank(
    queries: Vectors,
    query_ids: np.ndarray,
    gallery: Vectors,
    gallery_ids: np.ndarray,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """The rank of each query's best positive: 1 + items of other ids above it + half of those that tie with it.

    Args:
        queries, gallery: (Q, d) and (N, d), or several vectors an item; ids are integers from 0.

    Returns:
        (Q,) float64, nan where the gallery has no item of the query's id.
    """
    score = Scores(gallery)
    order = np.argsort(gallery_ids, kind="stable")
    counts = np.bincount(gallery_ids, minlength=int(query_ids.max(initial=0)) + 1)
    starts = np.cumsum(counts) - counts
    ranks = np.full(len(queries), np.nan)
    height = min(max(16, STRIP_BYTES // (4 * len(gallery))), len(queries))
    strip = np.empty((height, len(gallery)), np.float32)
    for begin in range(0, len(queries), height):
        end = min(begin + height, len(queries))
        scores = score(queries, begin, end, strip[: end - begin])
        for i, query in enumerate(query_ids[begin : begin + height]):
            own = order[starts[query] : starts[query] + counts[query]]
            if len(own):
                ranks[begin + i] = rank_in(scores[i], own)
        if progress:
            progress(end)
    return ranks


class Scores:
    """How alike queries are to all of a gallery: by cosine; by late interaction where items have several vectors, the mean over
    the query's of the best of the item's (FILIP, arXiv:2111.07783, equations 3 and 4)."""

    def __init__(self, gallery: Vectors) -> None:
        self.starts = gallery.starts[:-1] if isinstance(gallery, Ragged) else np.arange(len(gallery))
        self.flat = unit(_flat(gallery))

    def __call__(self, queries: Vectors, begin: int, end: int, out: np.ndarray) -> np.ndarray:
        """The scores (end - begin, N) of some of the queries, written to `out`."""
        if isinstance(queries, Ragged):
            for row, i in zip(out, range(begin, end), strict=True):
                row[:] = self.late(queries[i])
            return out
        return np.matmul(unit(queries[begin:end]), self.flat.T, out=out)

    def late(self, query: np.ndarray) -> np.ndarray:
        """The scores (N,) of one query of several vectors (n, d)."""
        cosine = unit(query) @ self.flat.T  # (n, all vectors of the gallery)
        return np.maximum.reduceat(cosine, self.starts, axis=1).mean(0)


def _flat(vectors: Vectors) -> np.ndarray:
    return vectors.flat if isinstance(vectors, Ragged) else vectors


def rank_in(scores: np.ndarray, own: np.ndarray, tie: float = TIE) -> float:
    """Rank of the best of the positives `own` within one row of scores, which is changed; closer ones than `tie` are equal."""
    best = float(scores[own].max())
    scores[own] = -np.inf
    above = np.count_nonzero(scores > np.float32(best + tie))
    at_least = np.count_nonzero(scores >= np.float32(best - tie))
    return 1 + (above + at_least) / 2


def nearest(queries: Vectors, gallery: Vectors, k: int) -> np.ndarray:
    """The k items of the gallery that are most like each query, best first, of equal ones the first: (Q, min(k, N)) int64."""
    score, k = Scores(gallery), min(k, len(gallery))
    found = np.empty((len(queries), k), np.int64)
    height = max(16, STRIP_BYTES // (4 * len(gallery)))
    for begin in range(0, len(queries), height):
        end = min(begin + height, len(queries))
        scores = score(queries, begin, end, np.empty((end - begin, len(gallery)), np.float32))
        found[begin:end] = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return found


def _shared_numbers(a_ids: Ids, b_ids: Ids) -> tuple[np.ndarray, np.ndarray]:
    """Equal ids get equal integers on both sides."""
    numbers: dict[str, int] = {}
    as_array = [np.array([numbers.setdefault(i, len(numbers)) for i in ids], np.int64) for ids in (a_ids, b_ids)]
    return as_array[0], as_array[1]


class Chance:
    """What a random order of N items reaches, for queries with the given numbers of positives (hypergeometric)."""

    def __init__(self, positives: np.ndarray, n: int) -> None:
        self.kinds, counts = np.unique(positives, return_counts=True)
        self.shares, self.n = counts / counts.sum(), n

    def recall(self, k: int) -> float:
        """1 - C(N-p, k) / C(N, k), averaged over the queries."""
        missed = [float(np.prod(np.maximum(self.n - k - (j := np.arange(p)), 0) / (self.n - j))) for p in self.kinds]
        return 1 - float(self.shares @ missed)

    def median_rank(self) -> float:
        """The median of the best positive's rank; between two ranks where half of the mass lies below."""
        return (self._first(0.5 - 1e-12) + self._first(0.5 + 1e-12)) / 2

    def _first(self, mass: float) -> int:
        low, high = 1, self.n
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.recall(middle) >= mass else (middle + 1, high)
        return low


def caption_ceiling(
    texts: Sequence[str], ids: Ids, other_ids: Ids, ks: Sequence[int] = (1, 5, 10), *, names: tuple[str, str]
) -> dict[str, float]:
    """The recall that no model can pass because different items, such as images, carry equal captions.

    One text query that m items share ranks them alike each time, so k of the m find their item. An item whose every
    caption is another's too ties with those, and half of them count as above it: its ceiling can be below chance,
    which orders equal captions at random.

    Args:
        texts, ids: the captions and their items' ids, in the same order.
        other_ids: the items; as in `retrieval`, a caption without one is no query, but stays in the gallery.
        names: of the items and of the texts.

    Returns:
        `<direction>_recall@k` in 0..1; 1 where no caption is shared.
    """
    there = set(other_ids)
    owners: dict[str, Counter[str]] = defaultdict(Counter)
    for text, id in zip(texts, ids, strict=True):
        owners[" ".join(unicodedata.normalize("NFC", text).split())][id] += 1
    best: dict[str, float] = {}
    for images in owners.values():
        total = images.total()
        for id, own in _of(images, there).items():
            best[id] = min(best.get(id, np.inf), 1 + (total - own) / 2)
    ceiling = {}
    for k in ks:
        found = sum(sum(sorted(_of(images, there).values(), reverse=True)[:k]) for images in owners.values())
        ceiling[f"{names[0]}_retrieval_recall@{k}"] = found / sum(id in there for id in ids)
        ceiling[f"{names[1]}_retrieval_recall@{k}"] = sum(r <= k for r in best.values()) / len(best)
    return ceiling


def _of(counts: Mapping[str, int], ids: set[str]) -> dict[str, int]:
    return {id: count for id, count in counts.items() if id in ids}
