"""Splits: shares as typed, official ones, and a train split that is never empty."""

from __future__ import annotations

from collections import Counter

import pytest

from mmkit.data.schema import Picture, Row
from mmkit.data.splits import assign, parse
from mmkit.errors import Exit, UsageError


def rows(count: int, splits: tuple[str | None, ...] = (None,)) -> list[Row]:
    image = Picture("", lambda: b"")
    return [Row(f"row-{i}", image, ["x"], "", splits[i % len(splits)]) for i in range(count)]


def test_shares() -> None:
    assert parse("train:0.9, test:0.1") == {"train": 0.9, "test": 0.1}
    assert parse("train:0.5,validation:0.5") == {"train": 0.5, "val": 0.5}


BAD = ["train:0.5,test-dev:0.5", "train:0.5,../x:0.5", "train:0.5,a/b:0.5", "train:0.5,.x:0.5"]


@pytest.mark.parametrize(
    "text", ["train", "train:x", "train:0.5", "test:1.0", "train:0.9,test:0.2", "tr ain:1", "train:1.0.0", *BAD]
)
def test_what_is_no_list_of_shares_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError) as e:
        parse(text)
    assert e.value.code == Exit.USAGE
    assert text in e.value.where


def test_80_10_10_by_hash_of_the_id() -> None:
    some = rows(2000)
    counts = Counter(row.split for row in assign(some, None, print))
    assert counts["train"] == pytest.approx(1600, abs=60)
    assert counts["val"] == pytest.approx(200, abs=50)
    # a row stays in its split when others come or go
    before = {row.id: row.split for row in some}
    assert all(before[row.id] == row.split for row in assign(rows(3000), None, print)[:2000])


def test_official_splits_are_kept_and_rows_in_none_left_out() -> None:
    said: list[str] = []
    kept = assign(rows(9, ("train", "validation", None)), None, said.append)
    assert Counter(row.split for row in kept) == {"train": 3, "val": 3}
    assert said == ["3 rows are in no official split: left out (--splits takes them in)"]


def test_shares_go_before_official_splits() -> None:
    assert {row.split for row in assign(rows(9, ("val", "train")), {"train": 1.0}, print)} == {"train"}


def test_official_splits_without_train_are_split_anew() -> None:
    said: list[str] = []
    assert any(row.split == "train" for row in assign(rows(50, ("val",)), None, said.append))
    assert "no usable train rows" in said[0]


@pytest.mark.parametrize("count", range(1, 8))
def test_train_is_never_empty(count: int) -> None:
    said: list[str] = []
    splits = Counter(row.split for row in assign(rows(count), {"train": 0.01, "test": 0.99}, said.append))
    assert splits["train"] >= 1
    assert splits["test"] or said == ["the split test is empty: it gets no file"]
