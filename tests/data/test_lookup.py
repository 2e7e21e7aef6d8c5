"""Paths of other machines, programs and hands: which picture is meant, and when none is surely meant."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from mmkit.data.lookup import Lookup
from mmkit.data.schema import Row


def laid_out(root: Path, *names: str) -> Lookup:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return Lookup(root)


def found(pictures: Lookup, name: str) -> str:
    return pictures.name(pictures.find(name))


PHOTO = "images/Été 1.jpg"


@pytest.mark.parametrize(
    ("written", "file", "note"),
    [
        ("images\\1.jpg", "images/1.jpg", "Windows separators read as /"),
        (".\\images\\1.jpg", "images/1.jpg", "Windows separators read as /"),
        ("D:\\data\\images\\1.jpg", "images/1.jpg", "Windows separators read as /; 1 without the folders in front"),
        ("\\\\server\\share\\images\\1.jpg", "images/1.jpg", "Windows separators read as /; 1 without the folders in front"),
        ("D:/data/images/1.jpg", "images/1.jpg", "without the folders in front"),
        ("/home/ann/data/images/1.jpg", "images/1.jpg", "without the folders in front"),
        ("~/data/images/1.jpg", "images/1.jpg", "without the folders in front"),
        ("../input/images/1.jpg", "images/1.jpg", "without the folders in front"),
        ("s3://bucket/set/images/1.jpg", "images/1.jpg", "without the folders in front"),
        ("file:///C:/set/images/1.jpg", "images/1.jpg", "without the folders in front"),
        ("set/images/1.jpg", "images/1.jpg", "without the folders in front"),
        ("/elsewhere/top.jpg", "top.jpg", "without the folders in front"),
        ("IMAGES/1.JPG", "images/1.jpg", "in another case"),
        ("images/1", "images/1.jpg", "without extension"),
        ("Images\\1", "images/1.jpg", "Windows separators read as /; 1 in another case; 1 without extension"),
        ("top.jpg", "top.jpg", ""),
        ("./images//1.jpg", "images/1.jpg", ""),
        (" images/1.jpg ", "images/1.jpg", ""),
        ("images / 1.jpg", "images/1.jpg", "with accents or spaces written otherwise"),
        (unicodedata.normalize("NFD", PHOTO), PHOTO, "with accents or spaces written otherwise"),
        ("images/%C3%89t%C3%A9%201.jpg", PHOTO, "decoded as a URL"),
        ("twice.jpg", "twice.jpg.jpg", "without extension"),
    ],
)
def test_a_path_of_another_place_finds_the_one_picture_it_can_mean(tmp_path: Path, written: str, file: str, note: str) -> None:
    pictures = laid_out(tmp_path, "images/1.jpg", "top.jpg", PHOTO, "other/2.jpg", "twice.jpg.jpg")
    assert found(pictures, written) == file
    assert pictures.readings.note.startswith(f"1 of 1 paths: {note}" if note else "")
    assert bool(pictures.readings.note) == bool(note)


@pytest.mark.parametrize("written", ["12", "12.0", "0012", "000000000012"])
def test_a_number_is_that_of_a_file(tmp_path: Path, written: str) -> None:
    assert found(laid_out(tmp_path / "a", "000000000012.jpg", "000000000120.jpg"), written) == "000000000012.jpg"
    coco = "COCO_val2014_000000000012.jpg"
    assert found(laid_out(tmp_path / "b", coco, "12.txt"), written) == coco


def test_an_exact_path_wins_and_lists_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.jpg", "A.jpg", "a", "a.png", "b\\c.jpg", "b/c.jpg", "my%20cat.jpg", "my cat.jpg"]
    pictures = laid_out(tmp_path, *names)
    monkeypatch.setattr(os, "scandir", lambda folder: pytest.fail("a folder was listed"))
    assert [found(pictures, name) for name in names] == names
    assert pictures.readings.note == ""


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = laid_out(tmp_path, *(f"images/{i}.jpg" for i in range(9)))
    listed = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(str(folder)) or real(folder))
    assert [found(pictures, f"D:\\images\\{i}") for i in range(9)] == [f"images/{i}.jpg" for i in range(9)]
    assert sorted(listed) == [str(tmp_path), str(tmp_path / "images")]
    assert pictures.readings.note == (
        "9 of 9 paths: Windows separators read as /; 9 without the folders in front that are not here; "
        "9 without extension (D:\\images\\0 is images/0.jpg)"
    )


@pytest.mark.parametrize(
    ("files", "written", "both"),
    [
        (["a.JPG", "A.jpg"], "a.jpg", "A.jpg and a.JPG"),
        (["images/a.jpg", "IMAGES/a.jpg"], "Images/a.jpg", "IMAGES/a.jpg and images/a.jpg"),
        (["10.jpg", "10.png"], "10", "10.jpg and 10.png"),
        (["COCO_train2014_000000000012.jpg", "000000000012.jpg"], "12", "000000000012.jpg and COCO_train2014_000000000012.jpg"),
        ([f"{'0' * i}7.jpg" for i in range(1, 6)], "7", "000007.jpg and 00007.jpg and 0007.jpg and 2 more"),
    ],
)
def test_where_two_fit_both_are_named(tmp_path: Path, files: list[str], written: str, both: str) -> None:
    pictures = laid_out(tmp_path, *files)
    with pytest.raises(ValueError, match="files fit") as e:
        pictures.find(written)
    assert str(e.value) == f"{len(files)} files fit {written}: {both}"
    assert pictures.readings.note == ""


def test_the_longest_tail_counts(tmp_path: Path) -> None:
    pictures = laid_out(tmp_path, "train/images/1.jpg", "images/1.jpg", "1.jpg", "images/2.jpg", "empty/images/x/y.jpg")
    assert found(pictures, "/data/train/images/1.jpg") == "train/images/1.jpg"
    assert found(pictures, "/data/images/1.jpg") == "images/1.jpg"
    # a folder that holds no file of its own does not hide the one above
    assert found(pictures, "/empty/images/2.jpg") == "images/2.jpg"


def test_a_picture_that_is_not_in_its_folder_is_missing_even_if_another_has_its_name(tmp_path: Path) -> None:
    pictures = laid_out(tmp_path, "train/1.jpg", "7.jpg", "test/7.jpg")
    for written in ("/data/train/7.jpg", "train\\7.jpg", "train/7.jpg", "val/7.jpg"):
        with pytest.raises(FileNotFoundError, match=r"missing file .*7\.jpg"):
            pictures.find(written)


def test_a_relative_path_may_begin_with_the_folder_itself(tmp_path: Path) -> None:
    assert found(laid_out(tmp_path / "Photos", "1.jpg"), "data/photos/1.jpg") == "1.jpg"


def test_pictures_of_several_folders_are_not_the_one_that_is_here(tmp_path: Path) -> None:
    pictures = laid_out(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    written = ["/data/cats/1.jpg", "/data/dogs/1.jpg", "/mnt/data/cats/2.jpg", "/data/cats/2.jpg", "3.jpg"]
    rows = [Row(name, {"image": pictures.find(name)}, f"row {i}") for i, name in enumerate(written)]
    settled = pictures.readings.settle(rows)
    assert settled[2:] == rows[2:]
    reason = f"paths of several folders lead to {tmp_path / '1.jpg'}: data/cats and data/dogs"
    assert [row.reason for row in settled[:2]] == [reason, reason]  # type: ignore[union-attr]


def test_a_missing_picture_says_what_is_there_instead(tmp_path: Path) -> None:
    pictures = laid_out(tmp_path, "photos/1.jpg", "photos/cats/2.jpg")
    for written, hint in {
        "1.jpg": f"; it is there with --image-root {tmp_path / 'photos'}",
        "1": f"; it is there with --image-root {tmp_path / 'photos'}",
        "cats/2.jpg": f"; it is there with --image-root {tmp_path / 'photos'}",
        "photos/1.png": "; 1.jpg is there",
        "3.jpg": "",
    }.items():
        with pytest.raises(FileNotFoundError) as e:
            pictures.find(written)
        assert str(e.value) == f"missing file {tmp_path / written}{hint}"


def test_a_missing_sound_may_lie_beside_the_folder_of_the_table(tmp_path: Path) -> None:
    laid_out(tmp_path, "set/audio/1.wav", "set/meta/t.csv", "set/2.wav", "others/3.wav")
    for written, hint in {
        "1.wav": f"; it is there with --image-root {tmp_path / 'set/audio'}",
        "audio/1.wav": f"; it is there with --image-root {tmp_path / 'set'}",
        "3.wav": "",
    }.items():
        with pytest.raises(FileNotFoundError) as e:
            Lookup(tmp_path / "set/meta").find(written)
        assert str(e.value) == f"missing file {tmp_path / 'set/meta' / written}{hint}"


def test_files_are_spread_over_folders(tmp_path: Path) -> None:
    """As the folds of UrbanSound8K, or the parts of a download; the table has bare names."""
    sounds = laid_out(tmp_path, "fold1/a.wav", "fold2/b.wav", "fold2/c.wav", "fold3/c.wav", "meta/t.csv")
    assert sounds.name(sounds.find("a.wav")) == "fold1/a.wav" and sounds.name(sounds.find("b")) == "fold2/b.wav"
    assert sounds.readings.note.startswith("2 of 2 paths: in the one of several folders that has it")
    with pytest.raises(ValueError, match=r"2 files fit c\.wav: fold2/c\.wav"):
        sounds.find("c.wav")
    with pytest.raises(FileNotFoundError):
        sounds.find("d.wav")
    with pytest.raises(FileNotFoundError, match="missing file"):  # others lie in the root itself: it is another file
        laid_out(tmp_path, "x.wav").find("a.wav")


def test_pictures_that_are_still_packed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing file .*; images\.zip beside it: unpack first"):
        laid_out(tmp_path, "images.zip", "t.csv").find("images/1.jpg")


def test_links_are_followed_as_the_path_says_and_never_in_a_circle(tmp_path: Path) -> None:
    pictures = laid_out(tmp_path, "images/1.jpg")
    (tmp_path / "images" / "up").symlink_to(tmp_path)
    (tmp_path / "images" / "self").symlink_to(tmp_path / "images" / "self")
    assert found(pictures, "IMAGES/UP/images/1.jpg") == "images/up/images/1.jpg"
    with pytest.raises(FileNotFoundError):
        pictures.find("/data/up/9.jpg")


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    pictures = laid_out(tmp_path, "1.jpg")
    for name in ("a" * 5000, "..", "/", "\\", "caf\udce9.jpg", "D:"):
        with pytest.raises(OSError):  # noqa: PT011  missing, or too long
            pictures.find(name)
    with pytest.raises(ValueError, match="null byte"):
        pictures.find("\0")


def test_of_several_files_of_a_name_the_one_that_is_looked_for_counts(tmp_path: Path) -> None:
    files = laid_out(tmp_path, "audio/v0.wav", "video/v0.mp4", "img/v0.png", "img/v1.jpg", "img/v1.png", "audio/v1.wav")
    assert files.name(files.find("v0", {".wav", ".mp3"})) == "audio/v0.wav"
    assert files.name(files.find("v0", {".mp4"})) == "video/v0.mp4"
    with pytest.raises(ValueError, match=r"2 files fit v1: img/v1\.jpg and img/v1\.png"):
        files.find("v1", {".jpg", ".png"})
    with pytest.raises(ValueError, match="3 files fit v0"):
        files.find("v0")


def test_a_path_of_another_machine_whose_file_lies_in_one_of_several_folders(tmp_path: Path) -> None:
    files = laid_out(tmp_path, "audio/a.wav", "audio/b.wav", "video/a.mp4")
    paths = ["/data/release/Session1/a.wav", "D:\\release\\Session1\\b.wav"]
    assert [found(files, path) for path in paths] == ["audio/a.wav", "audio/b.wav"]
    assert "2 in the one of several folders that has it" in files.readings.note
    with pytest.raises(FileNotFoundError, match="missing file"):  # the folder that it names here is not here
        files.find("Session1/a.wav")
    again = Row("2", {"audio": files.find("/data/release/Session2/a.wav")}, "t.csv row 2")
    assert files.readings.settle([again])[0].reason.startswith("paths of several folders lead to")  # type: ignore[union-attr]
