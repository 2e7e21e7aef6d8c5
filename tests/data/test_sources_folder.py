"""Folders: classes, text files beside the images, official splits on top."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.data.schema import Options, Reject, Row
from mmkit.data.sources.folder import read
from mmkit.errors import UsageError
from tests import raw


def samples(root: Path, **options: object) -> list[Row]:
    return [row for row in read(Options(root / "out", root, **options)).rows if isinstance(row, Row)]  # type: ignore[arg-type]


def test_class_folders_give_label_and_caption(tmp_path: Path) -> None:
    rows = samples(raw.folder(tmp_path, 4))
    assert (rows[0].id, rows[0].label, rows[0].split) == ("big_dogs/0000.jpg", "big_dogs", None)
    assert rows[0].captions == ["a photo of big dogs"]
    assert samples(tmp_path, template="this is {label}.")[3].captions == ["this is cats."]


def test_splits_on_top(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        raw.folder(tmp_path / split, 2)
    assert [(r.split, r.label) for r in samples(tmp_path)] == [
        (s, c) for s in ("test", "train", "val") for c in ("big_dogs", "cats")
    ]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    raw.jpeg(tmp_path / "train" / "1.jpg", 1)
    raw.jpeg(tmp_path / "plane" / "2.jpg", 2)
    assert [(r.split, r.label) for r in samples(tmp_path)] == [(None, "plane"), (None, "train")]


def rejects(root: Path) -> dict[str, str]:
    """id -> reason."""
    return {row.id: row.reason for row in read(Options(root)).rows if isinstance(row, Reject)}


def test_what_lies_beside_official_splits_does_not_turn_them_into_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        raw.folder(tmp_path / split, 2)
    raw.jpeg(tmp_path / "loose.jpg", 5)
    raw.jpeg(tmp_path / "extra" / "cats" / "1.jpg", 6)
    assert [(r.split, r.label) for r in samples(tmp_path)] == [(s, c) for s in ("test", "train") for c in ("big_dogs", "cats")]
    assert rejects(tmp_path).keys() == {"loose.jpg", "extra/cats/1.jpg"}
    assert all("test, train are the official ones" in reason for reason in rejects(tmp_path).values())
    assert "2 pictures lie in none of them" in read(Options(tmp_path)).note


def test_pictures_of_a_kind_that_is_not_read_are_rejects(tmp_path: Path) -> None:
    raw.folder(tmp_path, 2)
    (tmp_path / "cats" / "phone.HEIC").write_bytes(b"x")
    (tmp_path / "cats" / "notes.pdf").write_bytes(b"x")
    assert rejects(tmp_path) == {"cats/phone.HEIC": ".HEIC pictures are not read: convert them to JPEG"}
    assert read(Options(tmp_path)).note.startswith("3 pictures")


def test_one_text_file_does_not_turn_a_class_tree_into_text_mode(tmp_path: Path) -> None:
    raw.folder(tmp_path, 6)
    (tmp_path / "cats" / "0001.txt").write_text("notes")
    assert {row.label for row in samples(tmp_path)} == {"big_dogs", "cats"}
    assert "class folders (a text file lies beside 1 of them only: it is not read)" in read(Options(tmp_path)).note
    for path in tmp_path.rglob("*.jpg"):
        path.with_suffix(".txt").write_text("a text")
    assert {row.captions[0] for row in samples(tmp_path)} == {"a text"}
    assert "images beside text files" in read(Options(tmp_path)).note


def test_text_files_beside_images(tmp_path: Path) -> None:
    for i in range(3):
        raw.jpeg(tmp_path / f"{i}.jpg", i)
    (tmp_path / "0.txt").write_text("一只猫\n\nzwei Katzen\n", encoding="utf-8-sig")
    (tmp_path / "1.txt").write_bytes("café".encode("latin-1"))
    found = read(Options(tmp_path)).rows
    assert isinstance(found[0], Row)
    assert found[0].captions == ["一只猫", "zwei Katzen"]
    assert isinstance(found[2], Reject)
    assert found[2].reason == "no text file of the same name beside it"


def test_an_image_in_no_class_is_a_reject(tmp_path: Path) -> None:
    raw.folder(tmp_path, 2)
    raw.jpeg(tmp_path / "loose.jpg", 5)
    (lost,) = [row for row in read(Options(tmp_path)).rows if isinstance(row, Reject)]
    assert lost.id == "loose.jpg"


def test_hidden_folders_and_other_files_are_left_out(tmp_path: Path) -> None:
    raw.folder(tmp_path, 2)
    raw.jpeg(tmp_path / ".old-1" / "cats" / "x.jpg", 5)
    (tmp_path / "cats" / "notes.doc").write_text("x")
    assert len(read(Options(tmp_path)).rows) == 2


def test_a_template_needs_a_place_for_the_label(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no place for the label"):
        read(Options(raw.folder(tmp_path, 2), template="a photo"))


def test_one_folder_around_all_is_no_class_and_a_raw_file_beside_its_jpeg_is_no_picture(tmp_path: Path) -> None:
    for i in range(5):
        raw.jpeg(tmp_path / "all" / f"{i}.jpg", i)
    (tmp_path / "all/0.txt").write_text("a b")
    (tmp_path / "all/0.cr2").write_bytes(b"raw")
    (tmp_path / "all/other.psd").write_bytes(b"8BPS")
    rows = list(read(Options(tmp_path / "out", tmp_path)).rows)
    assert [row.captions for row in rows if isinstance(row, Row)] == [["a b"]]
    assert [row.id for row in rows if isinstance(row, Reject)] == [*(f"all/{i}.jpg" for i in range(1, 5)), "all/other.psd"]
