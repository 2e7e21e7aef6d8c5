"""`mmkit prep table`: a CSV, TSV, JSONL or Parquet table with a column of images and one of captions."""

from __future__ import annotations

import ast
import functools
import hashlib
import io
import json
import os
import re
import tempfile
import tokenize
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import IO, Any

from mmkit.data.images import SUFFIXES
from mmkit.data.schema import Options, Picture, Reject, Row, Source
from mmkit.data.tables import DAMAGED, EXCESS, TABLES, Table, open_table
from mmkit.errors import UserError
from mmkit.files import disk_error

LICENSE = "unknown: that of the table and its pictures"
# lower-case names of columns, the most telling first
IMAGE_NAMES = (
    *("image", "image_path", "image_file", "image_name", "path", "file_path", "filepath", "file_name", "filename", "file"),
    *("img", "img_path", "picture", "photo", "jpg", "png", "url"),
)
CAPTION_NAMES = (
    *("captions", "caption", "texts", "text", "sentences", "sentence", "descriptions", "description", "title"),
    *("alt_text", "alt", "raw", "comment", "prompt", "name", "product_name"),
)
# of these names the column is what it says, whatever its values look like
SURELY_IMAGE, SURELY_CAPTION = ("image",), ("captions", "caption")
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
    image = _chosen(options.image_column, "--image-column", table, sample) or _image_column(table, sample)
    caption = _chosen(options.caption_column, "--caption-column", table, sample) or _caption_column(table, sample, image)
    root = options.image_root or path.parent
    with_label = "label" in table.columns and caption != "label"
    # `meta.file` may be the name of a column, or a key of the objects in the column `meta`
    needed = {name if name in table.columns else name.partition(".")[0] for name in (image, caption)}
    columns = [name for name in table.columns if name in needed or name in ("id", "split") or (with_label and name == "label")]
    samples = Samples(path, root, image, caption, with_label, Spool(options.out))
    rows = [samples.row(n, row) for n, row in table.rows(columns)]
    note = f"{table.note}; image column {image!r}, caption column {caption!r}"
    note += "".join(f", {name!r} column" for name in ("id", "split", "label") if name in columns and name not in (image, caption))
    return Source(rows, path.name if options.source is None else str(path), LICENSE, note)


class Spool:
    """Pictures that a table holds itself, copied once to an unnamed temporary file: rows are read in another order later.

    Args:
        out: the dataset folder; the file lies on its disk, which has to hold the pictures anyway.
    """

    def __init__(self, out: Path) -> None:
        self._folder = next(p for p in (out.absolute(), *out.absolute().parents) if p.is_dir())
        if not os.access(self._folder, os.W_OK):
            # --dry-run needs no right to write there
            self._folder = Path(tempfile.gettempdir())
        self._file: IO[bytes] | None = None
        self._end = 0
        self._lock = Lock()

    def add(self, data: bytes) -> Picture:
        """Store the bytes and return where they are; equal bytes are the same picture.

        Raises:
            UserError: they cannot be written.
        """
        try:
            with self._lock:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  it lives as long as the rows do
                self._file.seek(self._end)
                self._file.write(data)
                # what stayed in the buffer would fail when it is read, as if the picture were damaged
                self._file.flush()
        except OSError as e:
            raise disk_error(e, self._folder) from e
        start, self._end = self._end, self._end + len(data)
        digest = hashlib.sha256(data).hexdigest()
        return Picture(digest, functools.partial(self._read, start, len(data)), len(data), None, digest)

    def _read(self, start: int, length: int) -> bytes:
        assert self._file is not None
        with self._lock:
            self._file.seek(start)
            return self._file.read(length)


def _find(path: Path) -> Path:
    """The table itself, or the only one in a folder."""
    if not path.exists():
        raise UserError("no such table", str(path), "--source names the table")
    if path.is_file():
        return path
    files = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    pictures = {p.stem for p in files if p.suffix.lower() in SUFFIXES}
    tables = [p for p in files if p.suffix.lower() in TABLES and not OURS.fullmatch(p.name)]
    found = [p for p in tables if p.suffix.lower() != ".txt" or p.stem not in pictures]
    if tables and not found:
        hint = f"mmkit prep folder --source {path}   reads these"
        raise UserError("no table in the folder, but pictures with text files of the same name", str(path), hint)
    # prose and settings lie beside tables; they count only where nothing else is found
    found = [p for p in found if p.suffix.lower() not in (".txt", ".json")] or found
    if len(found) != 1:
        names = ", ".join(p.name for p in found[:NAMED_FILES]) or "none"
        names += f" and {len(found) - NAMED_FILES:,} more" if len(found) > NAMED_FILES else ""
        raise UserError(f"not exactly one table in the folder: {names}", str(path), "--source names the table")
    return found[0]


def _chosen(name: str | None, option: str, table: Table, sample: list[dict[str, Any]]) -> str | None:
    """A column as typed; `names.zh` is a key of the objects in `names`, `1` is `column 1` of a table without header."""
    if name is None or name in table.columns:
        return name
    if f"column {name}" in table.columns:
        return f"column {name}"
    if "." in name and any(_value(row, name) is not None for row in sample):
        return name
    raise UserError(f"no column {name!r}", f"{option} {name} of {table.path}", f"columns: {', '.join(table.columns)}")


def _value(row: dict[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    first, _, rest = column.partition(".")
    inner = row.get(first)
    return inner.get(rest) if isinstance(inner, dict) else None


def _image_column(table: Table, sample: list[dict[str, Any]]) -> str:
    found = _sure(sample, table.columns, SURELY_IMAGE)
    holding = [name for name in table.columns if _share(sample, name, _is_image) > 0.5]
    found = found or sorted(holding, key=lambda name: _rank(name, IMAGE_NAMES))
    # a name is enough where the values do not tell: paths without a suffix, or a column that the first rows leave blank
    named = [name for name in table.columns if name.lower() in IMAGE_NAMES]
    found = found or sorted(named, key=lambda name: _rank(name, IMAGE_NAMES))
    if not found:
        raise UserError(
            "no image column found", str(table.path), f"name it with --image-column; columns: {', '.join(table.columns)}"
        )
    return found[0]


def _caption_column(table: Table, sample: list[dict[str, Any]], image: str) -> str:
    free = [name for name in table.columns if name not in (image, "id", "split", "label")]
    others = [name for name in free if _share(sample, name, _is_text) > 0.5]
    found = _sure(sample, free, SURELY_CAPTION)
    usual = [name for name in others if name.lower() in CAPTION_NAMES]
    found = found or sorted(usual, key=lambda name: _rank(name, CAPTION_NAMES))
    # one that the first rows leave blank may be filled below
    found = found or [name for name in free if name.lower() in SURELY_CAPTION]
    # no usual name: the column with the longest texts that are sentences rather than paths or codes
    found = found or sorted((n for n in others if _share(sample, n, _has_words) > 0.5), key=lambda n: -_length(sample, n))
    # a single column of text is what there is, whatever its name
    found = found or (others if len(others) == 1 else [])
    if not found:
        raise UserError(
            "no caption column found", str(table.path), f"name it with --caption-column; columns: {', '.join(table.columns)}"
        )
    return found[0]


def _filled(sample: list[dict[str, Any]], name: str) -> bool:
    return any(row.get(name) not in (None, "") for row in sample)


def _sure(sample: list[dict[str, Any]], columns: list[str], names: tuple[str, ...]) -> list[str]:
    found = [name for name in columns if name.lower() in names and _filled(sample, name)]
    return sorted(found, key=lambda name: _rank(name, names))


def _rank(name: str, names: tuple[str, ...]) -> int:
    return names.index(name.lower()) if name.lower() in names else len(names)


def _share(sample: list[dict[str, Any]], name: str, test: Any) -> float:
    values = [value for row in sample if (value := row.get(name)) not in (None, "")]
    return sum(map(test, values)) / len(values) if values else 0.0


def _is_image(value: Any) -> bool:
    if isinstance(value, str):
        return Path(value.split("?")[0]).suffix.lower() in SUFFIXES
    return isinstance(value, bytes) or (isinstance(value, dict) and bool({"bytes", "path"} & value.keys()))


def _is_text(value: Any) -> bool:
    texts = _texts(value)
    return bool(texts) and not any(_is_image(text) for text in texts)


def _has_words(value: Any) -> bool:
    return any(" " in text.strip() or not text.isascii() for text in _texts(value))


def _length(sample: list[dict[str, Any]], name: str) -> float:
    texts = [text for row in sample for text in _texts(row.get(name))]
    return sum(map(len, texts)) / max(1, len(texts))


def _texts(value: Any) -> list[str]:
    """A caption cell as captions: one text, a list, a list as JSON or as Python writes it, or objects with `raw` …"""
    if isinstance(value, str):
        if value.startswith("[") and value.endswith("]"):
            try:
                return _texts(json.loads(value))
            except (ValueError, RecursionError):
                return _python_list(value) or [value]
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        return [text for key in ("raw", "caption", "text") if key in value for text in _texts(value[key])][:1]
    return [] if value is None or isinstance(value, bytes) else [str(value)]


def _python_list(text: str) -> list[str]:
    """`['a', "b's"]` as pandas writes a list of strings; empty for anything else, such as a caption in brackets."""
    try:
        with warnings.catch_warnings():
            # a caption with a backslash is no fault of the user's code
            warnings.simplefilter("ignore", SyntaxWarning)
            found = ast.literal_eval(text)
        strings = sum(token.type == tokenize.STRING for token in tokenize.generate_tokens(io.StringIO(text).readline))
    except (ValueError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError):
        return []
    # Python joins strings without a comma between them, which is how numpy writes an array: those are several captions
    whole = isinstance(found, list) and len(found) == strings and all(isinstance(item, str) for item in found)
    return found if whole else []


@dataclass(slots=True)
class Samples:
    """The rows of one table as samples and rejects.

    Args:
        image, caption: the columns, or keys such as `names.zh`.
        with_label: the column `label` counts as such.
    """

    path: Path
    root: Path
    image: str
    caption: str
    with_label: bool
    spool: Spool
    _owners: dict[str, str] = field(default_factory=dict)

    def row(self, n: int, row: dict[str, Any]) -> Row | Reject:
        """Row `n` of the table.

        Raises:
            UserError: the picture in it cannot be copied: the disk is full.
        """
        where = f"{self.path} row {n}"
        value = _value(row, self.image)
        typed = _text(row.get("id"))
        name = typed or self._within(_name(value)) or f"row {n}"
        if DAMAGED in row:
            return Reject(name, where, row[DAMAGED])
        if EXCESS in row:
            left = row[EXCESS][0][:40]
            return Reject(name, where, f"more cells than columns: quote texts that hold the separator ({left!r} is left over)")
        try:
            picture = _picture(value, self.root, self.spool)
        except (FileNotFoundError, NotADirectoryError):
            return Reject(name, where, _missing(self.root, _name(value)))
        except (OSError, ValueError) as e:
            return Reject(name, where, str(getattr(e, "strerror", None) or e))
        label = _text(row.get("label")) if self.with_label else ""
        split = _text(row.get("split")).strip()
        captions = _texts(_value(row, self.caption))
        return Row(typed or self._own(name, picture), picture, captions, where, split or None, label or None)

    def _within(self, name: str) -> str:
        """A path below the table's folder without that folder: its id, and so its split, are the same on every machine."""
        root = self.root.absolute()
        return Path(name).relative_to(root).as_posix() if Path(name).is_relative_to(root) else name

    def _own(self, name: str, picture: Picture) -> str:
        """The path of an embedded picture as its id; where another picture has that path too, with a part of its hash."""
        taken = self._owners.setdefault(name, picture.key) != picture.key
        return f"{name} {picture.key[:12]}" if taken and picture.path is None else name


def _text(value: Any) -> str:
    """A cell as text; 0 is a value, as an id or a class may be."""
    return "" if value is None else str(value)


def _name(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("path") or "")
    return value.strip() if isinstance(value, str) else ""


def _missing(root: Path, name: str) -> str:
    """Why a picture was not found: the path that was looked at, and where it is instead."""
    here = not os.path.isabs(name) and Path(name).is_file()
    return f"missing file {root / os.path.expanduser(name)}" + ("; it is there with --image-root ." if here else "")


def _picture(value: Any, root: Path, spool: Spool) -> Picture:
    """A path, bytes, or the struct {bytes, path} that `datasets` writes."""
    if isinstance(value, dict):
        return _picture(value.get("bytes") or value.get("path"), root, spool)
    if isinstance(value, bytes):
        return spool.add(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError("no image in the row")
    if re.match(r"https?://", value):
        raise ValueError(f"{value} is a URL: download the pictures first")
    return Picture.file(root / os.path.expanduser(value.strip()))
