"""NLVR and NLVR2: orders of boxes, pairs of photographs, labels, and what is damaged or missing."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmkit.data.images import load_rgb
from mmkit.data.schema import Ask, Reject, Row
from mmkit.data.shards import open_dataset
from mmkit.data.sources.nlvr import read
from mmkit.errors import UserError
from tests import raw
from tests.conftest import Outcome


def rows_of(root: Path, image_root: Path | None = None) -> list[Row]:
    return [row for row in read(Ask(root.parent / "out", root), image_root=image_root).rows if isinstance(row, Row)]


def test_each_order_of_the_boxes_is_a_row(tmp_path: Path) -> None:
    source = read(Ask(tmp_path / "out", raw.nlvr(tmp_path / "nlvr")))
    rows = [row for row in source.rows if isinstance(row, Row)]
    assert Counter(row.split for row in rows) == {"train": 12, "dev": 6}
    assert [row.id for row in rows[:4]] == ["train-0-0-0", "train-0-0-1", "train-0-0-2", "train-1-1-0"]
    assert rows[0].values["captions"] == [raw.caption(0)]
    assert [row.values["label"] for row in rows[2:4]] == ["true", "false"]
    assert source.note.endswith("; 6 sentences have fewer than 6 orders of their boxes")
    assert not any(isinstance(row, Reject) for row in source.rows)


def test_two_photographs_are_one_picture_side_by_side(tmp_path: Path, invoke: Callable[..., Outcome]) -> None:
    root = raw.nlvr2(tmp_path / "nlvr2")
    rows = rows_of(root)
    assert Counter(row.split for row in rows) == {"train": 12, "dev": 4, "test": 4}
    assert [(row.id, row.values["label"]) for row in rows[:2]] == [("train-100-0-0", "true"), ("train-100-0-1", "false")]
    left, right = (load_rgb(root / "images/train/0" / f"train-100-0-img{k}.png") for k in (0, 1))
    seen = load_rgb(rows[0].values["image"].read())
    assert seen.size == (40 + 15, 30)  # the right one is 30 x 60, shrunk to the height of the left one
    difference = np.asarray(seen, float)[:, :40] - np.asarray(left, float)
    assert abs(difference).mean() < 3  # a JPEG, as one of both is
    difference = np.asarray(seen, float)[:, 40:] - np.asarray(right.resize((15, 30)), float)
    assert abs(difference).mean() < 3
    outcome = invoke("prep", "nlvr", "data", "--source", "nlvr2", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "two photographs are one picture, side by side" in outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.splits == {"train": 12, "val": 4, "test": 4}  # both sentences of a pair are kept
    assert data.manifest["source"]["pictures"] == "left and right side by side, both as high as the lower one"
    assert next(data.rows("train"))["label"] in ("true", "false")


def test_pictures_in_another_folder(tmp_path: Path) -> None:
    root = raw.nlvr2(tmp_path / "nlvr2")
    shutil.move(root / "images", tmp_path / "photos")
    with pytest.raises(UserError, match="no pictures found"):
        read(Ask(tmp_path / "out", root))
    assert len(rows_of(root, tmp_path / "photos")) == 20


def test_what_is_damaged_or_missing_is_a_reject(tmp_path: Path) -> None:
    root = raw.nlvr2(tmp_path / "nlvr2", dev=1, test=1)
    (root / "images/train/2/train-102-2-img1.png").unlink()
    path = root / "data" / "train.json"
    bad = [{"identifier": "train-100-0-2", "sentence": "a", "label": "maybe"}, {"sentence": "b", "label": "True"}]
    path.write_text(path.read_text() + "\n".join(map(json.dumps, bad)) + '\n{"sentence": "cut\n')
    rejects = [row for row in read(Ask(tmp_path / "out", root)).rows if isinstance(row, Reject)]
    assert [(row.id, row.reason) for row in rejects] == [
        ("train-102-2-0", "missing file train-102-2-img1.png"),
        ("train-102-2-1", "missing file train-102-2-img1.png"),
        ("train-100-0-2", "the label 'maybe' is neither true nor false"),
        ("train.json row 14", "no identifier"),
        ("train.json row 15", "not a JSON object"),
    ]
    one = raw.nlvr(tmp_path / "nlvr")
    shutil.rmtree(one / "train/images/1")
    rejects = [row for row in read(Ask(tmp_path / "out", one)).rows if isinstance(row, Reject)]
    assert [row.reason for row in rejects] == ["missing file train-1-1-0.png", "missing file train-3-3-0.png"]


def test_both_corpora_of_the_repository_are_not_mixed(tmp_path: Path) -> None:
    root = tmp_path / "clone"
    raw.nlvr(root / "nlvr")
    raw.nlvr2(root / "nlvr2")
    with pytest.raises(UserError, match="more than one NLVR found") as e:
        read(Ask(tmp_path / "out", root))
    assert e.value.hint == f"--source {root / 'nlvr'}   reads that one alone"
    assert len(rows_of(root / "nlvr2")) == 20
    with pytest.raises(UserError, match="no NLVR found"):
        read(Ask(tmp_path / "out", raw.coco(tmp_path / "coco")))


def test_a_model_learns_whether_a_sentence_is_true(tmp_path: Path, invoke: Callable[..., Outcome]) -> None:
    raw.nlvr(tmp_path / "nlvr", train=8)
    assert invoke("prep", "nlvr", "data", "--source", "nlvr", cwd=tmp_path).code == 0
    outcome = invoke("train", "--recipe", "fusion-mid", "--steps", 2, "--batch-size", 8, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    (found,) = invoke("eval", "classify", "--split", "val", cwd=tmp_path).lines
    assert 0 <= found["metrics"]["acc1"] <= 1
