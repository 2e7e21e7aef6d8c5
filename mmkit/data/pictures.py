"""The pictures of some rows, out of a dataset or a plain folder of images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from mmkit.data.modalities import MODALITIES, image, name_of, of_files
from mmkit.data.shards import MANIFEST, Dataset, open_dataset


def is_picture(modality: str | None) -> bool:
    """Whether what is called so can be shown as a picture."""
    return modality == name_of(image)


def is_shown(modality: str | None) -> bool:
    """Whether there is a picture of what is called so, such as of a video some frames, or of a sound its spectrogram."""
    return MODALITIES.get(modality or "") in of_files()


def shown(modality: str, held: bytes | Path) -> Image.Image:
    """The picture of a value that is held as a file or as its bytes.

    Raises:
        UserError: it cannot be read.
    """
    as_cell = {"bytes": held, "path": None} if isinstance(held, bytes) else {"bytes": None, "path": str(held)}
    return MODALITIES[modality].picture(as_cell)


def shown_in(data: Dataset) -> str | None:
    """The first modality of a dataset of which there are pictures."""
    return next((name for name in MODALITIES if is_shown(name) and data.columns_of(name)), None)


def of_dataset(data: Dataset, ids: Iterable[str], kind: str, split: str | None = None) -> dict[str, Image.Image]:
    """id -> picture, or what is shown of another modality, for those of `ids` that the dataset has.

    Raises:
        UserError: one cannot be read.
    """
    return {id: shown(kind, held) for id, held in _stored(data, ids, kind, split).items()}


def of_source(source: str | Path, ids: Iterable[str], kind: str, split: str | None = None) -> dict[str, bytes | Path]:
    """id -> file or its bytes, of a dataset folder, or of a folder of files whose ids are paths within it.

    What is gone is left out.

    Args:
        kind: of which modality.
    """
    folder = Path(source)
    if not (folder / MANIFEST).is_file():
        return {id: folder / id for id in ids if (folder / id).is_file()}
    found = _stored(open_dataset(folder), ids, kind, split)
    return {id: held for id, held in found.items() if isinstance(held, bytes) or held.is_file()}


def _stored(data: Dataset, ids: Iterable[str], kind: str, split: str | None) -> dict[str, bytes | Path]:
    """id -> file as its row holds it; only the row groups that hold one are decoded."""
    wanted, column = set(ids), data.column(kind)
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
