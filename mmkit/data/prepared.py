"""The rows of a prepared dataset as a source yields them, for sources that add to one."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from mmkit.data.images import bytes_of
from mmkit.data.modalities import MODALITIES, image, name_of, regions
from mmkit.data.schema import EXTRA, Picture, Row
from mmkit.data.shards import Dataset, Group, GroupCache

HELD = 64 << 20  # bytes of row groups with pictures


class Rows:
    """The rows of a dataset as a source yields them; pictures stay where they are until they are stored, and of regions boxes
    and phrases alone are taken.

    Raises:
        UserError: there is no column of pictures.
    """

    def __init__(self, data: Dataset) -> None:
        self.data, self.picture = data, data.column(name_of(image))
        self.names: dict[str, str] = {}  # column -> what prep calls it
        for column, kind in data.columns.items():
            name = MODALITIES[kind].COLUMN if kind in MODALITIES else regions.COLUMN if kind == regions.ELSE else kind
            if (kind in MODALITIES or kind in (*EXTRA, regions.ELSE)) and name not in self.names.values():
                self.names[column] = name
        left = [column for column in data.columns if column not in self.names]
        self.note = f"; left out: {', '.join(left)}" if left else ""
        self.pictures = GroupCache(data, [self.picture], HELD)
        self.stamps = {s["file"]: s["sha256"] for split in data.manifest["splits"].values() for s in split["shards"]}
        self.paths: list[str | None] = []  # of the pictures, a row each
        self.found = list(self._rows())

    def _rows(self) -> Iterator[Row]:
        others = [column for column in self.names if column != self.picture]
        parts = {name: [f"{name}.boxes", f"{name}.phrases"] for name in others if self.names[name] == regions.COLUMN}
        read = ["id", f"{self.picture}.path", *(part for name in others for part in parts.get(name, [name]))]
        for group in self.data.groups():
            for i, cells in enumerate(self.data.read(group, read).to_pylist()):
                there = cells.get(self.picture, {})  # not of a column that holds no struct
                self.paths.append(there and there.get("path"))
                values = {self.names[column]: cells[column] for column in others}
                values[image.COLUMN] = None if there is None else self._picture(group, i, self.paths[-1])
                where = f"{self.data.path} {group.split}/{cells['id']}"
                yield Row(cells["id"], values, where, group.split)

    def _picture(self, group: Group, i: int, path: str | None) -> Picture:
        """Of row `i` of a group; two rows are two samples, also where they show the same."""
        original = self.data.original(path)
        key, stamp = f"{group.file} {group.index} {i}", f"{self.stamps.get(group.file)}-{group.index}-{i}"
        read = functools.partial(self._read, group, i)
        return Picture(key, read, group.bytes // max(1, group.rows), str(original) if original else None, stamp)

    def _read(self, group: Group, i: int) -> bytes:
        return bytes_of(self.pictures.row(group, i)[self.picture])
