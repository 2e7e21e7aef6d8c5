"""Files of one series each, as sensors and programs write them: NPY, NPZ, Parquet, CSV and TSV."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmkit.data.cells import is_missing

# columns that say when, and are no channel, whatever unit stands behind (`Time (s)`)
CLOCKS = {"", "index", "unnamed: 0", "t", "time", "timestamp", "time_s", "time_ms", "seconds", "sec", "ms", "date", "datetime"}
SEPARATORS = ("\t", ";", ",")


def read(path: str) -> list[list[float]]:
    """What a file holds: of NPY the array (channels, time) or (time,); of NPZ its arrays of numbers; of Parquet, CSV and TSV the
    columns of numbers, each a channel, without those that are called like a time. A missing cell (blank, NA, null …) is NaN.

    Raises:
        ValueError: it holds no numbers, numbers and words in one column, or is damaged.
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
    kinds = {name: table.schema.field(name).type for name in table.column_names if not _is_clock(name)}
    names = [name for name, kind in kinds.items() if pa.types.is_floating(kind) or pa.types.is_integer(kind)]
    return [[math.nan if cell is None else float(cell) for cell in table.column(name).to_pylist()] for name in names]


def _table(path: str) -> list[list[float]]:
    lines = [line for line in Path(path).read_text("utf-8-sig").splitlines() if line.strip()]
    separator = next((s for s in SEPARATORS if lines and s in lines[0]), None)  # else blanks, or one column
    rows = [[cell.strip().strip('"') for cell in line.split(separator)] for line in lines]
    number = partial(_number, comma=separator != ",")
    header = rows.pop(0) if rows and any(number(cell) is None for cell in rows[0]) else None
    if header and not rows:
        raise ValueError("no rows below the header")
    width, first = len(header or (rows[0] if rows else ())), 1 + (header is not None)
    for n, row in enumerate(rows, first):
        if len(row) != width:
            raise ValueError(f"line {n} has {len(row):,} cells where others have {width:,}")
    channels = []
    for i, cells in enumerate(zip(*rows, strict=True)):
        if header is not None and _is_clock(header[i]):
            continue
        values = list(map(number, cells))
        words = [n for n, value in enumerate(values) if value is None]
        if 0 < len(words) < len(values) / 2:
            name = header[i] if header else f"number {i + 1}"
            raise ValueError(f"column {name} has {cells[words[0]]!r} among its numbers, in line {words[0] + first}")
        channel = [value for value in values if value is not None]
        # a column of words is no channel, and nor is one of blanks alone
        if not words and not all(map(math.isnan, channel)):
            channels.append(channel)
    return channels


def _is_clock(name: str) -> bool:
    return re.sub(r"\s*[\[(].*", "", name.strip()).lower() in CLOCKS


def _number(cell: str, comma: bool = False) -> float | None:
    """NaN of a missing cell, None of words; a comma is that of decimals where it separates no cells."""
    if cell == "-" or is_missing(cell):
        return math.nan
    try:
        return float(cell.replace(",", ".") if comma and cell.count(",") == 1 else cell)
    except ValueError:
        return None


_READERS: dict[str, Any] = {".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".csv": _table, ".tsv": _table}
SUFFIXES = set(_READERS)
