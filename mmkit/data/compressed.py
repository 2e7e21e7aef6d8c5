"""Text files of strangers, compressed or not, as streams."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

from mmkit.errors import UserError

# the first bytes of a file -> what opens it; a suffix may be wrong, and a browser may have unpacked a .gz
OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
SUFFIXES = (".gz", ".bz2", ".xz")
DAMAGES = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def open_bytes(path: Path) -> IO[bytes]:
    """The unpacked bytes, read as a stream.

    Raises:
        OSError: there is no such file.
    """
    with open(path, "rb") as f:
        head = f.read(6)
    return next((opener for mark, opener in OPENERS.items() if head.startswith(mark)), open)(path, "rb")


def open_text(path: Path, encoding: str, newline: str | None = None) -> TextIO:
    """The unpacked text, read as a stream; what does not decode is kept as surrogates."""
    return io.TextIOWrapper(open_bytes(path), encoding, "surrogateescape", newline)


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Turn what a damaged archive raises while it is read into an error that names it."""
    try:
        yield
    except DAMAGES as e:
        raise UserError(f"the compressed file is truncated or damaged ({e})", str(path), "get it again") from e
    except UnicodeError as e:
        raise UserError(f"not a table: neither text nor Parquet ({e})", str(path), "--source names the table") from e


def suffix_of(path: Path) -> str:
    """The suffix in small letters, without that of the compression: `.csv` of `a.CSV.gz`."""
    small = path.name.lower()
    packed = next((end for end in SUFFIXES if small.endswith(end)), "")
    return Path(small.removesuffix(packed)).suffix
