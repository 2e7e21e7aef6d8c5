"""Pictures that a table holds itself, kept until they are written."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from pathlib import Path
from threading import Lock
from typing import IO

from mmkit.data.schema import Picture
from mmkit.files import disk_error


class Spool:
    """Pictures that a table holds itself, copied once to an unnamed temporary file: rows are read in another order later.

    Args:
        out: the dataset folder; the file lies on its disk, which has to hold the pictures anyway.
    """

    def __init__(self, out: Path) -> None:
        self._folder = next(p for p in (out.absolute(), *out.absolute().parents) if p.is_dir())
        if not os.access(self._folder, os.W_OK):
            # --dry-run needs no right to write there
            self._folder = Path(tempfile.gettempdir())
        self._file: IO[bytes] | None = None
        self._end = 0
        self._lock = Lock()

    def add(self, data: bytes) -> Picture:
        """Store the bytes and return where they are; equal bytes are the same picture.

        Raises:
            UserError: they cannot be written.
        """
        try:
            with self._lock:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  it lives as long as the rows do
                self._file.seek(self._end)
                self._file.write(data)
                # what stayed in the buffer would fail when it is read, as if the picture were damaged
                self._file.flush()
        except OSError as e:
            raise disk_error(e, self._folder) from e
        start, self._end = self._end, self._end + len(data)
        digest = hashlib.sha256(data).hexdigest()
        return Picture(digest, functools.partial(self._read, start, len(data)), len(data), None, digest)

    def _read(self, start: int, length: int) -> bytes:
        assert self._file is not None
        with self._lock:
            self._file.seek(start)
            return self._file.read(length)
