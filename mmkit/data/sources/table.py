"""`mmkit prep table`: a CSV, TSV, JSONL or Parquet table with a column of images and one of captions."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit.data.cells import DAMAGED, EXCESS, is_missing, text_of, texts_of
from mmkit.data.columns import Columns, choose, value_of
from mmkit.data.compressed import suffix_of
from mmkit.data.images import SUFFIXES
from mmkit.data.lookup import Lookup
from mmkit.data.schema import Options, Picture, Reject, Row, Source
from mmkit.data.spool import Spool
from mmkit.data.tables import TABLES, open_table
from mmkit.data.unread import refuse, shards_beside
from mmkit.errors import UserError

LICENSE = "unknown: that of the table and its pictures"
NAMED_FILES = 5
OURS = re.compile(r"[\w.-]+-\d{5}-of-\d{5}\.parquet|rejected\.jsonl|dataset\.json")


def read(options: Options) -> Source:
    """The rows of the table, in its order.

    Raises:
        UserError: the table is missing, damaged or without rows, or has no column of images or captions; its columns are
            named. The disk is full.
    """
    path = _find(options.folder)
    table = open_table(path)
    sample = table.sample()
    if not sample:
        raise UserError("the table has no rows", str(path), "it holds nothing but its header")
    columns = choose(table, sample, options.columns)
    pictures = Lookup(options.image_root or path.parent)
    samples = Samples(path, pictures, columns, Spool(options.out))
    rows = pictures.readings.settle([samples.row(n, row) for n, row in table.rows(columns.read(table))])
    note = f"{table.note}; {columns.note}"
    note += f"; {pictures.readings.note}" if pictures.readings.note else ""
    note += _labels(rows) if columns.label else ""
    return Source(rows, path.name if options.source is None else str(path), LICENSE, note)


def _labels(rows: list[Row | Reject]) -> str:
    """What is said of the labels; where all are whole numbers such as 3.0, a blank cell made them so, and they become 3."""
    samples = [row for row in rows if isinstance(row, Row)]
    labels = Counter(row.label or "" for row in samples)
    empty = labels.pop("", 0)
    if all(re.fullmatch(r"-?\d+(\.0+)?", label) for label in labels):
        for row in samples:
            row.label = row.label and row.label.partition(".")[0]
    note = f"; {empty:,} of {len(samples):,} labels are empty" if empty else ""
    # in a column of countries, NA is Namibia
    words = {label: n for label, n in labels.items() if is_missing(label)}
    return note + "".join(f"; the label {word!r} ({n:,} of {len(samples):,}) counts as a class" for word, n in words.items())


def _find(path: Path) -> Path:
    """The table itself, or the only one in a folder."""
    if not path.exists():
        raise UserError("no such table", str(path), "--source names the table")
    if path.is_file():
        return path
    files = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    pictures = {p.stem for p in files if p.suffix.lower() in SUFFIXES}
    tables = [p for p in files if suffix_of(p) in TABLES and not OURS.fullmatch(p.name)]
    found = [p for p in tables if p.suffix.lower() != ".txt" or p.stem not in pictures]
    if tables and not found:
        hint = f"mmkit prep folder --source {path}   reads these"
        raise UserError("no table in the folder, but pictures with text files of the same name", str(path), hint)
    # prose and settings lie beside tables; they count only where nothing else is found
    found = [p for p in found if suffix_of(p) not in (".txt", ".json")] or found
    if not found or shards_beside(found):
        refuse(path)
    if len(found) != 1:
        names = ", ".join(p.name for p in found[:NAMED_FILES]) or "none"
        names += f" and {len(found) - NAMED_FILES:,} more" if len(found) > NAMED_FILES else ""
        raise UserError(f"not exactly one table in the folder: {names}", str(path), "--source names the table")
    return found[0]


@dataclass(slots=True)
class Samples:
    """The rows of one table as samples and rejects."""

    path: Path
    pictures: Lookup
    columns: Columns
    spool: Spool
    _owners: dict[str, str] = field(default_factory=dict)

    def row(self, n: int, row: dict[str, Any]) -> Row | Reject:
        """Row `n` of the table.

        Raises:
            UserError: the picture in it cannot be copied: the disk is full.
        """
        where = f"{self.path} row {n}"
        value = value_of(row, self.columns.image)
        typed = text_of(value_of(row, self.columns.id)).strip()
        name = typed or _name(value) or f"row {n}"
        if DAMAGED in row:
            return Reject(name, where, row[DAMAGED])
        if EXCESS in row:
            left = row[EXCESS][0][:40]
            return Reject(name, where, f"more cells than columns: quote texts that hold the separator ({left!r} is left over)")
        try:
            picture = _picture(value, self.pictures, self.spool)
        except (OSError, ValueError) as e:
            return Reject(name, where, str(getattr(e, "strerror", None) or e))
        label = text_of(value_of(row, self.columns.label)).strip()
        split = text_of(value_of(row, self.columns.split)).strip()
        captions = [text for name in self.columns.captions for text in texts_of(value_of(row, name)) or [""]]
        own = self.pictures.name(picture) if picture.path else self._own(name, picture)
        return Row(typed or own, picture, captions, where, None if is_missing(split) else split, label or None)

    def _own(self, name: str, picture: Picture) -> str:
        """The path of an embedded picture as its id; where another picture has that path too, with a part of its hash."""
        taken = self._owners.setdefault(name, picture.key) != picture.key
        return f"{name} {picture.key[:12]}" if taken else name


def _name(value: Any) -> str:
    """The path or number of a picture as text; empty for anything else."""
    if isinstance(value, dict):
        return _name(value.get("path"))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    # a column of numbers with gaps
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.strip() if isinstance(value, str) else ""


def _picture(value: Any, pictures: Lookup, spool: Spool) -> Picture:
    """A path, bytes, or the struct {bytes, path} that `datasets` writes."""
    held = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(held, bytes) and held:
        return spool.add(held)
    name = _name(value)
    if not name:
        raise ValueError("no image in the row")
    if re.match(r"https?://", name):
        raise ValueError(f"{name} is a URL: download the pictures first")
    return pictures.find(name)
