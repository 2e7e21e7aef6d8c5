"""The pictures, sounds, videos and other files of answers, ranked by their names."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from mmkit.data.modalities import MODALITIES, of_files
from mmkit.errors import UsageError
from mmkit.search.gallery import Answer, Gallery

# so much of a query or an id stands in the name of a file
SHOWN = 60


def save_pictures(gallery: Gallery, answers: Sequence[Answer], folder: Path) -> int:
    """Copy the files of a query's answers to `folder`, as `RANK-ID.jpg`; returns how many are gone and were left out.

    The file that an answer came from is taken where it is still there, else what the dataset holds of it.

    Raises:
        UsageError: an answer is a text, or what a dataset holds as numbers.
        OSError: the folder cannot be written.
    """
    files = of_files()
    bare = [answer for answer in answers if answer.path is None]
    if none := [answer.modality for answer in bare if MODALITIES.get(gallery.kind(answer.modality)) not in files]:
        raise UsageError(f"--save copies files, and the answers are no files but {none[0]}", hint="--find image, audio or video")
    held = gallery.pictures(bare)
    folder.mkdir(exist_ok=True)
    width, gone = len(str(len(answers))), 0
    for answer in answers:
        picture = Path(answer.path) if answer.path else held.get(answer)
        if picture is None:
            gone += 1
            continue
        ending = picture.suffix if isinstance(picture, Path) else MODALITIES[gallery.kind(answer.modality)].ending(picture)
        target = folder / f"{answer.rank:0{width}d}-{plain_name(answer.id.removesuffix(ending))}{ending}"
        if isinstance(picture, Path):
            shutil.copyfile(picture, target)
        else:
            target.write_bytes(bytes(picture))
    return gone


def plain_name(text: str) -> str:
    """A text as the name of a file on any system."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_.")[:SHOWN]
