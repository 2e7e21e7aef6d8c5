"""What a sample is: the rows that sources yield, and the Arrow schema of the shards they become."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.data.modalities import MODALITIES, name_of, of_files
from mmkit.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Picture:
    """Where the bytes of a picture are, or of a sound or a video: of whatever is a file.

    Args:
        key: what tells it from other pictures: two rows with the same key are one sample.
        read: returns the encoded bytes; may be called from any thread, and raises OSError.
        size: the number of bytes as far as known; plans the shards.
        path: its absolute path if it is a file of its own (only then can it be linked).
        stamp: changes when the picture does: part of the fingerprint of the source.
    """

    key: str
    read: Callable[[], bytes]
    size: int = 0
    path: str | None = None
    stamp: str = ""

    @classmethod
    def file(cls, path: Path) -> Picture:
        """A picture that is a file.

        Raises:
            OSError: there is no such file.
        """
        stat = path.stat()
        if not path.is_file():
            raise FileNotFoundError(str(path))
        # absolute, not resolved: a link that the user made stays a link; a string, as there may be a million of them
        full = os.path.abspath(path)
        return cls(full, functools.partial(_read, full), stat.st_size, full, f"{stat.st_size}-{stat.st_mtime_ns}")


def _read(path: str) -> bytes:
    with open(path, "rb") as f:
        return f.read()


@dataclass(frozen=True, slots=True)
class Later:
    """A value that is computed or read when its shard is written, so that not all of them are in memory.

    Args:
        read: gives it; may be called from any thread, and raises UserError or OSError.
        size: about so many bytes.
        stamp: changes when the value does: part of the fingerprint of the source.
    """

    read: Callable[[], Any]
    size: int = 0
    stamp: str = ""


def of_file(modality: str, path: Path, first: Path) -> Picture | Later:
    """What a row has of a file that holds one value of a modality: the file itself where its column keeps files.

    Args:
        first: the first such file of the source, which says in what order channels of the same names come.

    Raises:
        OSError: there is no such file.
    """
    row, file = MODALITIES[modality], Picture.file(path)
    return file if row in of_files() else Later(functools.partial(_value, row, str(file.path), str(first)), file.size, file.stamp)


def _value(modality: Any, path: str, first: str) -> Any:
    try:
        return modality.store(modality.of_file(path, first))
    except ValueError as e:
        raise UserError(str(e), path) from e


@dataclass(slots=True)
class Row:
    """One sample as a source yields it.

    Args:
        id: unique within a split and the same in every run; the order of the shards and the shares of the splits hang on it.
        values: column -> what the row has there: a `Picture`, captions (list of str), an array of numbers; label (str, or a
            list of them), target (float), references (list of str, all captions known to be true, where the row's own are only
            some of them), questions (dicts with id, question, answers, type), regions (dict with boxes, x1, y1, x2, y2 in pixels
            of the picture, and phrases or features). A `Later` stands for any. None or blank: the row lacks it.
        where: the file and row it comes from, for messages.
        split: the official split as the source writes it, None where it has none for the row.
        kinds: modalities of the columns that are not called as those of their modality are; rows may share it.
        merged: (id, where) of the rows of the same picture that are part of this sample.
    """

    id: str
    values: dict[str, Any]
    where: str
    split: str | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    merged: list[tuple[str, str]] = field(default_factory=list)

    def modality(self, column: str) -> Any:
        """The row of MODALITIES of a column; None of a column of none."""
        return MODALITIES.get(self.kinds.get(column) or modality_of(column) or "")

    @property
    def picture(self) -> Picture | None:
        """The file that tells the row from others; None where no value is one."""
        return next((value for value in self.values.values() if isinstance(value, Picture)), None)

    @property
    def told_by(self) -> str:
        """What that file is, in one word: image, audio …"""
        column = next((name for name, value in self.values.items() if isinstance(value, Picture)), "")
        return name_of(self.modality(column)) if column else "file"

    @property
    def key(self) -> str:
        """Equal for rows that are one sample."""
        return self.picture.key if self.picture else f"row {self.id}"

    @property
    def size(self) -> int:
        """About so many bytes."""
        return sum(v.size if isinstance(v, Picture | Later) else getattr(v, "nbytes", 0) for v in self.values.values())

    def rejects(self, reason: str) -> list[Reject]:
        """A reject for each of the rows that are this sample."""
        return [Reject(id, where, reason) for id, where in [(self.id, self.where), *self.merged]]


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot become a sample, and why; one line of rejected.jsonl."""

    id: str
    where: str
    reason: str


@dataclass(slots=True)
class Ask:
    """What every source may be asked for.

    Args:
        out: the dataset folder; raw data may lie there and downloads go there.
        source: the file or folder with the raw data; `out` where None.
        options: those of this source, by the names that its `read` has.
        download: fetching what is missing is allowed.
        say: talks to the user.
        progress: progress(title) gives a function of (done, total); the title is a verb in the past: `prepared`.
    """

    out: Path
    source: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    download: bool = True
    say: Callable[[str], None] = lambda text: None
    progress: Callable[[str], Callable[[int, int], None]] = lambda title: lambda done, total: None

    @property
    def folder(self) -> Path:
        """Where the raw data is."""
        return self.source or self.out


@dataclass(slots=True)
class Source:
    """What `read` of a source returns.

    Args:
        rows: samples and rejects in a stable order.
        path: what was read, for dataset.json.
        license: the license of pictures and texts.
        note: one line on what was found, for the user.
        lists: the official splits are lists that leave rows out on purpose; else a row without a split is one left blank.
    """

    rows: Sequence[Row | Reject]
    path: str
    license: str
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    lists: bool = False


_TEXT = {"dtype": "string", "_type": "Value"}
_FLOAT = {"dtype": "float32", "_type": "Value"}


def _list(feature: Any) -> dict[str, Any]:
    return {"feature": feature, "_type": "List"}


# What a row may have beside its modalities, as `features` of Hugging Face datasets; versions 4 and 5 write them so.
EXTRA: dict[str, Any] = {
    "label": _TEXT,
    "target": _FLOAT,
    "references": _list(_TEXT),
    "questions": _list({"id": _TEXT, "question": _TEXT, "answers": _list(_TEXT), "type": _TEXT}),
}
# rows of one picture may each have their own, and their sample has all
GATHERED = ("questions",)
# a row says something where it has two of the modalities and these
TELLING = ("label", "target", "questions")


def modality_of(column: str) -> str | None:
    """The modality that a column of `prep` holds, None of another one."""
    return next((name for name, modality in MODALITIES.items() if column == modality.COLUMN), None)


def tells(column: str, row: Row) -> bool:
    """Whether a row's value of a column says something of it: it is of a modality, or one of TELLING."""
    value = row.values.get(column)
    if value is None or column in TELLING:
        return value is not None
    held = row.modality(column)
    return held is not None and (isinstance(value, Later) or not hasattr(held, "is_one") or held.is_one(value))


def kind_of(column: str, rows: Sequence[Row]) -> str:
    """What dataset.json says that a column of these rows holds."""
    held = rows[0].modality(column)
    other = getattr(held, "ELSE", None)
    return other if other and not any(tells(column, row) for row in rows) else name_of(held) if held else column


def features_of(rows: Sequence[Row]) -> dict[str, Any]:
    """column -> feature of a dataset of these rows: id, and those that any row fills, modalities first.

    A label is a list where any row has several.
    """
    own = {name: MODALITIES[kind].FEATURE for row in rows[:1] for name, kind in row.kinds.items()}
    known = {modality.COLUMN: modality.FEATURE for modality in MODALITIES.values()} | own | EXTRA
    if any(isinstance(row.values.get("label"), list) for row in rows):
        known["label"] = _list(_TEXT)
    filled = {name for row in rows for name, value in row.values.items() if value is not None}
    return {"id": _TEXT} | {name: feature for name, feature in known.items() if name in filled}


def arrow_schema(features: dict[str, Any]) -> pa.Schema:
    """The Arrow schema of shards with these features, which `datasets` decodes without a script."""
    import pyarrow as pa

    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([(name, _arrow_type(feature)) for name, feature in features.items()], metadata)


def _arrow_type(feature: dict[str, Any]) -> pa.DataType:
    import pyarrow as pa

    kind = feature.get("_type")
    if kind == "Value":
        return {"string": pa.string(), "float32": pa.float32()}[feature["dtype"]]
    if kind == "List":
        return pa.list_(_arrow_type(feature["feature"]))
    if kind:  # Image and its like: files
        return pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return pa.struct({name: _arrow_type(child) for name, child in feature.items()})


def leaves(schema: pa.Schema) -> dict[str, pa.DataType]:
    """The Parquet paths of all leaf columns, such as `captions.list.element`, and what they hold."""
    import pyarrow as pa

    def walk(path: str, kind: pa.DataType) -> dict[str, pa.DataType]:
        if pa.types.is_struct(kind):
            return {leaf: t for child in kind for leaf, t in walk(f"{path}.{child.name}", child.type).items()}
        return walk(f"{path}.list.element", kind.value_type) if pa.types.is_list(kind) else {path: kind}

    return {leaf: t for column in schema for leaf, t in walk(column.name, column.type).items()}
