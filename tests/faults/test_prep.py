"""What goes wrong while data is prepared: each with its message, its exit code, and nothing broken left behind."""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmkit.data.shards import open_dataset
from mmkit.data.sources.download import download, partial
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
    process = start(tmp_path, "shapes", "data", "--limit", "4000")
    wait_for(lambda: (tmp_path / "data" / ".prep" / "plan.json").exists())
    process.send_signal(signal.SIGINT)
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
    outcome = invoke("prep", "table", tmp_path / "data", "--source", table, "--caption-column", "capton")
    assert outcome.code == 1
    assert outcome.stderr.splitlines() == [
        f"error: no column 'capton', --caption-column capton of {table}",
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


def test_no_network(tmp_path: Path, invoke: Invoke) -> None:
    outcome = invoke("prep", "coco", tmp_path / "data", "--base-url", "http://127.0.0.1:9")
    assert outcome.code == 1
    assert "error: no network: cannot download" in outcome.stderr
    assert "hint: the same command continues the download; --base-url names a mirror" in outcome.stderr
    assert not (tmp_path / "data").exists()


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves a folder with ranges; closes the connection early as long as `cuts` says so."""

    root: Path
    cuts: int
    ranges: list[str | None]

    def do_GET(self) -> None:
        path = self.root / self.path.rpartition("/")[2]
        if not path.exists():
            self.send_error(404)
            return
        data, wanted = path.read_bytes(), self.headers.get("Range")
        type(self).ranges.append(wanted)
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if first >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.end_headers()
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        cut = type(self).cuts > 0
        type(self).cuts -= 1
        self.wfile.write(data[first : first + (len(data) - first) // 2] if cut else data[first:])

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, type[Mirror]]]:
    """A server of COCO's archives on this machine."""
    handler = type(
        "Handler", (Mirror,), {"root": raw.zipped(raw.coco(tmp_path / "coco"), tmp_path / "mirror"), "cuts": 0, "ranges": []}
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def test_coco_is_downloaded_and_prepared(tmp_path: Path, invoke: Invoke, mirror: tuple[str, type[Mirror]]) -> None:
    url, _ = mirror
    outcome = invoke("prep", "coco", tmp_path / "data", "--base-url", url)
    assert outcome.code == 0, outcome.stderr
    assert open_dataset(tmp_path / "data").splits == {"train": 12, "val": 4}
    assert (tmp_path / "data" / "train2017.zip").read_bytes() == (tmp_path / "mirror" / "train2017.zip").read_bytes()
    assert list((tmp_path / "data").glob("*.part")) == []
    assert invoke("prep", "coco", tmp_path / "again", "--source", url).code == 0
    # what was downloaded is reused, without the network
    assert invoke("prep", "coco", tmp_path / "data", "--base-url", "http://127.0.0.1:9").code == 0


def test_a_download_continues_where_it_stopped(tmp_path: Path, invoke: Invoke, mirror: tuple[str, type[Mirror]]) -> None:
    url, handler = mirror
    whole = (tmp_path / "mirror" / "val2017.zip").read_bytes()
    (tmp_path / "data").mkdir()
    for name in ("annotations_trainval2017.zip", "train2017.zip", "val2017.zip"):
        partial(tmp_path / "data" / name).touch()
    partial(tmp_path / "data" / "val2017.zip").write_bytes(whole[:1000])
    assert invoke("prep", "coco", tmp_path / "data", "--base-url", url).code == 0
    assert (tmp_path / "data" / "val2017.zip").read_bytes() == whole
    assert "bytes=1000-" in handler.ranges


def test_a_connection_that_breaks_is_tried_again(tmp_path: Path, mirror: tuple[str, type[Mirror]]) -> None:
    url, handler = mirror
    handler.cuts = 2
    seen: list[tuple[int, int]] = []
    download(f"{url}/train2017.zip", tmp_path / "x.zip", lambda done, total: seen.append((done, total)), pause=0)
    whole = (tmp_path / "mirror" / "train2017.zip").read_bytes()
    assert (tmp_path / "x.zip").read_bytes() == whole
    assert seen[-1] == (len(whole), len(whole))
    assert len(handler.ranges) == 3


def test_a_complete_part_is_not_fetched_again(tmp_path: Path, mirror: tuple[str, type[Mirror]]) -> None:
    url, _ = mirror
    whole = (tmp_path / "mirror" / "train2017.zip").read_bytes()
    partial(tmp_path / "x.zip").write_bytes(whole)
    download(f"{url}/train2017.zip", tmp_path / "x.zip", lambda done, total: None)
    assert (tmp_path / "x.zip").read_bytes() == whole
    partial(tmp_path / "y.zip").write_bytes(whole + b"more")
    with pytest.raises(UserError, match=r"has .* bytes, the server says .*y\.zip\.part"):
        download(f"{url}/train2017.zip", tmp_path / "y.zip", lambda done, total: None)


def test_what_the_server_does_not_have(tmp_path: Path, mirror: tuple[str, type[Mirror]]) -> None:
    url, _ = mirror
    with pytest.raises(UserError, match=r"the server answers 404 Not Found.*nope\.zip"):
        download(f"{url}/nope.zip", tmp_path / "x.zip", lambda done, total: None)
