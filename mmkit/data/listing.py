"""What lies in a folder, found by names that are spelled otherwise: in another case, without extension, as a number."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from mmkit.data.modalities import file_suffixes
from mmkit.data.walk import is_folder

# how a name was read, where not as it stands
SUFFIX = "without extension"
NUMBER = "by the number of the file"
K = TypeVar("K")


class Listing:
    """What lies in one folder.

    Args:
        files, folders: their names.
    """

    def __init__(self, files: set[str], folders: set[str]) -> None:
        self.files, self.folders = files, folders

    def folders_called(self, name: str, same_case: bool) -> list[str]:
        """The folders of that name, or of that name in any case."""
        return ([name] if name in self.folders else []) if same_case else self._folder_keys.get(key_of(name), [])

    def fits(self, name: str) -> list[tuple[str, str]]:
        """The files that a name means, and how it was read; the first reading that fits counts."""
        if name in self.files:
            return [(name, "")]
        key = key_of(name)
        if same := self._file_keys.get(key):
            return [(file, "") for file in same]
        if longer := self.stems.get(key):
            return [(file, SUFFIX) for file in [f for f in longer if Path(f).stem == name] or longer]
        # pandas writes the numbers of a column with gaps as 12.0
        number = re.fullmatch(r"(\d{1,20})(?:\.0)?", name, re.ASCII)
        return [(file, NUMBER) for file in self._numbers.get(int(number[1]), [])] if number else []

    @cached_property
    def stems(self) -> dict[str, list[str]]:
        """Name without extension, in any case -> the pictures of that name."""
        return _grouped((key_of(Path(name).stem), name) for name in self.media)

    @cached_property
    def media(self) -> list[str]:
        """The pictures, sounds and videos."""
        return [name for name in self.files if Path(name).suffix.lower() in file_suffixes()]

    @cached_property
    def _folder_keys(self) -> dict[str, list[str]]:
        return _grouped((key_of(name), name) for name in self.folders)

    @cached_property
    def _file_keys(self) -> dict[str, list[str]]:
        return _grouped((key_of(name), name) for name in self.files)

    @cached_property
    def _numbers(self) -> dict[int, list[str]]:
        """000000000012.jpg and COCO_val2014_000000000012.jpg are both 12."""
        found = ((re.fullmatch(r"(?:COCO_\w+_)?(\d{1,20})", Path(name).stem, re.ASCII), name) for name in self.media)
        return _grouped((int(match[1]), name) for match, name in found if match)


def _grouped(pairs: Iterable[tuple[K, str]]) -> dict[K, list[str]]:
    found = defaultdict(list)
    for key, name in pairs:
        found[key].append(name)
    return dict(found)


def listed(folder: Path) -> Listing:
    """What lies in a folder; nothing where it may not be read."""
    files: set[str] = set()
    folders: set[str] = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if is_folder(entry) else files).add(entry.name)
    except OSError:
        pass  # in a folder that may not be read nothing can be found
    return Listing(files, folders)


def key_of(name: str) -> str:
    """What names have in common that differ only in case, in outer spaces or in how accents are written."""
    return composed(name).casefold().strip()


def composed(name: str) -> str:
    """A name with its accents as one character each; a Mac writes é as two."""
    return unicodedata.normalize("NFC", name)
