"""Numbers to predict: which column they are, how they are stored, and what the audit, the card and --dry-run say of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmkit.data.cells import is_real, real_of
from mmkit.data.schema import Ask, Reject, Row
from mmkit.data.shards import open_dataset
from mmkit.data.sources.table import read
from mmkit.errors import UserError
from tests import raw
from tests.conftest import Outcome

Invoke = Callable[..., Outcome]


def rows_of(path: Path, content: str, **options: Any) -> tuple[list[Row], list[Reject], str]:
    path.write_text(content)
    source = read(Ask(path.parent / "out", path), **options)
    rows = [row for row in source.rows if isinstance(row, Row)]
    return rows, [row for row in source.rows if isinstance(row, Reject)], source.note


@pytest.mark.parametrize(
    ("cell", "value"),
    [("-1.5", -1.5), (" 2 ", 2.0), (0, 0.0), (1e-3, 1e-3), ("1e-3", 1e-3), ("", None), ("nan", None), (float("nan"), None)],
)
def test_a_cell_is_a_number_or_blank(cell: Any, value: float | None) -> None:
    assert real_of(cell) == value
    assert is_real(cell) == (value is not None)


@pytest.mark.parametrize("cell", ["good", "1,5", "1_000", True, "inf", [1.0, 2.0], {"a": 1}])
def test_anything_else_is_none(cell: Any) -> None:
    assert not is_real(cell)
    with pytest.raises(ValueError, match=r"no number|not finite"):
        real_of(cell)


@pytest.mark.parametrize(
    ("header", "cells", "taken"),
    [
        ("image,text,sentiment", ("-1.5", "0", "2.4"), "sentiment"),
        ("image,text,Rating", ("1", "3", "5"), "Rating"),
        ("image,text,label,score", ("a,0.1", "b,0.5", "a,0.2"), "score"),
        ("image,text,sentiment", ("positive", "negative", "positive"), None),  # words are classes
        ("image,text,target", ("0", "1", "0"), None),  # and so are two numbers
        ("image,text,score,rating", ("1,2", "2,5", "3,9"), None),  # which of both?
        ("image,text,width", ("1", "2", "3"), None),
    ],
)
def test_which_column_is_taken_unasked(tmp_path: Path, header: str, cells: tuple[str, ...], taken: str | None) -> None:
    for i in range(3):
        raw.jpeg(tmp_path / f"{i}.jpg", i)
    lines = [header, *(f"{i}.jpg,what a day number {i},{cell}" for i, cell in enumerate(cells))]
    rows, _, note = rows_of(tmp_path / "t.csv", "\n".join(lines))
    if taken is None:
        assert not any("target" in row.values for row in rows)
        return
    assert f"target column {taken!r}" in note
    assert [row.values["target"] for row in rows] == [float(cell.rpartition(",")[2]) for cell in cells]


def test_blank_ones_are_null_and_words_are_rejects(tmp_path: Path, invoke: Invoke) -> None:
    for i in range(12):
        raw.jpeg(tmp_path / f"{i}.jpg", i)
    cells = ["0.0", "", "NaN", "very good", "inf", *(str(i / 4 - 2) for i in range(7))]
    lines = [f"{i}.jpg,a text number {i},{cell}" for i, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_text("\n".join(["image,text,mood", *lines]))
    outcome = invoke("prep", "table", "data", "--source", "t.csv", "--column", "target=mood", "--splits", "train:1", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.manifest["columns"] == {"image": "image", "captions": "text", "target": "target"}
    found = {row["id"]: row["target"] for row in data.rows()}
    assert len(found) == 10
    assert found["0.jpg"] == 0.0
    assert found["1.jpg"] is found["2.jpg"] is None
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    assert sorted(reasons) == ["the target 'inf' is not finite", "the target 'very good' is no number"]
    audit = invoke("prep", "audit", tmp_path / "data", "--json").lines[0]
    assert audit["filled"]["target"] == {"train": 8}
    assert (audit["target"]["min"], audit["target"]["max"]) == (-2.0, 0.0)
    values = np.array([value for value in found.values() if value is not None])
    assert audit["target"]["mean"] == pytest.approx(values.mean())
    assert audit["target"]["std"] == pytest.approx(values.std(), abs=1e-6)
    assert sum(audit["target"]["histogram"]["counts"]) == 8
    assert len(audit["target"]["histogram"]["edges"]) == 11
    assert data.manifest["target"]["max"] == audit["target"]["max"]
    assert "Target: numbers from -2 to 0" in (tmp_path / "data" / "README.md").read_text()
    shown = invoke("prep", "table", "else", "--source", "t.csv", "--column", "target=mood", "--dry-run", "--json", cwd=tmp_path)
    assert all("target" in sample or sample["id"] in ("1.jpg", "2.jpg") for sample in shown.lines[0]["samples"])


def test_texts_alone_with_a_number(tmp_path: Path, invoke: Invoke) -> None:
    lines = [f"the film number {i} was what it was,{i % 5 + 1}" for i in range(10)]
    (tmp_path / "t.csv").write_text("\n".join(["review,stars", *lines]))
    with pytest.raises(UserError, match="no image column"):
        read(Ask(tmp_path / "out", tmp_path / "t.csv"))
    outcome = invoke("prep", "table", "data", "--source", "t.csv", "--column", "target=stars", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "caption column 'review', target column 'stars'" in outcome.stderr
    assert open_dataset(tmp_path / "data").manifest["columns"] == {"captions": "text", "target": "target"}


def test_series_with_texts_and_numbers_in_npz(tmp_path: Path, invoke: Invoke) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.uniform(-3, 3, 12).astype("float32")
    texts = np.array([f"words said here {i}" for i in range(12)])
    np.savez(tmp_path / "mosi.npz", series=rng.normal(size=(12, 2, 9)).astype("float32"), text=texts, sentiment=numbers)
    outcome = invoke("prep", "table", "data", "--source", "mosi.npz", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "target column 'sentiment'" in outcome.stderr
    data = open_dataset(tmp_path / "data")
    found = {row["id"]: row["target"] for row in data.rows()}
    assert [found[f"row {i + 1}"] for i in range(12)] == numbers.tolist()
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded.features["target"] == datasets.Value("float32")


def test_one_picture_with_two_numbers_is_a_reject(tmp_path: Path, invoke: Invoke) -> None:
    for i in range(4):
        raw.jpeg(tmp_path / f"{i}.jpg", i)
    lines = [f"{i % 4}.jpg,a text number {i},{i / 2}" for i in range(5)]
    (tmp_path / "t.csv").write_text("\n".join(["image,text,score", *lines]))
    outcome = invoke("prep", "table", "data", "--source", "t.csv", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    (reject,) = map(json.loads, (tmp_path / "data" / "rejected.jsonl").read_text().splitlines())
    assert reject["reason"].startswith("target 2.0, but the same image has 0.0 in ")
