"""Files of one series each, as sensors and programs write them: NPY, NPZ, Parquet, CSV and TSV."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

# columns that say when, and are no channel
CLOCKS = {"", "index", "unnamed: 0", "t", "time", "timestamp", "time_s", "seconds", "sec"}
SEPARATORS = ("\t", ";", ",")


def read(path: str) -> list[list[float]]:
    """What a file holds: of NPY the array (channels, time) or (time,); of NPZ its arrays of numbers; of Parquet, CSV and TSV the
    columns of numbers, each a channel, without those that are called like a time. A blank cell is NaN.

    Raises:
        ValueError: it holds no numbers, or is damaged.
    """
    try:
        found = _READERS[Path(path).suffix.lower()](path)
    except (zipfile.BadZipFile, zlib.error, EOFError) as e:
        raise ValueError(f"truncated or damaged file ({e})") from e
    if not found:
        raise ValueError("no numbers in the file")
    return found


def _npy(path: str) -> list[list[float]]:
    return np.atleast_2d(np.load(path, allow_pickle=False)).tolist()


def _npz(path: str) -> list[list[float]]:
    with np.load(path, allow_pickle=False) as file:
        arrays = [file[name] for name in file.files]
    if several := next((array.shape for array in arrays if array.ndim > 2 and array.dtype.kind in "fiu"), None):
        raise ValueError(f"{several[0]:,} series in one file, which is a table: mmkit prep table")
    # a lone number, such as a rate, is no channel
    found = [np.atleast_2d(array) for array in arrays if array.ndim in (1, 2) and array.dtype.kind in "fiu"]
    return [channel for array in found for channel in array.tolist()]


def _parquet(path: str) -> list[list[float]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as e:
        raise ValueError(f"truncated or damaged Parquet ({str(e).splitlines()[0]})") from e
    kinds = {name: table.schema.field(name).type for name in table.column_names if name.strip().lower() not in CLOCKS}
    names = [name for name, kind in kinds.items() if pa.types.is_floating(kind) or pa.types.is_integer(kind)]
    return [[math.nan if cell is None else float(cell) for cell in table.column(name).to_pylist()] for name in names]


def _table(path: str) -> list[list[float]]:
    lines = [line for line in Path(path).read_text("utf-8-sig").splitlines() if line.strip()]
    separator = next((s for s in SEPARATORS if lines and s in lines[0]), None)  # else blanks, or one column
    rows = [[cell.strip().strip('"') for cell in line.split(separator)] for line in lines]
    header = rows.pop(0) if rows and any(_number(cell) is None for cell in rows[0]) else None
    width = len(header or (rows[0] if rows else ()))
    for n, row in enumerate(rows, 1 + (header is not None)):
        if len(row) != width:
            raise ValueError(f"line {n} has {len(row):,} cells where others have {width:,}")
    columns = [list(map(_number, column)) for column in zip(*rows, strict=True)]
    kept = [header is None or header[i].lower() not in CLOCKS for i in range(width)]
    channels = [[value for value in column if value is not None] for column in columns]
    # a column with words is none of numbers, and nor is one of blanks alone
    return [
        channel
        for channel, column, keep in zip(channels, columns, kept, strict=True)
        if keep and len(channel) == len(column) and not all(map(math.isnan, channel))
    ]


def _number(cell: str) -> float | None:
    """NaN of a blank cell, None of words."""
    if not cell:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        return None


_READERS: dict[str, Any] = {".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".csv": _table, ".tsv": _table}
SUFFIXES = set(_READERS)
