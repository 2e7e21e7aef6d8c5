"""What the folders mean that pictures lie in: a split, a class, or a mere place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmkit.data.splits import folder_split, readings

# folders called so hold pictures and name no class
PLACES = {"images", "image", "imgs", "img", "jpegimages", "jpegs", "jpg", "jpeg", "png", "pngs", "data", "files"}
# so are these where they stand alone; photos beside drawings are a class
PLACES_ALONE = {"photos", "photo", "pictures", "pics"}

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Levels:
    """How the folders of one tree are read.

    Args:
        depth: which folder of a path names the split, from 0; no meaning without `splits`.
        splits: name of a folder at that depth -> (split, what the name says besides); empty where splits are drawn.
        doubled: those of `splits` that hold one folder of the same name and no other: `seg_train/seg_train/sea`.
        alone: folders that are the only ones where they lie.
        wrap: so many folders lie around all pictures and name no class.
    """

    depth: int = 0
    splits: dict[str, tuple[str, str]] = field(default_factory=dict)
    doubled: frozenset[str] = frozenset()
    alone: frozenset[Parts] = frozenset()
    wrap: int = 0

    def is_stray(self, path: Path) -> bool:
        """The picture lies beside the official splits."""
        return bool(self.splits) and (len(path.parts) < self.depth + 2 or path.parts[self.depth] not in self.splits)

    def split(self, path: Path) -> str | None:
        """The official split of a picture that is in one."""
        return self.splits[path.parts[self.depth]][0] if self.splits and not self.is_stray(path) else None

    def place(self, path: Path) -> str:
        """The folder of a stray picture that lies beside those of the splits; the picture itself where there is none."""
        return "/".join(path.parts[: self.depth + 1])

    def folders(self, path: Path) -> list[str]:
        """The folders of a picture without that of its split and those that are mere places."""
        parts, taken, rest = path.parts[:-1], 0, ""
        if self.splits and not self.is_stray(path):
            name = parts[self.depth]
            taken = 2 if name in self.doubled else 1
            # cats_train and dogs_train beside each other are the classes cats and dogs
            rest = self.splits[name][1] if len({rest for _, rest in self.splits.values()}) > 1 else ""
        outer = [n for n in range(self.wrap, min(self.depth, len(parts))) if not self._is_place(parts[: n + 1])]
        start = max(self.wrap, self.depth + taken)
        inner = [n for n in range(start, len(parts)) if not self._is_place(parts[: n + 1])]
        return [*(parts[n] for n in outer), *([rest] if rest else []), *(parts[n] for n in inner)]

    def label(self, path: Path) -> str | None:
        """The class of a picture: the innermost of its folders."""
        return next(iter(self.folders(path)[-1:]), None)

    def _is_place(self, parts: Parts) -> bool:
        name = parts[-1].lower()
        return name in PLACES or (name in PLACES_ALONE and parts in self.alone)


def levels_of(pictures: Iterable[Path]) -> Levels:
    """Read the folders of a tree.

    The outermost folders that differ may be splits, in any usual spelling and with pictures beside them; so may folders
    further in, where all pictures lie in one of them: `cats/train`, `cats/test`, `dogs/train` …
    """
    pictures = list(pictures)
    folders = [path.parts[:-1] for path in pictures]
    inside: dict[Parts, set[str]] = defaultdict(set)
    for parts in set(folders):
        for n, part in enumerate(parts):
            inside[parts[:n]].add(part)
    alone = frozenset((*outer, name) for outer, names in inside.items() if len(names) == 1 for name in names)
    depth, splits = _split_level(folders)
    holders = [outer for outer in inside if len(outer) == depth + 1 and outer[depth] in splits]
    within: dict[str, set[str]] = defaultdict(set)
    for outer in holders:
        within[outer[depth]] |= inside[outer]
    doubled = {name for name, names in within.items() if len(names) == 1 and _same(name, *names)}
    levels = Levels(depth, splits, frozenset(doubled), alone)
    around = _common(folders)
    wrapped = replace(levels, wrap=min(around, depth) if splits else around)
    # the only folder there is may be a class
    return wrapped if any(map(wrapped.folders, pictures)) else levels


def _common(folders: Sequence[Parts]) -> int:
    """So many folders, from the outermost on, are those of all."""
    first, last = min(folders, default=()), max(folders, default=())
    return next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def _same(name: str, inner: str) -> bool:
    """`seg_train/seg_train`, `train/Train` and `training/train` say the same twice."""
    (outer, _), found = folder_split(name) or ("", ""), folder_split(inner)
    return found is not None and readings([outer, found[0]])[outer] == readings([found[0]])[found[0]]


def _split_level(folders: Sequence[Parts]) -> tuple[int, dict[str, tuple[str, str]]]:
    """The depth at which folders are splits, and those; no folders where there is none."""
    depth = 0
    while True:
        names, shallow = _at(folders, depth)
        if splits := _splits(names, shallow):
            return depth, splits
        if len(names) != 1 or shallow:
            break
        depth += 1
    for inner in range(depth + 1, max(map(len, folders), default=0)):
        names, shallow = _at(folders, inner)
        splits = _splits(names, shallow)
        if len(splits) > 1 and len(splits) == len(names) and not shallow:
            return inner, splits
    return 0, {}


def _at(folders: Sequence[Parts], depth: int) -> tuple[set[str], bool]:
    """The names of the folders at a depth, and whether some pictures lie less deep."""
    return {parts[depth] for parts in folders if len(parts) > depth}, any(len(parts) <= depth for parts in folders)


def _splits(names: set[str], shallow: bool) -> dict[str, tuple[str, str]]:
    """Those of the folders at one depth that are official splits; what lies beside them does not turn them into classes."""
    words = {name: found for name in sorted(names) if (found := folder_split(name))}
    meaning = readings(word for word, _ in words.values())
    splits = {name: (meaning[word], rest) for name, (word, rest) in words.items()}
    rests: dict[str, set[str]] = defaultdict(set)
    for split, rest in splits.values():
        rests[rest].add(split)
    # train_station and test_tube are no splits, seg_train and seg_test are
    whole = {rest for rest, found in rests.items() if "train" in found and len(found) > 1}
    if whole:
        return {name: found for name, found in splits.items() if found[1] in whole}
    # beside other folders, one called train may hold pictures of trains
    return splits if splits and len(splits) == len(names) and not shallow and rests.keys() == {""} else {}
