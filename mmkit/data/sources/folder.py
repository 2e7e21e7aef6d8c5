"""`mmkit prep folder`: class folders, or images beside text files of the same name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mmkit.data.images import SUFFIXES
from mmkit.data.schema import Options, Picture, Reject, Row, Source
from mmkit.data.splits import split_name
from mmkit.errors import UsageError, UserError

LICENSE = "unknown: that of the folder's pictures"
SPLITS = {"train", "val", "test"}


def read(options: Options) -> Source:
    """Every picture below the folder, in the order of their names.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    root = options.folder
    if "{label}" not in options.template:
        raise UsageError(
            "the template has no place for the label", f"--template {options.template!r}", 'such as "a photo of {label}"'
        )
    if not root.is_dir():
        raise UserError("no such folder", str(root), "--source names the folder of the pictures")
    found = sorted(_pictures(root))
    if not found:
        raise UserError("no pictures", str(root), f"looked for {' '.join(sorted(SUFFIXES))}")
    tops = {path.parts[0] for path in found if len(path.parts) > 1}
    official = bool(tops) and all(split_name(top) in SPLITS for top in tops) and all(len(path.parts) > 1 for path in found)
    with_text = any((root / path).with_suffix(".txt").exists() for path in found)
    rows = [_row(root, path, official, with_text, options.template) for path in found]
    kind = "images beside text files" if with_text else "class folders"
    note = f"{len(found):,} pictures, {kind}" + (f", official splits {', '.join(sorted(tops))}" if official else "")
    return Source(rows, "." if options.source is None else str(root), LICENSE, note)


def _pictures(root: Path) -> Iterator[Path]:
    """Paths below `root`, relative to it; hidden folders are left out."""
    for folder, names, files in os.walk(root, followlinks=True):
        names[:] = [name for name in names if not name.startswith(".")]
        for file in files:
            if Path(file).suffix.lower() in SUFFIXES and not file.startswith("."):
                yield (Path(folder) / file).relative_to(root)


def _row(root: Path, path: Path, official: bool, with_text: bool, template: str) -> Row | Reject:
    name, full = path.as_posix(), root / path
    folders = path.parts[1:-1] if official else path.parts[:-1]
    split = split_name(path.parts[0]) if official else None
    try:
        picture = Picture.file(full)
        if with_text:
            return Row(name, picture, _lines(full.with_suffix(".txt")), str(full.with_suffix(".txt")), split)
    except FileNotFoundError as e:
        reason = "no text file of the same name beside it" if str(e.filename or "").endswith(".txt") else "missing file"
        return Reject(name, str(full), reason)
    except OSError as e:
        return Reject(name, str(full), f"cannot read the file ({e.strerror})")
    if not folders:
        return Reject(name, str(full), "no caption: it lies in no class folder, and there is no text file beside it")
    label = folders[0]
    return Row(name, picture, [template.replace("{label}", label.replace("_", " "))], str(full), split, label)


def _lines(path: Path) -> list[str]:
    # what does not decode is kept as surrogates and rejected later as wrong encoding
    return path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
