"""The audit finds what was put there, and says what it estimates."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.audit import audit, table
from mmkit.data.plan import Choices
from mmkit.data.schema import Options
from mmkit.data.shards import open_dataset
from mmkit.data.write import prepare
from tests import raw


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
    prepare("folder", Options(tmp_path / "data", root), Choices(workers=2), {})
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
    prepare("table", Options(tmp_path / "data", path), Choices(shares={"train": 1.0}), {})
    found = audit(open_dataset(tmp_path / "data"))[0]
    assert found["over_context"]["captions"] == 2
    assert found["caption_words"]["max"] == 60


def test_a_linked_picture_that_has_gone_is_counted(tmp_path: Path) -> None:
    path = raw.table(tmp_path / "raw", 4)
    prepare("table", Options(tmp_path / "data", path), Choices(link=True), {})
    (tmp_path / "raw" / "photos" / "0002.jpg").unlink()
    found = audit(open_dataset(tmp_path / "data"))[0]
    assert found["missing_images"] == 1
    assert found["duplicate_images"]["within_splits"] == 0
