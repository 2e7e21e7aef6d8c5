"""Tables written as text with a separator, such as CSV and TSV: separator, quotes and header are detected."""

from __future__ import annotations

import csv
import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmkit.data.cells import DAMAGED, EXCESS
from mmkit.data.compressed import open_text, suffix_of
from mmkit.data.images import SUFFIXES
from mmkit.errors import UserError

SEPARATORS = {"\t": "tab", "|": "bar", ";": "semicolon", ",": "comma"}
SAMPLE_LINES = 200


@dataclass(frozen=True, slots=True)
class Delimited:
    """How a table is written.

    Args:
        quoting: csv's: QUOTE_NONE where quotes are plain characters.
        columns: their names; `column 1` … without a header.
    """

    path: Path
    encoding: str
    separator: str
    quoting: Literal[0, 3]
    columns: list[str]
    has_header: bool

    @property
    def note(self) -> str:
        """What was detected, for the user."""
        found = f"separated by {SEPARATORS[self.separator]}, {self.encoding}, {'a' if self.has_header else 'no'} header"
        return found + (", quotes are plain characters" if self.quoting == csv.QUOTE_NONE else "")

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(row number, row); a row with too many cells has EXCESS, one that could not be read has DAMAGED."""
        with open_text(self.path, self.encoding, newline="") as f:
            lines: list[str] = []  # those of the record that is read

            def noted() -> Iterator[str]:
                for line in f:
                    lines.append(line)
                    yield line

            reader = csv.reader(noted(), delimiter=self.separator, quoting=self.quoting)
            n = 0
            try:
                for cells in reader:
                    for row in self._records(cells, lines):
                        n += 1
                        if row and not (self.has_header and n == 1):
                            yield n, row
                    lines.clear()
            except csv.Error as e:
                raise UserError(f"not readable as a table ({e})", f"{self.path} row {reader.line_num}") from e

    def _records(self, cells: list[str], lines: list[str]) -> list[dict[str, Any]]:
        """The record as a row; where a quote that is not closed swallowed rows, those are read line by line."""
        if len(lines) == 1 or not _swallows(cells, self.separator):
            return [self._row(cells)]
        behind = [next(csv.reader([line], delimiter=self.separator), []) for line in lines[1:]]
        if not any(len(row) == len(self.columns) and any(map(_is_image_name, row)) for row in behind):
            return [self._row(cells)]
        return [{DAMAGED: "a quote that opens in this row is not closed in it"}, *map(self._row, behind)]

    def _row(self, cells: list[str]) -> dict[str, Any]:
        width = len(self.columns)
        # a separator at the end of a line makes a blank cell
        excess = {EXCESS: cells[width:]} if any(map(str.strip, cells[width:])) else {}
        return dict(itertools.zip_longest(self.columns, cells[:width])) | excess if cells else {}


def detect(path: Path, encoding: str, suffixes: Iterable[str]) -> Delimited:
    """Detect how the file is written.

    Args:
        suffixes: those of tables, for the message.

    Raises:
        UserError: it has no columns, or a header in another encoding.
    """
    # a caption may be longer than csv's default limit on a cell, 128 kB
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with open_text(path, encoding, newline="") as f:
        # whole lines, so that the last row of the sample is not cut
        lines = list(itertools.islice(f, SAMPLE_LINES))
    separator = "\t" if suffix_of(path) == ".tsv" else _separator(lines)
    plain = separator == "\t" and not _quotes_balance(path, encoding)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    first = next(csv.reader(lines, delimiter=separator, quoting=quoting), [])
    if len(first) < 2:
        raise UserError(
            "no columns found: not separated by comma, semicolon, tab or bar",
            str(path),
            f"tables end in {' '.join(sorted(suffixes))}",
        )
    has_header = not any(map(_is_image_name, first))
    columns = _names(first) if has_header else _names([""] * len(first))
    if any("\udc80" <= c <= "\udcff" for name in columns for c in name):
        raise UserError("wrong encoding: the header is not UTF-8", f"{path} row 1", "save the table as UTF-8")
    return Delimited(path, encoding, separator, quoting, columns, has_header)


def _names(header: list[str]) -> list[str]:
    """Each column has a name of its own: a second `caption` is `caption.1`, as in pandas, and a blank third `column 3`."""
    names: list[str] = []
    for i, cell in enumerate(header, 1):
        name = cell.strip() or f"column {i}"
        others = (f"{name}.{n}" for n in itertools.count(1))
        names.append(name if name not in names else next(other for other in others if other not in (*names, *header)))
    return names


def _quotes_balance(path: Path, encoding: str) -> bool:
    """Most quotes that open a cell of a table with tabs are closed, in the cell or on a line further down."""
    whole = opened = closed = 0
    with open_text(path, encoding) as f:
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
