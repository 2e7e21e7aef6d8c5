"""NLVR and NLVR2: is a sentence true of a picture, or of two? The sentence is the caption, the label true or false.

train.json, dev.json and test.json (test1.json of NLVR2) of the repository lil-lab/nlvr, and the pictures in any folders below
--source or --image-root. Official splits. Each order of the boxes of NLVR (train-1-0-0.png … 5) is a row of its own; the two
photographs of NLVR2 (train-1-0-img0.png, img1.png) are stored as one picture, side by side and equally high.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from mmkit.data.cells import text_of
from mmkit.data.images import side_by_side
from mmkit.data.modalities import image, text
from mmkit.data.schema import Ask, Picture, Reject, Row, Source
from mmkit.data.walk import walk
from mmkit.errors import UserError

EXAMPLES = (
    "mmkit prep nlvr ./data --source ~/nlvr/nlvr",
    "mmkit prep nlvr ./data --source ~/nlvr/nlvr2 --image-root ~/nlvr2_images --resize 224",
)
LICENSE = "that of the NLVR corpora (lic.nlp.cornell.edu/nlvr); photographs of NLVR2 belong to their owners, for research only"
LAYOUT = "train.json, dev.json, test.json or test1.json, with a sentence, an identifier and a label a line"
FILE = re.compile(r"(train|dev|test\d?)\.json")
ORDERS = range(6)  # of the three boxes of a picture of NLVR
DEPTH = 3


def read(
    ask: Ask,
    *,
    image_root: Annotated[
        Path | None,
        Option("--image-root", metavar="FOLDER", help="Where the pictures are.", show_default="below --source"),
    ] = None,
) -> Source:
    """The sentences with their pictures, in the order of the files.

    Raises:
        UserError: the layout is not there, or it is not clear which of both is meant.
    """
    root = ask.folder
    if not root.is_dir():
        raise UserError("no such folder", str(root), f"--source holds {LAYOUT}")
    files = _files(root)
    pictures = _pictures(image_root or root)
    if not pictures:
        raise UserError("no pictures found", str(image_root or root), "--image-root FOLDER   names where they are")
    rows: list[Row | Reject] = []
    partly = 0
    for path in files:
        for n, line in _lines(path):
            made = _rows(line, path, n, pictures)
            # a picture that is there in some of its orders is no loss of the sentence
            kept: list[Row | Reject] = [row for row in made if isinstance(row, Row)]
            partly += 0 < len(kept) < len(made)
            rows += kept or made[:1]
    found = [row for row in rows if isinstance(row, Row)]
    if not found:
        first = next((row.reason for row in rows if isinstance(row, Reject)), "")
        raise UserError("none of the pictures that the sentences are about is there", str(files[0]), first)
    # a picture made of two files is none itself
    paired = any(row.picture and row.picture.path is None for row in found)
    note = f"{len(found):,} pictures with a sentence, in {', '.join(map(str, files))}"
    note += "; two photographs are one picture, side by side" if paired else ""
    note += f"; {partly:,} sentences have fewer than {len(ORDERS)} orders of their boxes" if partly else ""
    facts = {"pictures": "left and right side by side, both as high as the lower one"} if paired else {}
    return Source(rows, "." if ask.source is None else str(root), LICENSE, note, facts)


def _files(root: Path) -> list[Path]:
    """The files of sentences below the folder, of NLVR or of NLVR2."""
    found = [root / folder / name for folder, names in walk(root, DEPTH) for name in names if FILE.fullmatch(name)]
    files = {path: kind for path in found if (kind := _kind(path))}
    if not files:
        raise UserError("no NLVR found", str(root), f"looked for {LAYOUT}")
    if len(set(files.values())) > 1 or len({path.name for path in files}) < len(files):
        named = ", ".join(str(path.relative_to(root)) for path in files)
        train = next((path for path in files if path.name == "train.json"), next(iter(files)))
        one = train.parent.parent if train.parent.name in ("data", "train") else train.parent
        raise UserError(
            f"more than one NLVR found: {named}", str(root), f"--source {shlex.quote(str(one))}   reads that one alone"
        )
    order = ("train", "dev", "test")
    return sorted(files, key=lambda path: (order.index(path.stem.rstrip("0123456789")), path.name))


def _kind(path: Path) -> str:
    """`pair` or `one` by the first line; empty for another file."""
    _, first = next(_lines(path), (0, None))
    if not isinstance(first, dict) or not {"sentence", "identifier"} <= first.keys():
        return ""
    return "pair" if _is_pair(text_of(first["identifier"])) else "one"


def _is_pair(identifier: str) -> bool:
    # split-set-pair-sentence; of NLVR it is set-position
    return identifier.count("-") == 3


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Number of the line, and its JSON, or None where it is none."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as f:
        for n, line in enumerate(f, 1):
            if line.strip():
                try:
                    yield n, json.loads(line)
                except ValueError:
                    yield n, None


def _pictures(root: Path) -> dict[str, Path]:
    """Name without suffix -> picture, in any folder: the names tell the splits."""
    found: dict[str, Path] = {}
    for folder, names in walk(root):
        for name in names:
            if Path(name).suffix.lower() in image.SUFFIXES:
                found.setdefault(Path(name).stem, root / folder / name)
    return found


def _rows(line: Any, path: Path, n: int, pictures: dict[str, Path]) -> list[Row | Reject]:
    """One row of NLVR2, one for each order of NLVR."""
    where, name = f"{path} row {n}", f"{path.name} row {n}"
    if not isinstance(line, dict):
        return [Reject(name, where, "not a JSON object")]
    identifier = text_of(line.get("identifier")).strip()
    if not identifier:
        return [Reject(name, where, "no identifier")]
    label = text_of(line.get("label")).strip().lower() or None
    if label not in ("true", "false", None):
        return [Reject(identifier, where, f"the label {label!r} is neither true nor false")]
    values = {text.COLUMN: [text_of(line.get("sentence"))], "label": label}
    split = path.stem.rstrip("0123456789")
    if _is_pair(identifier):
        stem = identifier.rpartition("-")[0]
        return [_row(identifier, (f"{stem}-img0", f"{stem}-img1"), values, where, split, pictures)]
    stems = [f"{split}-{identifier}-{k}" for k in ORDERS]
    return [_row(stem, (stem,), dict(values), where, split, pictures) for stem in stems]


def _row(
    id: str, stems: tuple[str, ...], values: dict[str, Any], where: str, split: str, pictures: dict[str, Path]
) -> Row | Reject:
    if missing := [stem for stem in stems if stem not in pictures]:
        return Reject(id, where, f"missing file {' and '.join(f'{stem}.png' for stem in missing)}")
    try:
        found = [Picture.file(pictures[stem]) for stem in stems]
    except OSError as e:
        return Reject(id, where, f"cannot read the file ({e.strerror})")
    return Row(id, {image.COLUMN: found[0] if len(found) == 1 else _pair(id, *found), **values}, where, split)


def _pair(id: str, left: Picture, right: Picture) -> Picture:
    """Two photographs as one; its key holds the sentence, for two of them are about each pair."""
    read = functools.partial(_side_by_side, left, right)
    return Picture(f"{left.key}+{right.key}#{id}", read, left.size + right.size, None, f"{left.stamp}+{right.stamp}")


def _side_by_side(left: Picture, right: Picture) -> bytes:
    return side_by_side(left.read(), right.read())
