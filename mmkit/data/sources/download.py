"""Large files over HTTP: continued where they stopped, checked for size."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from mmkit.errors import UserError
from mmkit.files import disk_error, free_bytes

BLOCK = 1 << 20
TIMEOUT = 30.0
TRIES = 5
RESUME = "the same command continues the download"


def download(url: str, path: Path, progress: Callable[[int, int], None], pause: float = 2.0) -> None:
    """Fetch `url` to `path`; what is there of it in `path`.part is not fetched again.

    Args:
        progress: progress(done, total) in bytes.
        pause: seconds before a broken connection is tried again.

    Raises:
        UserError: no network, the server refuses, the disk is full, or the size is wrong.
    """
    part = partial(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(TRIES):
        before = part.stat().st_size if part.exists() else 0
        try:
            total = _fetch(url, part, progress)
            break
        except urllib.error.HTTPError as e:
            raise UserError(f"the server answers {e.code} {e.reason}", url, "--base-url names a mirror") from e
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as e:
            stuck = not part.exists() or part.stat().st_size == before
            if stuck or attempt == TRIES - 1:
                reason = getattr(e, "reason", None) or e
                raise UserError(f"no network: cannot download ({reason})", url, f"{RESUME}; --base-url names a mirror") from e
            time.sleep(pause)
    if part.stat().st_size != total:
        raise UserError(
            f"the download has {part.stat().st_size:,} bytes, the server says {total:,}", str(part), "delete it and try again"
        )
    os.replace(part, path)


def partial(path: Path) -> Path:
    """Where an unfinished download of `path` is kept."""
    return path.with_name(f"{path.name}.part")


def _fetch(url: str, part: Path, progress: Callable[[int, int], None]) -> int:
    """Append what is missing and return the size that the server names, in bytes."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(
        url, headers={"Range": f"bytes={have}-", "User-Agent": "mmkit"} if have else {"User-Agent": "mmkit"}
    )
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as e:
        if e.code == 416 and have:  # nothing lies beyond what is there: it was complete
            return int((e.headers.get("Content-Range") or f"*/{have}").rpartition("/")[2])
        raise
    with answer:
        if answer.status != 206:
            have = 0  # a server that cannot continue sends all of it
        length = int(answer.headers.get("Content-Length") or 0)
        total = have + length
        if length > free_bytes(part.parent):
            raise UserError(
                f"the download needs {length / 1e9:.1f} GB, the disk has {free_bytes(part.parent) / 1e9:.1f} GB", str(part.parent)
            )
        with open(part, "ab" if have else "wb") as f:
            while block := answer.read(BLOCK):
                try:
                    f.write(block)
                except OSError as e:
                    raise disk_error(e, part) from e
                have += len(block)
                progress(have, total)
    if length and have < total:
        raise ConnectionError("the connection was closed early")
    return total or have
