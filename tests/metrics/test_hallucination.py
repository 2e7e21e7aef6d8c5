"""CHAIR and POPE against counts made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmkit.data.pope_files import read
from mmkit.errors import UserError
from mmkit.metrics.hallucination import chair, chair_intervals, is_yes, pope, pope_intervals
from mmkit.metrics.objects import DEFAULT, things

SAID = [
    ("A baby elephant stands next to two men on motor bikes.", ["elephant", "person", "motorcycle"]),
    ("a dog and a dog", ["dog", "dog"]),
    ("Hot dogs, knives and wine glasses on the dining tables", ["hot dog", "knife", "wine glass", "dining table"]),
    ("a passenger train at a stop sign", ["train", "stop sign"]),
    ("a toilet with its seat up, beside a chair", ["toilet", "chair"]),
    ("a man in a bow tie at home plate", ["person", "tie"]),
    ("skis, buses, sheep, benches, donuts", ["skis", "bus", "sheep", "bench", "donut"]),
    ("children and women with puppies", ["person", "person", "dog"]),
    ("the sky over nothing in particular; a carpet, a category", []),
    ("a bear, then a teddy bear", ["bear", "teddy bear"]),
    ("", []),
]


@pytest.mark.parametrize(("text", "expected"), SAID)
def test_things_that_a_text_names(text: str, expected: list[str]) -> None:
    assert [one.thing for one in things().of(text)] == expected


def test_the_things_of_coco() -> None:
    groups = [[word.strip() for word in line.split(",")] for line in DEFAULT.read_text().splitlines()]
    words = [word for group in groups for word in group]
    assert len(groups) == things().count == 80
    assert len(set(words)) == len(words), "a word means one thing"
    for name, *_ in groups:
        assert [one.thing for one in things().of(f"a {name}")] == [name]


def test_synonyms_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("# shapes\ncircle, disc, round thing\nsquare, box\n\n")
    mine = things(tmp_path / "mine.txt")
    assert (mine.name, mine.count) == ("mine.txt", 2)
    assert [one.thing for one in mine.of("two boxes, a disc and a round thing; a dog")] == ["square", "circle", "circle"]
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "twice.txt").write_text("cat, feline\nlion, Feline\n")
    for name, what in (
        ("empty.txt", "names no things"),
        ("absent.txt", "cannot read the synonyms"),
        ("twice.txt", "'Feline' means both cat and lion"),
    ):
        with pytest.raises(UserError, match=what):
            things(tmp_path / name)


def test_chair_counts_mentions_and_captions() -> None:
    counts = np.array([[1, 3], [0, 2], [2, 2], [0, 0]])
    assert chair(counts) == {"CHAIRi": 3 / 7, "CHAIRs": 2 / 4}
    assert chair(np.zeros((3, 2), int)) == {"CHAIRs": 0.0}, "no share of no mentions"
    many = np.tile(counts, (50, 1))
    found = chair_intervals(many, [str(i) for i in range(200)])
    assert list(found) == ["CHAIRi", "CHAIRs"]
    for name, (low, high) in found.items():
        assert low < chair(many)[name] < high and high - low < 0.25
    assert list(chair_intervals(np.zeros((3, 2), int), list("abc"))) == ["CHAIRs"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("yes", True),
        ("No", False),
        ("No, there is not.", False),
        ("Yes. Not that I know", True),
        ("Not really", False),
        ("a dog", True),
    ],
)
def test_yes_and_no(answer: str, expected: bool) -> None:
    assert is_yes(answer) is expected


def test_pope_against_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

    rng = np.random.default_rng(0)
    yes, true = rng.random(300) < 0.7, rng.random(300) < 0.5
    found = pope(yes, true)
    scores = (accuracy_score, f1_score, precision_score, recall_score)
    assert list(found.values()) == pytest.approx([*(score(true, yes) for score in scores), yes.mean()])
    assert list(found) == ["pope_accuracy", "pope_f1", "pope_precision", "pope_recall", "pope_yes"]
    ends = pope_intervals(yes, true, [str(i // 6) for i in range(300)])
    assert list(ends) == list(found)
    assert all(low < found[name] < high for name, (low, high) in ends.items())
    never = np.zeros(4, bool)
    assert pope(never, never) == {"pope_accuracy": 1.0, "pope_yes": 0.0}


def test_pope_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for place in ("a.jpg", "deep/b.jpg"):
        (tmp_path / place).write_bytes(b"x")
    line = {"question_id": 7, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "yes"}
    file = tmp_path / "pope.jsonl"
    file.write_text(json.dumps(line) + "\n\n" + json.dumps(line | {"question_id": 8, "image": "b.jpg", "label": "No"}) + "\n")
    found = read(file)
    assert [(one.id, one.picture.name, one.label) for one in found] == [("7", "a.jpg", True), ("8", "b.jpg", False)]
    for change, what in (
        ({"image": "c.jpg"}, "no picture c.jpg in .*line 1"),
        ({"label": "maybe"}, "the label 'maybe' is neither yes nor no"),
        ({"text": " "}, "no text"),
    ):
        file.write_text(json.dumps(line | change))
        with pytest.raises(UserError, match=what):
            read(file)
    file.write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        read(file)
