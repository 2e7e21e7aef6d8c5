"""What can be shown of the values of some rows, out of a dataset or a folder of files: pictures of them, and sounds to hear."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mmkit.data.modalities import MODALITIES, image, name_of
from mmkit.data.shards import MANIFEST, Dataset, open_dataset

Held = bytes | Path | list[Any]  # a file, its bytes, or a value that is none


class Shown(NamedTuple):
    """A picture of a value, and where it can be heard the bytes of a file that browsers play, and its type."""

    picture: Image.Image
    listen: tuple[bytes, str] | None


def is_picture(modality: str | None) -> bool:
    """Whether what is called so can be shown as a picture."""
    return modality == name_of(image)


def is_shown(modality: str | None) -> bool:
    """Whether there is a picture of what is called so: of a video some frames, of a sound its spectrogram, of a series curves."""
    return hasattr(MODALITIES.get(modality or ""), "picture")


def shown(modality: str, held: Held) -> Image.Image:
    """The picture of a value.

    Raises:
        UserError, ValueError: it cannot be read.
    """
    return MODALITIES[modality].picture(_value(modality, held))


def exhibit(modality: str, held: Held) -> Shown:
    """The same, and what can be heard of it."""
    row, value = MODALITIES[modality], _value(modality, held)
    return Shown(row.picture(value), row.listen(value) if hasattr(row, "listen") else None)


def _value(modality: str, held: Held) -> Any:
    if isinstance(held, bytes):
        return {"bytes": held, "path": None}
    return MODALITIES[modality].of_file(str(held)) if isinstance(held, Path) else held


def column_of(data: Dataset, name: str, column: str | None = None) -> tuple[str, str] | None:
    """The column that an input reads of a dataset, and its modality; None where there is nothing to show of it.

    Args:
        name: of the input; column: that it was trained on. An input that is called like a column reads it, one that is called
            like a modality the first column of it.
    """
    for own in (column, name):
        if own is not None and is_shown(data.columns.get(own)):
            return own, data.columns[own]
    return (data.column(name), name) if is_shown(name) and data.columns_of(name) else None


def shown_of(source: str | Path | None, names: Iterable[str], columns: Mapping[str, str]) -> list[str]:
    """Those inputs of which a dataset folder, or a folder of files, has something to show; of one that is gone by their names.

    Args:
        columns: input -> the column that was read of it, where that is known.
    """
    if source is None or not (Path(source) / MANIFEST).is_file():
        return [name for name in names if is_shown(name)]
    data = open_dataset(source)
    return [name for name in names if column_of(data, name, columns.get(name))]


def shown_in(data: Dataset) -> str | None:
    """The first modality of a dataset of which there are pictures."""
    return next((name for name in MODALITIES if is_shown(name) and data.columns_of(name)), None)


def of_dataset(
    data: Dataset, ids: Iterable[str], name: str, split: str | None = None, column: str | None = None
) -> dict[str, Shown]:
    """id -> what is shown of an input, for those of `ids` that the dataset has.

    Args:
        name, column: see `column_of`.

    Raises:
        UserError: one cannot be read.
    """
    found = column_of(data, name, column)
    if found is None:
        return {}
    return {id: exhibit(found[1], held) for id, held in _stored(data, ids, found[0], split).items()}


def of_source(
    source: str | Path, ids: Iterable[str], name: str, split: str | None = None, column: str | None = None
) -> tuple[str, dict[str, Held]]:
    """Of an input its modality, and id -> the value, of a dataset folder, or of a folder of files whose ids are paths within it.

    What is gone is left out.

    Args:
        name, column: see `column_of`.
    """
    folder = Path(source)
    if not (folder / MANIFEST).is_file():
        return name, {id: folder / id for id in ids if (folder / id).is_file()}
    data = open_dataset(folder)
    there = column_of(data, name, column)
    if there is None:
        return name, {}
    found = _stored(data, ids, there[0], split)
    return there[1], {id: held for id, held in found.items() if not isinstance(held, Path) or held.is_file()}


def _stored(data: Dataset, ids: Iterable[str], column: str, split: str | None) -> dict[str, Held]:
    """id -> value as its row holds it; only the row groups that hold one are decoded."""
    wanted = set(ids)
    found: dict[str, Held] = {}
    for group in data.groups(split):
        if len(found) == len(wanted):
            break
        here = wanted.intersection(data.read(group, ["id"]).column("id").to_pylist()) - found.keys()
        if not here:
            continue
        table = data.read(group, ["id", column])
        for i, id in enumerate(table.column("id").to_pylist()):
            if id in here:
                held = table.column(column)[i].as_py()
                if isinstance(held, dict):
                    held = held["bytes"] or (Path(held["path"]) if held["path"] else None)
                if held:
                    found[id] = held
    return found
