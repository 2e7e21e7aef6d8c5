from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from mmkit.errors import UserError
from mmkit.metrics.scores import chance, confusion, frequency, multi_label, single_label

N = 300


@pytest.fixture(params=[2, 4, 9])
def labelled(request):
    """Probabilities that lean to the truth, and labels of which some are outside; the last but one class never occurs."""
    random = np.random.default_rng(request.param)
    C = request.param
    target = random.integers(-1, C, N)
    target[target == C - 2] = C - 1
    scores = random.dirichlet(np.ones(C), N) + 0.3 * (target[:, None] == np.arange(C))
    scores[:, C - 2] *= 0.5
    return scores / scores.sum(1, keepdims=True), target


@pytest.fixture
def many_labels():
    """Seven labels, of which the sixth is only predicted and the seventh is nowhere; some true labels are outside."""
    random = np.random.default_rng(0)
    target = random.random((N, 7)) < 0.3
    target[:, 5:] = False
    probabilities = np.clip(0.55 * random.random((N, 7)) + 0.4 * target, 0, 1)
    probabilities[:, 5:] = [0.45, 0.1]
    probabilities[:9, 5] = 0.7
    return probabilities, target, random.integers(0, 3, N) * (random.random(N) < 0.1)


def naive_auroc(scores, positive):
    """The share of pairs in which the positive stands above; half of those that tie."""
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    return np.mean(pairs)


def test_single_label_equals_scikit_learn(labelled):
    scores, target = labelled
    C, predicted, found = scores.shape[1], scores.argmax(1), single_label(scores, target)
    # a label outside is a class like any other here
    assert found["acc1"] == pytest.approx(sk.accuracy_score(target, predicted))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(target, predicted, average="macro", zero_division=0))
    assert found["micro_f1"] == pytest.approx(sk.f1_score(target, predicted, average="micro")) == found["acc1"]
    with warnings.catch_warnings(action="ignore"):  # a predicted class without true rows
        assert found["mean_per_class_recall"] == pytest.approx(sk.balanced_accuracy_score(target, predicted))
    there = [c for c in range(C) if (target == c).any()]
    assert found["auroc"] == pytest.approx(np.mean([naive_auroc(scores[:, c], target == c) for c in there]))
    assert ("acc5" in found) == (C > 5)
    if C > 5:
        inside = target >= 0
        hits = sk.top_k_accuracy_score(target[inside], scores[inside], k=5, labels=range(C), normalize=False)
        assert found["acc5"] == pytest.approx(hits / N)


def test_auroc_equals_scikit_learn_one_against_the_rest():
    random = np.random.default_rng(0)
    scores, target = random.dirichlet(np.ones(4), N), random.integers(0, 4, N)
    assert single_label(scores, target)["auroc"] == pytest.approx(sk.roc_auc_score(target, scores, multi_class="ovr"))
    binary = scores[:, :2] / scores[:, :2].sum(1, keepdims=True)
    assert single_label(binary, target % 2)["auroc"] == pytest.approx(sk.roc_auc_score(target % 2, binary[:, 1]))


def test_multi_label_equals_scikit_learn(many_labels):
    probabilities, target, _ = many_labels
    predicted, found = probabilities > 0.5, multi_label(probabilities, target)
    there = np.flatnonzero(target.any(0) | predicted.any(0))
    assert there.tolist() == [0, 1, 2, 3, 4, 5]
    assert found["acc1"] == pytest.approx(sk.accuracy_score(target, predicted))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(target, predicted, labels=there, average="macro", zero_division=0))
    assert found["micro_f1"] == pytest.approx(sk.f1_score(target, predicted, average="micro"))
    recall = sk.recall_score(target, predicted, labels=range(5), average="macro")
    assert found["mean_per_class_recall"] == pytest.approx(recall)
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(target[:, :5], probabilities[:, :5]))


def test_labels_outside_the_vocabulary_are_missed(many_labels):
    probabilities, target, outside = many_labels
    predicted, found, inside = (
        probabilities > 0.5,
        multi_label(probabilities, target, outside),
        multi_label(probabilities, target),
    )
    exact = [not o and (t == p).all() for t, p, o in zip(target, predicted, outside, strict=True)]
    assert found["acc1"] == np.mean(exact) < inside["acc1"]
    missed = np.count_nonzero(target & ~predicted) + outside.sum()
    right, wrong = np.count_nonzero(target & predicted), np.count_nonzero(predicted & ~target)
    assert found["micro_f1"] == pytest.approx(2 * right / (2 * right + missed + wrong))
    # one more class, of which nothing is found
    assert found["macro_f1"] == pytest.approx(inside["macro_f1"] * 6 / 7)
    assert found["mean_per_class_recall"] == pytest.approx(inside["mean_per_class_recall"] * 5 / 6)
    assert found["auroc"] == inside["auroc"]


def test_a_table_checked_by_eye():
    #                  a    b    c     true
    scores = np.array([[0.7, 0.2, 0.1],  # a
                       [0.6, 0.3, 0.1],  # b, given a
                       [0.1, 0.8, 0.1],  # b
                       [0.5, 0.1, 0.4]])  # outside, given a  # fmt: skip
    target = np.array([0, 1, 1, -1])
    found = single_label(scores, target)
    assert found["acc1"] == found["micro_f1"] == 2 / 4
    assert found["mean_per_class_recall"] == pytest.approx((1 + 1 / 2 + 0) / 3)  # a, b, outside
    assert found["macro_f1"] == pytest.approx((2 / 4 + 2 / 3 + 0) / 3)
    assert found["auroc"] == 1  # a stands above the 3 others with .7, b above the 2 others with .3
    assert confusion(target, scores.argmax(1), 3).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_confusion_equals_scikit_learn(labelled):
    scores, target = labelled
    C, inside, predicted = scores.shape[1], target >= 0, scores.argmax(1)
    found = confusion(target, predicted, C)
    assert found.dtype.kind == "i"
    assert (found == sk.confusion_matrix(target[inside], predicted[inside], labels=range(C))).all()


def test_a_model_that_says_the_same_of_every_row_is_at_chance():
    target = np.array([1, 1, 1, 0, 2, 2, -1, -1])
    for scores in (np.full((8, 7), 0.2), np.broadcast_to(frequency(target, 7), (8, 7))):
        assert single_label(scores, target)["auroc"] == 0.5
    random = chance(target, frequency(target, 7))
    assert random == single_label(np.broadcast_to(frequency(target, 7), (8, 7)), target)
    assert random["acc1"] == 3 / 8
    assert random["mean_per_class_recall"] == 1 / 4
    assert random["acc5"] == 6 / 8
    # the prior comes from the training rows, whose most frequent class is another
    assert chance(target, np.array([0.5, 0.3, 0.2]))["acc1"] == 1 / 8


def test_chance_of_many_labels():
    target = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    assert frequency(target, 3).tolist() == [0.75, 0.25, 0.5]
    # every row is given the first label only
    assert chance(target, frequency(target, 3)) == {
        "acc1": 1 / 4,
        "mean_per_class_recall": 1 / 3,
        "macro_f1": pytest.approx(2 * 3 / (4 + 3) / 3),
        "micro_f1": pytest.approx(2 * 3 / (4 + 6)),
        "auroc": 0.5,
    }
    assert chance(target, frequency(target, 3), np.array([0, 1, 0, 0]))["acc1"] == 0


def test_of_equal_scores_the_first_class_is_the_answer():
    tied = np.full((7, 7), 0.5)
    found = single_label(tied, np.arange(7))
    assert found["acc1"] == 1 / 7
    assert found["acc5"] == 5 / 7


def test_what_is_undefined_is_left_out():
    assert single_label(np.zeros((0, 3)), np.zeros(0, int)) == {}
    assert multi_label(np.zeros((0, 3)), np.zeros((0, 3), bool)) == {}
    assert frequency(np.zeros(0, int), 3).tolist() == [0, 0, 0]
    assert confusion(np.zeros(0, int), np.zeros(0, int), 2).tolist() == [[0, 0], [0, 0]]
    everything_right = {"acc1": 1, "mean_per_class_recall": 1, "macro_f1": 1, "micro_f1": 1}
    # one class, in every row
    assert single_label(np.ones((3, 1)), np.zeros(3, int)) == everything_right
    assert multi_label(np.ones((3, 1)), np.ones((3, 1), bool)) == everything_right
    # nothing true, nothing given
    assert multi_label(np.zeros((3, 2)), np.zeros((3, 2), bool)) == {"acc1": 1}
    assert multi_label(np.ones((3, 2)), np.zeros((3, 2), bool)) == {"acc1": 0, "macro_f1": 0, "micro_f1": 0}
    # every label outside
    nothing_right = dict.fromkeys(everything_right, 0)
    assert single_label(np.ones((3, 2)), np.full(3, -1)) == nothing_right
    assert multi_label(np.zeros((3, 2)), np.zeros((3, 2), bool), np.full(3, 2)) == nothing_right


def test_half_precision_gives_plain_floats(labelled):
    scores, target = labelled
    found = single_label(scores.astype(np.float16), target)
    assert all(type(value) is float for value in found.values())
    for key, value in single_label(scores, target).items():
        assert found[key] == pytest.approx(value, abs=0.02)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(UserError, match="not finite"):
        single_label(np.array([[np.nan, 1.0]]), np.array([0]))
    with pytest.raises(UserError, match="not finite"):
        multi_label(np.array([[np.inf, 1.0]]), np.array([[True, False]]))
    with pytest.raises(ValueError, match="do not fit"):
        single_label(np.ones((2, 3)), np.array([0, 3]))
    with pytest.raises(ValueError, match="do not fit"):
        multi_label(np.ones((2, 3)), np.ones((2, 2), bool))
