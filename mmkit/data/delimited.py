"""Tables written as text with a separator, such as CSV and TSV: separator, quotes and header are detected."""

from __future__ import annotations

import csv
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.data.cells import DAMAGED, EXCESS, is_missing, is_real
from mmkit.data.compressed import open_text, suffix_of
from mmkit.data.modalities import file_suffixes
from mmkit.errors import UserError

SEPARATORS = {"\t": "tab", "|": "bar", ";": "semicolon", ",": "comma"}
# lines that tell the separator, and those that tell the quotes
SAMPLE_LINES, QUOTED_LINES = 200, 20_000
# a quote that is not closed within so many lines is none
MOST_LINES = 1_000
UNCLOSED = "a quote that opens in this row is not closed in it"


@dataclass(frozen=True, slots=True)
class Quotes:
    """How cells are quoted.

    Args:
        plain: not at all, as in CC3M: a quote is a character, but where the cells would not fit otherwise.
        escaped: a quote in a quoted cell is `\\"`, as Spark and MySQL write it, else `""`.
        spaced: a space stands between the separator and the quote.
    """

    plain: bool = False
    escaped: bool = False
    spaced: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """The cells of one record, None where its quotes do not match, and the lines it is made of."""

    cells: list[str] | None
    lines: list[str]


@dataclass(frozen=True, slots=True)
class Delimited:
    """How a table is written.

    Args:
        columns: their names; `column 1` … without a header.
    """

    path: Path
    encoding: str
    separator: str
    quotes: Quotes
    columns: list[str]
    has_header: bool

    @property
    def note(self) -> str:
        """What was detected, for the user."""
        found = f"separated by {SEPARATORS[self.separator]}, {self.encoding}, {'a' if self.has_header else 'no'} header"
        return found + (", quotes are plain characters" if self.quotes.plain else "")

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(row number, row); a row with too many cells has EXCESS, one that could not be read has DAMAGED."""
        with open_text(self.path, self.encoding, newline="") as f:
            for n, record in enumerate(_records(f, self.separator, self.quotes, len(self.columns)), 1):
                if not (self.has_header and n == 1) and (record.cells is None or any(map(str.strip, record.cells))):
                    yield n, self._row(record.cells)

    def _row(self, cells: list[str] | None) -> dict[str, Any]:
        if cells is None:
            return {DAMAGED: UNCLOSED}
        width = len(self.columns)
        # a separator at the end of a line makes a blank cell
        excess = {EXCESS: cells[width:]} if any(map(str.strip, cells[width:])) else {}
        return dict(itertools.zip_longest(self.columns, cells[:width])) | excess


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
        lines = list(itertools.islice(f, QUOTED_LINES))
    separator = "\t" if suffix_of(path) == ".tsv" else _separator(lines[:SAMPLE_LINES])
    first = next((record.cells for record in _records(lines, separator, Quotes(), 0)), None) or []
    if len(first) < 2:
        raise UserError(
            "no columns found: not separated by comma, semicolon, tab or bar",
            str(path),
            f"tables end in {' '.join(sorted(suffixes))}",
        )
    has_header = not any(map(_is_image_name, first)) and not _are_numbers(first)
    columns = _names(first) if has_header else _names([""] * len(first))
    if any("\udc80" <= c <= "\udcff" for name in columns for c in name):
        raise UserError("wrong encoding: the header is not UTF-8", f"{path} row 1", "save the table as UTF-8")
    return Delimited(path, encoding, separator, _quotes(lines, separator, len(first)), columns, has_header)


def _separator(lines: Sequence[str]) -> str:
    """The one that cuts most rows into the same number of cells, and of several the one that sets off names of pictures."""

    def score(separator: str) -> tuple[float, int]:
        rows = [record.cells for record in _records(lines, separator, Quotes(), 0) if record.cells]
        widths = Counter(map(len, rows))
        width, count = widths.most_common(1)[0] if widths else (1, 0)
        named = sum(any(map(_is_image_name, row)) for row in rows)
        return (count / widths.total(), named) if width > 1 else (0.0, 0)

    return max(SEPARATORS, key=score)


def _names(header: Sequence[str]) -> list[str]:
    """Each column has a name of its own: a second `caption` is `caption.1`, as in pandas, and a blank third `column 3`."""
    names: list[str] = []
    for i, cell in enumerate(header, 1):
        name = cell.strip() or f"column {i}"
        others = (f"{name}.{n}" for n in itertools.count(1))
        names.append(name if name not in names else next(other for other in others if other not in (*names, *header)))
    return names


def _quotes(lines: Sequence[str], separator: str, width: int) -> Quotes:
    """The way of quoting that fits most records; none, where more quotes are left open than cells are quoted."""

    def misfits(quotes: Quotes) -> tuple[int, int, int]:
        """Records that do not fit; those with a quote that opens a cell in vain; those with quoted cells."""
        unclosed = excess = quoted = 0
        for record in _records(lines, separator, quotes, width):
            literal = _split(record.lines[0], separator)
            excess += len(record.cells or ()) > width
            if any(cell.lstrip().startswith('"') for cell in literal):
                unclosed += record.cells in (None, literal)
                quoted += record.cells not in (None, literal)
        return unclosed + excess, unclosed, quoted

    kinds = [Quotes(escaped=escaped, spaced=spaced) for escaped in (False, True) for spaced in (False, True)]
    best = kinds[0] if misfits(kinds[0])[0] == 0 else min(kinds, key=lambda kind: misfits(kind)[0])
    _, unclosed, quoted = misfits(best)
    return Quotes(True, best.escaped, best.spaced) if unclosed > quoted else best


class _Lines:
    """Lines that can be given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._back: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return self._back.pop() if self._back else next(self._lines)

    def give_back(self, lines: Sequence[str]) -> None:
        self._back.extend(reversed(lines))


def _records(lines: Iterable[str], separator: str, quotes: Quotes, width: int) -> Iterator[Record]:
    """The records; a quote that is not closed costs no other row.

    Args:
        width: the number of columns, 0 if not known yet.
    """
    left = _Lines(lines)
    for line in left:
        literal = _split(line, separator)
        fits = quotes.plain and len(literal) == width
        if '"' not in line or (fits and line.count('"') % 2 == 0):
            yield Record(literal, [line])
            continue
        record = _quoted(line, left, separator, quotes)
        # a caption of several lines is quoted even where else quotes are characters
        alone = len(record.lines) == 1 or any(len(_split(more, separator)) == width for more in record.lines[1:])
        if record.cells is None or (fits and alone) or _swallows(record, separator, width):
            left.give_back(record.lines[1:])
            # quotes in pairs are those of a text that begins with a quoted word
            closed = record.cells is None and line.count('"') % 2 == 0
            record = Record(literal if closed or quotes.plain else None, [line])
        yield record


def _split(line: str, separator: str) -> list[str]:
    line = line.rstrip("\r\n")
    return line.split(separator) if line else []


def _quoted(line: str, following: Iterator[str], separator: str, quotes: Quotes) -> Record:
    """The record that begins with the line, read as strictly as it is written."""
    taken = [line]

    def lines() -> Iterator[str]:
        yield _doubled(line) if quotes.escaped else line
        for more in itertools.islice(following, MOST_LINES):
            taken.append(more)
            yield _doubled(more) if quotes.escaped else more

    try:
        cells = next(csv.reader(lines(), delimiter=separator, strict=True, skipinitialspace=quotes.spaced))
    except csv.Error:
        return Record(None, taken)
    return Record(cells, taken)


def _doubled(line: str) -> str:
    r"""`\"` as `""`, which is how csv knows a quote in a quoted cell."""
    return re.sub(r'(?<!\\)((?:\\\\)*)\\"', r'\1""', line)


def _swallows(record: Record, separator: str, width: int) -> bool:
    """A record of several lines that holds rows: a cell of it names a picture, and a line behind is a row of its own."""
    inside = [line for cell in record.cells or () if "\n" in cell for line in cell.splitlines()]
    if not width or not any(_is_image_name(part) for line in inside for part in line.split(separator)):
        return False
    behind = [_split(line, separator) for line in record.lines[1:]]
    return any(len(cells) == width and any(map(_is_image_name, cells)) for cells in behind)


def _are_numbers(cells: Sequence[str]) -> bool:
    """Numbers, or missing ones, and nothing else: no names of columns unless they count them."""
    counted = [[str(i) for i in range(start, start + len(cells))] for start in (0, 1)]
    numbers = sum(map(is_real, cells))
    return 0 < numbers == sum(not is_missing(cell) for cell in cells) and [cell.strip() for cell in cells] not in counted


def _is_image_name(cell: str) -> bool:
    return Path(cell.strip()).suffix.lower() in file_suffixes()
