"""Tables of strangers as dicts: the format, encoding, separator and header are detected, and what was found is told."""

from __future__ import annotations

import functools
import itertools
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.data import delimited
from mmkit.data.cells import DAMAGED
from mmkit.data.compressed import open_text, suffix_of, whole
from mmkit.data.encoding import detect_encoding
from mmkit.data.row_series import COLUMNS, row_series
from mmkit.data.splits import folder_split
from mmkit.data.unread import refuse
from mmkit.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

TABLES = {".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".pq", ".npz"}
SAMPLE_ROWS = 50
BATCH_ROWS = 64


@dataclass(frozen=True, slots=True)
class Table:
    """An opened table.

    Args:
        path: the file.
        columns: names in the order of the file; `column 1` … where it has no header.
        note: what was detected, for the user.
    """

    path: Path
    columns: list[str]
    note: str
    _read: Callable[[list[str] | None], Iterator[tuple[int, dict[str, Any]]]]

    def rows(self, columns: list[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """(row number, row) one by one; text that does not decode holds surrogates, and a JSON line that is none has DAMAGED.

        Args:
            columns: read only these (of Parquet; the other formats give all).

        Raises:
            UserError: the file is damaged; file and row are named.
        """
        with whole(self.path):
            yield from self._read(columns)

    def sample(self) -> list[dict[str, Any]]:
        """The first rows."""
        return [row for _, row in itertools.islice(self.rows(), SAMPLE_ROWS)]


def open_table(path: Path) -> Table:
    """Detect what `path` is.

    Raises:
        UserError: it is missing, empty, damaged, or not a table.
    """
    if not path.is_file():
        raise UserError("no such table", str(path))
    if path.stat().st_size == 0:
        raise UserError("the table is empty", str(path))
    refuse(path)
    with whole(path):
        return _detected(path, suffix_of(path))


def _detected(path: Path, suffix: str) -> Table:
    if suffix in (".parquet", ".pq"):
        schema = _parquet(path).schema_arrow
        read = functools.partial(_parquet_rows, path, _classes(schema))
        return Table(path, schema.names, f"{path.name}: Parquet", read)
    if suffix == ".npz":
        return Table(path, list(_arrays(path)), f"{path.name}: NPZ", functools.partial(_array_rows, path))
    encoding = detect_encoding(path)
    if suffix in (".jsonl", ".ndjson", ".json"):
        columns = _json_columns(path, encoding)
        return Table(path, columns, f"{path.name}: JSON, {encoding}", lambda columns: _json_rows(path, encoding))
    text = delimited.detect(path, encoding, TABLES)
    if series := row_series(text):
        return Table(path, COLUMNS, f"{path.name}: {series.note}", lambda columns: series.rows())
    return Table(path, text.columns, f"{path.name}: {text.note}", lambda columns: text.rows())


def _json_columns(path: Path, encoding: str) -> list[str]:
    """The keys of all rows: one may first occur far down."""
    first: tuple[int, dict[str, Any]] | None = None
    names: dict[str, None] = {}
    for n, row in _json_rows(path, encoding):
        first = first or (n, row)
        names |= {} if DAMAGED in row else dict.fromkeys(row)
    if first is None:
        raise UserError("the table is empty", str(path))
    if not names:
        n, row = first
        raise UserError(row.get(DAMAGED, "the rows hold nothing"), f"{path} row {n}", "a table has one JSON object a line")
    return list(names)


def _json_rows(path: Path, encoding: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with open_text(path, encoding) as f:
        first = next((c for line in f if (c := line.strip()[:1])), "")
        f.seek(0)
        items: Iterable[tuple[int, Any]] = _listed(path, f.read()) if first == "[" else _lines(f)
        for n, value in items:
            yield n, value if isinstance(value, dict) else {DAMAGED: "not a JSON object"}


def _listed(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(json.loads(text), 1)
    except ValueError as e:
        raise UserError(f"not valid JSON ({e})", str(path)) from e


def _lines(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for n, line in enumerate(lines, 1):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError as e:
                value = {DAMAGED: f"not valid JSON ({e})"}
            yield n, value


def _parquet(path: Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as e:
        raise _damaged(path, e) from e


def _classes(schema: pa.Schema) -> dict[str, list[str]]:
    """The ClassLabel columns that `datasets` notes in the schema."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        return {name: list(f["names"]) for name, f in features.items() if isinstance(f, dict) and f.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, AttributeError, TypeError):
        return {}  # a note of another program


def _parquet_rows(path: Path, classes: dict[str, list[str]], columns: list[str] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa

    n = 0
    try:
        for batch in _parquet(path).iter_batches(BATCH_ROWS, columns=columns):
            for n, row in enumerate(batch.to_pylist(), n + 1):  # noqa: B020  counts on from the batch before
                yield n, _named(row, classes)
    except (pa.ArrowInvalid, OSError) as e:
        raise _damaged(path, e) from e


def _named(row: dict[str, Any], classes: dict[str, list[str]]) -> dict[str, Any]:
    for column, names in classes.items():
        value = row.get(column)
        if isinstance(value, int) and value < len(names):
            # -1 stands for no class
            row[column] = names[value] if value >= 0 else None
    return row


def _damaged(path: Path, e: Exception) -> UserError:
    return UserError(f"the Parquet file is truncated or damaged ({str(e).splitlines()[0]})", str(path), "get it again")


def _arrays(path: Path) -> dict[str, Any]:
    """Name -> array, whose first axis is the rows; a lone number, such as a rate, is none. Arrays of several splits are one.

    Raises:
        UserError: the file is damaged, an array holds Python objects, or the arrays differ in their number of rows.
    """
    import numpy as np

    found, name = {}, ""
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                if (array := file[name]).ndim:
                    found[name] = array
    except ValueError as e:
        what = f"the array {name!r} holds Python objects, which are not opened" if "pickle" in str(e) else f"no NPZ file ({e})"
        raise UserError(
            what,
            str(path),
            "save texts with numpy.array(texts, dtype=str), series of unequal length as a file each or in Parquet",
        ) from e
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as e:
        raise UserError(f"the NPZ file is truncated or damaged ({e})", str(path), "get it again") from e
    if len({len(array) for array in found.values()}) > 1 and (whole := _of_splits(found)):
        return whole
    if len({len(array) for array in found.values()}) > 1:
        rows = ", ".join(f"{name} {len(array):,}" for name, array in found.items())
        raise UserError(f"the arrays differ in their number of rows: {rows}", str(path), "the first axis of each is the rows")
    return found


def _of_splits(arrays: dict[str, Any]) -> dict[str, Any]:
    """`X_train`, `y_train`, `X_test`, `y_test` as `X`, `y` and `split`; nothing where they are called otherwise."""
    import numpy as np

    parts: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        base, _, split = name.rpartition("_")
        parts.setdefault(split, {})[base] = array
    bases = [part.keys() for part in parts.values()]
    lengths = {split: {len(array) for array in part.values()} for split, part in parts.items()}
    if any(keys != bases[0] for keys in bases) or not all(map(folder_split, parts)) or any(len(n) > 1 for n in lengths.values()):
        return {}
    try:
        whole = {base: np.concatenate([part[base] for part in parts.values()]) for base in bases[0]}
    except ValueError:  # of several shapes
        return {}
    return whole | {"split": np.repeat(list(parts), [n.pop() for n in lengths.values()])}


def _array_rows(path: Path, columns: list[str] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    found = _arrays(path)
    for n in range(len(next(iter(found.values()), ()))):
        row = {name: array[n].tolist() for name, array in found.items() if columns is None or name in columns}
        yield n + 1, {name: v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for name, v in row.items()}
