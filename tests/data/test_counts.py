"""Rows that are read are samples, parts of one, rejected or left out, and what is said, written and audited agrees."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from mmkit.errors import UserError
from tests import raw
from tests.data.test_write import make


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ten pictures with three rows each, of which the last two are no pictures."""
    path = raw.table(tmp_path / "raw", 10)
    with open(path, "w", newline="") as f:
        rows = [(f"photos/{i:04d}.jpg", f"{raw.caption(i)} {k}") for k in "abc" for i in range(10)]
        csv.writer(f).writerows([("image", "caption"), *rows])
    for i in (8, 9):
        (path.parent / "photos" / f"{i:04d}.jpg").write_bytes(b"no picture")
    return path


def counted(manifest: dict[str, Any], out: Path) -> tuple[int, int, int]:
    """Samples, merged and rejected rows, after a look at every place that says them."""
    samples = sum(split["rows"] for split in manifest["splits"].values())
    listed = out / "rejected.jsonl"
    lines = [json.loads(line) for line in listed.read_text().splitlines()] if listed.exists() else []
    assert manifest["rejected"] == manifest["audit"]["rejected"] == len(lines)
    assert manifest["merged"] == manifest["audit"]["merged"]
    assert f"{manifest['merged']} rows were merged into samples that have the same image" in manifest["said"]
    assert len({line["where"] for line in lines}) == len(lines)
    return samples, manifest["merged"], len(lines)


@pytest.mark.parametrize("shares", [{"train": 1.0}, {"train": 0.5, "test": 0.5}])
def test_all_rows_of_a_picture_that_cannot_be_read_are_rejected(tmp_path: Path, table: Path, shares: dict[str, float]) -> None:
    manifest = make("table", tmp_path / "data", table, shares=shares)
    assert counted(manifest, tmp_path / "data") == (8, 16, 6)


def test_what_a_limit_leaves_out_is_said(tmp_path: Path, table: Path) -> None:
    manifest = make("table", tmp_path / "data", table, limit=6, shares={"train": 1.0})
    samples, merged, rejected = counted(manifest, tmp_path / "data")
    assert "4 of 10 samples are left out: --limit 6" in manifest["said"]
    assert samples + merged + rejected == 3 * 6


def test_the_rows_of_a_picture_in_a_train_of_one(tmp_path: Path) -> None:
    path = raw.table(tmp_path / "raw", 2)
    rows = [f"photos/000{i}.jpg,{i} {k},{split}" for k in "ab" for i, split in ((0, "train"), (1, "val"))]
    path.write_text("\n".join(["image,caption,split", *rows]))
    (path.parent / "photos" / "0000.jpg").write_bytes(b"no picture")
    manifest = make("table", tmp_path / "data", path)
    assert counted(manifest, tmp_path / "data") == (1, 1, 2)


def test_the_first_of_several_rows_is_named_where_one_may_not_fail(tmp_path: Path, table: Path) -> None:
    with pytest.raises(UserError, match=r"not an image.*row (10|11)$"):
        make("table", tmp_path / "data", table, fail=True, shares={"train": 1.0})
