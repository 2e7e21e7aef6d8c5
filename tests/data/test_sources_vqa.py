"""VQA: both versions, zips, test splits without answers, lists of others, and what is damaged or missing."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.schema import Ask, Reject, Row
from mmkit.data.shards import open_dataset
from mmkit.data.sources.vqa import read
from mmkit.errors import UserError
from tests import raw
from tests.conftest import Outcome


def rows_of(root: Path, **options: Any) -> list[Row]:
    return [row for row in read(Ask(root.parent / "out", root), **options).rows if isinstance(row, Row)]


def change(path: Path, key: str, into: Callable[[list[Any]], Any]) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {key: into(content[key])}))


def test_ten_answers_and_the_answer_type(tmp_path: Path) -> None:
    rows = rows_of(raw.vqa(tmp_path / "vqa"))
    assert Counter(row.split for row in rows) == {"train": 12, "val": 4, "test": 3}
    assert rows[-1].split == "val"
    first = next(row for row in rows if row.split == "train")
    assert first.id == "000000000001"
    assert first.values["questions"] == [
        {"id": "1000", "question": "what is on the green ground?", "answers": ["line"] * 8 + ["no"] * 2, "type": "other"},
        {"id": "1001", "question": "Is it a line?", "answers": ["yes"] * 8 + ["no"] * 2, "type": "yes/no"},
    ]
    asked = next(row for row in rows if row.split == "test").values["questions"]
    assert [(question["answers"], question["type"]) for question in asked] == [([], None)] * 2


def test_zips_of_questions_and_photos_give_the_same(tmp_path: Path) -> None:
    root, packed = raw.vqa(tmp_path / "vqa"), tmp_path / "zips"
    packed.mkdir()
    for split, subset in (("Train", "train2014"), ("Val", "val2014"), ("Test", "test2015")):
        with zipfile.ZipFile(packed / f"{subset}.zip", "w") as pack:
            for path in sorted((root / subset).iterdir()):
                pack.write(path, f"{subset}/{path.name}")
        for kind in ("Questions", "Annotations"):
            if found := list(root.glob(f"v2_*{subset}_{kind.lower()}.json")):
                with zipfile.ZipFile(packed / f"v2_{kind}_{split}_mscoco.zip", "w") as pack:
                    pack.write(found[0], found[0].name)
    plain, unpacked = rows_of(root), rows_of(packed)
    assert [(r.id, r.split, r.values["questions"], r.values["image"].read()) for r in plain] == [
        (r.id, r.split, r.values["questions"], r.values["image"].read()) for r in unpacked
    ]


def test_the_latest_version_and_all_of_test_are_read(tmp_path: Path) -> None:
    root = raw.vqa(raw.vqa(tmp_path / "vqa", "", train=3), "v2_")
    part = json.loads((root / "v2_OpenEnded_mscoco_test2015_questions.json").read_text())
    part["questions"] = part["questions"][:2]
    (root / "v2_OpenEnded_mscoco_test-dev2015_questions.json").write_text(json.dumps(part))
    said: list[str] = []
    rows = read(Ask(tmp_path / "out", root, say=said.append)).rows
    assert Counter(row.split for row in rows if isinstance(row, Row)) == {"train": 12, "val": 4, "test": 3}
    assert said[0] == "v1 of mscoco is there, too, and not read"
    assert said[1].endswith("test-dev2015_questions.json is not read: its questions are a part of those of test")
    (root / "v2_OpenEnded_mscoco_test2015_questions.json").unlink()
    (alone,) = [row for row in rows_of(root) if row.split == "test"]
    assert len(alone.values["questions"]) == 2  # test-dev alone is the test split


def test_version_one_without_choices(tmp_path: Path) -> None:
    root = raw.vqa(tmp_path / "vqa", "")
    for path in root.glob("OpenEnded_*"):
        # the same questions again, with choices
        path.with_name(path.name.replace("OpenEnded", "MultipleChoice")).write_text(path.read_text())
    assert len(rows_of(root)) == 19


def test_photos_elsewhere_in_the_names_of_2017(tmp_path: Path) -> None:
    root, photos = raw.vqa(tmp_path / "vqa", val=0, test=0), tmp_path / "coco" / "train2017"
    photos.mkdir(parents=True)
    for path in sorted((root / "train2014").iterdir()):
        path.rename(photos / path.name.removeprefix("COCO_train2014_"))
    source = read(Ask(tmp_path / "out", root), image_root=tmp_path / "coco")
    assert sum(isinstance(row, Row) for row in source.rows) == 12
    assert "12 of 12 paths: by COCO's number" in source.note


def test_what_is_damaged_or_missing_is_a_reject(tmp_path: Path, invoke: Callable[..., Outcome]) -> None:
    root = raw.vqa(tmp_path / "vqa")
    (root / "train2014" / f"COCO_train2014_{5:012d}.jpg").unlink()
    bad = [{"image_id": 1, "question": " ", "question_id": 7}, {"image_id": 1, "question": "what?", "question_id": 1000}]
    bad.append({"image_id": None, "question": "what?", "question_id": 8})
    change(root / "v2_OpenEnded_mscoco_train2014_questions.json", "questions", lambda found: found + bad)
    change(root / "v2_mscoco_val2014_annotations.json", "annotations", lambda found: found[1:])
    source = read(Ask(tmp_path / "out", root))
    assert [(row.id, row.reason) for row in source.rows if isinstance(row, Reject)] == [
        ("7", "no question in it"),
        ("1000", "the id 1000 belongs to another question"),
        ("question 27", "the id of its image is no number: None"),
        ("000000000005", "missing file COCO_train2014_000000000005.jpg"),
    ]
    assert "36 questions about 18 photos" in source.note
    assert source.note.endswith("; 7 of them without answers")  # six of test, and one whose annotation is lost
    outcome = invoke("prep", "vqa", "data", "--source", "vqa", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert open_dataset(tmp_path / "data").splits == {"train": 11, "val": 4, "test": 3}
    assert len((tmp_path / "data" / "rejected.jsonl").read_text().splitlines()) == 4


def test_a_split_without_its_photos_is_left_out(tmp_path: Path) -> None:
    root = raw.vqa(tmp_path / "vqa")
    for path in (root / "test2015").iterdir():
        path.unlink()
    said: list[str] = []
    rows = read(Ask(tmp_path / "out", root, say=said.append)).rows
    assert {row.split for row in rows if isinstance(row, Row)} == {"train", "val"}
    assert said == [f"none of the photos of {root}/v2_OpenEnded_mscoco_test2015_questions.json is there: its split is left out"]


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("train.json", {"answers": [{"answer": "red", "answer_confidence": "yes"}] * 10, "answer_type": "other"}),  # VizWiz
        ("vqa_train.json", {"answer": ["red"] * 10, "question_id": 1, "dataset": "vqa"}),  # LAVIS
        ("questions.json", {"answer": "red"}),
    ],
)
def test_lists_of_questions(name: str, item: dict[str, Any], tmp_path: Path) -> None:
    for i in range(3):
        raw.jpeg(tmp_path / "list" / "images" / f"{i}.jpg", i)
    listed = [{"image": f"{i}.jpg", "question": "what colour?", **item} for i in range(3)]
    listed = [one | ({"question_id": i} if "question_id" in one else {}) for i, one in enumerate(listed)]
    (tmp_path / "list" / name).write_text(json.dumps(listed))
    rows = rows_of(tmp_path / "list")
    assert [row.id for row in rows] == ["0.jpg", "1.jpg", "2.jpg"]
    assert rows[0].split == (None if name == "questions.json" else "train")
    (asked,) = rows[0].values["questions"]
    assert set(asked["answers"]) == {"red"}
    assert asked["type"] == item.get("answer_type")


def test_an_item_of_a_list_that_asks_nothing_is_rejected(tmp_path: Path) -> None:
    raw.jpeg(tmp_path / "list" / "0.jpg", 0)
    listed = [{"image": "0.jpg", "question": "what?", "answer": "red"}, {"image": "0.jpg", "answer": "blue"}]
    (tmp_path / "list" / "train.json").write_text(json.dumps(listed))
    flaw, row = read(Ask(tmp_path / "out", tmp_path / "list")).rows
    assert isinstance(flaw, Reject) and (flaw.id, flaw.reason) == ("0.jpg/2", "no question in it")
    assert isinstance(row, Row) and [one["answers"] for one in row.values["questions"]] == [["red"]]


def test_drawn_scenes(tmp_path: Path) -> None:
    root = tmp_path / "abstract"
    raw.jpeg(root / "abstract_v002_train2015_000000000007.png", 7)
    asked = [{"image_id": 7, "question": "Who sits?", "question_id": 70}]
    told = [{"question_id": 70, "answer_type": "other", "answers": [{"answer": "a dog", "answer_confidence": "yes"}] * 10}]
    (root / "OpenEnded_abstract_v002_train2015_questions.json").write_text(json.dumps({"questions": asked}))
    (root / "abstract_v002_train2015_annotations.json").write_text(json.dumps({"annotations": told}))
    (row,) = rows_of(root)
    assert row.values["questions"][0]["answers"] == ["a dog"] * 10


def test_another_broken_file_is_passed_over_and_one_of_questions_is_named(tmp_path: Path) -> None:
    raw.jpeg(tmp_path / "list" / "0.jpg", 0)
    (tmp_path / "list" / "settings.json").write_text("{ // mine")
    (tmp_path / "list" / "train.json").write_text(json.dumps([{"image": "0.jpg", "question": "what?", "answer": 3}]))
    assert rows_of(tmp_path / "list")[0].values["questions"][0]["answers"] == ["3"]
    (tmp_path / "list" / "questions.json").write_text("[{")
    with pytest.raises(UserError, match="not valid JSON"):
        rows_of(tmp_path / "list")


def test_what_is_no_vqa_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no questions found"):
        read(Ask(tmp_path / "out", raw.coco(tmp_path / "coco")))
    root = raw.vqa(tmp_path / "vqa")
    for path in root.glob("*/*.jpg"):
        path.unlink()
    with pytest.raises(UserError, match="no photos found") as e:
        read(Ask(tmp_path / "out", root))
    assert "--image-root FOLDER" in e.value.hint
    (root / "v2_OpenEnded_mscoco_train2014_questions.json").write_text('{"questions": [{"image_id": 1}]}')
    with pytest.raises(UserError, match=r"not the questions of VQA \(no 'question_id'\)"):
        read(Ask(tmp_path / "out", root))
