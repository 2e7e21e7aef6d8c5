"""How near captions come to what people wrote: BLEU, ROUGE-L and CIDEr-D, of words. No torch, no Java here.

Shapes: n captions.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# as of the Penn Treebank: lower case, don't -> do n't, it's -> it 's, punctuation left out, hyphens within a word kept. The Java
# tokenizer of coco-caption also splits `cannot` and `gonna`, turns brackets into words and drops quotes by a list
TOKENIZER = "mmkit-ptb"
CLITIC = re.compile(r"(?<=\w)(n['’]t|['’](?:s|m|d|re|ve|ll))\b")
INNER = "-'’.,"
ORDER = 4  # the longest n-grams
BETA = 1.2  # of ROUGE-L: how much recall counts
SIGMA = 6.0  # of CIDEr-D's length penalty
SCALE = 10.0  # of CIDEr-D: published figures are a hundred times this metric

Words = Sequence[str]
Grams = Counter[tuple[str, ...]]


@lru_cache(1 << 16)
def words_of(text: str) -> tuple[str, ...]:
    """The words that captions are compared by; East Asian characters are words of their own, as are symbols.

    >>> words_of("A man's dog isn't here, 3.5 m away!")
    ('a', 'man', "'s", 'dog', 'is', "n't", 'here', '3.5', 'm', 'away')
    """
    found: list[str] = []
    for word in CLITIC.sub(lambda match: f" {match[0].replace('’', chr(39))}", text.lower()).split():
        found += [word] if CLITIC.fullmatch(f"x{word}", 1) else _pieces(word)
    return tuple(found)


def _pieces(word: str) -> list[str]:
    pieces: list[str] = []
    begun = False
    for i, character in enumerate(word):
        kind = unicodedata.category(character)[0]
        alone = kind == "S" or (kind == "L" and unicodedata.east_asian_width(character) == "W")
        inner = character in INNER and 0 < i < len(word) - 1 and word[i - 1].isalnum() and word[i + 1].isalnum()
        if not alone and (kind in "LNM" or (inner and begun)):
            pieces = [*pieces[:-1], pieces[-1] + character] if begun else [*pieces, character]
            begun = True
        else:
            pieces += [character] if alone else []
            begun = False
    return pieces


def grams(words: Words, n: int) -> Grams:
    """How often each run of n words stands there."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


class Counts(NamedTuple):
    """Of each caption, what BLEU sums up.

    Args:
        right, all: (n, 4) n-grams that a reference has, each as often as one of them has it, and all there are.
        length, closest: (n,) words of the caption, and of the reference whose length is nearest, of two the shorter.
    """

    right: np.ndarray
    all: np.ndarray
    length: np.ndarray
    closest: np.ndarray


def bleu_counts(said: Sequence[Words], references: Sequence[Sequence[Words]]) -> Counts:
    """See `Counts` (Papineni et al., 2002, section 2)."""
    right, total = np.zeros((len(said), ORDER)), np.zeros((len(said), ORDER))
    length, closest = np.zeros(len(said)), np.zeros(len(said))
    for i, (words, true) in enumerate(zip(said, references, strict=True)):
        length[i] = len(words)
        closest[i] = min(map(len, true), key=lambda other: (abs(other - len(words)), other))
        for n in range(1, ORDER + 1):
            most: Grams = Counter()
            for reference in true:
                most |= grams(reference, n)
            own = grams(words, n)
            right[i, n - 1], total[i, n - 1] = (own & most).total(), own.total()
    return Counts(right, total, length, closest)


def bleu(counts: Counts, weights: np.ndarray | None = None) -> np.ndarray:
    """BLEU-4 of all captions together, without smoothing: (D,).

    Args:
        weights: (D, n) how often each counts; each once where None.
    """
    weights = np.ones((1, len(counts.length))) if weights is None else weights
    right, total = weights @ counts.right, weights @ counts.all
    length, closest = weights @ counts.length, weights @ counts.closest
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(right.min(1) > 0, np.exp(np.log(right / total).mean(1)), 0.0)
        brevity = np.where(length > 0, np.exp(np.minimum(0.0, 1 - closest / length)), 0.0)
    return np.nan_to_num(precision * brevity)


def rouge_l(words: Words, references: Sequence[Words]) -> float:
    """Of one caption: the best precision and the best recall of the longest common subsequence, as in coco-caption."""
    common = [_common(words, reference) for reference in references]
    precision = max(common) / len(words) if words else 0.0
    recall = max(c / len(r) if r else 0.0 for c, r in zip(common, references, strict=True))
    both = recall + BETA**2 * precision
    return (1 + BETA**2) * precision * recall / both if both else 0.0


def _common(one: Words, other: Words) -> int:
    """The length of their longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for j, there in enumerate(other, 1):
            before, row[j] = row[j], before + 1 if word == there else max(row[j], row[j - 1])
    return row[-1]


def cider(said: Sequence[Words], references: Sequence[Sequence[Words]]) -> np.ndarray:
    """CIDEr-D of each caption, 0..10; of all it is the mean (arXiv:1411.5726, sections 4 and 7).

    The weight of an n-gram is its count times log(n / captions of which a reference has it), of the references given here; so a
    caption alone has no score. A caption's counts are clipped to those of the reference, and what is longer or shorter pays.
    """
    holding: Grams = Counter()
    for true in references:
        holding.update({gram for words in true for n in range(1, ORDER + 1) for gram in grams(words, n)})
    corpus = math.log(max(1, len(references)))

    def vector(words: Words, n: int) -> dict[tuple[str, ...], float]:
        return {gram: count * (corpus - math.log(max(1, holding[gram]))) for gram, count in grams(words, n).items()}

    found = np.zeros(len(said))
    for i, (words, true) in enumerate(zip(said, references, strict=True)):
        own = [vector(words, n) for n in range(1, ORDER + 1)]
        each = [_alike(own, [vector(reference, n) for n in range(1, ORDER + 1)], words, reference) for reference in true]
        found[i] = SCALE * sum(each) / len(each)
    return found


def _alike(one: list[dict[tuple[str, ...], float]], other: list[dict[tuple[str, ...], float]], a: Words, b: Words) -> float:
    """The mean over n of the cosine of two captions' vectors, the first clipped to the second, less for another length."""
    cosines = []
    for own, true in zip(one, other, strict=True):
        norm = math.hypot(*own.values()) * math.hypot(*true.values())
        cosines.append(sum(min(own[gram], true[gram]) * true[gram] for gram in own.keys() & true.keys()) / norm if norm else 0.0)
    return sum(cosines) / len(cosines) * math.exp(-((len(a) - len(b)) ** 2) / (2 * SIGMA**2))
