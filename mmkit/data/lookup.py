"""The picture that a stranger's path means: exactly that file, or the only one here that it can mean."""

from __future__ import annotations

import os
import posixpath
import re
import urllib.parse
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmkit.data.listing import NUMBER, SUFFIX, Listing, composed, key_of, listed
from mmkit.data.schema import Picture, Reject, Row
from mmkit.data.splits import folder_split
from mmkit.data.unread import ARCHIVES

# how a path was read, in the order in which it is said
WINDOWS = "Windows separators read as /"
ENCODED = "decoded as a URL"
ELSEWHERE = "without the folders in front that are not here"
CASE = "in another case"
SPELLING = "with accents or spaces written otherwise"
RELEASE = "by COCO's number, as its other release names the photo"
SPREAD = "in the one of several folders that has it"
KINDS = (WINDOWS, ENCODED, ELSEWHERE, CASE, SPELLING, SUFFIX, NUMBER, RELEASE, SPREAD)
NAMED = 3
# a file is looked for in so many folders that others are spread over
SPREAD_FOLDERS = 200
# a hint looks for a missing picture in so many subfolders
HINT_FOLDERS = 20


class Lookup:
    """Finds pictures below one folder by paths that were written on another machine, by another program, or by hand.

    An exact path wins and costs one look at the file. Only where a path misses, the folders that it names are listed, each
    once, and these are understood where exactly one file fits: Windows separators, percent signs, folders of another machine
    in front (the longest tail that is here counts), another case (of folders too), a missing extension, and the number of a
    file (12 for 000000000012.jpg).

    Args:
        root: what relative paths start from.
        within: the folder that the names of pictures start from; the root if None.
        readings: what is counted together with lookups in other folders.
    """

    def __init__(self, root: Path, within: Path | None = None, readings: Readings | None = None) -> None:
        self.root = root
        self._called = key_of(os.path.basename(os.path.abspath(root)))
        self._base = os.path.abspath(within or root)
        self._listings: dict[str, Listing] = {}
        self.readings = readings or Readings()

    def find(self, name: str, suffixes: Collection[str] = ()) -> Picture:
        """The picture that `name` means.

        Args:
            suffixes: of several files that fit, those with one of these count.

        Raises:
            FileNotFoundError: no file fits; the message names the path that was looked at, and what is there instead.
            ValueError: several files fit; they are named.
            OSError: the file cannot be looked at.
        """
        self.readings.total += 1
        if found := self.exact(name):
            return found
        if fits := self.loose(name, suffixes):
            fits.count()
            return fits.picture
        name = name.strip()
        raise FileNotFoundError(f"missing file {self.root / os.path.expanduser(name)}{self._instead(name)}")

    def exact(self, name: str) -> Picture | None:
        """The picture of exactly that path.

        Raises:
            OSError: the file cannot be looked at.
        """
        for exact in dict.fromkeys((name, name.strip())):
            try:
                return Picture.file(self.root / os.path.expanduser(exact))
            except (FileNotFoundError, NotADirectoryError):
                continue
        return None

    def loose(self, name: str, suffixes: Collection[str] = ()) -> Loose | None:
        """The only picture that the path can mean.

        Args:
            suffixes: as `find` takes them.

        Raises:
            ValueError: several files fit; they are named.
            OSError: the file cannot be looked at.
        """
        name = name.strip()
        for search in (self._search, self._spread):
            for spelled in _spellings(name):
                if found := search(spelled, suffixes):
                    picture = Picture.file(self.root / found.path)
                    return Loose(picture, partial(self.readings.add, name, spelled, found, picture))
        return None

    def name(self, picture: Picture) -> str:
        """Its path below the root as the file is called, with `/`: the same on every machine. Outside of it: the whole path."""
        path = picture.path or ""
        return path.removeprefix(self._base.rstrip(os.sep) + os.sep).replace(os.sep, "/")

    def _search(self, spelled: Spelled, suffixes: Collection[str]) -> Found | None:
        """The file that the longest tail means whose folders are here.

        Raises:
            ValueError: several files fit.
        """
        for start in self._starts(spelled):
            *folders, name = spelled.parts[start:]
            for same_case in (True, False):
                places = self._folders(folders, same_case)
                fits = {posixpath.join(place, file): kind for place in places for file, kind in self._listing(place).fits(name)}
                for path, kind in _only(spelled.written, fits, suffixes).items():
                    return Found(path, start, spelled.kinds | _kinds(spelled, start, path, kind))
            if any(self._listing(place).files for place in places):
                # its folder is here and holds files, but not this one: one of its name further up is another picture
                return None
        return None

    def _starts(self, spelled: Spelled) -> Iterator[int]:
        """Where the tail may start. A relative path keeps a folder, or loses those down to one called like the root."""
        parts = spelled.parts
        for start in range(len(parts)):
            if start == 0 or spelled.elsewhere or start < len(parts) - 1 or key_of(parts[start - 1]) == self._called:
                yield start

    def _folders(self, parts: list[str], same_case: bool, start: str = "") -> list[str]:
        """The folders below the root, or a folder of it, that the parts lead to, as they are called."""
        found = [start]
        for part in parts:
            listings = [(above, self._listing(above)) for above in found]
            found = [
                posixpath.join(above, name) for above, listing in listings for name in listing.folders_called(part, same_case)
            ]
        return found

    def _listing(self, folder: str) -> Listing:
        if folder not in self._listings:
            self._listings[folder] = listed(self.root / folder)
        return self._listings[folder]

    def _instead(self, name: str) -> str:
        """What the user may have meant: a picture in another format, or one that another --image-root finds."""
        if not os.path.isabs(name) and Path(name).is_file():
            return "; it is there with --image-root ."
        for spelled in _spellings(name):
            *folders, file = spelled.parts
            for place in self._folders(folders, same_case=False):
                if others := self._listing(place).stems.get(key_of(Path(file).stem)):
                    return f"; {_few(sorted(others))} is there"
            for start in self._near():
                if any(self._listing(place).fits(file) for place in self._folders(folders, False, start)):
                    return f"; it is there with --image-root {os.path.normpath(self.root / start)}"
        packed = sorted(name for name in self._listing("").files if name.lower().endswith(ARCHIVES))
        return f"; {_few(packed)} beside it: unpack first" if packed else ""

    def _spread(self, spelled: Spelled, suffixes: Collection[str]) -> Found | None:
        """The file of a bare name, or of a path of another machine, where the root holds no files but folders of them, such as
        folds or parts of a download.

        Raises:
            ValueError: several of them have it.
        """
        own, (*above, name) = self._listing(""), spelled.parts
        if (above and not spelled.elsewhere) or len(own.folders) > SPREAD_FOLDERS or own.media:
            return None
        folders = [folder for folder in sorted(own.folders) if self._listing(folder).media]
        # of one --image-root is typed, which is said; and of another split it is another file
        if len(folders) < 2 or any(map(folder_split, folders)):
            return None
        fits = {posixpath.join(folder, file): kind for folder in folders for file, kind in self._listing(folder).fits(name)}
        for path in _only(spelled.written, fits, suffixes):
            return Found(path, len(above), frozenset({SPREAD, *([ELSEWHERE] if above else [])}))
        return None

    def _near(self) -> Iterator[str]:
        """Folders that paths may start from instead: those in the root, or, where it holds tables alone as a `meta` does, the one
        it is in and those beside it."""
        own = self._listing("")
        alone = not own.folders and not own.media
        for base in ("", "..") if alone else ("",):
            folders = sorted(self._listing(base).folders)
            yield from [base] if base else []
            yield from (posixpath.join(base, folder) for folder in folders if len(folders) <= HINT_FOLDERS)


@dataclass(frozen=True, slots=True)
class Loose:
    """A picture whose path was not exact, and what counts how it was read."""

    picture: Picture
    count: Callable[[], None]


class Readings:
    """How paths were read, for the user, and which of them cannot be right."""

    def __init__(self) -> None:
        self.total = 0
        self._counts: dict[str, int] = defaultdict(int)
        self._first = ""
        # file -> the folders of another place that were left out to find it, and where those differ all of them
        self._places: dict[str, str] = {}
        self._contested: dict[str, set[str]] = {}

    def settle(self, rows: Iterable[Row | Reject]) -> list[Row | Reject]:
        """The rows, after the last `find`: those whose picture paths of different other places lead to are rejects.

        `/data/cats/1.jpg` and `/data/dogs/1.jpg` cannot both be the `1.jpg` that is here.
        """
        return [self._settled(row) if isinstance(row, Row) else row for row in rows]

    @property
    def note(self) -> str:
        """How many paths were read as what, for the user; empty where all are exact."""
        said = [f"{self._counts[kind]:,} {kind}" for kind in KINDS if kind in self._counts]
        if not said:
            return ""
        count, _, first = said[0].partition(" ")
        return f"{'; '.join([f'{count} of {self.total:,} paths: {first}', *said[1:]])} ({self._first})"

    def _settled(self, row: Row) -> Row | Reject:
        path = row.picture.path if row.picture else None
        places = sorted(self._contested.get(path or "", ()))
        return Reject(row.id, row.where, f"paths of several folders lead to {path}: {_few(places)}") if places else row

    def count(self, kind: str, what: str) -> None:
        """Count a path that was read so; the first is said as the example."""
        self._counts[kind] += 1
        self._first = self._first or what

    def add(self, written: str, spelled: Spelled, found: Found, picture: Picture) -> None:
        """Count a path that was not exact, and remember the folders that were left out of it."""
        for kind in found.kinds:
            self.count(kind, f"{written} is {found.path}")
        if ELSEWHERE in found.kinds and picture.path:
            place = "/".join(spelled.parts[: found.start])
            first = self._places.setdefault(picture.path, place)
            if not _same_place(first, place):
                self._contested.setdefault(picture.path, {first}).add(place)


@dataclass(frozen=True, slots=True)
class Spelled:
    """A path as it may have been meant.

    Args:
        written: as it stands in the table.
        parts: folders and the name of the file.
        elsewhere: it starts from a place that is not the root: a drive, a bucket, `/`, `~` or `..`.
        kinds: what had to be read otherwise.
    """

    written: str
    parts: list[str]
    elsewhere: bool
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    """A file that fits: its path below the root, how many parts of the written path were left out, and how it was read."""

    path: str
    start: int
    kinds: frozenset[str]


def _only(name: str, fits: dict[str, str], suffixes: Collection[str]) -> dict[str, str]:
    """The files that fit, if they are none or one; of several the one whose suffix is among those looked for.

    Raises:
        ValueError: several fit.
    """
    sought = {path: kind for path, kind in fits.items() if Path(path).suffix.lower() in suffixes}
    if len(fits) > 1 and len(sought) != 1:
        raise several_fit(name, sought or fits)
    return sought if len(fits) > 1 else fits


def several_fit(name: str, files: Iterable[str]) -> ValueError:
    """The error for a name that means no one file."""
    found = sorted(files)
    return ValueError(f"{len(found):,} files fit {name}: {_few(found)}")


def _spellings(name: str) -> Iterator[Spelled]:
    """The path as written and, if it holds percent signs, as a URL."""
    yield from _spelled(name, name, frozenset())
    decoded = urllib.parse.unquote(name)
    if decoded != name:
        yield from _spelled(name, decoded, frozenset({ENCODED}))


def _spelled(written: str, path: str, kinds: frozenset[str]) -> Iterator[Spelled]:
    if "\\" in path:
        path, kinds = path.replace("\\", "/"), kinds | {WINDOWS}
    place = re.match(r"[A-Za-z][A-Za-z0-9+.-]+://|[A-Za-z]:(?=/)|~[^/]*/|/", path)
    path = posixpath.normpath(path[place.end() :] if place else path)
    parts = [part for part in map(str.strip, path.split("/")) if part not in ("", ".", "..")]
    if parts:
        yield Spelled(written, parts, bool(place) or path.startswith("../"), kinds)


def _kinds(spelled: Spelled, start: int, path: str, kind: str) -> set[str]:
    """How the tail was read to give the path."""
    tail, real = spelled.parts[start:], path.split("/")
    kinds = {kind} if kind else set()
    if spelled.elsewhere or start:
        kinds.add(ELSEWHERE)
    # the extension that was added, and the name behind a number, are no other spelling
    name = {SUFFIX: Path(real[-1]).stem, NUMBER: tail[-1]}.get(kind, real[-1])
    real = [*real[:-1], name]
    if real != tail or not kinds | spelled.kinds:
        kinds.add(SPELLING if list(map(composed, real)) == list(map(composed, tail)) else CASE)
    return kinds


def _same_place(one: str, other: str) -> bool:
    """One folder ends in the other: `/data/photos` and `/mnt/data/photos`."""
    one, other = f"/{key_of(one)}", f"/{key_of(other)}"
    return one.endswith(other) or other.endswith(one)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return " and ".join(names[:NAMED]) + more
