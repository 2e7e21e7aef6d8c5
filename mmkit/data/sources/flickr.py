"""Flickr8k or Flickr30k: a token file, captions.txt, results.csv or Karpathy JSON, and the photos in any subfolder.

*.trainImages.txt, *.devImages.txt and *.testImages.txt are the official splits, where they are found.
"""

from __future__ import annotations

import csv
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mmkit.data.cells import is_missing, no_caption
from mmkit.data.modalities.image import SUFFIXES
from mmkit.data.photos import Photos
from mmkit.data.schema import Ask, Reject, Row, Source
from mmkit.data.sources.karpathy import Karpathy, listed
from mmkit.data.splits import WORDS, folder_split, readings
from mmkit.data.walk import walk
from mmkit.errors import UserError

EXAMPLES = (
    "mmkit prep flickr ./flickr8k --source ~/Flickr8k",
    "mmkit prep flickr ./data --source ~/flickr30k --resize 256",
    "mmkit prep flickr ./data --source ~/f30k --karpathy dataset_flickr30k.json",
)
LICENSE = "photos belong to their Flickr authors, for research only; captions as Flickr8k or Flickr30k give them"
FORMS = "*.token*, captions.txt, results.csv or dataset_flickr*.json"

IMAGE_NAMES = ("image", "image_name", "filename", "file_name")
CAPTION_NAMES = ("caption", "comment", "captions", "comments", "text", "sentence", "raw")

# `1000092795.jpg#0`: the name of the photo and the number of the caption
TOKEN = re.compile(r"\s*(\S.*?)#\d+\s*$")
HEAD = 20

Line = tuple[int, str, str, str]  # row in the file, photo, caption, and why the line cannot be used ("" if it can)

UNREADABLE = "no photo and caption in the line: its quotes do not match, or a separator is missing"


def read(ask: Ask, *, karpathy: Karpathy = None) -> Source:
    """The photos that have captions, in the order of their names.

    Raises:
        UserError: there is no such folder, no caption file or no photo in it.
    """
    root = ask.folder
    if not root.is_dir():
        raise UserError("no such folder", str(root), "--source names the folder of photos and captions")
    photos = Photos(root)
    texts = [root / folder / file for folder, files in walk(root) for file in files if Path(file).suffix.lower() not in SUFFIXES]
    lists = _official_lists(texts, photos.names)
    path = karpathy or _caption_file(texts, bool(lists))
    if path is None:
        raise UserError("no caption file", str(root), f"looked for {FORMS}")
    if not photos:
        raise UserError("no photos", str(root), "looked in all its folders")
    captions, lines, rejects = _captions(path)
    if path.suffix == ".json":
        lists = {photo.name: photo.split for photo in listed(path)}
    rows = rejects + [
        _row(name, photos, captions[name], f"{path} row {lines[name]}", lists.get(name)) for name in sorted(captions)
    ]
    rows = photos.readings.settle(rows)
    described = {os.path.basename(row.key) for row in rows if isinstance(row, Row)}
    note = f"captions in {path}; {len(photos):,} photos"
    note += f", {n:,} without a caption" if (n := len(photos.names - described - captions.keys())) else ""
    note += f"; {photos.readings.note}" if photos.readings.note else ""
    note += "; official splits" if any(lists.values()) else ""
    leave_out = bool(lists) and path.suffix != ".json"
    return Source(rows, "." if ask.source is None else str(root), LICENSE, note, lists=leave_out)


def _official_lists(texts: list[Path], photos: set[str]) -> dict[str, str]:
    """Photo -> split, by Flickr_8k.trainImages.txt, train.txt and their like: lines that name photos, also without extension."""
    stems = {Path(name).stem: name for name in photos}
    lists: list[tuple[str, list[str]]] = []
    for path in texts:
        found = folder_split(path.stem) if path.suffix.lower() == ".txt" else None
        lines = [line for line in map(str.strip, _text(path).splitlines()) if line] if found else []
        if found and any(line in photos or line in stems for line in lines[:HEAD]):
            lists.append((found[0], [stems.get(line, line) for line in lines]))
    names = readings(word for word, _ in lists)
    # trainval.txt repeats the photos of train.txt and val.txt
    return {photo: names[word] for word, lines in lists if names[word] in WORDS for photo in lines}


def _text(path: Path) -> str:
    # what does not decode is kept as surrogates, as it is in the names of files
    return path.read_text(encoding="utf-8-sig", errors="surrogateescape")


def _caption_file(texts: list[Path], have_lists: bool) -> Path | None:
    token = [p for p in texts if ".token" in p.name and "lemma" not in p.name]
    named = [p for name in ("captions.txt", "results.csv") for p in texts if p.name == name]
    karpathy = [p for p in texts if re.fullmatch(r"dataset_flickr\w*\.json", p.name)]
    # a Karpathy file brings the official splits, unless their lists are here
    candidates = [*token, *named, *karpathy] if have_lists else [*karpathy, *token, *named]
    return candidates[0] if candidates else None


def _captions(path: Path) -> tuple[dict[str, list[str]], dict[str, int], list[Row | Reject]]:
    """Photo -> captions, photo -> the row of its first one, and the lines that cannot be used."""
    captions: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    rejects: list[Row | Reject] = []
    for row, photo, caption, flaw in _parse(path):
        flaw = flaw or ("" if photo else "no photo in the line") or (no_caption([caption]) if is_missing(caption) else "")
        if flaw:
            rejects.append(Reject(photo or f"row {row}", f"{path} row {row}", flaw))
            continue
        captions.setdefault(photo, []).append(caption)
        lines.setdefault(photo, row)
    if not captions:
        raise UserError("no captions", str(path), f"known forms: {FORMS}")
    return captions, lines, rejects


def _parse(path: Path) -> Iterator[Line]:
    if path.suffix == ".json":
        for n, photo in enumerate(listed(path), 1):
            yield from ((n, photo.name, caption, "") for caption in photo.captions)
        return
    # what does not decode is kept as surrogates and rejected later as wrong encoding
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as f:
        head = list(itertools.islice(f, HEAD))
        f.seek(0)
        keys = [match[1] for line in head if "\t" in line and (match := TOKEN.match(line.partition("\t")[0]))]
        if any(Path(key).suffix.lower() in SUFFIXES for key in keys):
            yield from _parse_token(f)
        elif "|" in next((line for line in head if line.strip()), ""):
            yield from _parse_bars(f)
        else:
            yield from _parse_commas(f)


def _parse_token(lines: Iterator[str]) -> Iterator[Line]:
    """`1000092795.jpg#0<TAB>Two young guys …`"""
    for n, line in enumerate(lines, 1):
        key, tab, caption = line.rstrip("\r\n").partition("\t")
        match = TOKEN.match(key)
        if not line.strip():
            continue
        if not tab:
            yield n, match[1] if match else "", "", "no tab between photo and caption in the line"
        elif not match:
            yield n, key.strip(), caption, "no #number behind the name of the photo" if key.strip() else ""
        else:
            yield n, match[1], caption, ""


def _parse_bars(lines: Iterator[str]) -> Iterator[Line]:
    """`1000092795.jpg| 0| Two young guys …`, a heading first; one line of Kaggle's file lacks its second bar."""
    for n, line in enumerate(lines, 1):
        photo, _, rest = line.rstrip("\r\n").partition("|")
        match = re.match(r"\s*\d+\s*\|?\s*(.*)", rest)
        heading = n == 1 and Path(photo.strip()).suffix.lower() not in SUFFIXES
        if line.strip() and not heading:
            yield n, photo.strip(), match[1] if match else "", "" if match else UNREADABLE


def _parse_commas(lines: Iterator[str]) -> Iterator[Line]:
    """`image,caption` or `image_name,comment_number,comment`, and rows below; commas of an unquoted caption are its own."""
    first = next(lines, "")
    columns = _columns([cell.strip().lower() for cell in _cells(first)])
    if columns is None:
        lines, start = itertools.chain([first], lines), 1
        columns = (0, 2, 3) if re.match(r"[^,]*,\s*\d+\s*,", first) else (0, 1, 2)
    else:
        start = 2
    image, caption, width = columns
    for n, line in enumerate(lines, start):
        cells = _cells(line)
        if len(cells) > width and caption == width - 1:
            cells[caption:] = [",".join(cells[caption:])]
        if len(cells) == width:
            yield n, cells[image].strip(), cells[caption], ""
        elif line.strip():
            yield n, line.partition(",")[0].strip(), "", UNREADABLE


def _columns(names: list[str]) -> tuple[int, int, int] | None:
    """Those of photos and captions, by name, else the first and the last, and how many there are; None without a header."""
    if any(Path(name).suffix in SUFFIXES for name in names):
        return None
    image = next((names.index(name) for name in IMAGE_NAMES if name in names), 0)
    caption = next((names.index(name) for name in CAPTION_NAMES if name in names), max(1, len(names) - 1))
    return image, caption, max(2, len(names))


def _cells(line: str) -> list[str]:
    """The cells of one line, none if it has no closing quote: a caption has no line breaks, so it takes no other lines along."""
    line = line.rstrip("\r\n")
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as e:
        # a caption that begins with a quoted word, in a file that quotes nothing
        return line.split(",") if "expected after" in str(e) else []


def _row(name: str, photos: Photos, captions: list[str], where: str, split: str | None) -> Row | Reject:
    try:
        return Row(name, {"image": photos.find(name), "captions": captions}, where, split)
    except FileNotFoundError:
        return Reject(name, where, "missing file: the photo of the caption is not there")
    except (OSError, ValueError) as e:
        return Reject(name, where, str(getattr(e, "strerror", None) or e))
