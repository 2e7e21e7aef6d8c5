"""COCO 2017 captions: the official folders or zip files in OUT or --source, else downloaded to OUT first (20 GB).

Official splits: train and val. --karpathy gives train, val and the usual 5K test, restval joined to train.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from typer import Option

from mmkit.data.modalities import text
from mmkit.data.photos import MISSING, Photos
from mmkit.data.schema import Ask, Reject, Row, Source
from mmkit.data.sources.coco_captions import CaptionFile, Entry, caption_files, entries, karpathy_entries, others
from mmkit.data.sources.download import download, partial
from mmkit.data.sources.karpathy import Karpathy
from mmkit.errors import UserError

EXAMPLES = (
    "mmkit prep coco",
    "mmkit prep coco ./data --source ~/coco --resize 256",
    "mmkit prep coco ./coco5k --source ~/coco --karpathy dataset_coco.json",
)
LICENSE = "captions CC BY 4.0 (COCO Consortium); photos under their Flickr licences, named in the annotation file"
BASE_URL = "http://images.cocodataset.org"
ARCHIVES = {
    "annotations_trainval2017.zip": "annotations/annotations_trainval2017.zip",
    "val2017.zip": "zips/val2017.zip",
    "train2017.zip": "zips/train2017.zip",
}
LAYOUT = "annotations/captions_train2017.json and train2017/, or train2017.zip, val2017.zip and annotations_trainval2017.zip"


def read(
    ask: Ask,
    *,
    karpathy: Karpathy = None,
    base_url: Annotated[
        str | None, Option("--base-url", metavar="URL", help="Download from a mirror.", show_default=False)
    ] = None,
) -> Source:
    """The photos that have captions, in the order of their COCO id.

    Raises:
        UserError: the layout is not there and cannot be downloaded, or a file of it is damaged.
    """
    root = ask.folder
    if ask.source and not root.is_dir():
        raise UserError("no such folder", str(root), f"--source holds {LAYOUT}")
    if ask.source is None:
        _fetch_missing(ask, bool(karpathy), base_url or BASE_URL)
    photos = Photos.of_coco(root)
    if not photos:
        raise UserError("no COCO photos found", str(root), f"looked for {LAYOUT}")
    if karpathy:
        rows, note = _karpathy(karpathy, photos)
    else:
        files = caption_files(root, ask.say)
        if not files:
            raise UserError("no COCO captions found", str(root), others(root) or f"looked for {LAYOUT}")
        rows, note = _official(files, photos, ask.say)
    rows = photos.readings.settle(rows)
    note += f"; {photos.readings.note}" if photos.readings.note else ""
    return Source(rows, "." if ask.source is None else str(root), LICENSE, note)


def _fetch_missing(ask: Ask, captioned: bool, base: str) -> None:
    """Download the archives whose content is not there. Photos of one split alone are taken as they are.

    Args:
        captioned: the captions are in another file.
    """
    out = ask.out
    wanted = [] if captioned or caption_files(out) else ["annotations_trainval2017.zip"]
    if not Photos.of_coco(out):
        wanted += ["val2017.zip", "train2017.zip"]
    begun = [
        f"{name}.zip" for name in ("val2017", "train2017") if partial(out / f"{name}.zip").exists() and not (out / name).is_dir()
    ]
    wanted = [name for name in ARCHIVES if name in wanted or name in begun]
    if not wanted:
        return
    if not ask.download:
        raise UserError("no COCO found", str(out), f"looked for {LAYOUT}; without --dry-run it is downloaded")
    out.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        # so that a rerun knows the whole list, wherever this one stops
        partial(out / name).touch()
    base = base.rstrip("/")
    try:
        for name in wanted:
            ask.say(f"downloading {base}/{ARCHIVES[name]} to {out}")
            download(f"{base}/{ARCHIVES[name]}", out / name, _in_megabytes(ask.progress(f"MB of {name}")))
    except UserError:
        left = [partial(out / name) for name in wanted]
        if all(path.exists() and not path.stat().st_size for path in left):
            for path in left:
                path.unlink()
        raise


def _in_megabytes(progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
    return lambda done, total: progress(done // 10**6, total // 10**6)


def _official(files: list[CaptionFile], photos: Photos, say: Callable[[str], None]) -> tuple[list[Row | Reject], str]:
    rows: list[Row | Reject] = []
    notes = []
    for file in files:
        found, said = entries(file.content(), file.where)
        made = [_row(entry, photos, file.where, file.split) for entry in found]
        if made and all(isinstance(row, Reject) and row.reason.startswith(MISSING) for row in made):
            say(f"none of the photos of {file.where} is there: its split is left out")
            continue
        rows += made
        notes.append(f"{file.where} ({said})" if said else file.where)
    if not rows:
        name = next((entry.name for file in files for entry in entries(file.content(), file.where)[0]), "")
        raise UserError("none of the photos that the captions name is there", files[0].where, f"the first is {name}")
    return rows, f"captions in {', '.join(notes)}; {len(photos):,} photos"


def _karpathy(path: Path, photos: Photos) -> tuple[list[Row | Reject], str]:
    rows = [_row(entry, photos, str(path), None) for entry in karpathy_entries(path)]
    return rows, f"splits of {path.name}; {len(photos):,} photos"


def _row(entry: Entry, photos: Photos, where: str, split: str | None) -> Row | Reject:
    where = f"{where} {entry.place}"
    if entry.flaw:
        return Reject(entry.id, where, entry.flaw)
    return photos.row(entry.id, entry.name, {text.COLUMN: entry.captions}, where, split or entry.split, split)
