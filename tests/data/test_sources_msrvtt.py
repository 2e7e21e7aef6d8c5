"""MSR-VTT as it is released: splits of its JSON, or the clips of 1k-A."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmkit.data.shards import open_dataset
from tests import raw
from tests.conftest import Outcome

Invoke = Callable[..., Outcome]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return raw.msrvtt(tmp_path_factory.mktemp("msrvtt") / "raw")


def test_its_own_splits(source: Path, tmp_path: Path, invoke: Invoke) -> None:
    outcome = invoke("prep", "msrvtt", "data", "--source", source, "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.splits == {"train": 8, "val": 2, "test": 2}
    assert data.columns == {"captions": "text", "video": "video"}
    rows = {row["id"]: row for row in data.rows()}
    assert rows["video11"]["captions"] == ["a thing number 11", "another thing number 11"]
    assert rows["video11"]["video"]["bytes"] == (source / "videos" / "video11.mp4").read_bytes()
    (record,) = outcome.lines
    assert record["videos"]["frames"] == {"min": 4, "p50": 4, "p99": 4, "max": 4}
    assert record["videos"]["seconds"]["total"] == pytest.approx(12 * 0.4)


def test_the_split_of_a_csv(source: Path, tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "test.csv").write_text("key,vid_key,video_id,sentence\nret0,msr3,video3,the sentence of the pair\n")
    outcome = invoke("prep", "msrvtt", "data", "--source", source, "--split-csv", "test.csv", "--link", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.splits == {"train": 11, "test": 1}
    (row,) = data.rows("test")
    assert (row["id"], row["captions"]) == ("video3", ["the sentence of the pair"])
    assert row["video"] == {"bytes": None, "path": str(source / "videos" / "video3.mp4")}


def test_damaged_and_missing_clips_are_rejects(tmp_path: Path, invoke: Invoke) -> None:
    folder = raw.msrvtt(tmp_path / "raw")
    (folder / "videos" / "video2.mp4").write_bytes(b"\0" * 500)
    (folder / "videos" / "video5.mp4").unlink()
    outcome = invoke("prep", "msrvtt", "data", "--source", folder, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    found = {r["id"]: r for r in map(json.loads, (tmp_path / "data" / "rejected.jsonl").read_text().splitlines())}
    assert found["video2"]["reason"].startswith("damaged video") and "MSRVTT_data.json video2" in found["video2"]["where"]
    assert found["video5"]["reason"] == "missing file: no clip of that name"


def test_what_is_none_says_so(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "a.json").write_text('{"images": []}')
    outcome = invoke("prep", "msrvtt", "data", "--source", tmp_path, cwd=tmp_path)
    assert outcome.code == 1 and "error: no MSR-VTT found" in outcome.stderr
