"""The intervals of metrics against drawing rows in a loop and scikit-learn, and how often they hold the truth."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmkit import bootstrap
from mmkit.metrics import intervals
from mmkit.metrics.scores import multi_label, single_label

DRAWS = 60


@pytest.fixture(params=["one label", "many labels"])
def judged(request):
    """Scores with ties, targets of which some are outside the vocabulary, and samples that some rows share."""
    random = np.random.default_rng(0)
    N, C = 80, 6
    ids = random.integers(0, 50, N).astype(str)
    if request.param == "one label":
        target = random.integers(-1, C, N)
        scores = np.round(random.random((N, C)) + 0.4 * (target[:, None] == np.arange(C)), 1)
        return scores, target, ids, None
    target = random.random((N, C)) < 0.4
    return np.round(0.6 * random.random((N, C)) + 0.4 * target, 1), target, ids, random.integers(0, 2, N)


def test_of_classes_equals_drawing_the_rows(judged):
    scores, target, ids, outside = judged

    def measured(rows):
        if outside is None:
            return single_label(scores[rows], target[rows])
        return multi_label(scores[rows], target[rows], outside[rows])

    whole = measured(np.arange(len(ids)))
    found = intervals.of_classes(whole, scores, target, ids, outside, draws=DRAWS)
    drawn = bootstrap.statistics(measured, bootstrap.numbers(ids), DRAWS)
    assert list(found) == list(whole)
    for name, value in whole.items():
        assert found[name][0] < value < found[name][1]
        assert found[name] == pytest.approx(bootstrap.interval(drawn[name]), abs=1e-12), name


def test_weighted_auroc_equals_scikit_learn():
    random = np.random.default_rng(1)
    target = random.integers(0, 4, 200)
    scores = np.round(random.random((200, 4)) + 0.3 * (target[:, None] == np.arange(4)), 1)
    weights = random.integers(0, 4, (5, 200)).astype(float)
    positive = target[:, None] == np.arange(4)
    expected = [np.mean([roc_auc_score(positive[:, c], scores[:, c], sample_weight=row) for c in range(4)]) for row in weights]
    assert intervals.weighted_auroc(scores, positive)(weights) == pytest.approx(expected, abs=1e-12)
    nothing = np.where(target[:, None] < 4, 0.0, weights.T[:, :1]).T
    assert np.isnan(intervals.weighted_auroc(scores, positive)(nothing)).all()


def test_of_ranks_equals_drawing_the_queries():
    """Both directions by the same draws of pictures; a query without a positive is none of its metric."""
    random = np.random.default_rng(2)
    pictures = [f"p{i}" for i in range(40)]
    texts = [f"p{i // 3}" for i in range(120)]
    ranks = {"a_retrieval": random.integers(1, 30, 120) * 0.5 + 0.5, "b_retrieval": random.integers(1, 30, 40).astype(float)}
    ranks["b_retrieval"][3] = np.nan
    found = intervals.of_ranks(ranks, {"a_retrieval": texts, "b_retrieval": pictures}, (1, 5), draws=DRAWS)
    groups = bootstrap.numbers([*texts, *pictures])
    whole = np.concatenate(list(ranks.values()))

    def measured(rows):
        parts = {"a_retrieval": whole[rows[rows < 120]], "b_retrieval": whole[rows[rows >= 120]]}
        return {
            key: value
            for name, own in parts.items()
            for seen in [own[~np.isnan(own)]]
            for key, value in {
                f"{name}_recall@5": (seen <= 5).mean(),
                f"{name}_median_rank": np.median(seen),
            }.items()
        }

    drawn = bootstrap.statistics(measured, groups, DRAWS)
    for name, samples in drawn.items():
        assert found[name] == pytest.approx(bootstrap.interval(samples), abs=1e-12), name
    assert set(found) == {*drawn, "a_retrieval_recall@1", "b_retrieval_recall@1"}


def test_a_metric_at_its_end_has_an_interval_too():
    """Of 30 pictures with five captions each, all found: the captions are no 150 pictures (Wilson, 1927)."""
    ids = np.repeat(np.arange(30), 5).astype(str)
    found = intervals.of_shares({"all": np.ones(150), "none": np.zeros(150)}, ids)
    z = 1.959964
    assert found["all"] == pytest.approx([30 / (30 + z * z), 1])
    assert found["all"][1] == 1
    assert found["none"] == pytest.approx([0, z * z / (30 + z * z)])
    assert found["none"][0] == 0
    target = np.arange(60) % 3
    scores = np.eye(3)[target]
    perfect = single_label(scores, target)
    for name, (low, high) in intervals.of_classes(perfect, scores, target, np.arange(60).astype(str), draws=20).items():
        assert 0.9 < low < high == 1, name


def held(trials, draw):
    """The share of trials in which the interval holds the truth: `draw(random)` gives (intervals, truths) by name."""
    counts = {}
    for trial in range(trials):
        found, truth = draw(np.random.default_rng(trial))
        for name, value in truth.items():
            counts[name] = counts.get(name, 0) + (found[name][0] <= value <= found[name][1])
    return {name: count / trials for name, count in counts.items()}


def test_recall_with_five_captions_a_picture_holds_the_truth():
    """As right or wrong as their picture is easy; a rank of 1 or 3."""

    def draw(random):
        easy = random.beta(2, 2, 80)
        texts = np.where(random.random(400) < np.repeat(easy, 5), 1.0, 3.0)
        ids = np.arange(80).astype(str)
        ranks = {"image_retrieval": texts, "text_retrieval": np.where(random.random(80) < 0.3, 1.0, 3.0)}
        found = intervals.of_ranks(ranks, {"image_retrieval": np.repeat(ids, 5), "text_retrieval": ids}, (1,), draws=300)
        return found, {"image_retrieval_recall@1": 0.5, "text_retrieval_recall@1": 0.3}

    shares = held(200, draw)
    assert all(0.9 <= share <= 0.99 for share in shares.values()), shares


@pytest.mark.parametrize(("truth", "n"), [(0.99, 100), (0.02, 150), (0.96, 100)])
def test_a_share_near_its_end_holds_the_truth(truth, n):
    """Percentiles alone would hold it in 63 of 100 draws of the first kind."""

    def draw(random):
        return intervals.of_shares({"x": (random.random(n) < truth).astype(float)}, np.arange(n).astype(str), 200), {"x": truth}

    assert held(200, draw)["x"] >= 0.9


def test_metrics_of_classes_hold_the_truth():
    """Four classes, one of them rare, and scores that lean to the right one; the truth is measured on 40,000 rows."""

    def make(random, N):
        target = random.choice(4, N, p=[0.4, 0.3, 0.2, 0.1])
        return random.random((N, 4)) + 0.5 * (target[:, None] == np.arange(4)), target

    truth = single_label(*make(np.random.default_rng(7), 40_000))

    def draw(random):
        scores, target = make(random, 120)
        return intervals.of_classes(single_label(scores, target), scores, target, np.arange(120).astype(str), draws=150), truth

    shares = held(200, draw)
    assert all(0.9 <= share <= 0.99 for share in shares.values()), shares
