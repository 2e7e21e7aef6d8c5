"""Flickr8k or Flickr30k: a token file, captions.txt, results.csv or Karpathy JSON, and the photos in any subfolder.

*.trainImages.txt, *.devImages.txt and *.testImages.txt are the official splits, where they are found.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mmkit.data.cells import EXCESS, is_missing, no_caption
from mmkit.data.compressed import open_text
from mmkit.data.delimited import Delimited, Quotes
from mmkit.data.encoding import detect_encoding
from mmkit.data.modalities import image, text
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

PHOTO_NAMES = ("image", "image_name", "filename", "file_name")
CAPTION_NAMES = ("caption", "comment", "captions", "comments", "text", "sentence", "raw")

# `1000092795.jpg#0`: the name of the photo and the number of the caption
TOKEN = re.compile(r"\s*(\S.*?)#\d+\s*$")
# the number of a caption, and the caption without a separator behind it
NUMBERED = re.compile(r"\s*\d+\s+(.*)")
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
        photos.row(name, name, {text.COLUMN: captions[name]}, f"{path} row {lines[name]}", lists.get(name))
        for name in sorted(captions)
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
    encoding = detect_encoding(path)
    with open_text(path, encoding) as f:
        head = [line.strip() for line in itertools.islice(f, HEAD)]
    keys = [match[1] for line in head if "\t" in line and (match := TOKEN.match(line.partition("\t")[0]))]
    if any(image.holds(key) for key in keys):
        yield from _tokens(Delimited(path, encoding, "\t", Quotes(plain=True), ["key", "caption"], False))
        return
    first = next(filter(None, head), "")
    separator = "|" if "|" in first else ","
    names = [name.strip().lower() for name in first.split(separator)]
    header = not any(map(image.holds, names))
    if not header:
        names = ["image", *(["number"] if names[1:2] and names[1].isdigit() else []), "caption"]
    # captions of Kaggle's results.csv hold quotes that belong to no pair
    yield from _columns(Delimited(path, encoding, separator, Quotes(plain=separator == "|"), names, header))


def _tokens(text: Delimited) -> Iterator[Line]:
    """`1000092795.jpg#0<TAB>Two young guys …`"""
    for n, row in text.rows():
        key, caption = row["key"], "\t".join([row["caption"] or "", *row.get(EXCESS, ())])
        match = TOKEN.match(key)
        if row["caption"] is None:
            yield n, match[1] if match else "", "", "no tab between photo and caption in the line"
        elif not match:
            yield n, key.strip(), caption, "no #number behind the name of the photo" if key.strip() else ""
        else:
            yield n, match[1], caption, ""


def _columns(text: Delimited) -> Iterator[Line]:
    """`image,caption` or `image_name| comment_number| comment`; separators in an unquoted caption at the end are its own."""
    names = text.columns
    photo = next((name for name in PHOTO_NAMES if name in names), names[0])
    told = next((name for name in CAPTION_NAMES if name in names), names[-1])
    for n, row in text.rows():
        caption, excess = row.get(told), row.get(EXCESS, [])
        if caption is None and told == names[-1] and len(names) > 2 and (lost := NUMBERED.fullmatch(row.get(names[-2]) or "")):
            caption = lost[1]  # one line of Kaggle's file lacks its second bar
        # of too many cells only the last ones can be one, and else it is not known which is the photo
        shifted = bool(excess) and told != names[-1]
        name = "" if shifted else (row.get(photo) or "").strip()
        flaw = UNREADABLE if shifted or caption is None else ""
        yield n, name, text.separator.join([caption or "", *excess]).strip(), flaw
