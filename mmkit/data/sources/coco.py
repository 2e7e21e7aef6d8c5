"""`mmkit prep coco`: COCO captions from the official folders or zip files, downloaded if there are none."""

from __future__ import annotations

import functools
import json
import os
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmkit.data.cells import text_of
from mmkit.data.schema import Options, Picture, Reject, Row, Source
from mmkit.data.sources.download import download, partial
from mmkit.errors import UserError
from mmkit.files import read_json

LICENSE = "captions CC BY 4.0 (COCO Consortium); photos under their Flickr licences, named in the annotation file"
BASE_URL = "http://images.cocodataset.org"
ARCHIVES = {
    "annotations_trainval2017.zip": "annotations/annotations_trainval2017.zip",
    "val2017.zip": "zips/val2017.zip",
    "train2017.zip": "zips/train2017.zip",
}
LAYOUT = "annotations/captions_train2017.json and train2017/, or train2017.zip, val2017.zip and annotations_trainval2017.zip"

# what zipfile raises for a damaged member; RuntimeError for one that is encrypted or compressed in a way it does not know
DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)

Finder = Callable[[], Picture]


def read(options: Options) -> Source:
    """The photos that have captions, in the order of their COCO id.

    Raises:
        UserError: the layout is not there and cannot be downloaded, or a file of it is damaged.
    """
    root = options.folder
    if options.source and not root.is_dir():
        raise UserError("no such folder", str(root), f"--source holds {LAYOUT}")
    if options.source is None:
        _fetch_missing(options)
    photos = _photos(root)
    if options.karpathy:
        rows, note = _karpathy(options.karpathy, photos)
    else:
        rows, note = _official(root, photos, options.say)
    if not photos:
        raise UserError("no COCO photos found", str(root), f"looked for {LAYOUT}")
    return Source(rows, "." if options.source is None else str(root), LICENSE, note)


def _fetch_missing(options: Options) -> None:
    """Download the archives whose content is not there. Photos of one split alone are taken as they are."""
    out = options.out
    wanted = [] if options.karpathy or _captions(out) else ["annotations_trainval2017.zip"]
    if not _photos(out):
        wanted += ["val2017.zip", "train2017.zip"]
    begun = [
        f"{name}.zip" for name in ("val2017", "train2017") if partial(out / f"{name}.zip").exists() and not (out / name).is_dir()
    ]
    wanted = [name for name in ARCHIVES if name in wanted or name in begun]
    if not wanted:
        return
    if not options.download:
        raise UserError("no COCO found", str(out), f"looked for {LAYOUT}; without --dry-run it is downloaded")
    out.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        # so that a rerun knows the whole list, wherever this one stops
        partial(out / name).touch()
    base = (options.base_url or BASE_URL).rstrip("/")
    try:
        for name in wanted:
            options.say(f"downloading {base}/{ARCHIVES[name]} to {out}")
            download(f"{base}/{ARCHIVES[name]}", out / name, _in_megabytes(options.progress(f"MB of {name}")))
    except UserError:
        left = [partial(out / name) for name in wanted]
        if all(path.exists() and not path.stat().st_size for path in left):
            for path in left:
                path.unlink()
        raise


def _in_megabytes(progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
    return lambda done, total: progress(done // 10**6, total // 10**6)


def _official(root: Path, photos: dict[int, Finder], say: Callable[[str], None]) -> tuple[list[Row | Reject], str]:
    found = _captions(root)
    if not found:
        raise UserError("no captions_train2017.json or captions_val2017.json", str(root), f"looked for {LAYOUT}")
    rows: list[Row | Reject] = []
    for where, (split, load) in found.items():
        content = load()
        try:
            names = {image["id"]: image["file_name"] for image in content["images"]}
            captions: dict[int, list[str]] = defaultdict(list)
            for annotation in content["annotations"]:
                captions[annotation["image_id"]].append(annotation["caption"])
        except (KeyError, TypeError) as e:
            raise UserError(f"not a COCO caption file (no {e})", where) from e
        if not any(photo in photos for photo in captions):
            say(f"none of the photos of {where} is there: its split is left out")
            continue
        rows += [_row(i, names.get(i, str(i)), photos, captions[i], where, split) for i in sorted(captions)]
    return rows, f"captions in {', '.join(found)}; {len(photos):,} photos"


def _karpathy(path: Path, photos: dict[int, Finder]) -> tuple[list[Row | Reject], str]:
    content = read_json(path)
    rows = []
    try:
        for image in sorted(content["images"], key=lambda image: image["cocoid"]):
            captions = [sentence["raw"] for sentence in image["sentences"]]
            rows.append(_row(image["cocoid"], image["filename"], photos, captions, str(path), text_of(image.get("split"))))
    except (KeyError, TypeError) as e:
        raise UserError(
            f"not a Karpathy split file of COCO (no {e})",
            str(path),
            "dataset_coco.json has images with cocoid, filename, sentences and split",
        ) from e
    return rows, f"splits of {path.name}; {len(photos):,} photos"


def _row(coco_id: int, name: str, photos: dict[int, Finder], captions: list[str], where: str, split: str) -> Row | Reject:
    row_id, where = f"{coco_id:012d}", f"{where} image {coco_id}"
    try:
        return Row(row_id, photos[coco_id](), captions, where, split)
    except (KeyError, FileNotFoundError):
        return Reject(row_id, where, f"missing file {name}")


def _captions(root: Path) -> dict[str, tuple[str, Callable[[], Any]]]:
    """Where captions are -> (split, function that loads them); files before zips, one year only."""
    found: dict[str, tuple[str, Callable[[], Any]]] = {}
    for year in ("2017", "2014"):
        for split in ("train", "val"):
            name = f"captions_{split}{year}.json"
            path = next((p for p in (root / "annotations" / name, root / name) if p.is_file()), None)
            archive = root / f"annotations_trainval{year}.zip"
            if path:
                found[str(path)] = (split, functools.partial(read_json, path))
            elif archive.is_file():
                found[f"{archive}/{name}"] = (split, functools.partial(_json_in, archive, f"annotations/{name}"))
        if found:
            break
    return found


def _json_in(archive: Path, name: str) -> Any:
    try:
        return json.loads(_open_zip(archive).read(name))
    except (KeyError, ValueError, *DAMAGES) as e:
        raise UserError(f"no readable {name} in the zip ({e})", str(archive)) from e


def _photos(root: Path) -> dict[int, Finder]:
    """COCO id -> function that makes the Picture. Folders come before zips."""
    found: dict[int, Finder] = {}
    for archive in sorted(root.glob("*20*.zip")):
        if re.fullmatch(r"(train|val)20(14|17)\.zip", archive.name):
            found |= _zipped(archive)
    folders = [root, *(p for parent in (root, root / "images") for p in _subfolders(parent))]
    for folder in folders:
        if folder.is_dir():
            names = {entry.name: Path(entry.path) for entry in os.scandir(folder)}
            found |= {
                i: functools.partial(Picture.file, path) for name, path in names.items() if (i := _coco_id(name)) is not None
            }
    return found


def _subfolders(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".")) if parent.is_dir() else []


def _zipped(archive: Path) -> dict[int, Finder]:
    pack = _open_zip(archive)
    found: dict[int, Finder] = {}
    for info in pack.infolist():
        i = _coco_id(info.filename.rpartition("/")[2])
        if i is not None:
            found[i] = functools.partial(_in_zip, pack, info)
    return found


def _in_zip(pack: zipfile.ZipFile, info: zipfile.ZipInfo) -> Picture:
    where = f"{pack.filename}/{info.filename}"
    return Picture(where, functools.partial(_member, pack, info), info.file_size, None, f"{info.CRC:08x}")


def _open_zip(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except zipfile.BadZipFile as e:
        raise UserError(
            f"the zip file is truncated or damaged ({e})", str(archive), "delete it and run the same command again"
        ) from e


def _member(pack: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return pack.read(info)
    except DAMAGES as e:
        raise UserError(f"damaged in the zip ({e})", str(pack.filename)) from e


def _coco_id(name: str) -> int | None:
    """000000000285.jpg and COCO_val2014_000000000285.jpg are both 285."""
    match = re.fullmatch(r"(?:COCO_\w+?_)?(\d{6,12})\.jpe?g", name, re.IGNORECASE)
    return int(match[1]) if match else None
