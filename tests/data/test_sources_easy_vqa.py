"""easy-VQA: the official layout, types of questions, and what is damaged or missing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mmkit.data.schema import Ask, Reject, Row
from mmkit.data.shards import open_dataset
from mmkit.data.sources.easy_vqa import read
from mmkit.errors import UserError
from tests import raw
from tests.conftest import Outcome


def test_a_row_is_a_picture_with_all_its_questions(tmp_path: Path) -> None:
    source = read(Ask(tmp_path, raw.easy_vqa(tmp_path / "easy")))
    rows = [row for row in source.rows if isinstance(row, Row)]
    assert Counter(row.split for row in rows) == {"train": 12, "test": 4}
    assert [row.id for row in rows[:2]] == ["train-00000", "train-00001"]
    assert rows[1].values["questions"] == [
        {"id": "train-00001/0", "question": "what is the green shape?", "answers": ["triangle"], "type": "shape"},
        {"id": "train-00001/1", "question": "what color is the triangle?", "answers": ["green"], "type": "colour"},
        {"id": "train-00001/2", "question": "is there a green shape?", "answers": ["yes"], "type": "yes/no"},
    ]
    assert source.note == "48 questions about 16 pictures, official splits train, test"


def test_a_clone_of_the_repository_is_searched(tmp_path: Path) -> None:
    raw.easy_vqa(tmp_path / "clone" / "easy_vqa" / "data")
    assert len(read(Ask(tmp_path, tmp_path / "clone")).rows) == 16


def test_two_of_them_are_not_mixed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        raw.easy_vqa(tmp_path / "both" / name)
    with pytest.raises(UserError, match="several easy-VQA found") as e:
        read(Ask(tmp_path, tmp_path / "both"))
    assert e.value.hint == f"--source {tmp_path / 'both' / 'a'}   reads one"


def test_what_is_damaged_or_missing_is_a_reject(tmp_path: Path, invoke: Callable[..., Outcome]) -> None:
    root = raw.easy_vqa(tmp_path / "easy")
    path = root / "train" / "questions.json"
    asked = json.loads(path.read_text())
    path.write_text(json.dumps([*asked, ["where?", 0], ["  ", "red", 1], ["what?", None, 1], ["what?", "red", 77]]))
    (root / "train" / "images" / "5.png").unlink()
    rejects = [row for row in read(Ask(tmp_path, root)).rows if isinstance(row, Reject)]
    assert [(row.id, row.reason) for row in rejects] == [
        ("train question 37", "not [question, answer, number of the picture]: ['where?', 0]"),
        ("train question 38", "no question in the item"),
        ("train question 39", "no answer in the item"),
        ("train-00005", "missing file images/5.png, of 3 questions"),
        ("train-00077", "missing file images/77.png, of 1 questions"),
    ]
    outcome = invoke("prep", "easy-vqa", "data", "--source", "easy", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.splits == {"train": 11, "test": 4}
    assert len((tmp_path / "data" / "rejected.jsonl").read_text().splitlines()) == 5
    assert next(data.rows("test"))["questions"][0]["answers"] == ["circle"]


def test_another_layout_says_what_was_looked_for(tmp_path: Path) -> None:
    raw.coco(tmp_path / "coco")
    with pytest.raises(UserError, match="no easy-VQA found"):
        read(Ask(tmp_path, tmp_path / "coco"))
    path = tmp_path / "coco" / "train" / "questions.json"
    path.parent.mkdir()
    path.write_text("{}")
    with pytest.raises(UserError, match="no list"):
        read(Ask(tmp_path, tmp_path / "coco"))
