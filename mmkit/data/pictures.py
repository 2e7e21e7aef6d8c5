"""The pictures of some rows, or the spectrograms of their sounds, out of a dataset or a plain folder of files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from mmkit.data.modalities import MODALITIES, image, name_of
from mmkit.data.shards import MANIFEST, Dataset, open_dataset


def is_picture(modality: str | None) -> bool:
    """Whether what is called so can be shown as a picture."""
    return modality == name_of(image)


def is_shown(modality: str | None) -> bool:
    """Whether what is called so is a file that can be drawn: a picture, or a sound as its spectrogram."""
    return hasattr(MODALITIES.get(modality or ""), "picture")


def drawn(modality: str, held: bytes | Path) -> Image.Image:
    """How a file or encoded value of a modality is shown.

    Raises:
        UserError: it cannot be read.
    """
    inside = isinstance(held, bytes)
    return MODALITIES[modality].picture({"bytes": held if inside else None, "path": None if inside else str(held)})


def of_dataset(data: Dataset, ids: Iterable[str], modality: str, split: str | None = None) -> dict[str, Image.Image]:
    """id -> picture, or what is shown of another modality, for those of `ids` that the dataset has.

    Raises:
        UserError: one cannot be read.
    """
    return {id: drawn(modality, held) for id, held in _stored(data, ids, modality, split).items()}


def of_source(source: str | Path, ids: Iterable[str], modality: str, split: str | None = None) -> dict[str, bytes | Path]:
    """id -> file or encoded value, of a dataset folder, or of a folder of files whose ids are paths within it.

    What is gone is left out.
    """
    folder = Path(source)
    if not (folder / MANIFEST).is_file():
        return {id: folder / id for id in ids if (folder / id).is_file()}
    data = open_dataset(folder)
    held = _stored(data, ids, modality, split)
    return {id: one for id, one in held.items() if isinstance(one, bytes) or one.is_file()}


def _stored(data: Dataset, ids: Iterable[str], modality: str, split: str | None) -> dict[str, bytes | Path]:
    """id -> value as its row holds it; only the row groups that hold one are decoded."""
    wanted, column = set(ids), data.column(modality)
    found: dict[str, bytes | Path] = {}
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
                if held and (held["bytes"] or held["path"]):
                    found[id] = held["bytes"] or Path(held["path"])
    return found
