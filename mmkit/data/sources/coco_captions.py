"""Files of captions in COCO's format, as its releases, LAVIS, Karpathy and the exports of annotation tools lay them."""

from __future__ import annotations

import functools
import posixpath
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.data.cells import text_of, texts_of
from mmkit.data.data_files import split_of
from mmkit.data.photos import json_in
from mmkit.data.sources.karpathy import listed
from mmkit.data.walk import walk
from mmkit.errors import UserError
from mmkit.files import read_json

# what files of COCO without captions begin with
OTHER = ("instances", "person_keypoints", "stuff", "panoptic", "image_info", "dataset_coco")
# what they are called that may hold captions: LAVIS, FiftyOne, Roboflow, and whatever a tool writes
DEPTH, PROBED, NAMED = 2, 20, 3


@dataclass(frozen=True, slots=True)
class CaptionFile:
    """A file of captions.

    Args:
        where: its path; inside a zip, that of the zip and its own.
        split: what its name or its folder says.
        content: its JSON.
    """

    where: str
    split: str | None
    content: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file of captions says of one photo.

    Args:
        name: what the photo's file is called.
        place: where in the file it stands, for messages.
        flaw: why it names no photo.
    """

    id: str
    name: str
    captions: list[str]
    place: str
    split: str | None = None
    flaw: str = ""


def caption_files(root: Path, say: Callable[[str], None] = lambda text: None) -> list[CaptionFile]:
    """The files of captions below a folder: COCO's own, of one year; else those of any name that hold captions."""
    years = {year: found for year in ("2017", "2014") if (found := _official(root, year))}
    if years:
        year = next(iter(years))
        if len(years) > 1:
            say(f"captions of {' and '.join(years)} are there: those of {year} are read")
        return years[year]
    paths = [path for path in json_files(root) if not path.name.startswith(OTHER)]
    likely = [path for path in paths if path.name.startswith("captions")] or paths[:PROBED]
    files = [
        CaptionFile(str(path), split_of(path.relative_to(root)), functools.cache(functools.partial(read_json, path)))
        for path in likely
    ]
    return [file for file in files if _holds_captions(file)]


def others(root: Path) -> str:
    """What is said of files of COCO below the folder that hold no captions; empty where there are none."""
    found = [path for path in json_files(root) if path.name.startswith(OTHER)]
    karpathy = next((path for path in found if path.name.startswith("dataset_coco")), None)
    if karpathy:
        return f"--karpathy {karpathy}   reads that file"
    names = ", ".join(path.name for path in found[:NAMED])
    return f"{names} hold{'s' if len(found) == 1 else ''} no captions" if found else ""


def _official(root: Path, year: str) -> list[CaptionFile]:
    """Those of one release; files before zips."""
    found = []
    archive = root / f"annotations_trainval{year}.zip"
    for split in ("train", "val"):
        name = f"captions_{split}{year}.json"
        path = next((p for p in (root / "annotations" / name, root / name) if p.is_file()), None)
        if path:
            found.append(CaptionFile(str(path), split, functools.partial(read_json, path)))
        elif archive.is_file():
            load = functools.partial(json_in, archive, f"annotations/{name}")
            found.append(CaptionFile(f"{archive}/{name}", split, load))
    return found


def json_files(root: Path) -> list[Path]:
    """Those that lie in a folder or a few below it."""
    return [root / folder / name for folder, names in walk(root, DEPTH) for name in names if name.lower().endswith(".json")]


def _holds_captions(file: CaptionFile) -> bool:
    try:
        content = file.content()
    except UserError:
        return Path(file.where).name.startswith("captions")  # reading it will say what is wrong
    if isinstance(content, list):
        return bool(content) and isinstance(content[0], dict) and {"image", "caption"} <= content[0].keys()
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        return False
    annotations = content["annotations"]
    return isinstance(annotations, list) and any(isinstance(a, dict) and "caption" in a for a in annotations)


def entries(content: Any, where: str) -> tuple[list[Entry], str]:
    """What the content of a file says of its photos, in the order of their ids, and what is said of the file.

    Raises:
        UserError: it is no file of captions.
    """
    try:
        return (_listed if isinstance(content, list) else _linked)(content)
    except (KeyError, TypeError, AttributeError) as e:
        raise UserError(f"not a COCO caption file (no {e})", where) from e


def karpathy_entries(path: Path) -> list[Entry]:
    """The same of Karpathy's file, in which the photos are named with their folder and split.

    Raises:
        UserError: it is not that file.
    """
    found = sorted(listed(path, "cocoid"), key=lambda photo: _order(photo.number))
    return [Entry(_row_id(p.number), p.name, p.captions, f"image {p.number}", p.split) for p in found]


def _linked(content: Any) -> tuple[list[Entry], str]:
    """COCO's own form: images with an id and a file_name, annotations with an image_id and a caption."""
    images: dict[str, list[Any]] = defaultdict(list)
    for image in content["images"]:
        images[_key(image["id"])].append(image)
    captions: dict[str, list[str]] = defaultdict(list)
    ids: dict[str, Any] = {}
    others = 0
    for annotation in content["annotations"]:
        if "caption" not in annotation:
            others += 1
            continue
        key = _key(annotation["image_id"])
        ids.setdefault(key, annotation["image_id"])
        captions[key] += texts_of(annotation["caption"]) or [""]
    if others and not captions:
        raise KeyError("caption")
    found = [
        _entry(_row_id(ids[key]), key, images[key], captions[key]) for key in sorted(captions, key=lambda key: _order(ids[key]))
    ]
    blank = len(images.keys() - captions.keys())
    notes = [f"{blank:,} images have no caption"] if blank else []
    notes += [f"{others:,} annotations are no captions"] if others else []
    return found, ", ".join(notes)


def _entry(row_id: str, key: str, images: list[Any], captions: list[str]) -> Entry:
    # only a photo without file_name is found by its id
    names = sorted({_file_name(image) or key for image in images})
    flaw = "" if len(names) == 1 else f"several images have this id: {', '.join(names)}" if names else "no image has this id"
    return Entry(row_id, names[0] if names else "", captions, f"image {key or 'without id'}", flaw=flaw)


def _listed(content: list[Any]) -> tuple[list[Entry], str]:
    """LAVIS's form: an image and a caption, or a list of them, in each row."""
    captions: dict[str, list[str]] = defaultdict(list)
    rows: dict[str, int] = {}
    for n, row in enumerate(content, 1):
        name = text_of(row["image"]).strip()
        captions[name] += texts_of(row["caption"]) or [""]
        rows.setdefault(name, n)
    flaw = {"": "no image in the row"}
    return [
        Entry(name or f"row {rows[name]}", name, captions[name], f"row {rows[name]}", flaw=flaw.get(name, ""))
        for name in sorted(captions)
    ], ""


def _file_name(image: Any) -> str:
    """What the photo's file is called; that of its address where it is not said."""
    return text_of(image.get("file_name")).strip() or posixpath.basename(text_of(image.get("coco_url")).strip())


def _key(value: Any) -> str:
    """An id as text: 7, 7.0 and "7" are one."""
    return text_of(value).strip()


def _row_id(value: Any) -> str:
    return f"{value:012d}" if isinstance(value, int) else _key(value) or "no id"


def _order(value: Any) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, _key(value))
