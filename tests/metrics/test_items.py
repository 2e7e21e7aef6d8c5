"""The figures of items from the tables that `mmkit eval` saves."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmkit.errors import UserError
from mmkit.metrics.items import read_items

RANKS = {
    "query": ["a", "a", "b", "a", "b"],
    "caption": ["one", "two", None, None, None],
    "direction": ["picture_retrieval"] * 3 + ["words_retrieval"] * 2,
    "rank": [1.0, 7.0, None, 2.5, 1.0],
}


@pytest.fixture
def table(tmp_path):
    """`table(stem, columns)` writes a Parquet file and gives its path."""

    def write(name, columns):
        pq.write_table(pa.table(columns), tmp_path / name)
        return tmp_path / name

    return write


def test_ranks_give_recall_and_the_median(table):
    path = table("data-test.ranks.parquet", RANKS)
    (path.parent / "data-test.json").write_text(json.dumps({"data_hash": "h"}))
    items = read_items(path, ks=(1, 5))
    assert items.keys.tolist() == [
        "picture_retrieval/a#0",
        "picture_retrieval/a#1",
        "picture_retrieval/b#0",
        "words_retrieval/a#0",
        "words_retrieval/b#0",
    ]
    assert items.ids.tolist() == ["a", "a", "b", "a", "b"]
    assert items.shown.tolist() == ["one", "two", "b", "a: one", "b"]
    assert list(items.values) == [f"{way}_retrieval_recall@{k}" for way in ("picture", "words") for k in (1, 5)]
    assert np.array_equal(items.values["picture_retrieval_recall@1"], [1, 0, *[np.nan] * 3], equal_nan=True)
    assert np.array_equal(items.values["words_retrieval_recall@5"], [*[np.nan] * 3, 1, 1], equal_nan=True)
    assert np.nanmedian(items.medians["picture_retrieval_median_rank"]) == 4
    assert items.record == {"data_hash": "h"}


def test_questions_belong_to_their_sample_and_their_type(table):
    columns = {"sample": ["a", "a", "b"], "id": ["q1", "q2", None], "type": ["x", None, "y"], "vqa_accuracy": [1.0, 0.3, 0.6]}
    items = read_items(table("t.rows.parquet", columns))
    assert items.ids.tolist() == ["a", "a", "b"]
    assert items.keys.tolist() == ["a/q1#0", "a/q2#0", "b#0"]
    assert {name: np.nanmean(found) for name, found in items.values.items()} == pytest.approx(
        {"vqa_accuracy": 1.9 / 3, "vqa_accuracy/x": 1.0, "vqa_accuracy/y": 0.6}
    )


def test_any_table_of_numbers(table):
    items = read_items(table("mine.parquet", {"id": [1, 2], "score": [3, 4], "right": [True, False], "probability": [0.1, 0.2]}))
    assert items.keys.tolist() == ["1#0", "2#0"]
    assert {name: found.tolist() for name, found in items.values.items()} == {"score": [3, 4], "right": [1, 0]}
    assert items.medians == items.record == {}


def test_what_is_no_table_of_items_is_said(table, tmp_path):
    for columns, what in (
        ({"x": [1]}, "no column query and no column id"),
        ({"id": ["a"]}, "no column of numbers"),
        ({"id": pa.array([], pa.string()), "x": pa.array([], pa.float64())}, "no item"),
    ):
        with pytest.raises(UserError, match=what):
            read_items(table("t.parquet", columns))
    with pytest.raises(UserError, match="no such table"):
        read_items(tmp_path / "absent.parquet")
    (tmp_path / "t.parquet").write_text("x")
    with pytest.raises(UserError, match="no Parquet"):
        read_items(tmp_path / "t.parquet")


def test_what_eval_saves_gives_back_its_metrics(asked, invoke, tmp_path):
    """Of recall, of a classifier and of questions, through the files in the run."""
    import shutil

    shutil.copytree(asked, tmp_path / "asked", symlinks=True)
    for run, data, metric, stem in (
        ("both", "colours", "recall@k", "colours-test.ranks"),
        ("both", "colours", "classify", "colours-test-classify.rows"),
        ("answers", "shapes", "vqa", "data-test-first20-vqa.rows"),
    ):
        limit = ["--limit", 20] if metric == "vqa" else []
        outcome = invoke("eval", metric, "--model", f"runs/{run}", "--data", data, *limit, cwd=tmp_path / "asked")
        assert outcome.code == 0, outcome.stderr
        items = read_items(tmp_path / f"asked/runs/{run}/eval/{stem}.parquet")
        found = {n: float(np.nanmean(v)) for n, v in items.values.items()}
        found |= {n: float(np.nanmedian(v)) for n, v in items.medians.items()}
        metrics = outcome.lines[0]["metrics"]
        assert found == pytest.approx({name: metrics[name] for name in found})
        assert items.record["data_hash"] == outcome.lines[0]["data_hash"]
