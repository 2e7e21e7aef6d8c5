"""What goes wrong while data is prepared: each with its message, its exit code, and nothing broken left behind."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmkit.data.shards import open_dataset
from mmkit.errors import UserError
from tests import raw
from tests.conftest import Outcome

Invoke = Callable[..., Outcome]


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.is_file()}


def error(outcome: Outcome) -> str:
    """The error and its hint, without the talk before them."""
    return outcome.stderr[outcome.stderr.index("error: ") :]


def start(folder: Path, *args: str, **options: Any) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mmkit", "prep", *args]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_for(found: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_and_resumed_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    args = ("shapes", "data", "--limit", "1000", "-q")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(killed, *args)
    data = killed / "data"
    wait_for(lambda: (data / ".prep" / "train-00000-of-00001.parquet.json").exists())
    process.kill()
    process.communicate()
    assert not (data / "dataset.json").exists()
    first = (data / "train-00000-of-00001.parquet").stat().st_mtime_ns
    assert start(killed, *args).wait() == 0
    assert (data / "train-00000-of-00001.parquet").stat().st_mtime_ns == first, "it began again"
    assert start(whole, *args).wait() == 0
    assert digests(data) == digests(whole / "data")
    assert sorted(os.listdir(data)) == sorted(os.listdir(whole / "data"))
    assert not (data / ".prep").exists()


def test_killed_before_the_first_shard(tmp_path: Path, invoke: Invoke) -> None:
    process = start(tmp_path, "shapes", "data", "--limit", "3000", "-q")
    wait_for(lambda: (tmp_path / "data" / ".prep" / "plan.json").exists())
    process.kill()
    process.communicate()
    # nothing is finished, so nothing is lost by another command
    outcome = invoke("prep", "shapes", tmp_path / "data", "--limit", 20)
    assert outcome.code == 0, outcome.stderr
    assert [name for name in os.listdir(tmp_path / "data") if "partial" in name] == []


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    # what a shell runs in the background is born deaf to SIGINT, and so would be what the tests start there
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = start(tmp_path, "shapes", "data", "--limit", "30000", preexec_fn=heard)
    wait_for(lambda: (tmp_path / "data" / ".prep" / "plan.json").exists())
    # Python swallows an interrupt that falls into a finaliser: press again, while there is still enough to do
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(2)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.endswith("interrupted; the same command continues where this one stopped\n")


def test_unfinished_work_of_another_command_is_refused(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmkit.data import card

    def fail(*args: Any) -> None:
        raise UserError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(card, "write_card", fail)
        assert invoke("prep", "shapes", tmp_path / "data", "--limit", 20).code == 1
    outcome = invoke("prep", "shapes", tmp_path / "data", "--limit", 30)
    assert outcome.code == 1
    assert error(outcome).startswith("error: an unfinished `prep shapes` with other options or another source")
    assert invoke("prep", "shapes", tmp_path / "data", "--limit", 20).code == 0


def test_two_at_once(tmp_path: Path, invoke: Invoke) -> None:
    from mmkit.files import lock

    with lock(tmp_path / "data"):
        # flock belongs to the open file: another one in this process is refused as another process would be
        outcome = invoke("prep", "shapes", tmp_path / "data", "--limit", 20)
    assert outcome.code == 1
    assert error(outcome).startswith("error: another mmkit is writing here")


def test_a_corrupt_jpeg_is_a_reject(tmp_path: Path, invoke: Invoke) -> None:
    root = raw.coco(tmp_path / "coco")
    photo = root / "train2017" / "000000000005.jpg"
    photo.write_bytes(photo.read_bytes()[:-300])
    outcome = invoke("prep", "coco", tmp_path / "data", "--source", root)
    assert outcome.code == 0
    (line,) = (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()
    reject = json.loads(line)
    assert reject["id"] == "000000000005"
    assert reject["where"].endswith("captions_train2017.json image 5")
    assert reject["reason"].startswith("truncated image")
    failed = invoke("prep", "coco", tmp_path / "other", "--source", root, "--on-error", "fail")
    assert failed.code == 1
    assert re.match(r"error: truncated image .*captions_train2017\.json image 5\nhint: --on-error skip", error(failed))


def test_a_truncated_parquet_source_is_named(tmp_path: Path, invoke: Invoke) -> None:
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"image": ["a.jpg"] * 100, "caption": ["x"] * 100}), path)
    path.write_bytes(path.read_bytes()[:-20])
    outcome = invoke("prep", "table", tmp_path / "data", "--source", path)
    assert outcome.code == 1
    assert error(outcome).startswith("error: the Parquet file is truncated or damaged")
    assert str(path) in error(outcome).splitlines()[0]


def test_a_truncated_shard_is_named_by_the_audit(tmp_path: Path, invoke: Invoke) -> None:
    invoke("prep", "shapes", tmp_path / "data", "--limit", 20)
    shard = tmp_path / "data" / "val-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    outcome = invoke("prep", "audit", tmp_path / "data")
    assert outcome.code == 1
    assert str(shard) in outcome.stderr.splitlines()[0]


def test_captions_in_another_encoding(tmp_path: Path, invoke: Invoke) -> None:
    table = raw.table(tmp_path / "raw", 3)
    table.write_bytes("image,caption\nphotos/0000.jpg,红色圆形\nphotos/0001.jpg,plain\n".encode("gbk"))
    assert invoke("prep", "table", tmp_path / "data", "--source", table).code == 0
    (line,) = (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"].startswith("wrong encoding")
    assert json.loads(line)["where"] == f"{table} row 2"
    table.write_bytes("image,caption\nphotos/0000.jpg,红色圆形\nphotos/0001.jpg,蓝色方块\n".encode("gbk"))
    outcome = invoke("prep", "table", tmp_path / "none", "--source", table)
    assert outcome.code == 1
    assert re.match(
        r"error: all 2 rows were rejected; the first: wrong encoding.*pairs\.csv row 2\nhint: .*UTF-8", error(outcome)
    )


def test_a_wrong_column_names_those_there_are(tmp_path: Path, invoke: Invoke) -> None:
    table = raw.table(tmp_path / "raw", 3)
    outcome = invoke("prep", "table", tmp_path / "data", "--source", table, "--column", "caption=capton")
    assert outcome.code == 1
    assert outcome.stderr.splitlines() == [
        f"error: no column 'capton', --column caption=capton of {table}",
        "hint: columns: image, caption",
    ]


def test_a_full_disk(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    table = raw.table(tmp_path / "raw", 6)

    def full(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        outcome = invoke("prep", "table", tmp_path / "data", "--source", table)
    assert outcome.code == 1
    assert outcome.stderr.splitlines()[1:] == [
        f"error: the disk is full, {tmp_path / 'data' / 'train-00000-of-00001.parquet'}",
        "hint: free some space and run the same command again: it continues",
    ]
    assert list((tmp_path / "data").glob("*.parquet")) == []
    assert invoke("prep", "table", tmp_path / "data", "--source", table).code == 0


def test_a_disk_that_is_too_small_is_said_before_the_work(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmkit.data import write

    monkeypatch.setattr(write, "free_bytes", lambda path: 100)
    outcome = invoke("prep", "table", tmp_path / "data", "--source", raw.table(tmp_path / "raw", 6))
    assert outcome.code == 1
    assert "error: the disk is too small" in outcome.stderr


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # noqa: E731
    process = start(tmp_path, "shapes", "data", "--limit", "200", "-q", preexec_fn=limit)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert re.fullmatch(r"error: cannot write \(.*File too large\), data/train-00000-of-00001\.parquet\n", err)
    assert os.listdir(tmp_path / "data") == [".prep"]


def embedded(path: Path, count: int) -> Path:
    """A Parquet table that holds its pictures."""
    data = [raw.encoded(raw.picture(i, (200, 150)), "PNG", compress_level=0) for i in range(count)]
    pq.write_table(pa.table({"image": data, "caption": [raw.caption(i) for i in range(count)]}), path)
    return path


def test_pictures_of_a_table_that_cannot_be_copied_are_no_rejects(tmp_path: Path) -> None:
    source = embedded(tmp_path / "bytes.parquet", 10)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # noqa: E731
    process = start(tmp_path, "table", "data", "--source", str(source), "-q", preexec_fn=limit)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert re.fullmatch(r"error: cannot write \(File too large\), \S+/data\n", err)
    assert not (tmp_path / "data").exists()
    assert start(tmp_path, "table", "data", "--source", str(source), "-q").wait() == 0
    assert sum(open_dataset(tmp_path / "data").splits.values()) == 10


def rejects(folder: Path) -> dict[str, str]:
    """id -> reason."""
    return {r["id"]: r["reason"] for r in map(json.loads, (folder / "rejected.jsonl").read_text().splitlines())}


@pytest.mark.parametrize("split", ["../../esc", "val/a", "train[:8]", "/abs", ".", "a:b"])
def test_a_split_that_is_no_name_is_a_reject(tmp_path: Path, invoke: Invoke, split: str) -> None:
    table = raw.table(tmp_path / "raw", 4)
    lines = table.read_text().splitlines()
    splits = ("split", "train", "train", split, "val")
    table.write_text("\n".join(f"{line},{name}" for line, name in zip(lines, splits, strict=True)))
    outcome = invoke("prep", "table", tmp_path / "in" / "data", "--source", table)
    assert outcome.code == 0, outcome.stderr
    assert rejects(tmp_path / "in" / "data")["photos/0002.jpg"].startswith(f"{split!r} is no name of a split: letters")
    assert open_dataset(tmp_path / "in" / "data").splits == {"train": 2, "val": 1}
    assert sorted(os.listdir(tmp_path)) == ["in", "raw"]
    assert os.listdir(tmp_path / "in") == ["data"]
    failed = invoke("prep", "table", tmp_path / "other", "--source", table, "--on-error", "fail")
    assert failed.code == 1
    assert f"{table} row 4" in error(failed)
    # with shares typed it counts for nothing
    assert invoke("prep", "table", tmp_path / "third", "--source", table, "--splits", "train:1").code == 0
    assert open_dataset(tmp_path / "third").splits == {"train": 4}


def test_names_of_files_that_are_not_utf8_are_rejects(tmp_path: Path, invoke: Invoke) -> None:
    root = raw.folder(tmp_path / "raw", 6)
    bad = Path(os.fsdecode(os.fsencode(root / "cats") + b"/caf\xe9.jpg"))
    raw.jpeg(bad, 9)
    outcome = invoke("prep", "folder", tmp_path / "data", "--source", root)
    assert outcome.code == 0, outcome.stderr
    assert rejects(tmp_path / "data") == {"cats/caf\\udce9.jpg": "the id is not UTF-8"}
    failed = invoke("prep", "folder", tmp_path / "other", "--source", root, "--on-error", "fail")
    assert (failed.code, error(failed).splitlines()[0]) == (1, f"error: the id is not UTF-8, {root}/cats/caf\\udce9.jpg")


def test_half_characters_are_rejects(tmp_path: Path, invoke: Invoke) -> None:
    raw.table(tmp_path / "raw", 4)
    rows = [{"id": f"{i}", "image": f"photos/000{i}.jpg", "caption": "a b", "label": "x"} for i in range(4)]
    for i, key in enumerate(("id", "caption", "label")):
        rows[i][key] = "\ud83d"
    table = tmp_path / "raw" / "pairs.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    outcome = invoke("prep", "table", tmp_path / "data", "--source", table)
    assert outcome.code == 0, outcome.stderr
    found = rejects(tmp_path / "data")
    assert found.keys() == {"\\ud83d", "1", "2"}
    assert found["2"] == "the label is not UTF-8"
    assert [row["id"] for row in open_dataset(tmp_path / "data").rows()] == ["3"]


def test_a_json_line_that_is_none_costs_one_row(tmp_path: Path, invoke: Invoke) -> None:
    raw.table(tmp_path / "raw", 3)
    lines = [json.dumps({"image": f"photos/000{i}.jpg", "caption": "a b"}) for i in range(3)]
    table = tmp_path / "raw" / "pairs.jsonl"
    table.write_text("\n".join([lines[0], lines[1][:-5], lines[2]]))
    assert invoke("prep", "table", tmp_path / "data", "--source", table).code == 0
    assert rejects(tmp_path / "data")["row 2"].startswith("not valid JSON")
    failed = invoke("prep", "table", tmp_path / "other", "--source", table, "--on-error", "fail")
    assert failed.code == 1
    assert f"{table} row 2" in error(failed)


def test_a_damaged_member_of_a_zip_is_a_reject(tmp_path: Path, invoke: Invoke) -> None:
    packed = raw.zipped(raw.coco(tmp_path / "coco"), tmp_path / "zips")
    path, name = packed / "train2017.zip", "train2017/000000000005.jpg"
    with zipfile.ZipFile(path) as pack:
        members = {info.filename: pack.read(info) for info in pack.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for member, data in members.items():
            pack.writestr(member, data)
        info = pack.getinfo(name)
    damaged = bytearray(path.read_bytes())
    begin = info.header_offset + 30 + len(name)
    damaged[begin : begin + 20] = b"\xff" * 20
    path.write_bytes(damaged)
    outcome = invoke("prep", "coco", tmp_path / "data", "--source", packed)
    assert outcome.code == 0, outcome.stderr
    assert rejects(tmp_path / "data")["000000000005"].startswith("damaged in the zip")
    assert sum(open_dataset(tmp_path / "data").splits.values()) == 15


@pytest.mark.parametrize("content", ["[1, 2]", "3", '{"version": 1}', '{"format": "mmkit-dataset", "columns": {}}'])
def test_a_damaged_dataset_json(tmp_path: Path, invoke: Invoke, content: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "dataset.json").write_text(content)
    for args in (("shapes", data, "--limit", 20), ("shapes", data, "--limit", 20, "--force"), ("audit", data)):
        outcome = invoke("prep", *args)
        assert outcome.code == 1
        assert f"{data / 'dataset.json'}" in error(outcome).splitlines()[0]
        assert "bug of mmkit" not in outcome.stderr
    assert (data / "dataset.json").read_text() == content


def test_no_network(tmp_path: Path, invoke: Invoke) -> None:
    outcome = invoke("prep", "coco", tmp_path / "data", "--base-url", "http://127.0.0.1:9")
    assert outcome.code == 1
    assert "error: no network: cannot download" in outcome.stderr
    assert "hint: the same command continues the download; --base-url names a mirror" in outcome.stderr
    assert not (tmp_path / "data").exists()
