"""Tables that name the pictures, sounds or videos of a folder: in it, or beside it; and the command that reads one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mmkit.data.data_files import Part, data_files, tables_in
from mmkit.data.samples import Reading, names_pictures
from mmkit.errors import UserError

# so many tables are looked into for one that names the files
PROBED = 20


def table_of(root: Path, files: Sequence[Path], how: Reading) -> tuple[list[Part], Reading] | None:
    """The only table in a folder, such as captions.csv, where it names the files, and the how to read it with.

    Args:
        files: relative to the root.
    """
    try:
        parts = data_files(how.ask.folder, how.ask.folder.absolute() == how.ask.out.absolute())
    except UserError:
        return None
    parts = [replace(part, beside=True) for part in parts]
    return next(((parts, start) for start in _starts(root, files, how) if names_pictures(parts[0], start, root)), None)


def other_command(root: Path, files: Sequence[Path], how: Reading) -> str:
    """The command that reads a table that names the files: one of several here, or one beside the folder; else empty."""
    tables = [*tables_in(root), *tables_in(root.absolute().parent, below=False)]
    for path in tables[:PROBED]:
        for start in _starts(root, files, replace(how, ask=replace(how.ask, source=path))):
            if names_pictures(Part(path), start, root):
                return command(path, start.image_root)
    return ""


def command(table: Path, image_root: Path | None) -> str:
    """The command that reads a table."""
    typed = f"mmkit prep table ./data --source {shlex.quote(str(table))}"
    return typed + (f" --image-root {shlex.quote(str(image_root))}" if image_root else "") + "   reads the captions"


def _starts(root: Path, files: Sequence[Path], how: Reading) -> Iterator[Reading]:
    """The paths of a table start from its own folder, else from the innermost that holds all files."""
    yield how
    yield replace(how, image_root=root / os.path.commonpath([path.parent for path in files]))
