"""Plain-text lists of the files of the official splits: `validation_list.txt`, `trainlist01.txt`, `splits/test.txt`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mmkit.data.listing import listed
from mmkit.data.splits import WORDS, YEAR, folder_split, readings

# what a list is called beside the word for its split
CALLED = re.compile(r"(?i)[\W_]*(lists?|files?|filenames|names|ids|official)(?=[\W_\d]|$)")
# folders beside the media that hold lists are called so
HOLDERS = re.compile(r"(?i)split|list")
# the numbers of a class, or more, behind the name of a file
NUMBERS = re.compile(r"([\s,;|]+-?\d+)+$")
# so much of a list names files that are here; or so much of it names media, though few of them are here
HERE, NEARLY_ALL = 0.5, 0.9


@dataclass(frozen=True, slots=True)
class Lists:
    """The official splits of a folder, as its lists say.

    Args:
        splits: file -> split, of the files that a list names.
        rest: the split of all others: train where there is no list of it; None leaves them out.
        note: what was read, for the user.
    """

    splits: dict[Path, str]
    rest: str | None
    note: str


@dataclass(frozen=True, slots=True)
class Named:
    """A text file that is called like the list of a split.

    Args:
        group: lists that belong together have it in common: (folder, what the name says besides, number).
        word: of the split.
    """

    path: Path
    group: tuple[Path, str, int]
    word: str


def split_lists(root: Path, media: Sequence[Path], texts: Iterable[Path]) -> Lists | None:
    """The lists on top of a folder, one folder down, or beside it.

    Of several sets of lists, such as trainlist01 … trainlist03 of UCF-101, the first one counts.

    Args:
        media: the files of the folder, relative to it.
        texts: the text files in it, too.
    """
    if not media:
        return None
    index = _Index(root, media)
    inside = _sets([root / path for path in texts if len(path.parts) <= 2], index)
    sets = inside or [lists for lists in _sets(_beside(root), index) if _is_of(lists, len(media))]
    return _lists(sets[0], len(sets)) if sets else None


def _is_of(lists: dict[Named, list[Path]], media: int) -> bool:
    """Lists beside a folder are of it, not of another one: they name nearly all of its files, and some to train on."""
    return "train" in _splits(lists).values() and sum(map(len, lists.values())) >= NEARLY_ALL * media


def _sets(texts: Iterable[Path], index: _Index) -> list[dict[Named, list[Path]]]:
    """The lists of each set, with the files that they name; the first set of several comes first."""
    named = [found for path in texts if (found := _named(path))]
    groups = dict[tuple[Path, str, int], dict[Named, list[Path]]]()
    for one in sorted(named, key=lambda one: (one.group[2], bool(one.group[1]), one.path)):
        if files := index.files(one.path):
            groups.setdefault(one.group, {})[one] = files
    # brush_hair_test.txt alone may be anything
    return [lists for group, lists in groups.items() if not group[1] or "train" in _splits(lists).values()]


def _beside(root: Path) -> list[Path]:
    """The text files beside a folder, and in folders beside it that are called like those of lists."""
    above, found = root.absolute().parent, list[Path]()
    beside = listed(above)
    held = sorted(name for name in beside.folders if HOLDERS.search(name) and name != root.absolute().name)
    for folder in (Path(), *map(Path, held)):
        names = listed(above / folder).files if folder.name else beside.files
        found += [above / folder / name for name in sorted(names)]
    return found


def _named(path: Path) -> Named | None:
    """What the name of a text file says of a split, None where it says nothing."""
    stem = YEAR.sub("", path.stem)
    if path.suffix.lower() != ".txt" or not (found := folder_split(CALLED.sub("", stem))):
        return None
    numbers = re.findall(r"(?<!\d)\d{1,2}(?!\d)", stem)
    return Named(path, (path.parent, found[1], int(numbers[-1]) if numbers else 0), found[0])


def _splits(lists: Iterable[Named]) -> dict[str, str]:
    """Word -> split, of those that are usual ones."""
    return {word: split for word, split in readings(one.word for one in lists).items() if split in WORDS}


def _lists(lists: dict[Named, list[Path]], sets: int) -> Lists:
    splits, said = _splits(lists), []
    found: dict[Path, str] = {}
    # what two lists name is not trained on
    for split in WORDS:
        for one, files in lists.items():
            if splits.get(one.word) == split:
                found |= dict.fromkeys(files, split)
                said.append(one.path.name if one.path.stem == split else f"{one.path.name} ({split})")
    rest = None if "train" in splits.values() else "train"
    note = f"official splits {', '.join(said)}" + (", all others train" if rest else "")
    return Lists(found, rest, note + (f", the first of {sets:,} sets of lists" if sets > 1 else ""))


class _Index:
    """Finds the files of a folder by paths that start from it, from a folder in it, or from where it lies.

    Args:
        media: relative to the root.
    """

    def __init__(self, root: Path, media: Sequence[Path]) -> None:
        self._outside, self._media = root.absolute().parts, media

    @cached_property
    def _suffixes(self) -> set[str]:
        return {path.suffix.lower() for path in self._media}

    @cached_property
    def _called(self) -> dict[str, list[Path]]:
        """Name, with suffix and without -> the files of that name."""
        found = defaultdict(list)
        for path in self._media:
            found[path.name].append(path)
            found[path.stem].append(path)
        return found

    def files(self, text: Path) -> list[Path]:
        """The files that the lines of a text file name; none where it is no list of them."""
        try:
            lines = text.read_text("utf-8-sig", "replace").splitlines()
        except OSError:
            return []
        lines = [line.strip() for line in lines if line.strip()]
        found = [path for line in lines if (path := self._file(line) or self._file(NUMBERS.sub("", line)))]
        like = sum(Path(NUMBERS.sub("", line)).suffix.lower() in self._suffixes for line in lines)
        return found if len(found) >= HERE * len(lines) or like >= NEARLY_ALL * len(lines) else []

    def _file(self, name: str) -> Path | None:
        """The only file whose path ends as the name does."""
        parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
        fits = [path for path in self._called.get(parts[-1], ()) if self._fits(path, parts)] if parts else []
        return fits[0] if len(fits) == 1 else None

    def _fits(self, path: Path, parts: Sequence[str]) -> bool:
        # of a path of another machine what lies below the folder counts
        whole = (*self._outside, *path.parts)[:-1]
        folders = tuple(parts[:-1])
        return whole[len(whole) - len(folders) :] == folders or (
            len(path.parts) > 1 and folders[-len(path.parts[:-1]) :] == path.parts[:-1]
        )
