"""Folders: classes, text files beside the images, official splits on top."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from mmkit.data.schema import Ask, Reject, Row
from mmkit.data.sources import reader
from mmkit.data.sources.folder import read
from mmkit.errors import UsageError, UserError
from tests import raw
from tests.core import wav


def samples(root: Path, **options: object) -> list[Row]:
    return [row for row in read(Ask(root / "out", root), **options).rows if isinstance(row, Row)]  # type: ignore[arg-type]


def test_class_folders_give_label_and_caption(tmp_path: Path) -> None:
    rows = samples(raw.folder(tmp_path, 4))
    assert (rows[0].id, rows[0].values["label"], rows[0].split) == ("big_dogs/0000.jpg", "big_dogs", None)
    assert rows[0].values["captions"] == ["a photo of big dogs"]
    assert samples(tmp_path, template="this is {label}.")[3].values["captions"] == ["this is cats."]


def test_splits_on_top(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        raw.folder(tmp_path / split, 2)
    assert [(r.split, r.values["label"]) for r in samples(tmp_path)] == [
        (s, c) for s in ("test", "train", "val") for c in ("big_dogs", "cats")
    ]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    raw.jpeg(tmp_path / "train" / "1.jpg", 1)
    raw.jpeg(tmp_path / "plane" / "2.jpg", 2)
    assert [(r.split, r.values["label"]) for r in samples(tmp_path)] == [(None, "plane"), (None, "train")]


def rejects(root: Path) -> dict[str, str]:
    """id -> reason."""
    return {row.id: row.reason for row in read(Ask(root)).rows if isinstance(row, Reject)}


def test_what_lies_beside_official_splits_does_not_turn_them_into_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        raw.folder(tmp_path / split, 2)
    raw.jpeg(tmp_path / "loose.jpg", 5)
    raw.jpeg(tmp_path / "extra" / "cats" / "1.jpg", 6)
    assert [(r.split, r.values["label"]) for r in samples(tmp_path)] == [
        (s, c) for s in ("test", "train") for c in ("big_dogs", "cats")
    ]
    assert rejects(tmp_path).keys() == {"loose.jpg", "extra/cats/1.jpg"}
    assert all("test, train are the official ones" in reason for reason in rejects(tmp_path).values())
    assert read(Ask(tmp_path)).note.endswith("; 2 in none of them, so rejected: extra 1, loose.jpg 1")


def test_pictures_of_a_kind_that_is_not_read_are_rejects(tmp_path: Path) -> None:
    raw.folder(tmp_path, 2)
    (tmp_path / "cats" / "phone.HEIC").write_bytes(b"x")
    (tmp_path / "cats" / "notes.pdf").write_bytes(b"x")
    assert rejects(tmp_path) == {"cats/phone.HEIC": ".HEIC pictures are not read: convert them to JPEG"}
    assert read(Ask(tmp_path)).note.startswith("3 pictures")


@pytest.mark.parametrize("name", ["id1/0.m4a", "a/phone.heic"])
def test_where_nothing_is_read_every_file_is_a_reject(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(b"x")
    assert list(rejects(tmp_path)) == [name]


def test_a_table_of_which_no_row_can_be_used_is_a_table_of_rejects(tmp_path: Path) -> None:
    (tmp_path / "0.wav").write_bytes(wav(np.zeros(8)))
    (tmp_path / "metadata.csv").write_text("file_name,text\ngone.wav,hi\naway.wav,yo\n")
    assert set(rejects(tmp_path).values()) == {f"missing file {tmp_path / name}" for name in ("gone.wav", "away.wav")}


def test_pictures_sounds_and_videos_together_each_as_what_it_is(tmp_path: Path) -> None:
    raw.folder(tmp_path, 2)
    for label in ("cats", "big_dogs"):
        (tmp_path / label / "0.wav").write_bytes(wav(np.zeros(8)))
        (tmp_path / label / "1.mp4").write_bytes(b"x")
        (tmp_path / label / "1.m4a").write_bytes(b"x")
    rows = {row.id: row.values for row in samples(tmp_path)}
    kinds = {id: next(iter(values)) for id, values in rows.items()}
    assert set(kinds.items()) > {("cats/0.wav", "audio"), ("cats/1.mp4", "video"), ("big_dogs/0.wav", "audio")}
    assert list(kinds.values()).count("image") == 2
    assert rows["cats/0.wav"]["captions"] == ["the sound of cats"] and rows["cats/1.mp4"]["captions"] == ["a video of cats"]
    # a sound beside a video of its name is not that video in another form
    assert set(rejects(tmp_path).values()) == {".m4a sounds are not read: convert them to FLAC"}
    assert read(Ask(tmp_path)).note.startswith("8 pictures, sounds and videos, class folders")
    assert {next(iter(row.values)) for row in read(Ask(tmp_path), read_as="audio").rows if isinstance(row, Row)} == {"audio"}
    assert read(Ask(tmp_path), read_as="video").note.startswith("2 videos, class folders")


def test_one_text_file_does_not_turn_a_class_tree_into_text_mode(tmp_path: Path) -> None:
    raw.folder(tmp_path, 6)
    (tmp_path / "cats" / "0001.txt").write_text("notes")
    assert {row.values["label"] for row in samples(tmp_path)} == {"big_dogs", "cats"}
    assert "class folders (a text file lies beside 1 of them only: it is not read)" in read(Ask(tmp_path)).note
    for path in tmp_path.rglob("*.jpg"):
        path.with_suffix(".txt").write_text("a text")
    assert {row.values["captions"][0] for row in samples(tmp_path)} == {"a text"}
    assert "images beside text files" in read(Ask(tmp_path)).note


def test_text_files_beside_images(tmp_path: Path) -> None:
    for i in range(3):
        raw.jpeg(tmp_path / f"{i}.jpg", i)
    (tmp_path / "0.txt").write_text("一只猫\n\nzwei Katzen\n", encoding="utf-8-sig")
    (tmp_path / "1.txt").write_bytes("café".encode("latin-1"))
    found = read(Ask(tmp_path)).rows
    assert isinstance(found[0], Row)
    assert found[0].values["captions"] == ["一只猫", "zwei Katzen"]
    assert isinstance(found[2], Reject)
    assert found[2].reason == "no text file of the same name beside it"


def test_an_image_in_no_class_is_a_reject(tmp_path: Path) -> None:
    raw.folder(tmp_path, 2)
    raw.jpeg(tmp_path / "loose.jpg", 5)
    (lost,) = [row for row in read(Ask(tmp_path)).rows if isinstance(row, Reject)]
    assert lost.id == "loose.jpg"


def test_hidden_folders_and_other_files_are_left_out(tmp_path: Path) -> None:
    raw.folder(tmp_path, 2)
    raw.jpeg(tmp_path / ".old-1" / "cats" / "x.jpg", 5)
    (tmp_path / "cats" / "notes.doc").write_text("x")
    assert len(read(Ask(tmp_path)).rows) == 2


def test_a_template_needs_a_place_for_the_label(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no place for the label"):
        read(Ask(raw.folder(tmp_path, 2)), template="a photo")


def test_one_folder_around_all_is_no_class_and_a_raw_file_beside_its_jpeg_is_no_picture(tmp_path: Path) -> None:
    for i in range(5):
        raw.jpeg(tmp_path / "all" / f"{i}.jpg", i)
    (tmp_path / "all/0.txt").write_text("a b")
    (tmp_path / "all/0.cr2").write_bytes(b"raw")
    (tmp_path / "all/other.psd").write_bytes(b"8BPS")
    rows = list(read(Ask(tmp_path / "out", tmp_path)).rows)
    assert [row.values["captions"] for row in rows if isinstance(row, Row)] == [["a b"]]
    assert [row.id for row in rows if isinstance(row, Reject)] == [*(f"all/{i}.jpg" for i in range(1, 5)), "all/other.psd"]


def tree(root: Path, *names: str) -> Path:
    """A picture for every name."""
    for i, name in enumerate(names):
        raw.jpeg(root / name, i)
    return root


def found(root: Path) -> dict[str, tuple[str | None, str | None]]:
    """id -> (split, label)."""
    return {row.id: (row.split, row.values["label"]) for row in samples(root)}


def test_nested_class_folders_are_labelled_by_the_innermost(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "animals/cat/1.jpg",
        "animals/dog/1.jpg",
        "vehicles/car/images/1.jpg",
        "vehicles/left/1.jpg",
        "animals/left/1.jpg",
    )
    assert found(tmp_path) == {
        "animals/cat/1.jpg": (None, "cat"),
        "animals/dog/1.jpg": (None, "dog"),
        "animals/left/1.jpg": (None, "left"),
        "vehicles/car/images/1.jpg": (None, "car"),
        "vehicles/left/1.jpg": (None, "left"),
    }
    note = read(Ask(tmp_path)).note
    assert "labelled by the innermost folder (vehicles/car is 'car')" in note
    assert "1 label stands for several folders ('left': animals/left, vehicles/left)" in note


SPLIT_TREES = [
    (["seg_train/seg_train/sea/1.jpg", "seg_test/seg_test/sea/2.jpg"], [("test", "sea"), ("train", "sea")]),
    (["Training/sea/1.jpg", "Testing/sea/2.jpg"], [("test", "sea"), ("train", "sea")]),
    (["images/train/sea/1.jpg", "images/val/sea/2.jpg"], [("train", "sea"), ("val", "sea")]),
    (["a/data/training_set/training_set/sea/1.jpg", "a/data/test_set/test_set/sea/2.jpg"], [("test", "sea"), ("train", "sea")]),
    (["train_images/sea/1.jpg", "val_images/sea/2.jpg"], [("train", "sea"), ("val", "sea")]),
    (["sea/train/1.jpg", "sea/test/2.jpg", "land/train/3.jpg"], [("train", "land"), ("test", "sea"), ("train", "sea")]),
    (["sea_train/1.jpg", "sea_test/2.jpg", "land_train/3.jpg", "land_test/4.jpg"],
     [("test", "land"), ("train", "land"), ("test", "sea"), ("train", "sea")]),
    (["train/train/1.jpg", "train/plane/2.jpg", "test/plane/3.jpg"], [("test", "plane"), ("train", "plane"), ("train", "train")]),
    (["train/images/sea/1.jpg", "dev/images/sea/2.jpg"], [("val", "sea"), ("train", "sea")]),
    (["train_station/1.jpg", "test_tube/2.jpg"], [(None, "test_tube"), (None, "train_station")]),
    (["photos/1.jpg", "drawings/2.jpg"], [(None, "drawings"), (None, "photos")]),
    (["photos/sea/1.jpg", "photos/land/2.jpg"], [(None, "land"), (None, "sea")]),
    (["zoo/sea/1.jpg", "zoo/land/2.jpg", "zoo/3.jpg"], [(None, "land"), (None, "sea")]),
    (["zoo/Train/sea/1.jpg", "zoo/Train/land/2.jpg", "zoo/Test/3.jpg"], [("train", "land"), ("train", "sea")]),
    (["sea/train/1.jpg", "sea/test/2.jpg"], [("test", "sea"), ("train", "sea")]),
    (["trainval/sea/1.jpg", "test/sea/2.jpg"], [("test", "sea"), ("train", "sea")]),
]  # fmt: skip


@pytest.mark.parametrize(("names", "expected"), SPLIT_TREES)
def test_folders_that_are_splits_classes_or_mere_places(
    tmp_path: Path, names: list[str], expected: list[tuple[str | None, str | None]]
) -> None:
    assert list(found(tree(tmp_path, *names)).values()) == expected


def test_a_folder_of_images_is_no_class(tmp_path: Path) -> None:
    assert found(tree(tmp_path, "cat/Images/1.jpg", "dog/Images/2.jpg")).keys() == {"cat/Images/1.jpg", "dog/Images/2.jpg"}
    assert {label for _, label in found(tmp_path).values()} == {"cat", "dog"}
    # Kaggle's unlabelled test pictures, in a folder of that name twice
    tree(tmp_path / "kaggle", "train/cat/1.jpg", "train/dog/2.jpg", "test/test/3.jpg")
    assert rejects(tmp_path / "kaggle").keys() == {"test/test/3.jpg"}
    assert read(Ask(tmp_path / "kaggle")).note.endswith("; 1 in no class folder, so rejected")


@pytest.mark.parametrize("name", ["images", "Images", "img", "JPEGImages", "photos", "."])
def test_pictures_that_nothing_describes_are_an_error(tmp_path: Path, name: str) -> None:
    tree(tmp_path, f"{name}/1.jpg", f"{name}/2.jpg")
    with pytest.raises(UserError, match="no captions: the pictures lie in no class folders") as e:
        read(Ask(tmp_path))
    assert "class folders (cats/1.jpg)" in e.value.hint
    assert (f"({name} is none)" in e.value.what) == (name != ".")


def test_a_single_class_is_said(tmp_path: Path) -> None:
    tree(tmp_path, "cats/1.jpg", "cats/2.jpg")
    assert read(Ask(tmp_path)).note == "2 pictures, class folders, but only one, 'cats': nothing tells these pictures apart"


def test_a_folder_without_a_file_that_is_read_says_what_is_there_and_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("x")
    with pytest.raises(UserError, match="no pictures, sounds, series or videos") as e:
        read(Ask(tmp_path))
    assert e.value.hint.startswith("it holds .xyz; looked for ")
    assert {".jpg", ".wav", ".mp4", ".npy", ".csv"} < set(e.value.hint.split())
    with pytest.raises(UserError, match="no videos") as e:
        read(Ask(tmp_path), read_as="video")
    assert ".jpg" not in e.value.hint


def test_a_single_class_of_sounds_is_said_of_sounds(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "0.wav").write_bytes(wav(np.zeros(8)))
    assert read(Ask(tmp_path)).note.endswith("nothing tells these sounds apart")


def captions(path: Path, *names: str) -> Path:
    """A table of captions."""
    path.write_text("image,caption\n" + "".join(f"{name},a text of {name}\n" for name in names))
    return path


@pytest.mark.parametrize(
    ("table", "names", "pictures"),
    [
        ("captions.csv", ("1.jpg", "2.jpg"), ("Images/1.jpg", "Images/2.jpg")),
        ("captions.csv", ("Images/1.jpg", "Images/2.jpg"), ("Images/1.jpg", "Images/2.jpg")),
        ("Images/captions.csv", ("1.jpg", "2.jpg"), ("Images/1.jpg", "Images/2.jpg")),
        ("captions.txt", ("1.jpg", "2.jpg"), ("Flicker8k_Dataset/1.jpg", "Flicker8k_Dataset/2.jpg")),
        ("captions.csv", ("1.jpg", "2.jpg"), ("1.jpg", "2.jpg")),
    ],
)
def test_a_table_of_captions_beside_pictures_of_no_classes(
    tmp_path: Path, table: str, names: tuple[str, ...], pictures: tuple[str, ...]
) -> None:
    captions(tree(tmp_path, *pictures) / table, *names)
    assert {caption for row in samples(tmp_path) for caption in row.values["captions"]} == {f"a text of {name}" for name in names}
    assert "captions." in read(Ask(tmp_path / "out", tmp_path)).note


def test_folders_that_are_numbered_pages_are_no_classes_where_a_table_names_their_files_as_in_webvid(tmp_path: Path) -> None:
    tree(tmp_path, "videos/000001_000050/101.jpg", "videos/000001_000050/102.jpg", "videos/000051_000100/103.jpg")
    lines = [f"{i},text {i} of it,https://example.org/{i}/stock.jpg" for i in (101, 102, 103)]
    (tmp_path / "results.csv").write_text("".join(f"{line}\n" for line in ("videoid,name,contentUrl", *lines)))
    assert {row.values["captions"][0] for row in samples(tmp_path)} == {f"text {i} of it" for i in (101, 102, 103)}
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert f"--source {tmp_path / 'results.csv'} --image-root {tmp_path / 'videos'} " in read(Ask(tmp_path)).note


def test_a_table_of_captions_takes_splits_from_folders(tmp_path: Path) -> None:
    captions(tree(tmp_path, "Images/train/1.jpg", "Images/valid/2.jpg") / "captions.csv", "train/1.jpg", "valid/2.jpg")
    assert [row.split for row in samples(tmp_path)] == ["train", "val"]


def test_a_table_that_names_pictures_of_class_folders_is_named(tmp_path: Path) -> None:
    table = captions(tree(tmp_path, "cats/1.jpg", "dogs/2.jpg") / "captions.csv", "cats/1.jpg", "dogs/2.jpg")
    assert {row.values["label"] for row in samples(tmp_path)} == {"cats", "dogs"}
    assert f"; captions.csv is not read: mmkit prep table ./data --source {table} " in read(Ask(tmp_path)).note


@pytest.mark.parametrize("names", [("1.jpg", "2.jpg"), ("Images/1.jpg", "Images/2.jpg")])
def test_the_hint_at_a_table_beside_the_folder_is_followed(tmp_path: Path, names: tuple[str, ...]) -> None:
    captions(tree(tmp_path, "Images/1.jpg", "Images/2.jpg") / "captions.csv", *names)
    (tmp_path / "prices.csv").write_text("sku,price\n1,2\n")
    for source in (tmp_path / "Images", tmp_path):
        with pytest.raises(UserError, match="no captions") as e:
            read(Ask(tmp_path / "out", source))
        _, _, _, _, _, table, *root = shlex.split(e.value.hint.partition("   ")[0])
        found = reader("table")(Ask(tmp_path / "out", Path(table)), image_root=Path(root[1]) if root else None)
        assert [row.values["captions"] for row in found.rows if isinstance(row, Row)] == [[f"a text of {name}"] for name in names]


def test_a_table_in_the_folder_above_that_names_other_files_is_not_named(tmp_path: Path) -> None:
    tree(tmp_path, "pets/cats/1.jpg", "photos/1.jpg", "photos/2.jpg")
    captions(tmp_path / "captions.csv", "photos/1.jpg", "photos/2.jpg")
    assert "captions.csv" not in read(Ask(tmp_path / "out", tmp_path / "pets")).note


@pytest.mark.parametrize("text", ["a.txt", "a.TXT", "A.txt", "a.caption", "a.Caption", "a.png.txt", "a.PNG.txt", "a.png.caption"])
def test_captions_beside_pictures_in_every_usual_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.png").write_bytes(raw.encoded(raw.picture(1), "PNG"))
    (tmp_path / text).write_text("a text")
    (row,) = samples(tmp_path)
    assert (row.values["captions"], row.where) == (["a text"], str(tmp_path / text))


def test_names_that_differ_in_case_only_keep_their_own_texts(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "A.jpg", "b.jpg")
    for name in ("a.txt", "A.txt", "b.txt", "b.caption"):
        (tmp_path / name).write_text(name)
    assert {row.id: row.values["captions"] for row in samples(tmp_path)} == {
        "A.jpg": ["A.txt"],
        "a.jpg": ["a.txt"],
        "b.jpg": ["b.txt", "b.caption"],
    }


def test_a_link_to_a_folder_above_is_no_circle(tmp_path: Path) -> None:
    root = raw.folder(tmp_path / "pets", 6)
    expected = found(root)
    (root / "cats" / "up").symlink_to(root)
    (root / "cats" / "here").symlink_to(root / "cats")
    # one that leads to itself is no folder, and hides none
    (root / "cats" / "self").symlink_to("self")
    assert found(root) == expected
    # one to another place is read there
    tree(tmp_path / "else", "1.jpg")
    (root / "birds").symlink_to(tmp_path / "else")
    assert found(root).keys() == {*expected, "birds/1.jpg"}
