"""Rows as a user has them: some lack a caption, a picture or a label, and a label may be several."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmkit.data.audit import table
from mmkit.data.shards import open_dataset
from tests import raw
from tests.conftest import Outcome
from tests.core import wav

Invoke = Callable[..., Outcome]


@pytest.fixture
def prepared(tmp_path: Path, invoke: Invoke) -> Callable[..., dict[str, dict[str, Any]]]:
    """A JSONL table of rows that `mmkit prep table` prepares: id -> stored row."""
    for i in range(6):
        raw.jpeg(tmp_path / f"{i}.jpg", i)

    def make(*rows: dict[str, Any]) -> dict[str, dict[str, Any]]:
        (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        outcome = invoke("prep", "table", tmp_path / "data", "--source", tmp_path / "t.jsonl")
        assert outcome.code == 0, outcome.stderr
        return {row["id"]: row for row in open_dataset(tmp_path / "data").rows()}

    return make


def rejected(folder: Path) -> dict[str, str]:
    return {r["id"]: r["reason"] for r in map(json.loads, (folder / "data" / "rejected.jsonl").read_text().splitlines())}


def test_a_row_with_a_label_may_lack_its_caption_or_its_picture(tmp_path: Path, prepared: Callable[..., Any]) -> None:
    rows = prepared(
        {"id": "whole", "image": "0.jpg", "caption": "a b", "label": "cat"},
        {"id": "no caption", "image": "1.jpg", "caption": "", "label": "cat"},
        {"id": "no picture", "image": None, "caption": "c d", "label": "dog"},
        {"id": "no label", "image": "2.jpg", "caption": "e f", "label": None},
        {"id": "a picture alone", "image": "3.jpg", "caption": "nan", "label": ""},
        {"id": "a label alone", "image": "", "caption": "", "label": "dog"},
        {"id": "unreadable", "image": "none.jpg", "caption": "g h", "label": "dog"},
    )
    assert rows.keys() == {"whole", "no caption", "no picture", "no label"}
    assert rows["no caption"]["captions"] in (None, [])
    assert rows["no picture"]["image"] is None
    assert rows["no label"]["label"] is None
    reasons = rejected(tmp_path)
    assert reasons["a picture alone"] == "no caption: it says 'nan', a missing value"
    assert reasons["a label alone"] == "no image in the row"
    assert reasons["unreadable"].startswith("missing file")


def test_what_rows_lack_is_counted_and_stands_in_the_card(tmp_path: Path, prepared: Callable[..., Any], invoke: Invoke) -> None:
    prepared(
        {"image": "0.jpg", "caption": "a b", "label": "cat", "split": "train"},
        {"image": "1.jpg", "caption": "", "label": "cat", "split": "train"},
        {"image": "2.jpg", "caption": "c d", "label": "dog", "split": "test"},
    )
    found = invoke("prep", "audit", tmp_path / "data", "--json").lines[0]
    assert found["filled"]["captions"] == {"train": 1, "test": 1}
    assert found["filled"]["image"] == found["filled"]["label"] == {"train": 2, "test": 1}
    assert ["rows without captions", "1", "train 1"] in table(found)
    assert "Null where a row lacks it: captions in 1 of 3 rows." in (tmp_path / "data" / "README.md").read_text()
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))["train"]
    assert sorted(bool(captions) for captions in loaded["captions"]) == [False, True]


def test_two_rows_of_one_picture_complete_each_other(prepared: Callable[..., Any]) -> None:
    rows = prepared(
        {"image": "0.jpg", "caption": "a b", "label": None},
        {"image": "0.jpg", "caption": None, "label": "cat"},
        {"image": "1.jpg", "caption": "c d", "label": None},
    )
    assert (rows["0.jpg"]["captions"], rows["0.jpg"]["label"]) == (["a b"], "cat")


def test_a_label_may_be_several(tmp_path: Path, prepared: Callable[..., Any]) -> None:
    rows = prepared(
        {"image": "0.jpg", "caption": "a b", "label": ["cat", " dog", "cat"]},
        {"image": "1.jpg", "caption": "c d", "label": []},
        {"image": "2.jpg", "caption": "e f", "label": "cat"},
        {"image": "3.jpg", "caption": "g h", "label": [3.0, None]},
    )
    assert [rows[f"{i}.jpg"]["label"] for i in range(4)] == [["cat", "dog"], None, ["cat"], ["3"]]
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].features["label"] == datasets.List(datasets.Value("string"))
    audit = open_dataset(tmp_path / "data").manifest["audit"]
    assert audit["labels"]["largest"] == {"cat": 2, "dog": 1, "3": 1}


def test_texts_and_labels_are_samples_where_the_column_of_texts_is_named(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "t.csv").write_text("review,label\n" + "".join(f"it is {w},{w}\n" for w in ["good", "bad"] * 5))
    assert invoke("prep", "table", "data", "--source", "t.csv", cwd=tmp_path).stderr.startswith("error: no image column found")
    outcome = invoke("prep", "table", "data", "--source", "t.csv", "--column", "caption=review", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert open_dataset(tmp_path / "data").manifest["columns"] == {"captions": "text", "label": "label"}


def test_the_labels_of_a_scene_are_its_shapes(tmp_path: Path, invoke: Invoke) -> None:
    assert invoke("prep", "shapes", tmp_path / "data", "--limit", 30).code == 0
    for row in open_dataset(tmp_path / "data").rows(columns=["label", "regions"]):
        assert row["label"] == sorted({phrase.split()[-1] for phrase in row["regions"]["phrases"]})


def test_a_column_of_splits_is_not_called_blank_where_all_rows_were_rejected(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "t.csv").write_text("image,caption,split\nno.jpg,a text,train\n")
    outcome = invoke("prep", "table", "data", "--source", "t.csv", cwd=tmp_path)
    assert "the only row was rejected" in outcome.stderr
    assert "is blank" not in outcome.stderr


def test_what_is_said_of_sounds_names_no_pictures(tmp_path: Path, invoke: Invoke) -> None:
    rows = ["audio,text,label", "0.wav,a text,a", "0.wav,another text,a", "0.wav,a third text,b"]
    (tmp_path / "0.wav").write_bytes(wav(np.sin(np.arange(800))))
    (tmp_path / "t.csv").write_text("".join(f"{row}\n" for row in rows))
    outcome = invoke("prep", "table", tmp_path / "data", "--source", tmp_path / "t.csv")
    assert "1 rows were merged into samples that have the same audio" in outcome.stderr
    (reason,) = rejected(tmp_path).values()
    assert reason.startswith("label 'b', but the same audio has 'a' in ")
