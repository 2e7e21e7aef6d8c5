"""Recall@k between images and texts, in strips of any gallery size; exact, with ties. No torch here.

Shapes: Q queries, N gallery items, d dimensions.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmkit.errors import UserError
from mmkit.vectors import unit

TIE = 1e-6  # the same pair scored in another tile differs by 1.2e-7
STRIP_BYTES = 64 << 20
DIRECTIONS = ("image_retrieval", "text_retrieval")

Ids = Sequence[str] | np.ndarray


def retrieval(
    image_vectors: np.ndarray,
    image_ids: Ids,
    text_vectors: np.ndarray,
    text_ids: Ids,
    ks: Sequence[int] = (1, 5, 10),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, float], dict[str, float], dict[str, np.ndarray]]:
    """Rank images for each text (`image_retrieval`) and texts for each image (`text_retrieval`) by cosine.

    Positives are the items of the same id; all of them count, the best one decides. A query without any is left out.

    Args:
        image_vectors, text_vectors: (n_images, d) and (n_texts, d), any float type, of any length.
        image_ids, text_ids: their ids.
        ks: the k of recall@k.
        progress: called with (queries done, queries in all).

    Returns:
        metrics: `<direction>_recall@k` in 0..1 and `<direction>_median_rank`.
        chance: the same keys for a random order.
        ranks: direction -> (queries,) float64, as in `rank`; nan where a query has no positive.

    Raises:
        UserError: the dimensions differ, a vector is not finite, or no image shares an id with a text.
    """
    if image_vectors.shape[1] != text_vectors.shape[1]:
        raise UserError(f"images have {image_vectors.shape[1]} dimensions, texts {text_vectors.shape[1]}")
    images, texts = _shared_numbers(image_ids, text_ids)
    total = len(images) + len(texts)
    report = progress or (lambda done, total: None)
    pairs = {
        "image_retrieval": (text_vectors, texts, image_vectors, images, lambda done: report(done, total)),
        "text_retrieval": (image_vectors, images, text_vectors, texts, lambda done: report(len(texts) + done, total)),
    }
    metrics, chance, ranks = {}, {}, {}
    for direction, (queries, query_ids, gallery, gallery_ids, done) in pairs.items():
        ranks[direction] = rank(queries, query_ids, gallery, gallery_ids, done)
        seen = ranks[direction][~np.isnan(ranks[direction])]
        if not len(seen):
            raise UserError(
                "no image shares an id with a text: recall has no positives", hint="an image and its captions carry the same id"
            )
        positives = np.bincount(gallery_ids, minlength=int(query_ids.max()) + 1)[query_ids]
        random = Chance(positives[positives > 0], len(gallery_ids))
        for k in ks:
            metrics[f"{direction}_recall@{k}"] = float(np.mean(seen <= k))
            chance[f"{direction}_recall@{k}"] = random.recall(k)
        metrics[f"{direction}_median_rank"] = float(np.median(seen))
        chance[f"{direction}_median_rank"] = random.median_rank()
    return metrics, chance, ranks


def rank(
    queries: np.ndarray,
    query_ids: np.ndarray,
    gallery: np.ndarray,
    gallery_ids: np.ndarray,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """The rank of each query's best positive: 1 + items of other ids above it + half of those that tie with it.

    Args:
        queries, gallery: (Q, d) and (N, d); ids are integers from 0.

    Returns:
        (Q,) float64, nan where the gallery has no item of the query's id.
    """
    gallery = unit(gallery)
    order = np.argsort(gallery_ids, kind="stable")
    counts = np.bincount(gallery_ids, minlength=int(query_ids.max(initial=0)) + 1)
    starts = np.cumsum(counts) - counts
    ranks = np.full(len(queries), np.nan)
    height = min(max(16, STRIP_BYTES // (4 * len(gallery))), len(queries))
    strip = np.empty((height, len(gallery)), np.float32)
    for begin in range(0, len(queries), height):
        block = unit(queries[begin : begin + height])
        scores = np.matmul(block, gallery.T, out=strip[: len(block)])
        for i, query in enumerate(query_ids[begin : begin + height]):
            own = order[starts[query] : starts[query] + counts[query]]
            if len(own):
                ranks[begin + i] = _rank_in(scores[i], own)
        if progress:
            progress(begin + len(block))
    return ranks


def _rank_in(scores: np.ndarray, own: np.ndarray) -> float:
    """Rank of the best of the positives `own` within one row of scores, which is changed."""
    best = float(scores[own].max())
    scores[own] = -np.inf
    above = np.count_nonzero(scores > np.float32(best + TIE))
    at_least = np.count_nonzero(scores >= np.float32(best - TIE))
    return 1 + (above + at_least) / 2


def _shared_numbers(image_ids: Ids, text_ids: Ids) -> tuple[np.ndarray, np.ndarray]:
    """Equal ids get equal integers on both sides."""
    numbers: dict[str, int] = {}
    as_array = [np.array([numbers.setdefault(i, len(numbers)) for i in ids], np.int64) for ids in (image_ids, text_ids)]
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


def caption_ceiling(texts: Sequence[str], ids: Ids, image_ids: Ids, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """The recall that no model can pass because different images carry equal captions.

    One text query that m images share ranks them alike each time, so k of the m find their image. An image whose every
    caption is another image's too ties with those, and half of them count as above it: its ceiling can be below chance,
    which orders equal captions at random.

    Args:
        texts, ids: the captions and their images' ids, in the same order.
        image_ids: the images; as in `retrieval`, a caption without one is no query, but stays in the gallery.

    Returns:
        `<direction>_recall@k` in 0..1; 1 where no caption is shared.
    """
    there = set(image_ids)
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
        ceiling[f"image_retrieval_recall@{k}"] = found / sum(id in there for id in ids)
        ceiling[f"text_retrieval_recall@{k}"] = sum(r <= k for r in best.values()) / len(best)
    return ceiling


def _of(counts: Mapping[str, int], ids: set[str]) -> dict[str, int]:
    return {id: count for id, count in counts.items() if id in ids}
