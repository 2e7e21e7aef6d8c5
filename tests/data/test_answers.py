from __future__ import annotations

import random

import pytest

from mmkit.data.answers import CONTRACTIONS, by_type, normalise, vqa_accuracy


def naive_accuracy(predicted, answers):
    """The official loop: each annotator left out in turn; answers that are all alike are compared as written."""
    if len(set(answers)) > 1:
        predicted, answers = normalise(predicted), [normalise(answer) for answer in answers]
    shares = []
    for left_out in range(len(answers)):
        others = [answer for i, answer in enumerate(answers) if i != left_out]
        shares.append(min(1, sum(answer == predicted for answer in others) / 3))
    return sum(shares) / len(shares)


@pytest.mark.parametrize("annotators", [10, 13])
def test_equals_the_official_loop(annotators):
    draw = random.Random(0)
    pool = ["yes", "Yes", "no", "the cat", "cat", "cat.", "2", "two"]
    for _ in range(2000):
        few = draw.sample(pool, draw.randint(1, len(pool)))
        answers, predicted = draw.choices(few, k=annotators), draw.choice(pool)
        assert vqa_accuracy(predicted, answers) == pytest.approx(naive_accuracy(predicted, answers), abs=1e-12)


@pytest.mark.parametrize(("matches", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_ten_answers_checked_by_eye(matches, accuracy):
    assert vqa_accuracy("red", ["red"] * matches + ["blue"] * (10 - matches)) == pytest.approx(accuracy)


def test_ten_answers_that_are_all_alike_are_compared_as_written():
    assert vqa_accuracy("Stop.", ["Stop."] * 10) == 1
    assert vqa_accuracy(" Stop.\n", ["Stop."] * 10) == 1
    assert vqa_accuracy("stop", ["Stop."] * 10) == 0
    assert vqa_accuracy("stop", ["Stop."] * 9 + ["STOP"]) == 1


@pytest.mark.parametrize(
    ("answers", "accuracy"),
    [
        (["The cat."], 1),
        (["the dog"], 0),
        (["cat", "dog"], 1 / 2),
        (["cat", "cat"], 1),
        (["cat", "dog", "cow"], 1 / 3),  # both others match once of three times half: (0 + 1/2 + 1/2) / 3
        (["cat", "cat", "cow"], 2 / 3),  # (1/2 + 1/2 + 1) / 3
        (["cat", "cat", "cow", "dog"], 1 / 2),  # from four on the official formula: (1/3 + 1/3 + 2/3 + 2/3) / 4
        (["a cat"] * 4, 1),
        (["A cat"] * 9, 1),
    ],
)
def test_fewer_than_ten_answers(answers, accuracy):
    assert vqa_accuracy("cat", answers) == pytest.approx(accuracy)


def test_no_answers_have_no_accuracy():
    with pytest.raises(ValueError, match="without answers"):
        vqa_accuracy("cat", [])


# what the official processPunctuation and processDigitArticle make of them
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes!", "yes"),
        ("on the left.", "on left"),
        ("the", ""),
        ("?", ""),
        ("One or two", "1 or 2"),
        ("none", "0"),
        ("eleven", "eleven"),
        ("1,000", "1000"),
        ("1,000-2,000 (about)", "10002000 about"),  # a comma between digits: no punctuation becomes a space
        ("yes/no", "yes no"),
        ("black, white", "black white"),
        ("t-shirt", "t shirt"),
        ("t-shirt - red", "tshirt red"),  # one dash beside a space: every dash is dropped
        ("3.5", "3.5"),
        ("a.m.", "am"),
        ("9:30", "9:30"),
        ("black & white", "black & white"),
        (" two\nred\tcars ", "2 red cars"),
        ("dont", "don't"),
        ("Couldn'tve", "couldn't've"),
        ("twas", "'twas"),
        ("Ive", "ive"),
        ("somebody'd", "somebodyd"),
        ("it's", "it's"),
        ("", ""),
    ],
)
def test_normalised_as_the_official_evaluation(answer, expected):
    assert normalise(answer) == expected
    assert normalise(expected) == expected


def test_contractions_get_back_one_apostrophe():
    assert len(CONTRACTIONS) == 114
    wrong = {written for written, word in CONTRACTIONS.items() if len(word) != len(written) + 1}
    assert wrong == {"somebody'd"}
    assert all("'" in word for written, word in CONTRACTIONS.items() if written not in wrong)


def test_accuracy_of_each_type():
    rows = [("count", 1.0), ("colour", 0.3), ("count", 0.0), (None, 1.0), ("colour", 0.9)]
    assert by_type(rows) == {"colour": {"mean": pytest.approx(0.6), "n": 2}, "count": {"mean": 0.5, "n": 2}}
    assert list(by_type(rows)) == ["colour", "count"]
    assert by_type([]) == {}
