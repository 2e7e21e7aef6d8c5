"""Read a dataset folder: dataset.json and its Parquet shards, one row group at a time."""

from __future__ import annotations

import os
import posixpath
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmkit.data.modalities import MODALITIES, of_files, text
from mmkit.data.splits import find_split
from mmkit.errors import UserError
from mmkit.files import DATASET_VERSION

MANIFEST = "dataset.json"


@dataclass(frozen=True)
class Group:
    """One row group: the unit that is read from disk."""

    split: str
    file: str
    index: int
    rows: int
    bytes: int = 0  # uncompressed


@dataclass
class Dataset:
    """An opened dataset folder or object-store URL. Only the manifest and Parquet footers are in memory."""

    path: str
    manifest: dict[str, Any]
    fs: Any
    _footers: dict[str, pq.FileMetaData] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.manifest.get("name") or Path(self.path).resolve().name

    @property
    def columns(self) -> dict[str, str]:
        """Column name -> modality."""
        return self.manifest["columns"]

    @property
    def splits(self) -> dict[str, int]:
        """Split name -> number of rows."""
        return {name: split["rows"] for name, split in self.manifest["splits"].items()}

    @property
    def hash(self) -> str:
        """Content hash: the shards' sha256 folded into one; of linked pictures, the source as `prep` found it."""
        from hashlib import sha256

        digests = [s["sha256"] for split in self.manifest["splits"].values() for s in split["shards"]]
        if self._of_files("linked"):
            # the shards hold paths only; the fingerprint changes with the size and time of a picture
            digests.append(self.manifest["source"]["fingerprint"])
        return sha256("".join(digests).encode()).hexdigest()[:16]

    def column(self, modality: str) -> str:
        """The column that holds `modality`.

        Raises:
            UserError: the dataset has none.
        """
        for name in self.columns_of(modality):
            return name
        there = f"it has: {', '.join(sorted(set(self.columns.values())))}"
        hint = getattr(MODALITIES.get(modality), "MADE_BY", there)
        raise UserError(f"the dataset has no {modality} column", self.path, hint)

    def columns_of(self, modality: str) -> list[str]:
        """All columns that hold `modality`."""
        return [name for name, kind in self.columns.items() if kind == modality]

    def original(self, path: str | None) -> Path | None:
        """The file that a picture was read from, if it is still there.

        Args:
            path: of the picture in its row: the whole one, or one that starts from the `origin` in dataset.json.
        """
        origin = self._of_files("origin")
        if not path or (origin is None and not Path(path).is_absolute()):
            # pictures of other tools have bare names, which say nothing of where a file is
            return None
        found = Path(os.path.abspath(Path(self.path, origin or "", path)))
        return found if found.is_file() else None

    def _of_files(self, fact: str) -> Any:
        """What dataset.json says of the files that rows were read from."""
        return next((found for kind in MODALITIES if (found := self.manifest.get(kind, {}).get(fact))), None)

    def split_name(self, name: str) -> str:
        """Resolve a split as typed: one that is called so, else the usual name (`validation` is `val`).

        Raises:
            UserError: there is no such split; those there are, are named.
        """
        found = find_split(name, self.splits)
        if found is None:
            raise UserError(f"no split {name!r}", self.path, f"splits: {', '.join(self.splits)}")
        return found

    def groups(self, split: str | None = None) -> list[Group]:
        """The row groups of one split, or of all, in the order of the files."""
        names = [self.split_name(split)] if split else list(self.splits)
        groups = []
        for name in names:
            for shard in self.manifest["splits"][name]["shards"]:
                footer = self._footer(shard["file"])
                for i in range(footer.num_row_groups):
                    found = footer.row_group(i)
                    groups.append(Group(name, shard["file"], i, found.num_rows, found.total_byte_size))
        return groups

    def read(self, group: Group, columns: list[str] | None = None) -> pa.Table:
        """One row group as an Arrow table, its columns as `prep` writes them: {bytes, path} for a picture, a list of texts.

        Raises:
            UserError: the shard is damaged, or lacks a column that dataset.json names; the file is named.
        """
        path = posixpath.join(self.path, group.file)
        try:
            with self.fs.open(path, "rb") as f:
                table = pq.ParquetFile(f, metadata=self._footer(group.file)).read_row_group(group.index, columns)
        except (pa.ArrowInvalid, OSError) as e:
            raise _damaged(path, e) from e
        for name in self.columns.keys() & set(columns if columns is not None else self.columns):
            if name not in table.column_names:
                there = ", ".join(self._footer(group.file).schema.to_arrow_schema().names)
                raise UserError(f"no column {name!r}, which dataset.json says is there", path, f"its columns: {there}")
        return as_prepared(table, self.columns)

    def rows(
        self, split: str | None = None, columns: list[str] | None = None, limit: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Rows as dicts in file order (each with `split` added), holding one row group at a time."""
        seen = 0
        for group in self.groups(split):
            for row in self.read(group, columns).to_pylist():
                if limit is not None and seen >= limit:
                    return
                seen += 1
                yield row | {"split": group.split}

    def find(self, id: str, columns: list[str], split: str | None = None) -> dict[str, Any] | None:
        """The row with this id, the first of all splits or that of one, or None; only its row group is read in all columns."""
        for group in self.groups(split):
            index = pc.index(self.read(group, ["id"]).column("id"), id).as_py()
            if index >= 0:
                return self.read(group, columns).slice(index, 1).to_pylist()[0]
        return None

    def _footer(self, file: str) -> pq.FileMetaData:
        if file not in self._footers:
            path = posixpath.join(self.path, file)
            try:
                with self.fs.open(path, "rb") as f:
                    self._footers[file] = pq.read_metadata(f)
            except FileNotFoundError:
                raise UserError("a shard is missing", path, "run the same `mmkit prep` again") from None
            except (pa.ArrowInvalid, OSError) as e:
                raise _damaged(path, e) from e
        return self._footers[file]


def as_prepared(table: pa.Table, columns: dict[str, str]) -> pa.Table:
    """The pictures and texts of other tools in the form of `prep`: bytes or a path become {bytes, path}, one text a list.

    Texts that are null or blank are left out of their list, and a null list is an empty one.
    """
    for i, name in enumerate(table.column_names):
        modality, form = MODALITIES.get(columns.get(name, "")), table.schema.field(name).type
        feature = modality.FEATURE if modality else {}
        if feature == text.FEATURE and (_is_string(form) or pa.types.is_list(form) or pa.types.is_large_list(form)):
            table = table.set_column(i, name, _lists_of_texts(table.column(name).combine_chunks()))
        elif modality in of_files() and (_is_string(form) or pa.types.is_binary(form) or pa.types.is_large_binary(form)):
            found = table.column(name).combine_chunks()
            data, path = (pa.nulls(len(found)), found) if _is_string(form) else (found, pa.nulls(len(found)))
            both = [data.cast(pa.binary()), path.cast(pa.string())]
            pictures = pa.StructArray.from_arrays(both, ["bytes", "path"], mask=found.is_null())
            table = table.set_column(i, name, pictures)
    return table


def _lists_of_texts(found: pa.Array) -> pa.Array:
    if _is_string(found.type):
        ends = pa.array(np.cumsum([0, *found.is_valid().to_pylist()]), pa.int32())
        found = pa.ListArray.from_arrays(ends, found.drop_null().cast(pa.string()))
    texts = found.flatten()
    if found.null_count or pc.any(pc.equal(pc.utf8_trim_whitespace(pc.fill_null(texts, "")), "")).as_py():
        kept = [[text for text in texts or () if text and text.strip()] for texts in found.to_pylist()]
        return pa.array(kept, pa.list_(pa.string()))
    return found


def _is_string(form: pa.DataType) -> bool:
    return pa.types.is_string(form) or pa.types.is_large_string(form)


def _damaged(path: str, e: Exception) -> UserError:
    return UserError(
        f"the Parquet file is truncated or damaged ({str(e).splitlines()[0]})", path, "run the same `mmkit prep` with --force"
    )


def open_dataset(path: str | Path) -> Dataset:
    """Open a dataset folder or fsspec URL.

    Raises:
        UserError: the folder is missing, is not a dataset, or was written by a newer mmkit; its dataset.json is damaged.
    """
    import json

    fs, root = fsspec.core.url_to_fs(str(path))
    manifest = posixpath.join(root, MANIFEST)
    if not fs.exists(root):
        raise UserError("no such dataset folder", str(path), f"mmkit prep shapes {path}   makes one")
    if not fs.exists(manifest):
        raise UserError(
            "not a dataset folder (it has no dataset.json)", str(path), "make one with `mmkit prep`; see mmkit prep --help"
        )
    try:
        with fs.open(manifest, "rb") as f:
            value = json.load(f)
    except ValueError as e:
        raise UserError(f"not valid JSON ({e})", manifest) from e
    if isinstance(value, dict) and value.get("version", 0) > DATASET_VERSION:
        raise UserError(f"written by a newer mmkit (format {value['version']}, this one reads {DATASET_VERSION})", manifest)
    if not isinstance(value, dict) or not all(isinstance(value.get(key), dict) for key in ("columns", "splits")):
        raise UserError("not the dataset.json of a dataset (no columns and splits)", manifest, "run the same `mmkit prep` again")
    return Dataset(root if "://" not in str(path) else str(root), value, fs)


class GroupCache:
    """The last few row groups read, shared by the threads that decode; its size is a count of bytes."""

    def __init__(self, data: Dataset, columns: list[str], limit: int) -> None:
        self.data, self.columns, self.limit = data, columns, limit
        self._held: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()
        self._lock = Lock()

    def table(self, group: Group) -> pa.Table:
        """All of `group`, read if it is not held."""
        key = (group.file, group.index)
        with self._lock:
            table = self._held.get(key)
            if table is None:
                table = self._held[key] = self.data.read(group, self.columns)
                while len(self._held) > 1 and sum(t.nbytes for t in self._held.values()) > self.limit:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
            return table

    def row(self, group: Group, index: int) -> dict[str, Any]:
        """Row `index` of `group` as a dict."""
        table = self.table(group)
        return {name: table.column(name)[index].as_py() for name in table.column_names}


def default_split(data: Dataset) -> str | None:
    """The split that `eval` takes: test, else val, else all rows (None)."""
    return next((s for s in ("test", "val") if data.splits.get(s)), None)
