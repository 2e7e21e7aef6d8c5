"""Tables of strangers as dicts: the format, encoding, separator and header are detected, and what was found is told."""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mmkit.data.images import SUFFIXES
from mmkit.errors import UserError

TABLES = {".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".pq"}
SAMPLE = 64 << 10
SAMPLE_ROWS = 50
BATCH_ROWS = 64
# the key under which a row keeps the cells that it has beyond the columns
EXCESS = "(more cells than columns)"
# the key of a row that could not be read, and why
DAMAGED = "(not readable)"
SEPARATORS = "\t|;,"
# letters, punctuation and signs that Western European texts in cp1252 are made of
WESTERN = set("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿœŒ‘’“”–—…«»°€£¡¿\xa0")
WESTERN |= set("„‚‹›´·•†‡§©®™‰ªº¹²³¼½¾×÷±µ¢¥")
# some of these bytes are letters of Central Europe (`ma³y` is mały in cp1250, `ºi` şi): then letters follow them
FOREIGN = re.compile(r"(?<!\d)[ªº¹²³¼½¾±¢¥][A-Za-zÀ-ÖØ-öø-ÿŒœ]|[A-Za-zÀ-ÖØ-öø-ÿŒœ][¼½¾]|µ[aeiou]")


@dataclass(slots=True)
class Table:
    """An opened table.

    Args:
        path: the file.
        columns: names in the order of the file; `column 1` … where it has no header.
        note: what was detected, for the user.
        first: number of the first row of data as an editor counts lines.
        quoting: csv's: QUOTE_NONE where quotes are plain characters.
        classes: column -> names of the classes that its numbers stand for (Parquet of `datasets`); rows hold the names.
    """

    path: Path
    columns: list[str]
    note: str
    _kind: str
    _encoding: str = "utf-8"
    _separator: str = ","
    first: int = 1
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
    classes: dict[str, list[str]] = field(default_factory=dict)

    def rows(self, columns: list[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """(row number, row) one by one; text that does not decode holds surrogates, and a JSON line that is none has DAMAGED.

        Args:
            columns: read only these (of Parquet; the other formats give all).

        Raises:
            UserError: the file is damaged; file and row are named.
        """
        if self._kind == "parquet":
            yield from enumerate(map(self._named, _parquet_rows(self.path, columns)), 1)
        elif self._kind == "csv":
            yield from self._csv_rows()
        else:
            yield from _json_rows(self.path, self._encoding)

    def sample(self) -> list[dict[str, Any]]:
        """The first rows."""
        return [row for _, row in itertools.islice(self.rows(), SAMPLE_ROWS)]

    def _named(self, row: dict[str, Any]) -> dict[str, Any]:
        for column, names in self.classes.items():
            value = row.get(column)
            if isinstance(value, int) and value < len(names):
                # -1 stands for no class
                row[column] = names[value] if value >= 0 else None
        return row

    def _csv_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with open(self.path, encoding=self._encoding, errors="surrogateescape", newline="") as f:
            lines: list[str] = []  # those of the record that is read

            def noted() -> Iterator[str]:
                for line in f:
                    lines.append(line)
                    yield line

            reader = csv.reader(noted(), delimiter=self._separator, quoting=self.quoting)
            n = 0
            try:
                for cells in reader:
                    for row in self._records(cells, lines):
                        n += 1
                        if n >= self.first and row:
                            yield n, row
                    lines.clear()
            except csv.Error as e:
                raise UserError(f"not readable as a table ({e})", f"{self.path} row {reader.line_num}") from e

    def _records(self, cells: list[str], lines: list[str]) -> list[dict[str, Any]]:
        """The record as a row; where a quote that is not closed swallowed rows, those are read line by line."""
        if len(lines) == 1 or not _swallows(cells, self._separator):
            return [self._row(cells)]
        behind = [next(csv.reader([line], delimiter=self._separator), []) for line in lines[1:]]
        if not any(len(row) == len(self.columns) and any(map(_is_image_name, row)) for row in behind):
            return [self._row(cells)]
        return [{DAMAGED: "a quote that opens in this row is not closed in it"}, *map(self._row, behind)]

    def _row(self, cells: list[str]) -> dict[str, Any]:
        excess = {EXCESS: cells[len(self.columns) :]} if len(cells) > len(self.columns) else {}
        return dict(itertools.zip_longest(self.columns, cells[: len(self.columns)])) | excess if cells else {}


def open_table(path: Path) -> Table:
    """Detect what `path` is.

    Raises:
        UserError: it is missing, empty, damaged, or not a table.
    """
    if not path.is_file():
        raise UserError("no such table", str(path))
    if path.stat().st_size == 0:
        raise UserError("the table is empty", str(path))
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        schema = _parquet(path).schema_arrow
        return Table(path, schema.names, f"{path.name}: Parquet", "parquet", classes=_classes(schema))
    encoding = detect_encoding(path)
    if suffix in (".jsonl", ".ndjson", ".json"):
        first = list(itertools.islice(_json_rows(path, encoding), SAMPLE_ROWS))
        if not first:
            raise UserError("the table is empty", str(path))
        columns = list(dict.fromkeys(name for _, row in first if DAMAGED not in row for name in row))
        if not columns:
            n, row = first[0]
            raise UserError(
                row.get(DAMAGED, "the first rows hold nothing"), f"{path} row {n}", "a table has one JSON object a line"
            )
        return Table(path, columns, f"{path.name}: JSON, {encoding}", "json", encoding)
    return _open_csv(path, encoding)


def detect_encoding(path: Path) -> str:
    """utf-8, utf-8-sig, utf-16, or cp1252 where that is sure; else utf-8, whose rows that do not decode are rejected later."""
    with open(path, "rb") as f:
        head = f.read(SAMPLE)
    for mark, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if head.startswith(mark):
            return name
    nuls = [head[offset::2].count(0) for offset in (0, 1)]
    if max(nuls) > len(head) // 4:
        return "utf-16-le" if nuls[1] > nuls[0] else "utf-16-be"
    return "cp1252" if not _is_utf8(path) and _surely_cp1252(path) else "utf-8"


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open(path, "rb") as f:
        try:
            while block := f.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _surely_cp1252(path: Path) -> bool:
    """Western letters, one at a time between plain ones; other encodings come in runs or as odd symbols."""
    single, odd = 0, 0
    with open(path, "rb") as f:
        for line in f:
            odd += bool(FOREIGN.search(line.decode("cp1252", "replace")))
            for run in re.findall(rb"[\x80-\xff]+", line):
                if len(run) > 1 and _decodes(run):
                    return False  # UTF-8 with some damaged rows
                western = all(c in WESTERN for c in run.decode("cp1252", "replace"))
                single += western and len(run) == 1
                odd += not western or len(run) > 2
    return odd == 0 and single > 0


def _decodes(run: bytes) -> bool:
    try:
        return bool(run.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _open_csv(path: Path, encoding: str) -> Table:
    # a caption may be longer than csv's default limit on a cell, 128 kB
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with open(path, encoding=encoding, errors="surrogateescape", newline="") as f:
        # whole lines, so that the last row of the sample is not cut
        lines = list(itertools.islice(f, 200))
    separator = "\t" if path.suffix.lower() == ".tsv" else _separator(lines)
    plain = separator == "\t" and not _quotes_balance(path, encoding)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    rows = list(itertools.islice(csv.reader(lines, delimiter=separator, quoting=quoting), SAMPLE_ROWS))
    if not rows or len(rows[0]) < 2:
        raise UserError(
            "no columns found: not separated by comma, semicolon, tab or bar",
            str(path),
            f"tables end in {' '.join(sorted(TABLES))}",
        )
    has_header = not any(map(_is_image_name, rows[0]))
    columns = [cell.strip() for cell in rows[0]] if has_header else [f"column {i}" for i in range(1, len(rows[0]) + 1)]
    if any("\udc80" <= c <= "\udcff" for name in columns for c in name):
        raise UserError("wrong encoding: the header is not UTF-8", f"{path} row 1", "save the table as UTF-8")
    name = {"\t": "tab", "|": "bar", ";": "semicolon", ",": "comma"}[separator]
    note = f"{path.name}: separated by {name}, {encoding}, {'a header' if has_header else 'no header'}"
    note += ", quotes are plain characters" if plain else ""
    return Table(path, columns, note, "csv", encoding, separator, 2 if has_header else 1, quoting)


def _quotes_balance(path: Path, encoding: str) -> bool:
    """Most quotes that open a cell of a table with tabs are closed, in the cell or on a line further down."""
    whole = opened = closed = 0
    with open(path, encoding=encoding, errors="surrogateescape") as f:
        for line in f:
            for cell in line.rstrip("\n").split("\t"):
                opens, closes = cell.startswith('"'), len(cell) > 1 and cell.endswith('"')
                whole += opens and closes
                opened += opens and not closes
                closed += closes and not opens
    return opened - closed <= whole


def _swallows(cells: list[str], separator: str) -> bool:
    """Whether a cell of several lines names a picture in one of them: it holds rows rather than a text."""
    lines = [line for cell in cells if "\n" in cell for line in cell.splitlines()]
    return any(_is_image_name(part) for line in lines for part in line.split(separator))


def _is_image_name(cell: str) -> bool:
    return Path(cell.strip()).suffix.lower() in SUFFIXES


def _separator(lines: list[str]) -> str:
    """The one that cuts most rows into the same number of cells."""

    def score(separator: str) -> float:
        widths = Counter(len(cells) for cells in csv.reader(lines, delimiter=separator) if cells)
        width, count = widths.most_common(1)[0] if widths else (1, 0)
        return count / widths.total() if width > 1 else 0.0

    return max(SEPARATORS, key=score)


def _json_rows(path: Path, encoding: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, encoding=encoding, errors="surrogateescape") as f:
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


def _parquet_rows(path: Path, columns: list[str] | None) -> Iterator[dict[str, Any]]:
    try:
        for batch in _parquet(path).iter_batches(BATCH_ROWS, columns=columns):
            yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as e:
        raise _damaged(path, e) from e


def _damaged(path: Path, e: Exception) -> UserError:
    return UserError(f"the Parquet file is truncated or damaged ({str(e).splitlines()[0]})", str(path), "get it again")
