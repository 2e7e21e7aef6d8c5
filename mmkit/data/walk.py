"""The files below a folder, through links, but never in a circle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below `root` as a path relative to it, with the sorted names of its files; what is hidden is left out.

    A link to a folder is followed unless the walk is in that folder already. A folder that may not be read holds nothing.
    """
    yield from _walk(root, Path(), ())


def _walk(root: Path, folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[Path, list[str]]]:
    try:
        stat = os.stat(root / folder)
        with os.scandir(root / folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))
    except OSError:
        return
    here = (stat.st_dev, stat.st_ino)
    if here in above:
        return
    yield folder, [name for name, is_folder in entries if not is_folder]
    for name, is_folder in entries:
        if is_folder:
            yield from _walk(root, folder / name, (*above, here))
