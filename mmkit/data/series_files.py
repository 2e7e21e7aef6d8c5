"""Files of one series each, as sensors and programs write them: NPY, NPZ, Parquet, CSV and TSV."""

from __future__ import annotations

import itertools
import math
import re
import zipfile
import zlib
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from mmkit.data.cells import is_missing

# columns that say when, and are no channel, whatever unit stands behind (`Time (s)`)
CLOCKS = {"", "index", "unnamed: 0", "t", "time", "timestamp", "time_s", "time_ms", "seconds", "sec", "ms", "date", "datetime"}
# so are those with one of these words in their name whose numbers never fall: `seconds_elapsed`, `attr_time`, `epoch_ms`
WHEN = {"time", "timestamp", "elapsed", "epoch", "unix", "clock", "date", "datetime"}
Channel = tuple[str, list[float]]  # its name in the file, and its values
SEPARATORS = ("\t", ";", ",")
COMMENTS = ("#", "%")


def read(path: str, like: str | None = None) -> list[list[float]]:
    """What a file holds: of NPY the array (channels, time) or (time,); of NPZ its arrays of numbers; of Parquet, CSV and TSV the
    columns of numbers, each a channel, without those that say when. A missing cell (blank, NA, null …) is NaN.

    Args:
        like: another file, whose order columns of the same names are brought to.

    Raises:
        ValueError: it holds no numbers, numbers and words in one column, or is damaged.
    """
    try:
        found = _READERS[Path(path).suffix.lower()](path)
    except (zipfile.BadZipFile, zlib.error, EOFError) as e:
        raise ValueError(f"truncated or damaged file ({e})") from e
    if not found:
        raise ValueError("no numbers in the file")
    names, order = [name for name, _ in found], _names(like) if like else ()
    if len(set(names)) == len(names) and set(names) == set(order):
        found.sort(key=lambda channel: order.index(channel[0]))
    return [channel for _, channel in found]


@lru_cache(maxsize=4)
def _names(path: str) -> tuple[str, ...]:
    """Of the channels of a file that can be read."""
    try:
        return tuple(name for name, _ in _READERS[Path(path).suffix.lower()](path))
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError):
        return ()


def _npy(path: str) -> list[Channel]:
    return [("", channel) for channel in np.atleast_2d(np.load(path, allow_pickle=False)).tolist()]


def _npz(path: str) -> list[Channel]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if several := next((array.shape for array in arrays.values() if array.ndim > 2 and array.dtype.kind in "fiu"), None):
        raise ValueError(f"{several[0]:,} series in one file, which is a table: mmkit prep table")
    # a lone number, such as a rate, is no channel
    found = {name: np.atleast_2d(x) for name, x in arrays.items() if x.ndim in (1, 2) and x.dtype.kind in "fiu"}
    return [(f"{name} {n}", channel) for name, array in found.items() for n, channel in enumerate(array.tolist())]


def _parquet(path: str) -> list[Channel]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as e:
        raise ValueError(f"truncated or damaged Parquet ({str(e).splitlines()[0]})") from e
    kinds = {name: table.schema.field(name).type for name in table.column_names}
    names = [name for name, kind in kinds.items() if pa.types.is_floating(kind) or pa.types.is_integer(kind)]
    cells = [(name, [math.nan if cell is None else float(cell) for cell in table.column(name).to_pylist()]) for name in names]
    return [(name, channel) for name, channel in cells if not _tells_when(name, channel)]


def _table(path: str) -> list[Channel]:
    numbered = [(n, line) for n, line in enumerate(Path(path).read_text("utf-8-sig").splitlines(), 1) if line.strip()]
    lines = _uncommented([line for _, line in numbered])
    places = [n for n, _ in numbered][len(numbered) - len(lines) :]
    separator = next((s for s in SEPARATORS if lines and s in lines[0]), None)  # else blanks, or one column
    rows = [[cell.strip().strip('"') for cell in line.split(separator)] for line in lines]
    number = partial(_number, comma=separator != ",")
    header = rows.pop(0) if rows and any(number(cell) is None for cell in rows[0]) else None
    if header and not rows:
        raise ValueError("no rows below the header")
    places, width = places[len(places) - len(rows) :], len(header or (rows[0] if rows else ()))
    for place, row in zip(places, rows, strict=True):
        if len(row) != width:
            raise ValueError(f"line {place} has {len(row):,} cells where others have {width:,}")
    channels = []
    for i, cells in enumerate(zip(*rows, strict=True)):
        name, values = header[i] if header else f"number {i + 1}", list(map(number, cells))
        words = [n for n, value in enumerate(values) if value is None]
        if 0 < len(words) < len(values) / 2 and not _tells_when(name, []):
            raise ValueError(f"column {name} has {cells[words[0]]!r} among its numbers, in line {places[words[0]]}")
        channel = [value for value in values if value is not None]
        # a column of words is no channel, and nor is one of blanks alone
        if not words and not all(map(math.isnan, channel)) and not _tells_when(name, channel):
            channels.append((name, channel))
    return channels


def _uncommented(lines: list[str]) -> list[str]:
    """Without the comments at the head; the last is the header where it names the columns, as numpy's savetxt writes it."""
    n = next((n for n, line in enumerate(lines) if not line.lstrip().startswith(COMMENTS)), len(lines))
    if 0 < n < len(lines):
        last = lines[n - 1].lstrip().lstrip("".join(COMMENTS)).strip()
        separator = next((s for s in SEPARATORS if s in lines[n]), None)
        if len(last.split(separator)) == len(lines[n].split(separator)) > 1:
            return [last, *lines[n:]]
    return lines[n:]


def _tells_when(name: str, channel: list[float]) -> bool:
    """A clock by its name; or by one word of it where its numbers never fall, as a time that it took a person to answer does."""
    if re.sub(r"\s*[\[(].*", "", name.strip()).lower() in CLOCKS:
        return True
    rising = bool(channel) and channel[0] < channel[-1] and all(a <= b for a, b in itertools.pairwise(channel))
    return rising and not WHEN.isdisjoint(re.split(r"[^a-z]+", name.lower()))


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
