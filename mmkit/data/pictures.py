"""The pictures of some rows, out of a dataset or a plain folder of images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from mmkit.data.images import load_rgb
from mmkit.data.modalities import image, name_of
from mmkit.data.shards import MANIFEST, Dataset, open_dataset


def is_picture(modality: str | None) -> bool:
    """Whether what is called so can be shown as a picture."""
    return modality == name_of(image)


def of_dataset(data: Dataset, ids: Iterable[str], split: str | None = None) -> dict[str, Image.Image]:
    """id -> picture for those of `ids` that the dataset has.

    Raises:
        UserError: a picture cannot be read.
    """
    return {id: load_rgb(picture) for id, picture in _stored(data, ids, split).items()}


def of_source(source: str | Path, ids: Iterable[str], split: str | None = None) -> dict[str, bytes | Path]:
    """id -> file or encoded picture, of a dataset folder, or of a folder of images whose ids are paths within it.

    What is gone is left out.
    """
    folder = Path(source)
    if not (folder / MANIFEST).is_file():
        return {id: folder / id for id in ids if (folder / id).is_file()}
    data = open_dataset(folder)
    return {id: picture for id, picture in _stored(data, ids, split).items() if isinstance(picture, bytes) or picture.is_file()}


def _stored(data: Dataset, ids: Iterable[str], split: str | None) -> dict[str, bytes | Path]:
    """id -> picture as its row holds it; only the row groups that hold one are decoded."""
    wanted, column = set(ids), data.column(name_of(image))
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
