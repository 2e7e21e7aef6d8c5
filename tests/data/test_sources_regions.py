"""`prep regions`: the rows of a dataset with features that others have computed."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmkit.data.plan import Choices
from mmkit.data.region_files import Files
from mmkit.data.schema import Ask
from mmkit.data.shards import open_dataset
from mmkit.data.write import prepare
from mmkit.errors import UsageError, UserError
from tests import raw


def made(tmp_path: Path, data: Path, out: str = "out", choices: Choices | None = None, **options: Any) -> tuple[Any, list[str]]:
    said: list[str] = []
    prepare("regions", Ask(tmp_path / out, data, options, say=said.append), choices or Choices(), {})
    return open_dataset(tmp_path / out), said


def rows(data: Any) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in data.rows()}


def line(i: int, names: tuple[str, ...]) -> str:
    """What bottom-up attention writes of a picture."""
    found = raw.bottom_up(i)
    text = {name: base64.b64encode(found[name].tobytes()).decode() for name in ("boxes", "features")}
    text["objects_conf"] = base64.b64encode(found["conf"].tobytes()).decode()
    text |= {"image_id": str(i), "img_id": str(i), "num_boxes": "3"}
    text |= {f"{word}_{side}": str(int(found[f"image_{side}"])) for word in ("image", "img") for side in "wh"}
    return "\t".join(text.get(name, "") for name in names)


def test_all_else_of_the_rows_is_kept(tmp_path: Path) -> None:
    source = raw.regions(tmp_path / "raw")
    data, said = made(tmp_path, source, files=tmp_path / "raw" / "files")
    before, after = rows(open_dataset(source)), rows(data)
    assert data.columns == {"image": "image", "captions": "text", "regions": "regions"}
    assert data.splits == open_dataset(source).splits and said[0].startswith("12 rows of prepared, regions of 12 in files")
    assert {i: {k: v for k, v in row.items() if k != "regions"} for i, row in after.items()} == before
    for name, row in after.items():
        found, expected = row["regions"], raw.bottom_up(int(Path(name).stem))
        assert np.array_equal(np.float32(found["features"]), expected["features"])
        # the files' boxes are in a picture of 100 x 50, the stored one has 40 x 30
        assert (found["width"], found["height"]) == (40, 30)
        assert np.allclose(found["boxes"], expected["boxes"] * [0.4, 0.6, 0.4, 0.6], atol=1e-5)
        assert np.allclose(found["scores"], expected["conf"]) and np.allclose(found["soft_labels"], expected["soft_labels"])
    assert data.manifest["audit"]["regions"]["per_row"]["p50"] == 3 and data.manifest["license"].startswith("unknown")


def test_boxes_follow_a_picture_that_is_shrunk(tmp_path: Path) -> None:
    source = raw.regions(tmp_path / "raw", 4)
    data, _ = made(tmp_path, source, choices=Choices(resize=15), files=tmp_path / "raw" / "files")
    for row in rows(data).values():
        assert (row["regions"]["width"], row["regions"]["height"]) == (20, 15)
        assert np.allclose(row["regions"]["boxes"][2], [0, 0, 20, 15], atol=1e-5)


def test_rows_without_a_file_are_counted_and_kept(tmp_path: Path) -> None:
    source = raw.regions(tmp_path / "raw")
    for i in (2, 5):
        (tmp_path / "raw" / "files" / f"{i:04d}.npz").unlink()
    data, said = made(tmp_path, source, files=tmp_path / "raw" / "files")
    assert "2 rows have none, e.g. " in said[0]
    assert sum(row["regions"] is None for row in rows(data).values()) == 2 and len(rows(data)) == 12
    (tmp_path / "other").mkdir()
    np.savez(tmp_path / "other" / "dog.npz", **raw.bottom_up(0))
    with pytest.raises(UserError, match="no row is called like any of the files") as caught:
        made(tmp_path, source, "none", files=tmp_path / "other")
    assert "there: dog …; in the dataset: " in caught.value.hint


def test_a_number_that_several_rows_end_with_names_none(tmp_path: Path) -> None:
    prepare("shapes", Ask(tmp_path / "scenes", None, {"limit": 20}), Choices(), {})
    for name in ("train-000003", "000001"):  # train-000001, val-000001 and test-000001
        (tmp_path / "files").mkdir(exist_ok=True)
        np.savez(tmp_path / "files" / f"{name}.npz", **raw.bottom_up(0))
    data, said = made(tmp_path, tmp_path / "scenes", files=tmp_path / "files")
    assert [name for name, row in rows(data).items() if row["regions"] is not None] == ["train-000003"]
    assert "319 rows have none" in said[0]


@pytest.mark.parametrize("columns", [6, 10])
@pytest.mark.parametrize("header", [False, True])
def test_a_tsv_is_the_same_as_the_files(tmp_path: Path, columns: int, header: bool) -> None:
    from mmkit.data.region_files import TSV

    source = raw.regions(tmp_path / "raw", 6)
    lines = ["\t".join(TSV[columns])] * header + [line(i, TSV[columns]) for i in range(6)]
    (tmp_path / "all.tsv").write_text("\n".join(lines) + "\n")
    data, _ = made(tmp_path, source, files=tmp_path / "all.tsv")
    other, _ = made(tmp_path, source, "npz", files=tmp_path / "raw" / "files")
    for name, row in rows(data).items():
        expected = rows(other)[name]["regions"]
        assert all(row["regions"][key] == expected[key] for key in ("boxes", "features", "width", "height"))
        assert (row["regions"]["scores"] is None) == (columns == 6)


def test_files_of_other_names_are_read(tmp_path: Path) -> None:
    found = raw.bottom_up(3)
    shares = found["boxes"] / np.float32([100, 50, 100, 50])
    np.savez(tmp_path / "COCO_val2014_000000000003.npz", features=found["features"], norm_bb=np.pad(shares, ((0, 0), (0, 3))))
    np.savez(tmp_path / "COCO_val2014_000000000004.npz", x=found["features"].T, bbox=found["boxes"], image_w=100, image_h=50)
    files = Files(tmp_path)
    name = files.find(["3"])
    assert name == "COCO_val2014_000000000003" and files.find(["9"]) is None
    uniter, mcan = files.read[str(name)](), files.read["COCO_val2014_000000000004"]()
    assert np.allclose(uniter["boxes"], shares) and (uniter["width"], uniter["height"]) == (1, 1)
    assert np.array_equal(mcan["features"], found["features"]) and mcan["width"] == 100


def test_damaged_files_reject_their_row(tmp_path: Path) -> None:
    source = raw.regions(tmp_path / "raw")
    (tmp_path / "raw" / "files" / "0003.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "raw" / "files" / "0004.npz", pictures=np.ones(3))
    data, _ = made(tmp_path, source, files=tmp_path / "raw" / "files")
    assert len(rows(data)) == 10
    rejected = (tmp_path / "out" / "rejected.jsonl").read_text()
    assert "the file of regions cannot be read" in rejected and "the file holds no boxes and features" in rejected


def test_features_come_from_one_place(tmp_path: Path) -> None:
    source = raw.regions(tmp_path / "raw", 4)
    with pytest.raises(UsageError, match="nothing to take features from"):
        made(tmp_path, source)
    with pytest.raises(UsageError, match="--files and --detector: features come from one of them"):
        made(tmp_path, source, files=tmp_path, detector="x")
    with pytest.raises(UserError, match="no region features"):
        made(tmp_path, source, files=source)
    (tmp_path / "two.tsv").write_text("a\tb\n")
    with pytest.raises(UserError, match="a table of 2 columns, not of 6 or 10"):
        made(tmp_path, source, files=tmp_path / "two.tsv")
