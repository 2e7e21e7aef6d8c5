"""The photos that captions name, wherever below a folder they lie, and in the zips of COCO."""

from __future__ import annotations

import functools
import json
import os
import posixpath
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mmkit.data.data_files import split_of
from mmkit.data.lookup import RELEASE, Lookup, Loose, Readings, several_fit
from mmkit.data.modalities import image
from mmkit.data.schema import Picture, Reject, Row
from mmkit.data.splits import FILLERS, folder_split, split_name
from mmkit.data.walk import walk
from mmkit.errors import UserError

# what zipfile raises for a damaged member; RuntimeError for one that is encrypted or compressed in a way it does not know
DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
# one photo of COCO has these names in its two releases; no other photo has its number
OFFICIAL = re.compile(r"(COCO_(?:train|val|test)20\d\d_)?(\d{12})\.jpg")
PACKED = re.compile(r"(train|val|test)20(14|15|17)\.zip")

MISSING = "missing file"

Maker = Callable[[], Picture]
Makers = dict[str, Maker]  # by the path of the photo
Numbered = dict[str, dict[str, tuple[bool, Maker]]]  # by number, then path; and whether COCO_ stands before the number


class Photos:
    """Finds photos by their names.

    A name is a path from the root, from a folder of its split, or from one of no split; folders come before zips. One that is
    nowhere is read as `Lookup` reads it, then as the other release of COCO writes it.

    Args:
        archives: zips of photos.
        readings: what is counted and said together.
    """

    def __init__(self, root: Path, archives: Sequence[Path] = ()) -> None:
        self.readings = Readings()
        folders = [(folder, found) for folder, names in walk(root) if (found := _pictures(names)) or not folder.parts]
        self._folders = [_Folder(root, folder, names, self.readings) for folder, names in folders]
        self._zips = [_Zip(path) for path in archives]
        self.names = set[str]().union(*(place.names for place in self._folders), *(place.names for place in self._zips))

    @classmethod
    def of_coco(cls, root: Path) -> Photos:
        """Those below a folder, and in the zips of COCO's photos that lie in it."""
        return cls(root, [path for path in sorted(root.glob("*20*.zip")) if PACKED.fullmatch(path.name)])

    def __len__(self) -> int:
        packed = [name for pack in self._zips for name in pack.names]
        unpacked = set().union(*(folder.names for folder in self._folders))
        return sum(len(folder.names) for folder in self._folders) + sum(name not in unpacked for name in packed)

    def find(self, name: str, split: str | None = None) -> Picture:
        """The photo that is called so.

        Args:
            split: of the captions; the folders of other splits hold other photos. None if any folder may be meant.

        Raises:
            FileNotFoundError: no file fits.
            ValueError: several files fit; they are named.
            OSError: the file cannot be looked at.
        """
        self.readings.total += 1
        tails = list(_tails(name, split))
        for tail, of in tails:
            found = [[folder.exact(tail) for folder in folders] for folders in _tiers(self._folders, of)]
            found += [[pack.exact(tail) for pack in packs] for packs in _tiers(self._zips, of)]
            if make := next(filter(None, (_only(name, fits) for fits in found)), None):
                return make()
        for tail, of in tails:
            for folders in _tiers(self._folders, of):
                if make := _only(name, [folder.loose(tail) for folder in folders]):
                    return make()
        if make := self._released(name):
            return make()
        raise FileNotFoundError(f"{MISSING} {name}")

    def row(
        self, id: str, name: str, values: dict[str, Any], where: str, split: str | None, within: str | None = None
    ) -> Row | Reject:
        """The photo that is called so with what is said of it, or why there is none.

        Args:
            values: column -> value, beside the photo.
            within: the split that its folder must be of, as `find` takes it.
        """
        try:
            return Row(id, {image.COLUMN: self.find(name, within), **values}, where, split)
        except (OSError, ValueError) as e:
            return Reject(id, where, str(getattr(e, "strerror", None) or e))

    def _released(self, name: str) -> Maker | None:
        match = OFFICIAL.fullmatch(posixpath.basename(name))
        if not match:
            return None
        for numbers in (self._numbers, self._zipped_numbers):
            # a name without COCO_ in front may belong to other data, and then its like in another folder is another photo
            fits = {path: make for path, (prefix, make) in numbers.get(match[2], {}).items() if prefix or match[1]}
            if found := _only(name, [fits]):
                self.readings.count(RELEASE, f"{name} is {next(iter(fits))}")
                return found
        return None

    @functools.cached_property
    def _numbers(self) -> Numbered:
        return _by_number(self._folders)

    @functools.cached_property
    def _zipped_numbers(self) -> Numbered:
        return _by_number(self._zips)


class _Folder:
    """One folder below the root."""

    def __init__(self, root: Path, folder: Path, names: Iterable[str], readings: Readings) -> None:
        self.split = split_of(folder / "_")
        self.names = set(names)
        self._lookup = Lookup(root / folder, root, readings)

    def exact(self, name: str) -> Makers:
        if name not in self.names and posixpath.basename(name) == name:
            return {}
        found = self._lookup.exact(name)
        return {found.key: lambda: found} if found else {}

    def loose(self, name: str) -> Makers:
        fits = self._lookup.loose(name)
        return {fits.picture.key: functools.partial(_counted, fits)} if fits else {}

    def all(self, name: str) -> Makers:
        path = self._lookup.root / name
        return {str(path): functools.partial(Picture.file, path)}


class _Zip:
    """One zip of photos."""

    def __init__(self, path: Path) -> None:
        self.split = split_of(path)
        self._pack = open_zip(path)
        self._members: dict[str, list[zipfile.ZipInfo]] = defaultdict(list)
        for info in self._pack.infolist():
            self._members[posixpath.basename(info.filename)].append(info)
        self.names = set(_pictures(self._members))

    def exact(self, name: str) -> Makers:
        infos = self._members.get(posixpath.basename(name), [])
        fits = [info for info in infos if f"/{info.filename}".endswith(f"/{name}")]
        return {f"{self._pack.filename}/{info.filename}": functools.partial(_in_zip, self._pack, info) for info in fits}

    def all(self, name: str) -> Makers:
        return self.exact(name)


P = TypeVar("P", _Folder, _Zip)


def _counted(fits: Loose) -> Picture:
    fits.count()
    return fits.picture


def _pictures(names: Iterable[str]) -> list[str]:
    return [name for name in names if Path(name).suffix.lower() in image.SUFFIXES]


def _by_number(places: Sequence[_Folder] | Sequence[_Zip]) -> Numbered:
    found: Numbered = defaultdict(dict)
    for place in places:
        for name in place.names:
            if match := OFFICIAL.fullmatch(name):
                found[match[2]] |= {path: (bool(match[1]), make) for path, make in place.all(name).items()}
    return found


def _tiers(places: Sequence[P], split: str | None) -> list[list[P]]:
    """Those of the split, then those of none; all at once where any may be meant."""
    if split is None:
        return [list(places)]
    return [[place for place in places if place.split == wanted] for wanted in (split, None)]


def _tails(name: str, split: str | None) -> Iterator[tuple[str, str | None]]:
    """The name, then without the folders in front that tell no photo from another, and the split that the last of them says."""
    yield name, split
    folder, slash, rest = name.partition("/")
    while slash:
        found = folder_split(folder)
        if found and not found[1]:
            split = split_name(found[0])
        elif folder.lower() not in FILLERS | {"", "."}:
            return
        yield rest, split
        folder, slash, rest = rest.partition("/")


def _only(name: str, found: Iterable[Makers]) -> Maker | None:
    """The one that is found.

    Raises:
        ValueError: there are several.
    """
    fits: Makers = {}
    for makers in found:
        fits = makers | fits  # the first that finds a photo says how its name was read
    if len({os.path.realpath(path) for path in fits}) > 1:
        raise several_fit(name, fits)
    return next(iter(fits.values()), None)


def open_zip(archive: Path) -> zipfile.ZipFile:
    """The zip file.

    Raises:
        UserError: it is damaged.
    """
    try:
        return zipfile.ZipFile(archive)
    except zipfile.BadZipFile as e:
        raise UserError(
            f"the zip file is truncated or damaged ({e})", str(archive), "delete it and run the same command again"
        ) from e


def json_in(archive: Path, name: str, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """A JSON file in a zip.

    Args:
        hook: what becomes of each object, as of `json.loads`.

    Raises:
        UserError: it is not there, or damaged.
    """
    try:
        return json.loads(open_zip(archive).read(name), object_hook=hook)
    except (KeyError, ValueError, *DAMAGES) as e:
        raise UserError(f"no readable {name} in the zip ({e})", str(archive)) from e


def _in_zip(pack: zipfile.ZipFile, info: zipfile.ZipInfo) -> Picture:
    where = f"{pack.filename}/{info.filename}"
    return Picture(where, functools.partial(_member, pack, info), info.file_size, None, f"{info.CRC:08x}")


def _member(pack: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return pack.read(info)
    except DAMAGES as e:
        raise UserError(f"damaged in the zip ({e})", str(pack.filename)) from e
