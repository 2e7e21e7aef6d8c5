"""Karpathy's split files, which name the captions and splits of COCO and Flickr photos."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from typer import Option

from mmkit.data.cells import text_of
from mmkit.errors import UserError
from mmkit.files import read_json

Karpathy = Annotated[
    Path | None,
    Option(
        "--karpathy",
        metavar="FILE",
        help="A Karpathy split file: dataset_coco.json, dataset_flickr30k.json …",
        show_default=False,
    ),
]


class Listed(NamedTuple):
    """A photo as the file lists it; the split is empty where it has none."""

    number: Any
    name: str
    captions: list[str]
    split: str


def listed(path: Path, number: str = "") -> list[Listed]:
    """The photos of the file, in its order.

    Args:
        number: the key of the photo's number, if it must have one.

    Raises:
        UserError: it is not such a file.
    """
    try:
        return [
            Listed(
                image[number] if number else None,
                posixpath.join(text_of(image.get("filepath")), text_of(image["filename"])),
                [text_of(sentence["raw"]) for sentence in image["sentences"]],
                text_of(image.get("split")),
            )
            for image in read_json(path)["images"]
        ]
    except (KeyError, TypeError, AttributeError) as e:
        keys = ", ".join(filter(None, (number, "filename", "sentences and split")))
        raise UserError(f"not a Karpathy split file (no {e})", str(path), f"it has images with {keys}") from e
