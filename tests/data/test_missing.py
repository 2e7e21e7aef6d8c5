"""Missing values are never captions, labels or splits, and their number is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmkit.data.cells import is_missing
from mmkit.data.plan import Choices, Plan, make_plan
from mmkit.data.schema import Ask, Row, Source
from mmkit.data.sources.table import read
from tests import raw

NAN = float("nan")


def planned(source: Source) -> tuple[Plan, list[str]]:
    said: list[str] = []
    return make_plan(source, Choices(shares={"train": 1.0}), said.append), said


def samples(plan: Plan) -> dict[str, Row]:
    return {row.id: row for shard in plan.shards for row in shard.rows}


def table(root: Path, name: str, rows: list[dict[str, Any]]) -> Source:
    """The rows as a table in the form that the name says, read."""
    path = root / name
    for i in range(len(rows)):
        raw.jpeg(root / f"{i}.jpg", i)
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join(rows[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
        path.write_text("".join(line + "\n" for line in lines))
    return read(Ask(root / "out", path))


WORDS = ["", "  ", "nan", "NaN", "NA", "N/A", "n/a", "None", "null", "NULL", "<NA>", "#N/A", "NaT", "\\N"]


def test_words_that_mean_missing() -> None:
    assert all(map(is_missing, WORDS))
    assert not any(map(is_missing, ["nano", "a", "0", "Nat", "none of them", "na und", "nan.", "無"]))


@pytest.mark.parametrize("form", ["t.csv", "t.jsonl", "t.parquet"])
def test_no_missing_value_is_a_caption_and_the_row_is_a_reject(tmp_path: Path, form: str) -> None:
    rows = [{"image": "0.jpg", "caption": "a real one"}]
    rows += [{"image": f"{i}.jpg", "caption": word} for i, word in enumerate(WORDS, 1)]
    plan, said = planned(table(tmp_path, form, rows))
    assert {row.id: row.values["captions"] for row in samples(plan).values()} == {"0.jpg": ["a real one"]}
    assert [row.id for row in plan.rejects] == [f"{i}.jpg" for i in range(1, len(WORDS) + 1)]
    assert plan.rejects[0].reason == "empty caption"
    assert plan.rejects[2].reason == "no caption: it says 'nan', a missing value"
    assert plan.rejects[2].where.endswith(("row 5", "row 4"))
    assert said[0].startswith("14 of 15 captions are missing: 2 are empty, 1 say 'nan', 1 say 'NaN'")


@pytest.mark.parametrize("form", ["t.jsonl", "t.parquet"])
def test_null_and_nan_in_cells_and_lists(tmp_path: Path, form: str) -> None:
    rows: list[dict[str, Any]] = [
        {"image": f"{i}.jpg", "caption": c} for i, c in enumerate([["a", None], ["nan", "b"], [], None])
    ]
    if form.endswith("jsonl"):
        rows += [{"image": "4.jpg", "caption": NAN}, {"image": "5.jpg", "caption": ["c", NAN]}]
    plan, said = planned(table(tmp_path, form, rows))
    found = [row.values["captions"] for _, row in sorted(samples(plan).items())]
    assert found == [["a"], ["b"], ["c"]][: 3 if len(rows) > 4 else 2]
    assert {row.id for row in plan.rejects} == {"2.jpg", "3.jpg", "4.jpg"} & {row["image"] for row in rows}
    assert "captions are missing" in said[0]


def test_in_a_label_column_only_empty_cells_null_and_nan_are_missing(tmp_path: Path) -> None:
    labels = ["NA", "nan", "None", "", None, "0", " cat "]
    rows = [{"image": f"{i}.jpg", "caption": "a b", "label": label} for i, label in enumerate(labels)]
    source = table(tmp_path, "t.csv", rows)
    assert [row.values["label"] for row in source.rows if isinstance(row, Row)] == ["NA", "nan", "None", None, None, "0", "cat"]
    assert "; 2 of 7 labels are empty; the label 'NA' (1 of 7) counts as a class; the label 'nan' (1 of 7)" in source.note
    source = table(tmp_path, "t.jsonl", [row | {"label": label} for row, label in zip(rows, [NAN, None, 3], strict=False)])
    assert [row.values["label"] for row in source.rows if isinstance(row, Row)] == [None, None, "3"]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([3.0, None, 1.0], ["3", None, "1"]),
        (["3.0", None, "12.0"], ["3", None, "12"]),
        (["3.0", None, "2.5"], ["3.0", None, "2.5"]),
        (["v1.0", None, "v2.0"], ["v1.0", None, "v2.0"]),
    ],
)
@pytest.mark.parametrize("form", ["t.csv", "t.jsonl", "t.parquet"])
def test_integers_that_a_blank_cell_turned_into_floats(tmp_path: Path, form: str, labels: list[Any], found: list[Any]) -> None:
    rows = [{"image": f"{i}.jpg", "caption": "a b", "label": label} for i, label in enumerate(labels)]
    assert [row.values["label"] for row in table(tmp_path, form, rows).rows if isinstance(row, Row)] == found


def test_a_missing_split_or_id_is_none(tmp_path: Path) -> None:
    cells = [("train", 7.0), (None, None), ("nan", NAN), (" test", 8.0)]
    rows = [{"image": f"{i}.jpg", "caption": "a b", "split": split, "id": n} for i, (split, n) in enumerate(cells)]
    for form in ("t.jsonl", "t.parquet"):
        found = [(row.split, row.id) for row in table(tmp_path, form, rows).rows if isinstance(row, Row)]
        assert found == [("train", "7"), (None, "1.jpg"), (None, "2.jpg"), ("test", "8")]


def test_a_picture_whose_label_stands_in_one_row_only_keeps_all_its_captions(tmp_path: Path) -> None:
    rows = [{"image": "0.jpg", "caption": "a", "label": None}, {"image": "0.jpg", "caption": "b", "label": "cat"}]
    plan, _ = planned(table(tmp_path, "t.csv", [*rows, {"image": "0.jpg", "caption": "c", "label": None}]))
    assert [(row.values["captions"], row.values["label"]) for row in samples(plan).values()] == [(["a", "b", "c"], "cat")]
    assert plan.rejects == []
