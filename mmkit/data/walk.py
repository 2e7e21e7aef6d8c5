"""The files below a folder, through links, but never in a circle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk(root: Path, depth: int | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below `root` as a path relative to it, with the sorted names of its files; what is hidden is left out.

    A link to a folder is followed unless the walk is in that folder already. A folder that may not be read holds nothing.

    Args:
        depth: how many folders deep; None for all.
    """
    yield from _walk(root, Path(), (), depth)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """It is a folder, or a link to one; a link that leads to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _walk(root: Path, folder: Path, above: tuple[tuple[int, int], ...], depth: int | None) -> Iterator[tuple[Path, list[str]]]:
    try:
        stat = os.stat(root / folder)
        with os.scandir(root / folder) as found:
            entries = sorted((entry.name, is_folder(entry)) for entry in found if not entry.name.startswith("."))
    except OSError:
        return
    here = (stat.st_dev, stat.st_ino)
    if here in above:
        return
    yield folder, [name for name, holds in entries if not holds]
    for name, holds in entries:
        if holds and len(above) != depth:
            yield from _walk(root, folder / name, (*above, here), depth)
