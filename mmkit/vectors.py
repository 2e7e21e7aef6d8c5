"""The embeddings file: ids, modality, split, text, label and vectors of many rows, with what made them. No torch here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmkit.errors import UserError
from mmkit.files import read_json
from mmkit.ragged import Ragged

EMBEDDINGS_VERSION = 1
SUFFIXES = (".arrow", ".parquet", ".npy")
STRINGS = ("id", "modality", "split", "text", "label")
COLUMNS = (*STRINGS, "vector")
TOKENS = "tokens"
KEY = b"mmkit"


@dataclass(frozen=True)
class Embeddings:
    """The rows of an embeddings file; rows of one id belong together (an image and its captions).

    Every field but `vectors` and `meta` is an object array of n strings (or None). `vectors` is (n, d), float32 or
    float16, and for an `.arrow` file in one record batch a read-only view of the mapped file; `tokens` are the several vectors
    of each row where the model compares token by token (`vectors` are their means then). `meta` says what made the
    file (`model`, `model_hash`, `data`, `data_hash`, `normalised`, `dim`, …); None for a file that does not say.
    """

    ids: np.ndarray
    modality: np.ndarray
    split: np.ndarray
    text: np.ndarray
    label: np.ndarray
    vectors: np.ndarray
    meta: dict[str, Any] | None
    path: Path
    tokens: Ragged | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, modality: str | None = None, split: str | None = None) -> np.ndarray:
        """The row numbers of a modality and a split, in file order."""
        keep = np.ones(len(self), bool)
        if modality is not None:
            keep &= self.modality == modality
        if split is not None:
            keep &= self.split == split
        return np.flatnonzero(keep)

    def only(self, rows: np.ndarray) -> Embeddings:
        """Some of the rows, by one vector each."""
        if len(rows) == len(self):
            return replace(self, tokens=None)
        named = {name: getattr(self, name)[rows] for name in ("ids", *STRINGS[1:], "vectors")}
        return replace(self, **named, tokens=None)

    def take(self, rows: np.ndarray) -> np.ndarray | Ragged:
        """What some ascending rows are compared by: their tokens, else (len(rows), d), a view where they lie together."""
        if self.tokens is not None:
            return self.tokens.take(rows)
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            return self.vectors[rows[0] : rows[-1] + 1]
        return self.vectors[rows]


def read_embeddings(path: str | Path) -> Embeddings:
    """Open an embeddings file: `.arrow` (mapped, not read), `.parquet`, or `.npy` with `.json` or `.ids.txt` beside it.

    Raises:
        UserError: the file is missing, truncated, of a newer format, or holds no embeddings; it is named.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such embeddings file", str(path), "mmkit embed   writes one and prints its path")
    if path.suffix == ".npy":
        return _read_npy(path)
    try:
        strings, batches, rows = _open_parquet(path) if path.suffix == ".parquet" else _open_arrow(path)
        return replace(_from_table(strings, batches, rows, path), tokens=_tokens(path))
    except (pa.ArrowException, OSError) as e:
        reason = str(e).splitlines()[0]
        raise UserError(f"truncated, or not an embeddings file ({reason})", str(path), "write it again with `mmkit embed`") from e


def _tokens(path: Path) -> Ragged | None:
    """The column of several vectors a row, where there is one."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        if TOKENS not in pq.read_schema(path).names:
            return None
        column = pq.read_table(path, columns=[TOKENS]).column(TOKENS)
    else:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        if TOKENS not in table.column_names:
            return None
        column = table.column(TOKENS)
    lists = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    starts = lists.offsets.to_numpy().astype(np.int64)
    # `flatten` would copy what is mapped
    flat = lists.values.slice(starts[0], starts[-1] - starts[0])
    return Ragged(_view(flat, path) if len(flat) else np.empty((0, 1), np.float32), starts - starts[0])


def _open_arrow(path: Path) -> tuple[pa.Table, Iterable[pa.RecordBatch], int]:
    mapped = pa.ipc.open_file(pa.memory_map(str(path)))
    table = mapped.read_all()
    strings = table.select([name for name in STRINGS if name in table.column_names])
    if "vector" not in table.column_names or mapped.num_record_batches == 1:
        return strings, table.select([n for n in table.column_names if n == "vector"]).to_batches(), table.num_rows
    # several batches are no one matrix and must be copied; read, not mapped, they do not take their room twice
    read = pa.ipc.open_file(pa.OSFile(str(path)))
    return strings, (read.get_batch(i) for i in range(read.num_record_batches)), table.num_rows


def _open_parquet(path: Path) -> tuple[pa.Table, Iterable[pa.RecordBatch], int]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    strings = file.read([name for name in STRINGS if name in file.schema_arrow.names])
    return strings, file.iter_batches(10_000, columns=["vector"]), file.metadata.num_rows


def read_meta(path: str | Path) -> dict[str, Any] | None:
    """What made an embeddings file, without its rows; None where it does not say or cannot be read."""
    path = Path(path)
    try:
        if path.suffix == ".npy":
            beside = files_of(path)[1]
            return read_json(beside)["mmkit"] if path.is_file() and is_ours(beside) else None
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            schema = pq.read_schema(path)
        else:
            schema = pa.ipc.open_file(pa.memory_map(str(path))).schema
        return _meta(schema.metadata)
    except (pa.ArrowException, OSError, UserError, ValueError):
        return None


def files_of(path: Path) -> list[Path]:
    """The files that embeddings at `path` are written to: the ids of a `.npy` file lie beside it."""
    return [path, path.with_suffix(".json")] if path.suffix == ".npy" else [path]


def is_ours(path: Path) -> bool:
    """Whether mmkit wrote the ids beside a `.npy` file."""
    try:
        columns = read_json(path)
    except UserError:
        return False
    return isinstance(columns, dict) and "mmkit" in columns


def _from_table(strings: pa.Table, batches: Iterable[pa.RecordBatch], rows: int, path: Path) -> Embeddings:
    meta = _meta(strings.schema.metadata)
    if meta and meta.get("version", 0) > EMBEDDINGS_VERSION:
        raise UserError(f"written by a newer mmkit (format {meta['version']}, this one reads {EMBEDDINGS_VERSION})", str(path))
    if "id" not in strings.column_names:
        raise _without("id", path)
    return _embeddings({name: _strings(strings, name) for name in STRINGS}, _matrix(batches, rows, path), meta, path)


def _embeddings(columns: Mapping[str, np.ndarray], vectors: np.ndarray, meta: dict[str, Any] | None, path: Path) -> Embeddings:
    if len(vectors) == 0:
        raise UserError("the embeddings file has no rows", str(path))
    return Embeddings(
        columns["id"], columns["modality"], columns["split"], columns["text"], columns["label"], vectors, meta, path
    )


def _meta(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any] | None:
    return json.loads(metadata[KEY]) if metadata and KEY in metadata else None


def _strings(table: pa.Table, name: str) -> np.ndarray:
    """A column as an object array in which equal strings share one object."""
    if name not in table.column_names:
        return np.full(table.num_rows, None, object)
    column = table.column(name)
    if not pa.types.is_string(column.type):
        column = column.cast(pa.string())
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):  # older pyarrow returns one chunk in a ChunkedArray
        encoded = encoded.unify_dictionaries().combine_chunks()
    words = np.array([*encoded.dictionary.to_pylist(), None], object)
    return words[encoded.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)]


def _matrix(batches: Iterable[pa.RecordBatch], rows: int, path: Path) -> np.ndarray:
    """The vectors of all batches as (rows, d): of a single batch a view, of several a copy."""
    out, done = np.zeros((0, 1), np.float32), 0
    for batch in batches:
        if "vector" not in batch.schema.names:
            raise _without("vector", path)
        part = _view(batch.column("vector"), path)
        if len(part) == rows:
            return part
        if done == 0:
            out = np.empty((rows, part.shape[1]), part.dtype)
        if part.shape[1] != out.shape[1]:
            raise _not_vectors(path, f"of {out.shape[1]} and of {part.shape[1]} numbers")
        out[done : done + len(part)] = part
        done += len(part)
    return out


def _view(array: pa.Array, path: Path) -> np.ndarray:
    """A list array as (n, d), float32 or float16; without a copy for fixed-size lists of these."""
    kind = array.type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind)) or array.null_count:
        raise _not_vectors(path, str(kind))
    if not pa.types.is_fixed_size_list(kind):  # pandas and others write a plain list
        lengths = np.unique(np.diff(array.offsets.to_numpy()))
        if len(lengths) != 1:
            raise _not_vectors(path, "of different lengths")
        kind = pa.list_(kind.value_type, int(lengths[0]))
        array = array.cast(kind)
    if not pa.types.is_floating(kind.value_type) or kind.list_size < 1:
        raise _not_vectors(path, str(kind))
    vectors = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, kind.list_size)
    return vectors.astype(np.float32) if vectors.dtype == np.float64 else vectors


def _without(column: str, path: Path) -> UserError:
    return UserError(
        f"not an embeddings file: it has no column {column}", str(path), f"its columns should be {', '.join(COLUMNS)}"
    )


def _not_vectors(path: Path, found: str) -> UserError:
    return UserError(f"not an embeddings file: its vectors are {found}", str(path), "lists of one length, of float32 or float16")


def _read_npy(path: Path) -> Embeddings:
    beside, listed = files_of(path)[1], path.with_suffix(".ids.txt")
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as e:
        raise UserError(f"truncated, or not a .npy file ({e})", str(path)) from e
    if beside.exists():
        columns = read_json(beside)
        if not isinstance(columns, dict):
            raise UserError(
                "the ids of this .npy file cannot be read", str(beside), 'an object with "id": a list, one for each vector'
            )
        meta = columns.get("mmkit")
    elif listed.exists():
        # a list of ids alone is how feature extractors of images leave their rows
        columns, meta = {"id": listed.read_text(encoding="utf-8").split("\n")}, None
        columns["id"] = columns["id"][:-1] if columns["id"][-1] == "" else columns["id"]
        columns["modality"] = ["image"] * len(columns["id"])
    else:
        raise UserError("the ids of this .npy file are missing", str(path), f"expected beside it: {beside.name} or {listed.name}")
    if vectors.ndim != 2 or len(columns.get("id", ())) != len(vectors):
        raise UserError(f"{len(columns.get('id', ()))} ids for vectors of shape {vectors.shape}", str(path))
    n = len(vectors)
    return _embeddings({name: np.array(columns.get(name) or [None] * n, object) for name in STRINGS}, vectors, meta, path)
