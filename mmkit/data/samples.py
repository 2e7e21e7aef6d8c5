"""The rows of a stranger's table as samples and rejects: columns, pictures, captions, labels and splits."""

from __future__ import annotations

import itertools
import math
import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit.data.cells import DAMAGED, EXCESS, is_blank, is_missing, is_number, is_url, real_of, text_of
from mmkit.data.columns import Columns, choose
from mmkit.data.data_files import Part
from mmkit.data.levels import levels_of
from mmkit.data.listing import listed
from mmkit.data.lookup import SPREAD_FOLDERS, Lookup, Readings
from mmkit.data.modalities import image, name_of, names_file, of_files, text
from mmkit.data.naming import value_of
from mmkit.data.schema import Ask, Picture, Reject, Row, Source, of_file
from mmkit.data.spool import Spool
from mmkit.data.tables import Table, open_table
from mmkit.errors import UserError

LICENSE = "unknown: that of the table and its pictures"
# what flags say of a class
SET = {"1", "True"}
FLAGS = SET | {"0", "False"}
# so many pictures tell which folder their paths start from
PROBES = 20


@dataclass(frozen=True, slots=True)
class Reading:
    """How a table is read.

    Args:
        columns: what a column is typed to be (image, caption …) -> its names.
        image_root: what relative paths start from, if that is typed.
        template: the caption of files that have labels only; that of their modality where it is None.
    """

    ask: Ask
    columns: dict[str, list[str]] = field(default_factory=dict)
    image_root: Path | None = None
    template: str | None = None


def read_parts(parts: Sequence[Part], how: Reading) -> Source:
    """The rows of the files that are one table, in their order.

    Raises:
        UserError: a file is damaged, none has rows, there is no column of images or captions, or a file lacks one that the
            first has. The disk is full.
    """
    tables = [open_table(part.path) for part in parts]
    lead, sample = next(((table, first) for table in tables if (first := table.sample())), (tables[0], []))
    if not sample:
        raise UserError("the table has no rows", str(lead.path), "it holds nothing but its header")
    roots = _roots(parts[tables.index(lead)], how)
    columns, template = _columns(lead, sample, roots, how)
    readings, spool, owners, firsts = Readings(), Spool(how.ask.out), dict[str, str](), dict[str, Path]()
    within = how.image_root or (how.ask.folder if how.ask.folder.is_dir() else lead.path.parent)
    rows: list[Row | Reject] = []
    for part, table in zip(parts, tables, strict=True):
        _check(table, lead, columns)
        root = _root(part, table, columns, how)
        place = f"{part.path.name} " if len(parts) > 1 else ""
        samples = Samples(part, Lookup(root, within, readings), columns, spool, place, template, owners, firsts)
        rows += [samples.row(n, row) for n, row in table.rows(columns.read(table))]
    rows = readings.settle(rows)
    note = f"{_files(parts, lead)}; {columns.note if template is None else _by_label(columns, template)}"
    note += f"; paths start from {root}" if root not in (*(part.path.parent for part in parts), within) else ""
    note += f"; left out: {', '.join(parts[0].others)}" if parts[0].others else ""
    note += f"; {readings.note}" if readings.note else ""
    splits = [row.split for row in rows if isinstance(row, Row)]
    note += f"; {columns.split!r} is blank in all rows" if columns.split and splits and not any(splits) else ""
    note += _labels(rows) if columns.label else ""
    note += _by_folder(rows, within) if all(part.beside for part in parts) else ""
    path = parts[0].path if len(parts) == 1 else how.ask.folder
    return Source(rows, path.name if how.ask.source is None else str(path), LICENSE, note)


def names_pictures(part: Part, how: Reading, folder: Path) -> bool:
    """The first rows of the file name pictures of a folder, and hold captions or labels."""
    try:
        table = open_table(part.path)
        sample, roots = table.sample(), _roots(part, how)
        columns, _ = _columns(table, sample, roots, how)
    except UserError:
        return False
    found = [path for root in roots if columns.files for path in _named(sample, columns.files, root)]
    return any(Path(path).is_relative_to(os.path.abspath(folder)) for path in found)


def _files(parts: Sequence[Part], lead: Table) -> str:
    """Which files are read, and as what splits."""
    if len(parts) == 1:
        return lead.note
    splits = Counter(part.split for part in parts)
    named = "" if None in splits else f", splits {', '.join(f'{split} ({n:,})' for split, n in splits.items())}"
    return f"{len(parts):,} files of one table{named}; {lead.note}"


def _by_label(columns: Columns, template: str) -> str:
    role = next(role for role, names in columns.of.items() if columns.files in names)
    return f"{role} column {columns.files!r}, no captions but {template!r} with label column {columns.label!r}"


def _columns(table: Table, sample: list[dict[str, Any]], roots: list[Path], how: Reading) -> tuple[Columns, str | None]:
    """The columns as typed or detected, and the template of captions where pictures have labels in words only.

    Raises:
        UserError: as `choose`.
    """
    found = None
    try:
        columns = choose(table, sample, how.columns)
        # a link beside the id of a file that is here
        links = columns.files and all(is_url(value) for row in sample if not is_blank(value := value_of(row, columns.files)))
        unseen = columns.of.keys() == {text.ROLE} or (links and not any(m.ROLE in how.columns for m in of_files()))
    except UserError:
        unseen = True
        if any(m.ROLE in how.columns for m in of_files()) or (found := _by_files(table, sample, roots)) is None:
            raise
    if unseen and (found := found or _by_files(table, sample, roots)):
        columns = choose(table, sample, how.columns | found)
    if not columns.files or text.ROLE in columns.of or columns.asked:
        return columns, None
    words = [value for row in sample if not is_missing(text_of(value := value_of(row, columns.label)))]
    if not words or all(map(is_number, words)):
        return columns, None
    return columns, how.template or next(m.TEMPLATE for m in of_files() if m.ROLE in columns.of)


def _by_files(table: Table, sample: list[dict[str, Any]], roots: list[Path]) -> dict[str, list[str]] | None:
    """The only column that names files that are there, whatever it is called, as what the first of them is."""
    found = {
        name: files for name in table.columns if (files := next(filter(None, (_named(sample, name, root) for root in roots)), []))
    }
    if len(found) != 1:
        return None
    ((name, files),) = found.items()
    suffix = Path(files[0]).suffix.lower()
    return {next((m.ROLE for m in of_files() if suffix in m.SUFFIXES), image.ROLE): [name]}


def _roots(part: Part, how: Reading) -> list[Path]:
    """What the relative paths of a file may start from: as typed, else its own folder, the one that was named, or one in that."""
    if how.image_root:
        return [how.image_root]
    if not how.ask.folder.is_dir():
        return [part.path.parent]
    own = [part.path.parent, how.ask.folder]
    # of pictures that the table lies beside, who asks knows the folder
    return own if part.beside else [*own, *(inner for folder in own for inner in _held(folder))]


def _held(folder: Path) -> list[Path]:
    """The only folder in one that holds pictures, as clips/ beside the tables of Common Voice; none where there are several."""
    own = listed(folder)
    found = [name for name in sorted(own.folders) if listed(folder / name).media] if len(own.folders) <= SPREAD_FOLDERS else []
    return [folder / found[0]] if len(found) == 1 and not own.media else []


def _root(part: Part, table: Table, columns: Columns, how: Reading) -> Path:
    roots = list(dict.fromkeys(_roots(part, how)))
    if len(roots) == 1:
        return roots[0]
    sample = [row for _, row in itertools.islice(table.rows(columns.read(table)), PROBES)]
    return next((root for root in roots if _found(sample, columns.files, root)), roots[0])


def _found(sample: list[dict[str, Any]], column: str | None, root: Path) -> bool:
    """Most of the files that the first rows name in this column are below the root."""
    return column is not None and bool(_named(sample, column, root))


def _named(sample: list[dict[str, Any]], column: str, root: Path) -> list[str]:
    """The files below the root that the first rows name in a column; none where they are less than half."""
    names = [name for row in sample[:PROBES] if (name := _name(value_of(row, column)))]
    lookup, found = Lookup(root), []
    for name in names:
        try:
            found.append(str(lookup.find(name).path))
        except (OSError, ValueError):
            continue
    return found if 2 * len(found) > len(names) else []


def _check(table: Table, lead: Table, columns: Columns) -> None:
    """Raise the error for a file that has not the columns of the first."""
    for name in columns.values:
        if not {name, name.partition(".")[0]} & set(table.columns):
            hint = f"--source {shlex.quote(str(lead.path))}   reads that one alone; or leave {table.path.name} out of the folder"
            raise UserError(f"no column {name!r}, which {lead.path.name} has: not one table", str(table.path), hint)


def _by_folder(rows: list[Row | Reject], folder: Path) -> str:
    """Give the rows the splits that the folders of their pictures are, where all of them are splits; what is said of it."""
    samples = [row for row in rows if isinstance(row, Row)]
    pictures = [row.picture for row in samples]
    if any(row.split for row in samples) or any(picture is None or picture.path is None for picture in pictures):
        return ""
    lookup = Lookup(folder)
    paths = [Path(lookup.name(picture)) for picture in pictures if picture]
    levels = levels_of(paths)
    found = {split for split, _ in levels.splits.values()}
    if "train" not in found or len(found) < 2 or any(map(levels.is_stray, paths)):
        return ""
    for row, path in zip(samples, paths, strict=True):
        row.split = levels.split(path)
    return f"; official splits {', '.join(sorted(levels.splits))}"


def _labels(rows: list[Row | Reject]) -> str:
    """What is said of the labels; where all are whole numbers such as 3.0, a blank cell made them so, and they become 3."""
    samples = [row for row in rows if isinstance(row, Row)]
    said = _flags(samples)
    labels = Counter(label for row in samples for label in _listed(row.values["label"]) or [""])
    empty = labels.pop("", 0)
    if all(re.fullmatch(r"-?\d+(\.0+)?", label) for label in labels):
        for row in samples:
            plain = [label.partition(".")[0] for label in _listed(row.values["label"])]
            row.values["label"] = plain if isinstance(row.values["label"], list) else next(iter(plain), None)
    note = said + (f"; {empty:,} of {len(samples):,} labels are empty" if empty else "")
    # in a column of countries, NA is Namibia
    words = {label: n for label, n in labels.items() if is_missing(label)}
    return note + "".join(f"; the label {word!r} ({n:,} of {len(samples):,}) counts as a class" for word, n in words.items())


def _flags(samples: Sequence[Row]) -> str:
    """Lists of as many 0 and 1 in each row are flags of classes, one-hot or several; of other lists each label stands once."""
    lists = [row for row in samples if isinstance(row.values["label"], list)]
    widths = {len(row.values["label"]) for row in lists}
    flags = len(widths) == 1 and widths != {1} and all(FLAGS.issuperset(row.values["label"]) for row in lists)
    for row in lists:
        own = row.values["label"]
        row.values["label"] = [str(n) for n, flag in enumerate(own) if flag in SET] if flags else list(dict.fromkeys(own))
    if not flags:
        return ""
    if all(len(row.values["label"]) == 1 for row in lists):
        for row in lists:
            (row.values["label"],) = row.values["label"]
    return f"; labels are flags of {widths.pop():,} classes"


def _listed(label: str | list[str] | None) -> list[str]:
    return label if isinstance(label, list) else [label] if label else []


@dataclass(slots=True)
class Samples:
    """The rows of one file as samples and rejects.

    Args:
        place: names the file in the ids of rows that have no other; empty where it is the only one.
        template: the caption of rows that have a label only; None where there are captions.
        owners: path of an embedded picture -> the key of the first one of that path; shared by the files of a table.
        first: column -> the first file that it names; shared, too.
    """

    part: Part
    pictures: Lookup
    columns: Columns
    spool: Spool
    place: str
    template: str | None
    owners: dict[str, str]
    first: dict[str, Path]

    def row(self, n: int, row: dict[str, Any]) -> Row | Reject:
        """Row `n` of the table.

        Raises:
            UserError: the picture in it cannot be copied: the disk is full.
        """
        where = f"{self.part.path} row {n}"
        value = value_of(row, self.columns.files)
        typed = text_of(value_of(row, self.columns.id)).strip()
        name = typed or _name(value) or f"{self.place}row {n}"
        if DAMAGED in row:
            return Reject(name, where, row[DAMAGED])
        if EXCESS in row:
            left = row[EXCESS][0][:40]
            return Reject(name, where, f"more cells than columns: quote texts that hold the separator ({left!r} is left over)")
        split = text_of(value_of(row, self.columns.split)).strip()
        split = (self.part.split or "") if is_missing(split) else split
        try:
            values = self._values(row)
            label = _label(value_of(row, self.columns.label))
            target = _target(value_of(row, self.columns.target))
        except (OSError, ValueError) as e:
            return Reject(name, where, str(getattr(e, "strerror", None) or e))
        if self.template is not None:
            words = self.template.replace("{label}", ", ".join(dict.fromkeys(_listed(label))).replace("_", " "))
            values[text.COLUMN] = [words] if label else [""]
        if self.columns.label:
            values["label"] = label
        if self.columns.target:
            values["target"] = target
        if self.columns.asked:
            values["questions"] = self.columns.asked.of(row, f"{self.place}row {n}")
        picture = next((value for value in values.values() if isinstance(value, Picture)), None)
        own = (self.pictures.name(picture) if picture.path else self._own(name, picture)) if picture else name
        return Row(typed or own, values, where, split or None, self.columns.kinds)

    def _values(self, row: dict[str, Any]) -> dict[str, Any]:
        """column -> value of each modality, None where it is blank.

        Raises:
            OSError, ValueError: one of them cannot be used.
        """
        values: dict[str, Any] = {}
        for column, modality, names in self.columns.held():
            cells = [value_of(row, name) for name in names]
            raw = modality.cells(cells) if hasattr(modality, "cells") else cells[0]
            if modality in of_files():
                raw = _picture(raw, self.pictures, self.spool, modality)
            elif names_file(modality, raw):
                path = Path(str(self.pictures.find(raw, modality.SUFFIXES).path))
                raw = of_file(name_of(modality), path, self.first.setdefault(column, path))
            elif modality is not text and not is_blank(raw):
                # at once: as Python's own numbers they would take several times the memory until they are written
                raw = modality.store(raw)
            values[column] = raw
        return values

    def _own(self, name: str, picture: Picture) -> str:
        """The path of an embedded picture as its id; where another picture has that path too, with a part of its hash."""
        taken = self.owners.setdefault(name, picture.key) != picture.key
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


def _label(value: Any) -> str | list[str] | None:
    """One label as text, or those of a list.

    Raises:
        ValueError: it is a list of shares.
    """
    if isinstance(value, list):
        if share := next((item for item in value if isinstance(item, float) and math.isfinite(item) and item % 1), None):
            raise ValueError(f"the label is a list of numbers such as {share:g}, which are no classes")
        return list(filter(None, (text_of(item).strip() for item in value))) or None
    return text_of(value).strip() or None


def _target(value: Any) -> float | None:
    try:
        return real_of(value)
    except ValueError as e:
        raise ValueError(f"the target {e}") from None


def _picture(value: Any, pictures: Lookup, spool: Spool, modality: Any) -> Picture | None:
    """Of a path, bytes, or the struct {bytes, path} that `datasets` writes; None of a blank cell."""
    held = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(held, bytes) and held:
        return spool.add(held)
    name = _name(value)
    if not name:
        return None
    if re.match(r"https?://", name):
        raise ValueError(f"{name} is a URL: download the {modality.PLURAL} first")
    return pictures.find(name, modality.SUFFIXES)
