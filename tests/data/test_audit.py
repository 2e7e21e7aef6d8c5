"""The audit finds what was put there, and says what it estimates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmkit.data.audit import audit, table
from mmkit.data.images import look
from mmkit.data.plan import Choices
from mmkit.data.schema import Ask
from mmkit.data.shards import open_dataset
from mmkit.data.write import prepare
from mmkit.errors import UserError
from tests import raw
from tests.conftest import Outcome, write_dataset


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    """Twelve classed pictures in train and test; one is in both, one twice in train."""
    root = tmp_path / "raw"
    for i in range(9):
        raw.jpeg(root / "train" / ("cats" if i < 6 else "dogs") / f"{i}.jpg", i)
    shutil.copy(root / "train" / "cats" / "0.jpg", root / "train" / "cats" / "copy.jpg")
    raw.jpeg(root / "test" / "dogs" / "9.jpg", 9)
    shutil.copy(root / "train" / "cats" / "1.jpg", root / "test" / "cats.jpg")
    (root / "test" / "cats").mkdir()
    (root / "test" / "cats.jpg").rename(root / "test" / "cats" / "leak.jpg")
    prepare("folder", Ask(tmp_path / "data", root), Choices(workers=2), {})
    return audit(open_dataset(tmp_path / "data"))[0]


def test_counts_and_balance(found: dict[str, Any]) -> None:
    assert found["rows"] == {"train": 10, "test": 2}
    assert found["captions"] == {"train": 10, "test": 2}
    assert found["labels"] == {
        "classes": 2,
        "largest": {"cats": 8, "dogs": 4},
        "smallest": {"cats": 8, "dogs": 4},
        "imbalance": 2.0,
    }
    assert found["caption_words"] == {"min": 4, "p50": 4, "p99": 4, "max": 4}


def test_duplicates_within_and_across_splits(found: dict[str, Any]) -> None:
    same = found["duplicate_images"]
    assert (same["within_splits"], same["across_splits"]) == (1, 1)
    leak, twins = same["examples"]
    assert leak == {"train": ["train/cats/1.jpg"], "test": ["test/cats/leak.jpg"]}
    assert twins.keys() == {"train"}
    assert len(set(twins["train"])) == 2


def test_equal_captions_on_different_images(found: dict[str, Any]) -> None:
    assert found["equal_captions"] == {"distinct": 2, "on_several_images": 2, "rows_times_captions": 12}


def test_the_table_says_it_plainly(found: dict[str, Any]) -> None:
    lines = {line[0]: line[1:] for line in table(found)}
    assert lines["equal images within a split"][1].count("train/train/") == 2
    assert lines["equal images across splits"] == ["1", "LEAK: train/train/cats/1.jpg = test/test/cats/leak.jpg"]
    assert lines["captions over the context"][1].startswith("estimate: words x 1.3 + 2")
    assert lines["classes"] == ["2", "cats 8 … dogs 4"]


def test_it_is_kept_in_the_manifest(tmp_path: Path, found: dict[str, Any]) -> None:
    manifest = open_dataset(tmp_path / "data").manifest
    assert manifest["audit"] == found
    assert manifest["text"] == {"caption_chars_p50": 15, "caption_chars_p99": 15, "captions_per_row": 1.0}


def test_long_captions_in_any_script(tmp_path: Path) -> None:
    path = raw.table(tmp_path / "raw", 3)
    lines = path.read_text().splitlines()
    lines[1] = "photos/0000.jpg," + "word " * 60
    lines[2] = "photos/0001.jpg," + "红" * 60
    path.write_text("\n".join(lines))
    prepare("table", Ask(tmp_path / "data", path), Choices(shares={"train": 1.0}), {})
    found = audit(open_dataset(tmp_path / "data"))[0]
    assert found["over_context"]["captions"] == 2
    assert found["caption_words"]["max"] == 60


def test_a_linked_picture_that_has_gone_is_counted(tmp_path: Path) -> None:
    path = raw.table(tmp_path / "raw", 4)
    prepare("table", Ask(tmp_path / "data", path), Choices(link=True), {})
    (tmp_path / "raw" / "photos" / "0002.jpg").unlink()
    found = audit(open_dataset(tmp_path / "data"))[0]
    assert found["missing_images"] == 1
    assert found["duplicate_images"]["within_splits"] == 0


@pytest.mark.parametrize(("link", "form"), [(False, "PNG"), (True, "PNG"), (False, "JPEG"), (True, "JPEG")])
def test_pictures_that_show_nothing_are_named(tmp_path: Path, link: bool, form: str) -> None:
    root = tmp_path / "raw" / "cats"
    for i in range(3):
        raw.jpeg(root / f"{i}.jpg", i)
    Image.new("RGB", (40, 30), (7, 7, 90)).save(root / "flat.png", form)
    faint = np.random.default_rng(0).integers(118, 122, (30, 40)).astype("uint8")
    Image.fromarray(faint).save(root / "faint.png", form)
    Image.new("RGBA", (40, 30), (200, 10, 10, 0)).save(root / "clear.webp", lossless=True)
    Image.fromarray(np.full((30, 40), np.nan, "float32")).save(root / "nan.tif")
    prepare("folder", Ask(tmp_path / "data", root.parent), Choices(shares={"train": 1.0}, link=link), {})
    found = audit(open_dataset(tmp_path / "data"))[0]
    one, low = found["one_colour_images"], found["low_contrast_images"]
    assert one["count"] == 3
    assert sorted(one["examples"]["train"]) == ["cats/clear.webp", "cats/flat.png", "cats/nan.tif"]
    assert low == {"count": 1, "examples": {"train": ["cats/faint.png"]}, "levels_below": 16}
    lines = {line[0]: line[1:] for line in table(found)}
    assert lines["images of one colour"][0] == "3"
    assert "train/cats/flat.png" in lines["images of one colour"][1]
    assert lines["images of low contrast"] == ["1", "fewer than 16 of 256 levels: train/cats/faint.png"]


def test_fine_detail_is_contrast() -> None:
    # an eighth of the size shows the means of 8 x 8 pixels, which are all the same here
    stripes = np.tile(np.array([[40, 200]], "uint8"), (64, 32))
    assert look(raw.encoded(Image.fromarray(stripes), "JPEG", quality=95)).levels > 100


def test_the_size_of_a_linked_picture_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert look(raw.encoded(raw.picture(1, (40, 20)), "JPEG", exif=exif)).size == (20, 40)


def mapped(folder: Path, **changes: Any) -> Path:
    """A dataset of another tool: its own names, one caption a row as plain text, and classes as numbers."""
    rows = [
        {"id": str(i), "photo": {"bytes": raw.encoded(raw.picture(i % 3)), "path": None}, "alt": f"text {i % 2}", "kind": i % 2}
        for i in range(4)
    ]
    columns = {"photo": "image", "alt": "text", "kind": "label"} | changes
    return write_dataset(folder, {"train": rows[:3], "test": rows[3:]}, columns)


def test_mapped_columns(tmp_path: Path, invoke: Callable[..., Outcome]) -> None:
    outcome = invoke("prep", "audit", mapped(tmp_path / "data"), "--json")
    assert outcome.code == 0, outcome.stderr
    found = outcome.lines[0]
    assert found["rows"] == found["captions"] == {"train": 3, "test": 1}
    assert found["duplicate_images"]["examples"] == [{"train": ["0"], "test": ["3"]}]
    assert found["equal_captions"] == {"distinct": 2, "on_several_images": 2, "rows_times_captions": 4}
    assert found["labels"]["largest"] == {"0": 2, "1": 2}
    assert found["caption_words"]["max"] == 2


def test_bytes_and_paths_are_pictures_too(tmp_path: Path) -> None:
    path = raw.jpeg(tmp_path / "1.jpg", 1)
    for n, picture in enumerate([path.read_bytes(), str(path)]):
        data = open_dataset(write_dataset(tmp_path / str(n), {"train": [{"id": "1", "photo": picture}]}, {"photo": "image"}))
        found, facts = audit(data)
        assert found["unreadable_images"]["count"] == found["missing_images"] == 0
        assert facts == {"image": {"median_width": 40, "median_height": 30}}


def test_null_captions_are_none(tmp_path: Path) -> None:
    rows = [{"id": str(i), "photo": raw.encoded(raw.picture(i)), "alt": text} for i, text in enumerate(["a", None, "b", None])]
    data = open_dataset(write_dataset(tmp_path / "data", {"train": rows}, {"photo": "image", "alt": "text"}))
    assert audit(data)[0]["captions"] == {"train": 2}
    assert [row["alt"] for row in data.rows()] == [["a"], [], ["b"], []]


def test_a_mapped_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    data = open_dataset(mapped(tmp_path / "data", words="text"))
    with pytest.raises(UserError, match=r"no column 'words', which dataset.json says is there"):
        audit(data)


def test_two_columns_of_pictures_are_both_looked_at(tmp_path: Path) -> None:
    flat = raw.encoded(Image.new("RGB", (8, 8)), "PNG")
    rows = [{"id": "1", "left": raw.encoded(raw.picture(1)), "right": flat}, {"id": "2", "left": b"broken", "right": None}]
    rows.append({"id": "3", "left": raw.encoded(raw.picture(2)), "right": b"broken"})
    data = open_dataset(write_dataset(tmp_path / "data", {"train": rows}, {"left": "image", "right": "image"}))
    found = audit(data)[0]
    assert found["one_colour_images"] == {"count": 1, "examples": {"train": ["1"]}}
    assert found["unreadable_images"] == {"count": 2, "examples": {"train": ["2", "3"]}}
    assert found["filled"] == {"left": {"train": 3}, "right": {"train": 2}}, "a picture that is not there is not broken"


def test_the_audit_the_rejects_and_the_count_of_rows_agree(tmp_path: Path, invoke: Callable[..., Outcome]) -> None:
    """Broken, missing, empty and flat pictures, the same one twice, blank captions, and two blank captions of five."""
    photos = tmp_path / "photos"
    for i in range(8):
        raw.jpeg(photos / f"{i}.jpg", i)
    (photos / "broken.jpg").write_bytes((photos / "0.jpg").read_bytes()[:200])
    (photos / "empty.jpg").touch()
    Image.new("RGB", (9, 9)).save(photos / "flat.png")
    lines = [f"photos/{i}.jpg,text {i}" for i in range(8)] + ["photos/0.jpg,again", "photos/1.jpg,", "photos/2.jpg,nan"]
    lines += ["photos/broken.jpg,one", "photos/broken.jpg,two", "photos/empty.jpg,x", "photos/none.jpg,x", "photos/flat.png,dark"]
    (tmp_path / "t.csv").write_text("\n".join(["photo,text", *lines]))
    outcome = invoke("prep", "table", tmp_path / "data", "--source", tmp_path / "t.csv", "--column", "image=photo", "--json")
    assert outcome.code == 0, outcome.stderr
    found = outcome.lines[0]
    rejected = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    assert found["rejected"] == len(rejected)
    assert sum(found["rows"].values()) + found["merged"] + found["rejected"] == len(lines)
    assert found["one_colour_images"]["count"] == 1
    assert f"{found['merged']} rows were merged" in outcome.stderr
    again = invoke("prep", "audit", tmp_path / "data", "--json").lines[0]
    assert again == {key: value for key, value in found.items() if key not in ("path", "splits")}
