"""Splits: shares as typed, official ones, and a train split that is never empty."""

from __future__ import annotations

from collections import Counter

import pytest

from mmkit.data.schema import Picture, Row, Source
from mmkit.data.splits import assign, find_split, folder_split, parse, settle
from mmkit.errors import Exit, UsageError


def rows(count: int, splits: tuple[str | None, ...] = (None,)) -> list[Row]:
    return [Row(f"row-{i}", {"image": Picture(str(i), lambda: b"")}, "", splits[i % len(splits)]) for i in range(count)]


def test_shares() -> None:
    assert parse("train:0.9, test:0.1") == {"train": 0.9, "test": 0.1}
    assert parse("train:0.5,validation:0.5") == {"train": 0.5, "val": 0.5}
    assert parse("Training:0.6,dev:0.2,valid:0.2") == {"train": 0.6, "val": 0.4}


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
    kept = assign(rows(9, ("train", "val", None)), None, said.append)
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


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("train", ["train", "TRAIN", "Train", "Training", " training ", "trn", "restval", "train set", "train2017", "trainData"]),
        ("val", ["val", "VAL", "valid", "Validation", "dev", "val-set", "validation_images"]),
        ("test", ["test", "Test", "testing", "Test Split"]),
        ("test_b", ["test_b", "Test_B", "test-b", "test B"]),
        ("test_2", ["test_2", "Test-2"]),
        ("0", ["0"]),
    ],
)
def test_the_usual_words_for_splits(split: str, words: list[str]) -> None:
    some = rows(len(words) + 1, ("train", *words)) if split != "train" else rows(len(words), tuple(words))
    settle(Source(some, "", ""), None, print)
    assert {row.split for row in some} == {"train", split}


def test_what_was_read_as_what_is_said() -> None:
    said: list[str] = []
    settle(Source(rows(6, ("TRAIN", "dev", "testing")), "", ""), None, said.append)
    assert said == ["splits by their usual names: dev is val (2 rows), testing is test (2 rows)"]


def test_an_unknown_word_is_said_by_name_and_count() -> None:
    said: list[str] = []
    some = rows(5, ("train", "Holdout", "train", "0", "Holdout"))
    settle(Source(some, "", ""), None, said.append)
    assert [row.split for row in some] == ["train", "holdout", "train", "0", "holdout"]
    assert said == [
        "not the name of a usual split, so a split of its own: holdout (2 rows), 0 (1 row); rename it, or type --splits"
    ]


def test_a_split_that_is_rejected_gets_no_blank_rows() -> None:
    some, said = rows(300, ("train", "a/b", None)), list[str]()
    settle(Source(some, "", ""), None, said.append)
    assert Counter(row.split for row in some) == {"train": 200, "a/b": 100}
    assert said[0].startswith("no name that a split may have, so rejected: a/b (100 rows)")


def test_trainval_is_train_unless_there_is_another() -> None:
    some = rows(2, ("trainval", "test"))
    settle(Source(some, "", ""), None, print)
    assert [row.split for row in some] == ["train", "test"]
    some = rows(3, ("train_val", "train", "val"))
    settle(Source(some, "", ""), None, print)
    assert [row.split for row in some] == ["train_val", "train", "val"]


@pytest.mark.parametrize("blank", [None, "", "  ", "nan", "None", "NA"])
def test_what_is_a_blank_split(blank: str | None) -> None:
    some, said = rows(4, ("train", blank)), list[str]()
    settle(Source(some, "", ""), None, said.append)
    assert {row.split for row in some} == {"train"}
    assert said == ["2 rows with a blank split: drawn by the shares of the others (train 2)"]


def test_splits_that_are_typed_leave_the_official_ones_and_say_so() -> None:
    some, said = rows(3, ("Training", "Training", "val")), list[str]()
    settle(Source(some, "", ""), {"train": 1.0}, said.append)
    assert said == ["the official splits are not used, as --splits is typed: Training (2 rows), val (1 row)"]


def test_eval_beside_a_val_is_a_split_of_its_own() -> None:
    some = rows(2, ("train", "eval"))
    settle(Source(some, "", ""), None, print)
    assert [row.split for row in some] == ["train", "val"]
    some = rows(4, ("train", "val", "Eval", "test"))
    settle(Source(some, "", ""), None, print)
    assert [row.split for row in some] == ["train", "val", "eval", "test"]


def test_a_blank_split_is_drawn_by_the_shares_of_the_others() -> None:
    some, said = rows(1000, ("train", "train", "val", None)), list[str]()
    # the picture of the first row has a split already
    some[3].values["image"] = some[2].values["image"]
    settle(Source(some, "", ""), None, said.append)
    counts = Counter(row.split for row in some)
    assert counts.keys() == {"train", "val"}
    assert counts["train"] == pytest.approx(500 + 167, abs=30)
    assert some[3].split == "val"
    drawn = {split: counts[split] - official for split, official in (("train", 500), ("val", 250))}
    assert said[0].startswith("250 rows with a blank split: drawn by the shares of the others")
    assert all(f"{split} {n:,}" in said[0] for split, n in drawn.items())


def test_blank_beside_a_test_split_is_train() -> None:
    some, said = rows(6, ("test", None, None)), list[str]()
    settle(Source(some, "", ""), None, said.append)
    assert Counter(row.split for row in some) == {"test": 2, "train": 4}
    assert said == ["4 rows with a blank split: the others name no train (train 4)"]


def test_official_lists_leave_rows_out_on_purpose() -> None:
    some = rows(4, ("train", None))
    settle(Source(some, "", "", lists=True), None, print)
    assert [row.split for row in some] == ["train", None, "train", None]


def test_numbers_are_never_guessed() -> None:
    some, said = rows(50, ("0", "1")), list[str]()
    settle(Source(some, "", ""), None, said.append)
    assert len(assign(some, None, said.append)) == 50
    assert said[0].startswith(
        "the official splits have no usable train rows, only 0 (25 rows), 1 (25 rows): all are split 80/10/10 instead; name one"
    )


def test_a_split_as_typed() -> None:
    assert find_split("validation", ["train", "val"]) == find_split("VAL", ["train", "val"]) == "val"
    # a dataset of another program keeps its own words
    assert find_split("val", ["train", "validation"]) == find_split("validation", ["validation", "val"]) == "validation"
    assert find_split("nope", ["train"]) is None


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train", ("train", "")),
        ("Training", ("training", "")),
        ("seg_train", ("train", "seg")),
        ("train2017", ("train", "")),
        ("training_set", ("training", "")),
        ("testImages", ("test", "")),
        ("valset", ("val", "")),
        ("test_tube", ("test", "tube")),
        ("trainval", ("trainval", "")),
        ("train_val", ("train_val", "")),
        ("strain", None),
        ("cats", None),
    ],
)
def test_the_split_in_the_name_of_a_folder(name: str, found: tuple[str, str] | None) -> None:
    assert folder_split(name) == found
