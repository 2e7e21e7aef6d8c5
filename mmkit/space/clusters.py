"""Clusters of a space, each named by the words that are typical of its captions."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import log

import numpy as np

from mmkit.ragged import unit

NAMED_BY = 3  # words
TYPICAL = 2  # times as frequent as elsewhere
LEAST = 0.3  # of the first word's score, for another one
# of English, which would name every second cluster
FUNCTION_WORDS = frozenset(("the", "and", "with", "for", "from", "into", "over", "under", "are", "was", "its", "this", "that"))
# runs of Chinese and Japanese have no spaces: pairs of characters stand for words
WORD = re.compile(r"[぀-ヿ㐀-鿿]+|[^\W\d_぀-ヿ㐀-鿿]{3,}")
WIDE = re.compile(r"[぀-ヿ㐀-鿿]")


def clusters(vectors: np.ndarray, modality: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """The cluster of each row, (n,), from 0, the largest first: k-means by cosine.

    Each modality is centred first: its distance from the others would else be all that is found.

    Args:
        vectors: (n, d); modality: (n,).
        count: of clusters; fewer where there are fewer different rows.
    """
    from sklearn.cluster import KMeans

    centred = unit(vectors).copy()
    for name in set(modality.tolist()):
        rows = modality == name
        centred[rows] -= centred[rows].mean(0)
    directions = unit(centred)
    different = len(np.unique(directions.round(3), axis=0)) if len(centred) <= 10 * count else count
    codes = KMeans(min(count, different), n_init=3, random_state=seed).fit_predict(directions)
    order = np.argsort(-np.bincount(codes), kind="stable")
    return np.argsort(order)[codes]


def typical(codes: np.ndarray, captions: Sequence[Sequence[str]]) -> list[str]:
    """A name for each cluster: the words that many of its captions hold, and few of the others.

    A word counts by its share of the cluster's rows, times the logarithm of how much more frequent it is there than elsewhere.

    Args:
        codes: (n,) from 0.
        captions: the texts of each row; it may have none.

    Returns:
        "red, circle, left", or "cluster 3" where no word stands out; no two are alike.
    """
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    rows = Counter(code for code, texts in zip(codes.tolist(), captions, strict=True) if texts)
    for code, texts in zip(codes.tolist(), captions, strict=True):
        counts[code].update({word for text in texts for word in _words(text)})
    everywhere = sum(counts.values(), Counter())
    total = sum(rows.values())
    names: list[str] = []
    for code in range(int(codes.max(initial=-1)) + 1):
        others = total - rows[code]
        elsewhere = {word: (everywhere[word] - n + 0.5) / (others + 1) for word, n in counts[code].items()}
        scores = {
            word: n / rows[code] * log(n / rows[code] / elsewhere[word])
            for word, n in counts[code].items()
            if n / rows[code] > TYPICAL * elsewhere[word]
        }
        best = sorted(scores, key=lambda word: (-scores[word], word))[:NAMED_BY]
        name = ", ".join(word for word in best if scores[word] > LEAST * scores[best[0]]) or f"cluster {code + 1}"
        names.append(name if name not in names else f"{name} ({code + 1})")
    return names


def _words(text: str) -> Iterator[str]:
    for word in WORD.findall(text.lower()):
        if WIDE.match(word) and len(word) > 2:
            yield from (word[i : i + 2] for i in range(len(word) - 1))
        elif word not in FUNCTION_WORDS:
            yield word
