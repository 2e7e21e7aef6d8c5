"""COCO: folders, zips, one folder of photos, the Karpathy file, and what is missing."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from mmkit.data.schema import Options, Reject, Row
from mmkit.data.sources.coco import read
from mmkit.data.splits import settle
from mmkit.errors import UserError
from tests import raw


def samples(source: Path, out: Path, **options: object) -> list[Row]:
    return [row for row in read(Options(out, source, **options)).rows if isinstance(row, Row)]  # type: ignore[arg-type]


def test_folders_and_zips_give_the_same(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco")
    plain = samples(root, tmp_path)
    packed = samples(raw.zipped(root, tmp_path / "zips"), tmp_path)
    assert Counter(row.split for row in plain) == {"train": 12, "val": 4}
    assert plain[0].captions == [raw.caption(1), raw.caption(1) + " again"]
    assert [(r.id, r.captions, r.split, r.image.read()) for r in plain] == [
        (r.id, r.captions, r.split, r.image.read()) for r in packed
    ]
    assert packed[0].image.path is None  # inside a zip: cannot be linked


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
    source = read(Options(tmp_path, root, say=said.append))
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
    source = read(Options(tmp_path, root, karpathy=path))
    settle(source, None, print)
    assert Counter(row.split for row in source.rows if isinstance(row, Row)) == {"train": 6, "val": 3, "test": 3}
    (lost,) = [row for row in source.rows if isinstance(row, Reject)]
    assert (lost.id, lost.reason) == ("000000000013", "missing file COCO_val2014_000000000013.jpg")


def test_a_missing_photo_is_a_reject(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco")
    (root / "train2017" / "000000000003.jpg").unlink()
    (lost,) = [row for row in read(Options(tmp_path, root)).rows if isinstance(row, Reject)]
    assert lost.reason == "missing file 000000000003.jpg"
    assert "captions_train2017.json image 3" in lost.where


def test_other_json_is_named(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco")
    path = root / "annotations" / "captions_val2017.json"
    path.write_text('{"a": 1}')
    with pytest.raises(UserError, match=r"not a COCO caption file.*captions_val2017\.json"):
        read(Options(tmp_path, root))


def test_a_truncated_zip_is_named(tmp_path: Path) -> None:
    pack = raw.zipped(raw.coco(tmp_path / "coco"), tmp_path / "zips") / "val2017.zip"
    pack.write_bytes(pack.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"the zip file is truncated or damaged.*val2017\.zip"):
        read(Options(tmp_path, tmp_path / "zips"))
