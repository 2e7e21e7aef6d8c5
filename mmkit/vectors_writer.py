"""Writing the embeddings file, batch by batch. No torch here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from mmkit.errors import UsageError, UserError
from mmkit.files import disk_error, is_special, write_json, writing
from mmkit.ragged import Ragged
from mmkit.vectors import EMBEDDINGS_VERSION, KEY, STRINGS, SUFFIXES, TOKENS, files_of


def check_target(path: str | Path, several: bool = False) -> None:
    """Refuse a path that no embeddings can be written to, before any work is done.

    Args:
        several: there are several vectors a row.

    Raises:
        UsageError: another suffix than those of `SUFFIXES`, or one of a file that holds one vector a row alone.
        UserError: it is a folder, or a pipe or device: readers map the file, which these do not allow.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        found = path.suffix or "a file without suffix"
        raise UsageError(f"embeddings cannot be written as {found}", str(path), f"one of: {' '.join(SUFFIXES)}")
    if several and path.suffix == ".npy":
        what = "a .npy file holds one vector an item, and this model compares several"
        raise UsageError(what, str(path), f"one of: {' '.join(s for s in SUFFIXES if s != path.suffix)}")
    if path.is_dir():
        raise UserError("this is a folder, not a file", str(path), "name a file in it")
    if is_special(path):
        raise UserError("embeddings need a regular file; this is a pipe or a device", str(path), "for a pipeline: -o -")


class EmbeddingsWriter:
    """Write an embeddings file batch by batch; it appears under its name only when it is complete.

    Vectors, and ids and texts, wait in two nameless files on the same disk, because one record batch at the end is what
    lets a reader map all vectors as one matrix. Kept as small arrays they would cut up the memory that batches reuse.

    Args:
        path: `.arrow`, `.parquet` or `.npy`.
        dim: d of the (n, d) vectors.
        meta: what made them; `version`, `dim` and `modality` (those seen) are added.
        dtype: `float32` or `float16`.

    Raises:
        UsageError: another suffix.
        UserError: `path` is no regular file, the disk is full or the folder cannot be written; what stood at `path` is as it was.
    """

    def __init__(self, path: str | Path, dim: int, meta: Mapping[str, Any] | None = None, dtype: str = "float32") -> None:
        self.path, self.dim, self.dtype = Path(path), dim, np.dtype(dtype)
        check_target(self.path)
        self.meta = dict(meta or {})
        self._rows = 0

    def __enter__(self) -> EmbeddingsWriter:
        self._stack = ExitStack()
        # opened first: a folder that cannot be written fails before any work is done
        self._target = self._stack.enter_context(writing(self.path))
        self._raw = self._stack.enter_context(tempfile.TemporaryFile(dir=self.path.parent))
        self._names = self._stack.enter_context(tempfile.TemporaryFile(dir=self.path.parent))
        self._tokens = self._stack.enter_context(tempfile.TemporaryFile(dir=self.path.parent))
        self._lengths: list[int] = []
        self._strings = pa.ipc.new_stream(self._names, pa.schema([(name, pa.string()) for name in STRINGS]))
        return self

    def write(
        self,
        ids: Sequence[str],
        modality: str,
        vectors: np.ndarray | Ragged,
        split: Sequence[str | None] | None = None,
        text: Sequence[str | None] | None = None,
        label: Sequence[str | None] | None = None,
    ) -> None:
        """Append n rows of one modality; `vectors` is (n, dim), or several (…, dim) a row: all rows are of one form."""
        n = len(ids)
        if isinstance(vectors, Ragged) and not self._rows:
            check_target(self.path, several=True)
        single = vectors.means() if isinstance(vectors, Ragged) else vectors
        if single.shape != (n, self.dim):
            raise ValueError(f"vectors of shape {single.shape} for {n} ids and dim {self.dim}")
        columns = (ids, [modality] * n, split, text, label)
        try:
            self._strings.write(pa.record_batch([pa.array(c or [None] * n, pa.string()) for c in columns], STRINGS))
            self._raw.write(np.ascontiguousarray(single, self.dtype).data)
            if isinstance(vectors, Ragged):
                self._tokens.write(np.ascontiguousarray(vectors.flat, self.dtype).data)
                self._lengths += np.diff(vectors.starts).tolist()
        except OSError as e:
            raise disk_error(e, self.path) from e
        self._rows += n

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            # hand the error to `writing`, so that the half-written file is removed
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._finish()

    def _finish(self) -> None:
        self._strings.close()
        self._names.seek(0)
        strings = pa.ipc.open_stream(self._names).read_all().combine_chunks()
        self._raw.flush()
        shape = (self._rows, self.dim)
        vectors = np.memmap(self._raw, self.dtype, "r", shape=shape) if self._rows else np.zeros(shape, self.dtype)
        seen = strings["modality"].unique().to_pylist()
        meta = {"version": EMBEDDINGS_VERSION, **self.meta, "dim": self.dim, "modality": seen}
        if self.path.suffix == ".npy":
            with open(self._target, "wb") as f:
                np.save(f, vectors)
            write_json(files_of(self.path)[1], {"mmkit": meta} | strings.to_pydict())
        else:
            self._write_table(strings, vectors, meta)

    def _write_table(self, strings: pa.Table, vectors: np.ndarray, meta: dict[str, Any]) -> None:
        # over the mapped file: no second copy in memory
        values = pa.Array.from_buffers(pa.from_numpy_dtype(self.dtype), vectors.size, [None, pa.py_buffer(vectors)])
        array = pa.FixedSizeListArray.from_arrays(values, self.dim)
        fields = [pa.field(name, pa.string()) for name in STRINGS] + [pa.field("vector", array.type)]
        columns = [*strings.columns, array]
        if self._lengths:
            lists = self._lists()
            fields.append(pa.field(TOKENS, lists.type))
            columns.append(lists)
        schema = pa.schema(fields, {KEY: json.dumps(meta).encode()})
        table = pa.table(columns, schema=schema)
        if self.path.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, self._target, row_group_size=10_000)
            return
        with pa.OSFile(str(self._target), "wb") as sink, pa.ipc.new_file(sink, schema) as out:
            out.write_table(table)  # one chunk, one record batch

    def _lists(self) -> pa.Array:
        """The several vectors of each row, over the mapped file."""
        self._tokens.flush()
        total = sum(self._lengths)
        flat = np.memmap(self._tokens, self.dtype, "r", shape=(total, self.dim)) if total else np.zeros((0, self.dim), self.dtype)
        values = pa.Array.from_buffers(pa.from_numpy_dtype(self.dtype), flat.size, [None, pa.py_buffer(flat)])
        starts = pa.array(np.cumsum([0, *self._lengths]), pa.int64())
        return pa.LargeListArray.from_arrays(starts, pa.FixedSizeListArray.from_arrays(values, self.dim))
