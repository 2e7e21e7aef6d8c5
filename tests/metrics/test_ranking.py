from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from mmkit.errors import UserError
from mmkit.metrics import ranking
from mmkit.metrics.ranking import Chance
from mmkit.ragged import Ragged

NAMES = ("image", "text")
retrieval = partial(ranking.retrieval, names=NAMES)
caption_ceiling = partial(ranking.caption_ceiling, names=NAMES)


def naive_ranks(queries, query_ids, gallery, gallery_ids):
    """Rule 7 of DESIGN.md as a loop over single pairs in double precision."""
    ranks = []
    for q, own in zip(queries.astype(float), query_ids, strict=True):
        scores = [float(q @ g / math.sqrt((q @ q) * (g @ g))) for g in gallery.astype(float)]
        positive = [s for s, id in zip(scores, gallery_ids, strict=True) if id == own]
        others = [s for s, id in zip(scores, gallery_ids, strict=True) if id != own]
        if not positive:
            ranks.append(math.nan)
            continue
        best = max(positive)
        ties = sum(abs(s - best) <= 1e-6 for s in others)
        ranks.append(1 + sum(s > best + 1e-6 for s in others) + ties / 2)
    return ranks


@pytest.fixture
def several_captions():
    """40 images with 1 to 4 captions; small whole numbers, so that many scores tie exactly."""
    random = np.random.default_rng(0)
    image_ids = [f"i{n}" for n in range(40)]
    text_ids = [id for id in image_ids for _ in range(random.integers(1, 5))]
    images = random.integers(-1, 2, (40, 4)).astype(np.float32)
    texts = random.integers(-1, 2, (len(text_ids), 4)).astype(np.float32)
    images[images.any(1) == 0] = texts[texts.any(1) == 0] = 1
    shuffled = random.permutation(len(text_ids))
    return images, image_ids, texts[shuffled], [text_ids[i] for i in shuffled]


@pytest.mark.parametrize("strip_bytes", [1, 64 << 20])
def test_equals_a_naive_loop_with_ties_and_several_captions(several_captions, monkeypatch, strip_bytes):
    monkeypatch.setattr(ranking, "STRIP_BYTES", strip_bytes)
    images, image_ids, texts, text_ids = several_captions
    metrics, _, ranks = retrieval(images, image_ids, texts, text_ids)
    expected = {
        "image_retrieval": naive_ranks(texts, text_ids, images, image_ids),
        "text_retrieval": naive_ranks(images, image_ids, texts, text_ids),
    }
    for direction, naive in expected.items():
        assert ranks[direction].tolist() == naive
        assert metrics[f"{direction}_median_rank"] == np.median(naive)
        for k in (1, 5, 10):
            assert metrics[f"{direction}_recall@{k}"] == np.mean(np.array(naive) <= k)
    assert any(rank % 1 for rank in expected["image_retrieval"]), "the example has no ties"


def test_a_matrix_checked_by_eye():
    # scores of texts (rows) against images (columns):   a  b  c
    #   a  1.0 0.8 0.0   -> rank 1
    #   b  0.8 0.6 1.0   -> rank 3: c 1.0 and a 0.8 stand above 0.6
    #   c  0.6 0.6 0.0   -> rank 3: a and b above 0
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[1.0, 0.8, 0.0], [0.8, 0.6, 1.0], [0.6, 0.6, 0.0]], np.float32)
    metrics, chance, ranks = retrieval(images, ["a", "b", "c"], texts, ["a", "b", "c"], ks=(1, 2, 3))
    assert ranks["image_retrieval"].tolist() == [1, 3, 3]
    assert metrics["image_retrieval_recall@1"] == pytest.approx(1 / 3)
    assert metrics["image_retrieval_recall@2"] == pytest.approx(1 / 3)
    assert metrics["image_retrieval_recall@3"] == 1
    assert metrics["image_retrieval_median_rank"] == 3
    assert chance["image_retrieval_recall@1"] == pytest.approx(1 / 3)
    assert chance["image_retrieval_median_rank"] == 2


@pytest.mark.parametrize("captions", [1, 5])
def test_a_collapsed_model_never_beats_chance(captions):
    n = 200
    ids = [str(i) for i in range(n)]
    # each row its own length: collapsed in direction, apart by rounding
    scale = np.random.default_rng(1).uniform(0.5, 2, (n * captions, 1))
    texts = (np.full((n * captions, 64), 0.3) * scale).astype(np.float32)
    metrics, chance, _ = retrieval(texts[:n], ids, texts, ids * captions)
    for key, value in metrics.items():
        if "recall" in key:
            assert value == 0
        else:
            assert value >= chance[key]
    assert metrics["image_retrieval_median_rank"] == chance["image_retrieval_median_rank"] == (n + 1) / 2


def test_all_captions_of_an_image_count():
    images, texts = np.eye(2, dtype=np.float32), np.array([[0, 1], [1, 0], [0.5, 1]], np.float32)
    _, _, ranks = retrieval(images, ["a", "b"], texts, ["a", "a", "b"])
    # text 0 of image a stands above b's own text for b; text 1 finds a
    assert ranks["text_retrieval"].tolist() == [1, 2]
    assert ranks["image_retrieval"].tolist() == [2, 1, 1]


def test_a_query_without_its_positive_is_left_out():
    images, texts = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
    metrics, chance, ranks = retrieval(images, ["a", "b", "c"], texts, ["a", "b", "x"])
    assert np.isnan(ranks["image_retrieval"]).tolist() == [False, False, True]
    assert np.isnan(ranks["text_retrieval"]).tolist() == [False, False, True]
    assert metrics["image_retrieval_recall@1"] == 1
    assert chance["image_retrieval_recall@1"] == pytest.approx(1 / 3)


def test_half_precision_is_ranked_as_float32():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((50, 16)).astype(np.float16)
    metrics, _, _ = retrieval(vectors, range(50), vectors, range(50))
    assert metrics["text_retrieval_recall@1"] == 1


def test_chance_equals_drawing_at_random():
    random = np.random.default_rng(0)
    n, positives = 30, np.array([1, 5, 5, 2])
    draws = np.array([[random.permutation(n)[:p].min() + 1 for p in positives] for _ in range(4000)])
    chance = Chance(positives, n)
    for k in (1, 5, 10, 29):
        assert chance.recall(k) == pytest.approx((draws <= k).mean(), abs=0.01)
    assert chance.median_rank() == pytest.approx(np.median(draws), abs=0.5)
    assert Chance(positives, n).recall(n) == 1


def test_what_cannot_be_ranked_is_refused():
    eye = np.eye(2, dtype=np.float32)
    with pytest.raises(UserError, match="images have 2 dimensions, texts 3"):
        retrieval(eye, ["a", "b"], np.ones((2, 3), np.float32), ["a", "b"])
    with pytest.raises(UserError, match="no image shares an id"):
        retrieval(eye, ["a", "b"], eye, ["c", "d"])
    with pytest.raises(UserError, match="not finite"):
        retrieval(eye * np.nan, ["a", "b"], eye, ["a", "b"])


def test_the_ceiling_of_equal_captions():
    # "x" stands on three images: of its three queries one finds its image first
    ceiling = caption_ceiling(["x", " x ", "x", "y"], ["a", "b", "c", "c"], ["a", "b", "c"], ks=(1, 2, 3))
    assert ceiling["image_retrieval_recall@1"] == 2 / 4
    assert ceiling["image_retrieval_recall@2"] == 3 / 4
    assert ceiling["image_retrieval_recall@3"] == 1
    # a and b have no caption of their own and tie with two others: rank 2
    assert ceiling["text_retrieval_recall@1"] == 1 / 3
    assert ceiling["text_retrieval_recall@2"] == 1
    assert set(caption_ceiling(["x", "x"], ["a", "a"], ["a"]).values()) == {1}


@pytest.mark.parametrize("shared", [2, 5])
def test_a_perfect_model_reaches_the_ceiling_of_equal_captions(shared):
    # four classes of `shared` pictures, each captioned by its class; the pictures of a class are still told apart
    classes = np.repeat(np.arange(4), shared)
    texts = np.eye(5, dtype=np.float32)[classes]
    images = texts.copy()
    images[:, 4] = np.tile(np.linspace(0.1, 0.2, shared), 4)
    ids = [f"i{n}" for n in range(len(classes))]
    ks = (1, 2, 3, 5)
    ceiling = caption_ceiling([f"class {c}" for c in classes], ids, ids, ks)
    metrics, _, _ = retrieval(images, ids, texts, ids, ks)
    assert {key: metrics[key] for key in ceiling} == ceiling
    # equal texts tie for every picture, at 1 + half of the others
    assert [ceiling[f"text_retrieval_recall@{k}"] for k in ks] == [float(1 + (shared - 1) / 2 <= k) for k in ks]


def test_a_caption_without_an_image_is_no_query_of_the_ceiling():
    # z has no image: its "x" is not asked for, but ties with that of a
    eye = np.eye(2, dtype=np.float32)
    texts, text_ids = eye[[0, 0, 1]], ["a", "z", "b"]
    metrics, _, _ = retrieval(eye, ["a", "b"], texts, text_ids, (1, 2))
    ceiling = caption_ceiling(["x", "x", "y"], text_ids, ["a", "b"], (1, 2))
    assert {key: metrics[key] for key in ceiling} == ceiling
    assert ceiling["image_retrieval_recall@1"] == 1
    assert ceiling["text_retrieval_recall@1"] == 1 / 2


@pytest.mark.parametrize("strip_bytes", [1, 64 << 20])
def test_items_of_several_vectors_are_ranked_by_late_interaction(monkeypatch, strip_bytes):
    monkeypatch.setattr(ranking, "STRIP_BYTES", strip_bytes)
    random = np.random.default_rng(0)
    image_ids, text_ids = [f"i{n}" for n in range(20)], [f"i{n // 2}" for n in range(40)]
    images, texts = (
        [random.standard_normal((n, 4)).astype(np.float32) for n in random.integers(1, 7, count)] for count in (20, 40)
    )

    def late(query, item):
        best = [max(float(q @ v / math.sqrt((q @ q) * (v @ v))) for v in item) for q in query]
        return sum(best) / len(best)

    _, _, ranks = retrieval(Ragged.of(images, 4), image_ids, Ragged.of(texts, 4), text_ids)
    pairs = {"image_retrieval": (texts, text_ids, images, image_ids), "text_retrieval": (images, image_ids, texts, text_ids)}
    for direction, (queries, query_ids, gallery, gallery_ids) in pairs.items():
        for query, own, rank in zip(queries, query_ids, ranks[direction], strict=True):
            scores = np.array([late(query, item) for item in gallery])
            mine = np.array(gallery_ids) == own
            expected = 1 + (scores[~mine] > scores[mine].max()).sum() if mine.any() else math.nan
            assert rank == expected or (math.isnan(rank) and math.isnan(expected))
    with pytest.raises(UserError, match="images have 4 dimensions, texts 3"):
        retrieval(Ragged.of(images, 4), image_ids, Ragged.of([np.ones((2, 3))], 3), ["i0"])
