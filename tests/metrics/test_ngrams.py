"""BLEU against sacrebleu, CIDEr-D by hand and against its formula read naively, ROUGE-L by hand, and the words themselves."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from mmkit.metrics import intervals, ngrams
from mmkit.metrics.caption import score

WORDS = ["a", "the", "man", "dog", "on", "sits", "red", "big", "of", "and", "with"]


def captions(count: int, seed: int, references: int = 3) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Captions that share words, of unlike lengths, some of them references word for word."""
    rng = random.Random(seed)
    true = [
        [[rng.choice(WORDS) for _ in range(rng.randint(1, 12))] for _ in range(rng.randint(1, references))] for _ in range(count)
    ]
    said = []
    for texts in true:
        words = list(rng.choice(texts))
        for _ in range(rng.randint(0, 3)):
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        said.append(words[: rng.randint(1, len(words))] + [rng.choice(WORDS)] * rng.randint(0, 2))
    return said, true


@pytest.mark.parametrize("seed", range(4))
def test_bleu_is_that_of_sacrebleu(seed: int) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    said, true = captions(30, seed)
    streams = [[" ".join(texts[i]) if i < len(texts) else None for texts in true] for i in range(3)]
    metric = sacrebleu.BLEU(tokenize="none", smooth_method="none", force=True)
    for part in (slice(None), slice(5), slice(1)):
        expected = metric.corpus_score([" ".join(words) for words in said[part]], [stream[part] for stream in streams])
        assert ngrams.bleu(ngrams.bleu_counts(said[part], true[part]))[0] == pytest.approx(expected.score / 100, abs=1e-9)


def test_bleu_of_what_is_short_or_shares_nothing() -> None:
    for said, true in ([["a"]], [[["a", "b", "c", "d", "e"]]]), ([[]], [[["a"]]]), ([["x"] * 5], [[["a"] * 5]]):
        assert ngrams.bleu(ngrams.bleu_counts(said, true))[0] == 0
    same = [["a", "b", "c", "d"]]
    assert ngrams.bleu(ngrams.bleu_counts(same, [same]))[0] == 1


def naive_cider(said: list[list[str]], true: list[list[list[str]]]) -> list[float]:
    """Equations 1 to 4 of arXiv:1411.5726 with clipping and the length penalty of section 7, n-gram by n-gram."""

    def grams(words: list[str], n: int) -> list[tuple[str, ...]]:
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    def weight(gram: tuple[str, ...], words: list[str]) -> float:
        images = sum(any(gram in grams(text, len(gram)) for text in texts) for texts in true)
        return grams(words, len(gram)).count(gram) * (math.log(len(true)) - math.log(max(1, images)))

    found = []
    for words, texts in zip(said, true, strict=True):
        total = 0.0
        for text, n in itertools.product(texts, range(1, 5)):
            every = set(grams(words, n)) | set(grams(text, n))
            own, other = ([weight(gram, one) for gram in every] for one in (words, text))
            size = math.sqrt(sum(x * x for x in own)) * math.sqrt(sum(x * x for x in other))
            dot = sum(min(x, y) * y for x, y in zip(own, other, strict=True))
            penalty = math.exp(-((len(words) - len(text)) ** 2) / (2 * 6.0**2))
            total += dot / size * penalty / 4 / len(texts) if size else 0.0
        found.append(10 * total)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_cider_is_its_formula(seed: int) -> None:
    said, true = captions(12, seed)
    assert ngrams.cider(said, true) == pytest.approx(naive_cider(said, true), abs=1e-9)


def test_cider_by_hand() -> None:
    """Three pictures. `a` stands with all of them and weighs log(3/3) = 0, every other word and pair of words log 3.

    "a red dog" against itself: the words alike (1), the pairs alike (1), the triples alike (1), no fours (0): 10 * 3/4.
    "a cat" against "a cat sat": words 1/sqrt 2, pairs 1/sqrt 2, no triple and no four; one word less: exp(-1/72).
    "a cow cow" against "a cow": words (1, 0): cosine clipped 1 * 1 / (2 * 1) = 1/2, pairs {a cow, cow cow} 1/sqrt 2; exp(-1/72).
    """
    said = [["a", "red", "dog"], ["a", "cat"], ["a", "cow", "cow"]]
    true = [[["a", "red", "dog"]], [["a", "cat", "sat"]], [["a", "cow"]]]
    root, less = 1 / math.sqrt(2), math.exp(-1 / 72)
    expected = [10 * 3 / 4, 10 * (root + root) / 4 * less, 10 * (1 / 2 + root) / 4 * less]
    assert ngrams.cider(said, true) == pytest.approx(expected, abs=1e-12)
    assert ngrams.cider(said[:1], true[:1]) == pytest.approx([0.0]), "one picture alone has no rare words"
    assert ngrams.cider([[]], [[["a"]]]) == pytest.approx([0.0])


def test_rouge_l_by_hand() -> None:
    # the longest common subsequence of both is `a dog sits`; precision 3/4 of the one, recall 3/3 of the other
    found = ngrams.rouge_l(["a", "big", "dog", "sits"], [["the", "dog", "sits", "on", "a", "mat"], ["a", "dog", "sits"]])
    precision, recall, b = 3 / 4, 1.0, 1.2**2
    assert found == pytest.approx((1 + b) * precision * recall / (recall + b * precision))
    assert ngrams.rouge_l([], [["a"]]) == 0 == ngrams.rouge_l(["b"], [["a"]])
    assert ngrams.rouge_l(["a"], [["a"]]) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's dog isn't here.", "a man 's dog is n't here"),
        ("The T-shirt, 3.5 (large) - 1,000!", "the t-shirt 3.5 large 1,000"),
        ("“Well-known” café; naïve…", "well-known café naïve"),
        ("keycap: #", "keycap"),
        ("C++ & 5 €", "c + + 5 €"),
        ("囲み数字 a", "囲 み 数 字 a"),
        ("हिन्दी में", "हिन्दी में"),
        ("  ", ""),
        ("can’t won't O'Neill's", "ca n't wo n't o'neill 's"),
    ],
)
def test_words(text: str, words: str) -> None:
    assert list(ngrams.words_of(text)) == words.split()


def test_a_score_of_captions() -> None:
    said = ["A red dog.", "a cat", "two cows"]
    found = score(said, [["a red dog", "the dog"], ["a cat sat"], ["three horses"]])
    assert list(found.metrics) == ["CIDEr", "Bleu_4", "ROUGE_L", "exact_match"]
    assert found.metrics["exact_match"] == pytest.approx(1 / 3)
    assert found.each["exact_match"].tolist() == [1, 0, 0]
    assert found.metrics["CIDEr"] == pytest.approx(found.each["CIDEr"].mean())
    perfect = score(
        ["a red dog on a mat"] * 2 + ["four big cats sit there"], [["a red dog on a mat"]] * 2 + [["four big cats sit there"]]
    )
    assert perfect.metrics == pytest.approx({"CIDEr": 10, "Bleu_4": 1, "ROUGE_L": 1, "exact_match": 1})


def test_intervals_of_captions() -> None:
    said, true = captions(60, 5)
    found = score([" ".join(words) for words in said], [[" ".join(words) for words in texts] for texts in true])
    ids = [str(i // 2) for i in range(60)]
    ends = intervals.of_captions(found.counts, found.each, ids, "Bleu_4", "CIDEr")
    assert set(ends) == set(found.metrics)
    for name, (low, high) in ends.items():
        assert low <= found.metrics[name] <= high and low < high
    # a draw's BLEU is that of the captions that were drawn
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 60, 60)
    weights = np.bincount(drawn, minlength=60)[None].astype(float)
    own = ngrams.bleu_counts([said[i] for i in drawn], [true[i] for i in drawn])
    assert ngrams.bleu(ngrams.bleu_counts(said, true), weights) == pytest.approx(ngrams.bleu(own))
