"""Flickr: every caption file that goes around, official lists, and captions without a photo."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from mmkit.data.schema import Ask, Reject, Row
from mmkit.data.sources.flickr import read
from mmkit.data.splits import settle
from mmkit.errors import UserError
from tests import raw


def samples(root: Path, **options: object) -> list[Row]:
    return [row for row in read(Ask(root / "out", root), **options).rows if isinstance(row, Row)]  # type: ignore[arg-type]


def write_form(root: Path, form: str, count: int) -> None:
    (root / "Flickr8k.token.txt").unlink()
    names = [f"{i:04d}.jpg" for i in range(count)]
    texts = [(name, k, raw.caption(i) + " again" * k) for i, name in enumerate(names) for k in (0, 1)]
    if form == "results_20130124.token":
        lines = [f"{name}#{k}\t{text}" for name, k, text in texts]
    elif form == "captions.txt":
        lines = ["image,caption", *(f'{name},"{text}"' for name, k, text in texts)]
    elif form == "results.csv":
        lines = ["image_name| comment_number| comment", *(f"{name}| {k}| {text}" for name, k, text in texts)]
        lines[2] = lines[2].replace("| 1| ", "| 1   ")  # Kaggle's file lacks a bar in one line
    else:
        images = [
            {
                "filename": n,
                "split": ("train", "val", "test")[i % 3],
                "sentences": [{"raw": t} for name, _, t in texts if name == n],
            }
            for i, n in enumerate(names)
        ]
        lines = [json.dumps({"images": images})]
    (root / form).write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("form", ["results_20130124.token", "captions.txt", "results.csv", "dataset_flickr30k.json"])
def test_every_form_of_the_captions(tmp_path: Path, form: str) -> None:
    root = raw.flickr(tmp_path / "flickr", 6)
    expected = [(row.id, row.values["captions"]) for row in samples(root)]
    write_form(root, form, 6)
    found = samples(root)
    assert [(row.id, row.values["captions"]) for row in found] == expected
    assert expected[1] == ("0001.jpg", [raw.caption(1), raw.caption(1) + " again"])
    if form.endswith("json"):
        assert Counter(row.split for row in found) == {"train": 2, "val": 2, "test": 2}


def test_official_lists(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 6)
    for name, numbers in (("trainImages", (0, 1, 2)), ("devImages", (3,)), ("testImages", (4,))):
        (root / f"Flickr_8k.{name}.txt").write_text("".join(f"{i:04d}.jpg\n" for i in numbers))
    assert [row.split for row in samples(root)] == ["train", "train", "train", "val", "test", None]


def test_lists_called_otherwise_and_without_extension(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 6)
    for name, numbers in (("Train", (0, 1, 2)), ("valid", (3,)), ("test", (4,))):
        (root / f"{name}.txt").write_text("".join(f"{i:04d}\n" for i in numbers))
    (root / "train_notes.txt").write_text("no photos\n")
    assert [row.split for row in samples(root)] == ["train", "train", "train", "val", "test", None]


def test_the_words_of_a_karpathy_file(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 4)
    images = [
        {"filename": f"{i:04d}.jpg", "sentences": [{"raw": "x"}]} | ({"split": split} if split else {})
        for i, split in enumerate(("restval", "Train", "validation", None))
    ]
    (root / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))
    source, said = read(Ask(root)), list[str]()
    settle(source, None, said.append)
    assert [row.split for row in source.rows if isinstance(row, Row)] == ["train", "train", "val", "val"]
    assert said == [
        "splits by their usual names: restval is train (1 row), validation is val (1 row)",
        "1 row with a blank split: drawn by the shares of the others (val 1)",
    ]


def test_a_list_of_train_and_val_adds_nothing_to_theirs(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 3)
    for name, numbers in (("train", (0,)), ("val", (1,)), ("test", (2,)), ("trainval", (0, 1))):
        (root / f"{name}.txt").write_text("".join(f"{i:04d}\n" for i in numbers))
    assert [row.split for row in samples(root)] == ["train", "val", "test"]
    (root / "train.txt").unlink()
    (root / "val.txt").unlink()
    assert [row.split for row in samples(root)] == ["train", "train", "test"]


def test_the_lemmatised_file_is_not_taken(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 2)
    (root / "Flickr8k.lemma.token.txt").write_text("0000.jpg#0\tlemma\n")
    assert "lemma" not in samples(root)[0].values["captions"]


def test_a_caption_without_its_photo_is_a_reject(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 3)
    (root / "Images" / "0001.jpg").unlink()
    (lost,) = [row for row in read(Ask(tmp_path, root)).rows if isinstance(row, Reject)]
    assert lost.id == "0001.jpg"
    assert lost.where.endswith("Flickr8k.token.txt row 3")
    assert lost.reason == "missing file 0001.jpg"


def test_each_bad_line_of_a_token_file_is_a_reject_with_its_place(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 2)
    path = root / "Flickr8k.token.txt"
    bad = ["no tab here", "0000.jpg\ta dog", "0001.jpg#7\t ", "\ta cat", "0001.jpg#8 a cat"]
    path.write_text("\n".join([bad[0], path.read_text().strip(), *bad[1:], "", ""]))
    rows = read(Ask(root / "out", root)).rows
    assert [row.id for row in rows if isinstance(row, Row)] == ["0000.jpg", "0001.jpg"]
    found = [(row.id, row.where.rpartition(" ")[2], row.reason) for row in rows if isinstance(row, Reject)]
    assert found == [
        ("row 1", "1", "no tab between photo and caption in the line"),
        ("0000.jpg", "6", "no #number behind the name of the photo"),
        ("0001.jpg", "7", "empty caption"),
        ("row 8", "8", "no photo in the line"),
        ("row 9", "9", "no tab between photo and caption in the line"),
    ]


def test_blank_captions_are_rejects_in_every_form(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 2)
    text = "image,caption\n0000.jpg,a b\n0000.jpg,\n0001.jpg,  \n,c d\n"
    assert commas(root, text) == ([("0000.jpg", ["a b"])], [("0000.jpg", "3"), ("0001.jpg", "4"), ("row 5", "5")])
    (root / "captions.txt").unlink()
    (root / "results.csv").write_text("0000.jpg| 0| a b\n0000.jpg| 1| \n")
    rows = read(Ask(root / "out", root)).rows
    assert [(r.id, r.reason) if isinstance(r, Reject) else (r.id, r.values["captions"]) for r in rows] == [
        ("0000.jpg", "empty caption"),
        ("0000.jpg", ["a b"]),
    ]


def test_no_caption_file(tmp_path: Path) -> None:
    raw.jpeg(tmp_path / "a.jpg", 1)
    with pytest.raises(UserError, match="no caption file") as e:
        read(Ask(tmp_path))
    assert "results.csv" in e.value.hint


def commas(root: Path, text: str) -> tuple[list[tuple[str, list[str]]], list[tuple[str, str]]]:
    """(photo, captions) and (id, row) of the rejects of a captions.txt."""
    (root / "Flickr8k.token.txt").unlink(missing_ok=True)
    (root / "captions.txt").write_text(text)
    rows = read(Ask(root / "out", root)).rows
    found = [(row.id, row.values["captions"]) for row in rows if isinstance(row, Row)]
    return found, [(row.id, row.where.rpartition(" ")[2]) for row in rows if isinstance(row, Reject)]


COMMENTS = 'image_name,comment_number,comment\n0000.jpg,0,A dog, running fast, on grass .\n0001.jpg,1,"two, dogs"\n'


@pytest.mark.parametrize(
    "text",
    [
        COMMENTS,
        COMMENTS.partition("\n")[2],
        'image,caption\n0000.jpg,A dog, running fast, on grass .\n0001.jpg,"two, dogs"\n',
        '0000.jpg,A dog, running fast, on grass .\r\n\r\n0001.jpg,"two, dogs"\r\n',
        'caption,image\n"A dog, running fast, on grass .",0000.jpg\n"two, dogs",0001.jpg\n',
    ],
)
def test_commas_and_the_column_of_the_captions(tmp_path: Path, text: str) -> None:
    expected = [("0000.jpg", ["A dog, running fast, on grass ."]), ("0001.jpg", ["two, dogs"])]
    assert commas(raw.flickr(tmp_path / "flickr", 2), text) == (expected, [])


def test_a_line_that_cannot_be_read_is_a_reject_and_takes_no_other_along(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 4)
    found, rejects = commas(root, 'image,caption\n0000.jpg,"A dog\n0001.jpg,x y\n0002.jpg\n0003.jpg,z "z" z\n')
    assert found == [("0001.jpg", ["x y"]), ("0003.jpg", ['z "z" z'])]
    assert rejects == [("row 2", "2"), ("0002.jpg", "4")]
    found, rejects = commas(root, f'image,caption\n0000.jpg,a b\n0001.jpg,"{"x" * (3 << 20)}\n')
    assert (found, rejects) == ([("0000.jpg", ["a b"])], [("row 3", "3")])
    found, rejects = commas(root, "caption,image\na, b,0000.jpg\nx y,0001.jpg\n")
    assert (found, rejects) == ([("0001.jpg", ["x y"])], [("row 2", "2")])


def test_a_caption_that_begins_with_a_quoted_word_is_kept(tmp_path: Path) -> None:
    found, rejects = commas(raw.flickr(tmp_path / "flickr", 1), 'image,caption\n0000.jpg,"Stop" sign, on a street\n')
    assert (found, rejects) == ([("0000.jpg", ['"Stop" sign, on a street'])], [])


def test_missing_captions_and_splits_of_a_karpathy_file(tmp_path: Path) -> None:
    raw.jpeg(tmp_path / "a.jpg", 1)
    sentences = [{"raw": text} for text in ("a dog", None, float("nan"), "nan")]
    images = [{"filename": "a.jpg", "split": None, "sentences": sentences}]
    (tmp_path / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))
    row, *lost = sorted(read(Ask(tmp_path)).rows, key=lambda row: isinstance(row, Reject))
    assert isinstance(row, Row)
    assert (row.values["captions"], row.split) == (["a dog"], "")
    assert [r.reason for r in lost if isinstance(r, Reject)] == [
        *["empty caption"] * 2,
        "no caption: it says 'nan', a missing value",
    ]


def test_two_photos_of_one_name_are_both_named(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 3)
    raw.jpeg(root / "other" / "0001.jpg", 9)
    source = read(Ask(root / "out", root))
    (lost,) = [row for row in source.rows if isinstance(row, Reject)]
    assert (lost.id, lost.reason) == ("0001.jpg", f"2 files fit 0001.jpg: {root}/Images/0001.jpg and {root}/other/0001.jpg")
    assert [row.id for row in source.rows if isinstance(row, Row)] == ["0000.jpg", "0002.jpg"]


def test_photos_in_another_case_are_found_and_that_is_said(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 3)
    (root / "Images" / "0001.jpg").rename(root / "Images" / "0001.JPG")
    source = read(Ask(root / "out", root))
    assert [row.id for row in source.rows if isinstance(row, Row)] == ["0000.jpg", "0001.jpg", "0002.jpg"]
    assert "without a caption" not in source.note
    assert "1 of 3 paths: in another case (0001.jpg is 0001.JPG)" in source.note
