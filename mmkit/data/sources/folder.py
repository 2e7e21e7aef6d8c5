"""`mmkit prep folder`: class folders, or images beside text files of the same name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmkit.data.data_files import Part, metadata_files
from mmkit.data.images import SUFFIXES
from mmkit.data.samples import read_parts
from mmkit.data.schema import Options, Picture, Reject, Row, Source
from mmkit.data.splits import split_name
from mmkit.data.unread import refuse
from mmkit.errors import UsageError, UserError

LICENSE = "unknown: that of the folder's pictures"
SPLITS = {"train", "val", "test"}
# pictures of phones, cameras and drawing programs that no common reader opens
UNREAD = {".heic", ".heif", ".jxl", ".svg", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}


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
    found = _without_sources(sorted(_pictures(root)))
    if not found:
        refuse(root)
        raise UserError("no pictures", str(root), f"looked for {' '.join(sorted(SUFFIXES))}")
    tree = _layout(root, found, options.template)
    rows = [_row(tree, path) for path in found]
    return Source(rows, "." if options.source is None else str(root), LICENSE, _note(tree, found))


def _described(metadata: list[Part], options: Options) -> Source:
    """The pictures that files such as metadata.csv name, with their captions; `datasets` calls that an image folder."""
    source = read_parts(metadata, options)
    named = {row.image.path for row in source.rows if isinstance(row, Row)}
    left = sum(os.path.abspath(options.folder / path) not in named for path in _pictures(options.folder))
    source.note += f"; pictures in none of its rows, left out: {left:,}" if left else ""
    return source


@dataclass(frozen=True, slots=True)
class Layout:
    """How a folder is read.

    Args:
        official: the folders on top that are splits; none where the split is drawn.
        texts: the pictures that have a text file beside them.
        with_text: captions come from the text files, else from the names of the class folders.
    """

    root: Path
    template: str
    official: list[str]
    texts: set[Path]
    with_text: bool


def _layout(root: Path, found: list[Path], template: str) -> Layout:
    readable = [path for path in found if path.suffix.lower() in SUFFIXES]
    official = _official(readable)
    texts = {path for path in readable if (root / path).with_suffix(".txt").exists()}
    # a picture in no class folder, or in the only one, can have no other caption than a text
    classes = {path: folders[0] for path in readable if (folders := _classes(path, official))}
    classed = len(classes.keys() - texts) if len(set(classes.values())) > 1 else 0
    return Layout(root, template, official, texts, bool(texts) and len(texts) >= classed)


def _official(found: list[Path]) -> list[str]:
    """The folders on top that are official splits; what lies beside them does not turn them into classes."""
    tops = sorted({path.parts[0] for path in found if len(path.parts) > 1})
    splits = [top for top in tops if split_name(top) in SPLITS]
    names = {split_name(top) for top in splits}
    stray = len(splits) < len(tops) or any(len(path.parts) == 1 for path in found)
    # beside other folders, one called train may hold pictures of trains
    return splits if not stray or ("train" in names and len(names) > 1) else []


def _classes(path: Path, official: list[str]) -> tuple[str, ...]:
    """The folders that a picture lies in, without that of its split."""
    return path.parts[1:-1] if official else path.parts[:-1]


def _note(tree: Layout, found: list[Path]) -> str:
    note = f"{len(found):,} pictures, {'images beside text files' if tree.with_text else 'class folders'}"
    if tree.texts and not tree.with_text:
        note += f" (a text file lies beside {len(tree.texts):,} of them only: it is not read)"
    if not tree.official:
        return note
    note += f", official splits {', '.join(tree.official)}"
    stray = sum(1 for path in found if _is_stray(path, tree.official))
    return note + (f"; {stray:,} pictures lie in none of them and are rejected" if stray else "")


def _pictures(root: Path) -> Iterator[Path]:
    """Paths below `root`, relative to it; hidden folders are left out."""
    for folder, names, files in os.walk(root, followlinks=True):
        names[:] = [name for name in names if not name.startswith(".")]
        for file in files:
            if Path(file).suffix.lower() in SUFFIXES | UNREAD and not file.startswith("."):
                yield (Path(folder) / file).relative_to(root)


def _without_sources(found: list[Path]) -> list[Path]:
    """Leave out what is not read where the same picture lies beside it in a form that is: `a.cr2` beside `a.jpg`."""
    stems = {path.with_suffix("") for path in found if path.suffix.lower() in SUFFIXES}
    return [path for path in found if path.suffix.lower() in SUFFIXES or path.with_suffix("") not in stems]


def _is_stray(path: Path, official: list[str]) -> bool:
    return bool(official) and (len(path.parts) == 1 or path.parts[0] not in official)


def _row(tree: Layout, path: Path) -> Row | Reject:
    name, full = path.as_posix(), tree.root / path
    if _is_stray(path, tree.official):
        reason = f"in no split: {', '.join(tree.official)} are the official ones, and it lies beside them"
        return Reject(name, str(full), reason)
    if path.suffix.lower() in UNREAD:
        return Reject(name, str(full), f"{path.suffix} pictures are not read: convert them to JPEG")
    split = split_name(path.parts[0]) if tree.official else None
    try:
        picture = Picture.file(full)
        if tree.with_text:
            return Row(name, picture, _lines(full.with_suffix(".txt")), str(full.with_suffix(".txt")), split)
    except FileNotFoundError as e:
        reason = "no text file of the same name beside it" if str(e.filename or "").endswith(".txt") else "missing file"
        return Reject(name, str(full), reason)
    except OSError as e:
        return Reject(name, str(full), f"cannot read the file ({e.strerror})")
    folders = _classes(path, tree.official)
    if not folders:
        texts = "most pictures have no text file, so none is read" if tree.texts else "there is no text file beside it"
        return Reject(name, str(full), f"no caption: it lies in no class folder, and {texts}")
    label = folders[0]
    return Row(name, picture, [tree.template.replace("{label}", label.replace("_", " "))], str(full), split, label)


def _lines(path: Path) -> list[str]:
    # what does not decode is kept as surrogates and rejected later as wrong encoding
    lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    return [line for line in lines if line.strip()]
