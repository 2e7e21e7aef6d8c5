"""Downloads from a server on this machine: continued, tried again, complete, and missing."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.shards import open_dataset
from mmkit.data.sources.download import download, partial
from mmkit.errors import UserError
from tests import raw
from tests.conftest import Outcome

Invoke = Callable[..., Outcome]


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
