"""`mmkit prep flickr`: Flickr8k or Flickr30k, from any of the caption files they are passed around with."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mmkit.data.images import SUFFIXES
from mmkit.data.schema import Options, Picture, Reject, Row, Source
from mmkit.errors import UserError
from mmkit.files import read_json

LICENSE = "photos belong to their Flickr authors, for research only; captions as Flickr8k or Flickr30k give them"
LISTS = {"trainImages.txt": "train", "devImages.txt": "val", "testImages.txt": "test"}
FORMS = "*.token*, captions.txt, results.csv or dataset_flickr*.json"

Line = tuple[int, str, str]  # row in the file, photo, caption


def read(options: Options) -> Source:
    """The photos that have captions, in the order of their names.

    Raises:
        UserError: there is no such folder, no caption file or no photo in it.
    """
    root = options.folder
    if not root.is_dir():
        raise UserError("no such folder", str(root), "--source names the folder of photos and captions")
    photos, texts = _walk(root)
    lists = _official_lists(texts)
    path = options.karpathy or _caption_file(texts, bool(lists))
    if path is None:
        raise UserError("no caption file", str(root), f"looked for {FORMS}")
    if not photos:
        raise UserError("no photos", str(root), "looked in all its folders")
    captions, lines = _captions(path)
    if path.suffix == ".json":
        lists = _karpathy_lists(path)
    rows = [
        _row(name, photos.get(name), captions[name], f"{path} row {lines[name]}", lists.get(name)) for name in sorted(captions)
    ]
    note = f"captions in {path}; {len(photos):,} photos" + (
        f", {n:,} without a caption" if (n := len(photos.keys() - captions.keys())) else ""
    )
    note += "; official splits" if lists else ""
    return Source(rows, "." if options.source is None else str(root), LICENSE, note)


def _walk(root: Path) -> tuple[dict[str, Path], list[Path]]:
    """Photos by name, and all other files."""
    photos: dict[str, Path] = {}
    texts = []
    for folder, names, files in os.walk(root, followlinks=True):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for file in sorted(files):
            path = Path(folder) / file
            if path.suffix.lower() in SUFFIXES:
                photos.setdefault(file, path)
            elif not file.startswith("."):
                texts.append(path)
    return photos, texts


def _official_lists(texts: list[Path]) -> dict[str, str]:
    """Photo -> split, by *.trainImages.txt and its like."""
    found: dict[str, str] = {}
    for path in texts:
        split = next((split for end, split in LISTS.items() if path.name.endswith(end)), None)
        if split:
            found |= {line.strip(): split for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()}
    return found


def _caption_file(texts: list[Path], have_lists: bool) -> Path | None:
    token = [p for p in texts if ".token" in p.name and "lemma" not in p.name]
    named = [p for name in ("captions.txt", "results.csv") for p in texts if p.name == name]
    karpathy = [p for p in texts if re.fullmatch(r"dataset_flickr\w*\.json", p.name)]
    # a Karpathy file brings the official splits, unless their lists are here
    candidates = [*token, *named, *karpathy] if have_lists else [*karpathy, *token, *named]
    return candidates[0] if candidates else None


def _captions(path: Path) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Photo -> captions, and photo -> the row of its first one."""
    captions: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    for row, photo, caption in _parse(path):
        captions.setdefault(photo, []).append(caption)
        lines.setdefault(photo, row)
    if not captions:
        raise UserError("no captions", str(path), f"known forms: {FORMS}")
    return captions, lines


def _parse(path: Path) -> Iterator[Line]:
    if path.suffix == ".json":
        yield from _parse_karpathy(path)
        return
    # what does not decode is kept as surrogates and rejected later as wrong encoding
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as f:
        first = f.readline()
        f.seek(0)
        if "#" in first.partition("\t")[0]:
            yield from _parse_token(f)
        elif "|" in first:
            yield from _parse_bars(f)
        else:
            yield from ((n, cells[0].strip(), cells[1]) for n, cells in enumerate(csv.reader(f), 1) if n > 1 and len(cells) > 1)


def _parse_token(lines: Iterator[str]) -> Iterator[Line]:
    """`1000092795.jpg#0<TAB>Two young guys …`"""
    for n, line in enumerate(lines, 1):
        key, _, caption = line.rstrip("\r\n").partition("\t")
        if key:
            yield n, key.rpartition("#")[0], caption


def _parse_bars(lines: Iterator[str]) -> Iterator[Line]:
    """`1000092795.jpg| 0| Two young guys …`, a heading first; one line of Kaggle's file lacks its second bar."""
    for n, line in enumerate(lines, 1):
        photo, _, rest = line.rstrip("\r\n").partition("|")
        match = re.match(r"\s*\d+\s*\|?\s*(.*)", rest)
        if n > 1 and match:
            yield n, photo.strip(), match[1]


def _parse_karpathy(path: Path) -> Iterator[Line]:
    try:
        for n, image in enumerate(read_json(path)["images"], 1):
            for sentence in image["sentences"]:
                yield n, image["filename"], sentence["raw"]
    except (KeyError, TypeError) as e:
        raise UserError(
            f"not a Karpathy split file (no {e})", str(path), "it has images with filename, split and sentences"
        ) from e


def _karpathy_lists(path: Path) -> dict[str, str]:
    return {image["filename"]: image.get("split", "train").replace("restval", "train") for image in read_json(path)["images"]}


def _row(name: str, photo: Path | None, captions: list[str], where: str, split: str | None) -> Row | Reject:
    if photo is None:
        return Reject(name, where, "missing file: the photo of the caption is not there")
    try:
        return Row(name, Picture.file(photo), captions, where, split)
    except OSError:
        return Reject(name, where, f"missing file {photo}")
