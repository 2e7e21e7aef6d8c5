"""`mmkit prep folder`: class folders, or images beside text files of the same name."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from mmkit.data.data_files import Part, metadata_files
from mmkit.data.images import SUFFIXES
from mmkit.data.levels import Levels, levels_of
from mmkit.data.samples import read_parts
from mmkit.data.schema import Options, Picture, Reject, Row, Source
from mmkit.data.unread import refuse
from mmkit.data.walk import walk
from mmkit.errors import UsageError, UserError

LICENSE = "unknown: that of the folder's pictures"
# pictures of phones, cameras and drawing programs that no common reader opens
UNREAD = {".heic", ".heif", ".jxl", ".svg", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
# the endings of the captions of 1.png: 1.txt, 1.caption, 1.png.txt
TEXTS = (".txt", ".caption")
NAMED_LABELS = 3


def read(options: Options) -> Source:
    """Every picture below the folder, in the order of their names; with metadata.csv and its like, those that it names.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    root = options.folder
    if "{label}" not in options.template:
        raise UsageError(
            "the template has no place for the label", f"--template {options.template!r}", 'such as "a photo of {label}"'
        )
    if not root.is_dir():
        if root.exists():
            refuse(root)
            raise UserError("a file, not a folder of pictures", str(root), f"mmkit prep table --source {root}   reads tables")
        raise UserError("no such folder", str(root), "--source names the folder of the pictures")
    if metadata := metadata_files(root):
        return _described(metadata, options)
    files = Files.below(root)
    if not files.pictures:
        refuse(root)
        raise UserError("no pictures", str(root), f"looked for {' '.join(sorted(SUFFIXES))}")
    tree = _layout(files, options.template)
    rows = [_row(tree, path) for path in files.pictures]
    return Source(rows, "." if options.source is None else str(root), LICENSE, _note(tree))


@dataclass(slots=True)
class Files:
    """What lies below a folder, as paths relative to it.

    Args:
        pictures: sorted; also those that are not read, but for what is there in another form too (`a.cr2` beside `a.jpg`).
        texts: (folder, name in one case) -> text files called so.
    """

    root: Path
    pictures: list[Path] = field(default_factory=list)
    texts: dict[tuple[Path, str], list[Path]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def below(cls, root: Path) -> Files:
        """Look through all folders below `root`."""
        files = cls(root)
        found = []
        for folder, names in walk(root):
            for path in (folder / name for name in names):
                suffix = path.suffix.lower()
                if suffix in SUFFIXES | UNREAD:
                    found.append(path)
                elif suffix in TEXTS:
                    files.texts[folder, path.name.casefold()].append(path)
        stems = {path.with_suffix("") for path in found if _is_read(path)}
        files.pictures = sorted(path for path in found if _is_read(path) or path.with_suffix("") not in stems)
        return files

    def beside(self, picture: Path) -> list[Path]:
        """The text files of a picture; where names differ only in case, those that are written as the picture's is."""
        found = []
        for name in (picture.stem, picture.name):
            for suffix in TEXTS:
                fits = self.texts.get((picture.parent, f"{name}{suffix}".casefold()), [])
                found += [path for path in fits if path.stem == name] or fits
        return found


def _is_read(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _described(metadata: list[Part], options: Options) -> Source:
    """The pictures that files such as metadata.csv name, with their captions; `datasets` calls that an image folder."""
    source = read_parts(metadata, options)
    named = {row.image.path for row in source.rows if isinstance(row, Row)}
    pictures = Files.below(options.folder).pictures
    left = sum(os.path.abspath(options.folder / path) not in named for path in pictures)
    source.note += f"; pictures in none of its rows, left out: {left:,}" if left else ""
    return source


@dataclass(frozen=True, slots=True)
class Layout:
    """How a folder is read.

    Args:
        texts: the pictures that have text files beside them -> those.
        with_text: captions come from the text files, else from the names of the class folders.
    """

    files: Files
    template: str
    levels: Levels
    texts: dict[Path, list[Path]]
    with_text: bool


def _layout(files: Files, template: str) -> Layout:
    readable = [path for path in files.pictures if _is_read(path)]
    levels = levels_of(readable)
    texts = {path: found for path in readable if (found := files.beside(path))}
    # a picture in no class folder, or in the only one, can have no other caption than a text
    labels = {path: label for path in readable if (label := levels.label(path))}
    classed = len(labels.keys() - texts.keys()) if len(set(labels.values())) > 1 else 0
    return Layout(files, template, levels, texts, bool(texts) and len(texts) >= classed)


def _note(tree: Layout) -> str:
    levels, found = tree.levels, tree.files.pictures
    note = f"{len(found):,} pictures, {'images beside text files' if tree.with_text else 'class folders'}"
    if tree.texts and not tree.with_text:
        note += f" (a text file lies beside {len(tree.texts):,} of them only: it is not read)"
    if not tree.with_text:
        note += _labels(levels, found)
    if not levels.splits:
        return note
    named = (name if name == split else f"{name} ({split})" for name, (split, _) in sorted(levels.splits.items()))
    note += f", official splits {', '.join(named)}"
    stray = sum(1 for path in found if levels.is_stray(path))
    return note + (f"; {stray:,} pictures lie in none of them and are rejected" if stray else "")


def _labels(levels: Levels, found: list[Path]) -> str:
    """What is said of labels whose folders lie in others: which part is the label, and which labels stand for several folders."""
    places: dict[str, set[str]] = defaultdict(set)
    for path in found:
        if label := levels.label(path):
            places[label].add("/".join(levels.folders(path)))
    deeper = next(((label, place) for label, ways in sorted(places.items()) for place in sorted(ways) if place != label), None)
    shared = {label: sorted(ways) for label, ways in sorted(places.items()) if len(ways) > 1}
    note = f", labelled by the innermost folder ({deeper[1]} is {deeper[0]!r})" if deeper else ""
    if shared:
        shown = "; ".join(f"{label!r}: {', '.join(ways[:NAMED_LABELS])}" for label, ways in list(shared.items())[:NAMED_LABELS])
        note += f", {len(shared):,} label{'s stand' if len(shared) > 1 else ' stands'} for several folders ({shown})"
    return note


def _row(tree: Layout, path: Path) -> Row | Reject:
    name, full, levels = path.as_posix(), tree.files.root / path, tree.levels
    if levels.is_stray(path):
        reason = f"in no split: {', '.join(sorted(levels.splits))} are the official ones, and it lies beside them"
        return Reject(name, str(full), reason)
    if not _is_read(path):
        return Reject(name, str(full), f"{path.suffix} pictures are not read: convert them to JPEG")
    split, label = levels.split(path), levels.label(path)
    try:
        picture = Picture.file(full)
        if tree.with_text:
            return _with_text(tree, path, picture)
    except FileNotFoundError:
        return Reject(name, str(full), "missing file")
    except OSError as e:
        return Reject(name, str(full), f"cannot read the file ({e.strerror})")
    if not label:
        texts = "most pictures have no text file, so none is read" if tree.texts else "there is no text file beside it"
        return Reject(name, str(full), f"no caption: it lies in no class folder, and {texts}")
    return Row(name, picture, [tree.template.replace("{label}", label.replace("_", " "))], str(full), split, label)


def _with_text(tree: Layout, path: Path, picture: Picture) -> Row | Reject:
    texts = [tree.files.root / text for text in tree.texts.get(path, ())]
    if not texts:
        return Reject(path.as_posix(), str(tree.files.root / path), "no text file of the same name beside it")
    captions = [line for text in texts for line in _lines(text)]
    return Row(path.as_posix(), picture, captions, str(texts[0]), tree.levels.split(path))


def _lines(path: Path) -> list[str]:
    # what does not decode is kept as surrogates and rejected later as wrong encoding
    lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    return [line for line in lines if line.strip()]
