"""Tables of questions and answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.columns import parse
from mmkit.data.schema import Ask, Row
from mmkit.data.shards import open_dataset
from mmkit.data.sources.table import read
from mmkit.errors import UsageError
from tests import raw
from tests.conftest import Outcome


def questions(root: Path, *rows: dict[str, Any], column: tuple[str, ...] = ()) -> list[Any]:
    """What each row asks."""
    for row in rows:
        raw.jpeg(root / row["image"], len(row["image"]))
    (root / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(Ask(root / "out", root / "t.jsonl"), column=list(column)).rows
    return [row.values.get("questions") for row in found if isinstance(row, Row)]


def test_questions_with_answers_are_no_captions(tmp_path: Path, invoke: Callable[..., Outcome]) -> None:
    for i in range(2):
        raw.jpeg(tmp_path / f"{i}.jpg", i)
    lines = ["0.jpg,what is it?,a cat", "0.jpg,which colour?,red", "1.jpg,what is it?,a dog"]
    (tmp_path / "t.csv").write_text("".join(f"{line}\n" for line in ("image,question,answer", *lines)))
    outcome = invoke("prep", "table", tmp_path / "data", "--source", tmp_path / "t.csv", "--splits", "train:1")
    assert outcome.code == 0, outcome.stderr
    assert "image column 'image', question column 'question', answer column 'answer'" in outcome.stderr
    found = {row["id"]: row for row in open_dataset(tmp_path / "data").rows()}
    assert "captions" not in found["0.jpg"]
    # both questions about one picture are of its sample
    asked = [{"id": f"row {n}", "question": q, "answers": [a], "type": None} for n, q, a in
             ((2, "what is it?", "a cat"), (3, "which colour?", "red"))]  # fmt: skip
    assert found["0.jpg"]["questions"] == asked


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"answer": "yes"}, ["yes"]),
        ({"answers": ["yes", "no", None]}, ["yes", "no"]),
        ({"answers": '["yes", "no"]'}, ["yes", "no"]),
        ({"answers": [{"answer": "yes", "answer_id": 1}, {"answer": "no", "answer_id": 2}]}, ["yes", "no"]),
        ({"answer_0": "yes", "answer_1": "no"}, ["yes", "no"]),
        ({"answer": 3}, ["3"]),
        ({"multiple_choice_answer": "yes"}, ["yes"]),
        ({"answers": ["yes", "yes"], "multiple_choice_answer": "yes"}, ["yes", "yes"]),
    ],
)
def test_answers_in_every_usual_form(tmp_path: Path, answers: dict[str, Any], expected: list[str]) -> None:
    row = {"image": "1.jpg", "question": "is it?", "question_id": 7, "answer_type": "yes/no"} | answers
    asked = [{"id": "7", "question": "is it?", "answers": expected, "type": "yes/no"}]
    assert questions(tmp_path, row) == [asked]


def test_columns_of_other_names_are_typed_and_a_caption_stays_one(tmp_path: Path) -> None:
    row = {"image": "1.jpg", "q": "what?", "a": "a cat", "caption": "a cat on a roof"}
    (asked,) = questions(tmp_path, row, column=("question=q", "answer=a"))
    assert (asked[0]["question"], asked[0]["answers"]) == ("what?", ["a cat"])
    row = {"image": "1.jpg", "question": "what?", "answer": "a cat"}
    assert questions(tmp_path, row, column=("caption=question",)) == [None]
    source = read(Ask(tmp_path / "out", tmp_path / "t.jsonl"), column=["caption=question"])
    assert "; not taken: 'answer'" in source.note


def test_questions_without_answers_are_texts_as_before(tmp_path: Path) -> None:
    assert questions(tmp_path, {"image": "1.jpg", "question": "what is it?"}) == [None]


def test_the_role_is_hinted_at() -> None:
    with pytest.raises(UsageError) as e:
        parse(["questions=question"])
    assert e.value.hint == "did you mean question?"
