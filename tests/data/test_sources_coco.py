"""COCO: folders, zips, other layouts and forms of its captions, which photo a row has, and what is missing."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.schema import Ask, Reject, Row, Source
from mmkit.data.sources.coco import read
from mmkit.data.splits import settle
from mmkit.errors import UserError
from tests import raw


def samples(source: Path, out: Path, **options: object) -> list[Row]:
    return [row for row in read(Ask(out, source), **options).rows if isinstance(row, Row)]  # type: ignore[arg-type]


def test_folders_and_zips_give_the_same(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco")
    plain = samples(root, tmp_path)
    packed = samples(raw.zipped(root, tmp_path / "zips"), tmp_path)
    assert Counter(row.split for row in plain) == {"train": 12, "val": 4}
    assert plain[0].values["captions"] == [raw.caption(1), raw.caption(1) + " again"]
    assert [(r.id, r.values["captions"], r.split, r.values["image"].read()) for r in plain] == [
        (r.id, r.values["captions"], r.split, r.values["image"].read()) for r in packed
    ]
    assert packed[0].values["image"].path is None  # inside a zip: cannot be linked


def test_photos_of_both_splits_in_one_folder(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco")
    for split in ("train2017", "val2017"):
        shutil.copytree(root / split, root / "photos", dirs_exist_ok=True)
        shutil.rmtree(root / split)
    assert Counter(row.split for row in samples(root, tmp_path)) == {"train": 12, "val": 4}


def test_only_val_is_there(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco")
    shutil.rmtree(root / "train2017")
    said: list[str] = []
    source = read(Ask(tmp_path, root, say=said.append))
    assert len(source.rows) == 4
    assert "captions_train2017.json is there: its split is left out" in said[0]


def test_karpathy_joins_restval_and_matches_by_id(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco")
    splits = ["Train", "restval", "validation", "test"]
    images = [
        {
            "cocoid": i,
            "filename": f"COCO_val2014_{i:012d}.jpg",
            "filepath": "val2014",
            "split": splits[i % 4],
            "sentences": [{"raw": raw.caption(i)}],
        }
        for i in range(1, 14)
    ]
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps({"images": images}))
    source = read(Ask(tmp_path, root), karpathy=path)
    settle(source, None, print)
    assert Counter(row.split for row in source.rows if isinstance(row, Row)) == {"train": 6, "val": 3, "test": 3}
    (lost,) = [row for row in source.rows if isinstance(row, Reject)]
    assert (lost.id, lost.reason) == ("000000000013", "missing file val2014/COCO_val2014_000000000013.jpg")


def test_a_missing_photo_is_a_reject(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco")
    (root / "train2017" / "000000000003.jpg").unlink()
    (lost,) = [row for row in read(Ask(tmp_path, root)).rows if isinstance(row, Reject)]
    assert lost.reason == "missing file 000000000003.jpg"
    assert "captions_train2017.json image 3" in lost.where


def test_other_json_is_named(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco")
    path = root / "annotations" / "captions_val2017.json"
    path.write_text('{"a": 1}')
    with pytest.raises(UserError, match=r"not a COCO caption file.*captions_val2017\.json"):
        read(Ask(tmp_path, root))


def test_a_truncated_zip_is_named(tmp_path: Path) -> None:
    pack = raw.zipped(raw.coco(tmp_path / "coco"), tmp_path / "zips") / "val2017.zip"
    pack.write_bytes(pack.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"the zip file is truncated or damaged.*val2017\.zip"):
        read(Ask(tmp_path, tmp_path / "zips"))


def laid(root: Path, captions: str, content: object, photos: dict[str, int]) -> Source:
    """Read photos (path -> number of the picture) and one file of captions."""
    for name, number in photos.items():
        raw.jpeg(root / name, number)
    path = root / captions
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return read(Ask(root, root))


def coco_json(names: dict[Any, str | None], ids: Callable[[Any], Any] = lambda i: i) -> dict[str, Any]:
    """The JSON of photos (id -> file_name), each with the caption `NAME of ID`.

    Args:
        ids: how annotations write the id.
    """
    images = [{"id": i} | ({"file_name": name} if name else {}) for i, name in names.items()]
    return {"images": images, "annotations": [{"image_id": ids(i), "caption": f"{name} of {i}"} for i, name in names.items()]}


def pairs(source: Source) -> dict[str, int]:
    """First caption -> number of the picture beside it."""
    numbers = {raw.encoded(raw.picture(number)): number for number in range(20)}
    return {row.values["captions"][0]: numbers[row.values["image"].read()] for row in source.rows if isinstance(row, Row)}


TRAIN = "annotations/captions_train2017.json"


@pytest.mark.parametrize("folder", ["train2017", "images/train", "images", "."])
def test_the_photo_is_the_one_that_file_name_names(tmp_path: Path, folder: str) -> None:
    names = {i + 1: f"{i:06d}.jpg" for i in range(4)}
    source = laid(tmp_path, TRAIN, coco_json(names), {f"{folder}/{i:06d}.jpg": i for i in range(5)})
    assert pairs(source) == {f"{i:06d}.jpg of {i + 1}": i for i in range(4)}


def test_a_photo_in_the_folder_of_another_split_is_another_photo(tmp_path: Path) -> None:
    photos = {"train2017/000001.jpg": 1, "train2017/000002.jpg": 2, "val2017/000001.jpg": 11}
    raw.jpeg(tmp_path / "val2017/000002.jpg", 12).unlink()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/captions_val2017.json").write_text(json.dumps(coco_json({1: "000001.jpg", 2: "000002.jpg"})))
    source = laid(tmp_path, TRAIN, coco_json({5: "000001.jpg", 6: "000002.jpg"}), photos)
    assert pairs(source) == {"000001.jpg of 5": 1, "000002.jpg of 6": 2, "000001.jpg of 1": 11}
    assert "3 photos" in source.note
    assert [row.reason for row in source.rows if isinstance(row, Reject)] == ["missing file 000002.jpg"]


def test_two_photos_of_one_name_are_both_named(tmp_path: Path) -> None:
    source = laid(tmp_path, TRAIN, coco_json({1: "1.jpg", 2: "2.jpg"}), {"a/1.jpg": 1, "b/1.jpg": 2, "a/2.jpg": 3})
    (lost,) = [row for row in source.rows if isinstance(row, Reject)]
    assert lost.reason == f"2 files fit 1.jpg: {tmp_path}/a/1.jpg and {tmp_path}/b/1.jpg"
    assert pairs(source) == {"2.jpg of 2": 3}


def test_a_link_to_a_folder_of_photos_is_no_second_photo(tmp_path: Path) -> None:
    raw.jpeg(tmp_path / "a" / "1.jpg", 1)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert pairs(laid(tmp_path, TRAIN, coco_json({1: "1.jpg"}), {})) == {"1.jpg of 1": 1}


@pytest.mark.parametrize(
    "written",
    ["images/7.jpg", "./7.jpg", r"images\7.jpg", "train2017/7.jpg", "/data/images/7.jpg", r"C:\data\images\7.jpg", "7.JPG", "7"],
)
def test_names_as_other_machines_write_them(tmp_path: Path, written: str) -> None:
    source = laid(tmp_path, TRAIN, coco_json({1: written}), {"images/7.jpg": 7, "images/8.jpg": 8})
    assert pairs(source) == {f"{written} of 1": 7}
    assert "2 photos" in source.note
    assert ("folders in front" in source.note) == (written[:2] == "C:")


def test_a_folder_in_a_name_is_not_left_out(tmp_path: Path) -> None:
    names = {1: "cats/1.jpg", 2: "dogs/1.jpg", 3: "cows/1.jpg"}
    source = laid(tmp_path, TRAIN, coco_json(names), {"images/cats/1.jpg": 1, "images/dogs/1.jpg": 2})
    assert pairs(source) == {"cats/1.jpg of 1": 1, "dogs/1.jpg of 2": 2}
    assert [row.reason for row in source.rows if isinstance(row, Reject)] == ["missing file cows/1.jpg"]


@pytest.mark.parametrize(("ids", "row_id"), [(str, "3"), (float, "3"), (int, "000000000003")])
def test_ids_of_another_type(tmp_path: Path, ids: Callable[[Any], Any], row_id: str) -> None:
    source = laid(tmp_path, TRAIN, coco_json({3: "0.jpg", 5: "1.jpg"}, ids), {"train2017/0.jpg": 0, "train2017/1.jpg": 1})
    assert pairs(source) == {"0.jpg of 3": 0, "1.jpg of 5": 1}
    assert source.rows[0].id == row_id


def test_ids_that_are_words(tmp_path: Path) -> None:
    source = laid(tmp_path, TRAIN, coco_json({"b-2": "0.jpg", "a-1": "1.jpg"}), {"train2017/0.jpg": 0, "train2017/1.jpg": 1})
    assert [(row.id, *row.values["captions"]) for row in source.rows if isinstance(row, Row)] == [
        ("a-1", "1.jpg of a-1"),
        ("b-2", "0.jpg of b-2"),
    ]


def test_an_id_that_no_image_has_or_several(tmp_path: Path) -> None:
    content = coco_json({1: "1.jpg"})
    content["images"] += [{"id": 2, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}]
    content["annotations"] += [
        {"image_id": 2, "caption": "a cat"},
        {"image_id": 9, "caption": "a dog"},
        {"caption": None} | {"image_id": 1},
    ]
    source = laid(tmp_path, TRAIN, content, {"1.jpg": 1, "2.jpg": 2})
    assert [(row.id, row.reason) for row in source.rows if isinstance(row, Reject)] == [
        ("000000000002", "several images have this id: 1.jpg, 2.jpg"),
        ("000000000009", "no image has this id"),
    ]
    assert [row.values["captions"] for row in source.rows if isinstance(row, Row)] == [["1.jpg of 1", ""]]


def test_a_photo_without_file_name_is_found_by_its_id_and_that_is_said(tmp_path: Path) -> None:
    source = laid(tmp_path, TRAIN, coco_json({7: None, 8: "8.jpg"}), {"images/000000000007.jpg": 7, "images/8.jpg": 8})
    assert pairs(source) == {"None of 7": 7, "8.jpg of 8": 8}
    assert "1 of 2 paths: by the number of the file (7 is 000000000007.jpg)" in source.note


def test_photos_of_the_other_release_are_found_by_their_number_and_that_is_said(tmp_path: Path) -> None:
    names = {i: f"{i:012d}.jpg" for i in range(1, 4)}
    source = laid(tmp_path, TRAIN, coco_json(names), {f"val2014/COCO_val2014_{i:012d}.jpg": i for i in range(1, 4)})
    assert pairs(source) == {f"{name} of {i}": i for i, name in names.items()}
    assert "3 of 3 paths: by COCO's number" in source.note


def test_the_list_form_of_lavis(tmp_path: Path) -> None:
    train = [{"image": f"val2014/{i}.jpg", "caption": f"{i} {k}", "image_id": f"coco_{i}"} for i in (1, 2) for k in "ab"]
    for split, rows in (("train", train), ("val", [{"image": "val2014/3.jpg", "caption": ["3 a", "3 b"]}])):
        source = laid(
            tmp_path, f"annotations/coco_karpathy_{split}.json", rows, {f"images/val2014/{i}.jpg": i for i in (1, 2, 3)}
        )
    assert [(row.id, row.values["captions"], row.split) for row in source.rows if isinstance(row, Row)] == [
        ("val2014/1.jpg", ["1 a", "1 b"], "train"),
        ("val2014/2.jpg", ["2 a", "2 b"], "train"),
        ("val2014/3.jpg", ["3 a", "3 b"], "val"),
    ]
    assert pairs(source) == {"1 a": 1, "2 a": 2, "3 a": 3}


def test_the_layout_of_roboflow(tmp_path: Path) -> None:
    laid(tmp_path, "valid/_annotations.coco.json", coco_json({0: "1.jpg"}), {"valid/1.jpg": 11})
    source = laid(
        tmp_path, "train/_annotations.coco.json", coco_json({0: "1.jpg", 1: "2.jpg"}), {"train/1.jpg": 1, "train/2.jpg": 2}
    )
    rows = [(row.values["captions"][0], row.split) for row in source.rows if isinstance(row, Row)]
    assert rows == [("1.jpg of 0", "train"), ("2.jpg of 1", "train"), ("1.jpg of 0", "val")]
    assert [row.values["image"].read() for row in source.rows if isinstance(row, Row)][2] == raw.encoded(raw.picture(11))


def test_files_without_captions_are_named(tmp_path: Path) -> None:
    boxes = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}
    with pytest.raises(UserError, match="no COCO captions found") as e:
        laid(tmp_path, "annotations/instances_train2017.json", boxes, {"train2017/1.jpg": 1})
    assert e.value.hint == "instances_train2017.json holds no captions"


def test_captions_of_photos_that_are_all_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of the photos that the captions name is there.*captions_train2017") as e:
        laid(tmp_path, TRAIN, coco_json({1: "1.jpg"}), {"train2017/2.jpg": 1})
    assert e.value.hint == "the first is 1.jpg"
