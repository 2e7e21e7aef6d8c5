"""VQA 1 and 2: questions about COCO's photos, each with the answers of ten annotators, as visualqa.org gives them.

v2_OpenEnded_mscoco_train2014_questions.json, v2_mscoco_train2014_annotations.json and their like (version 1 without v2_), and
train2014/ …, or the zip files of both, are looked for in --source or OUT. Official splits; the questions of test have no
answers. A row is a photo with all of its questions; their type is the answer type, by which the official evaluation reports:
yes/no, number or other. Lists of objects with image, question and answers (VizWiz, LAVIS) are read too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from mmkit.data.photos import MISSING, Photos
from mmkit.data.schema import Ask, Reject, Row, Source
from mmkit.data.sources.vqa_files import Asked, asked
from mmkit.errors import UserError

EXAMPLES = (
    "mmkit prep vqa ./data --source ~/vqa",
    "mmkit prep vqa ./data --source ~/vqa --image-root ~/coco --resize 256",
    "mmkit prep vqa ./data --source ~/VizWiz",
)
LICENSE = "questions and answers CC BY 4.0 (VQA); photos under their Flickr licences, named in COCO's annotation files"
LAYOUT = "v2_OpenEnded_mscoco_train2014_questions.json, v2_mscoco_train2014_annotations.json and train2014/, or their zip files"


def read(
    ask: Ask,
    *,
    image_root: Annotated[
        Path | None,
        Option("--image-root", metavar="FOLDER", help="Where the photos are.", show_default="beside the questions"),
    ] = None,
) -> Source:
    """The photos that are asked about, in the order of their COCO id.

    Raises:
        UserError: the layout is not there, or a file of it is damaged.
    """
    root = ask.folder
    if not root.is_dir():
        raise UserError("no such folder", str(root), f"--source holds {LAYOUT}")
    files = asked(root, ask.say)
    if not files:
        raise UserError("no questions found", str(root), f"looked for {LAYOUT}")
    photos = Photos.of_coco(image_root or root)
    if not photos:
        raise UserError("no photos found", str(image_root or root), "--image-root FOLDER   names the folder of train2014/ …")
    rows: list[Row | Reject] = []
    for file in files:
        made = [_row(photos, file, n) for n in range(len(file.photos))]
        if made and all(isinstance(row, Reject) and row.reason.startswith(MISSING) for row in made):
            ask.say(f"none of the photos of {file.where} is there: its split is left out")
            continue
        rows += [Reject(id, f"{file.where} {place}", flaw) for id, place, flaw in file.flaws] + made
    if not any(isinstance(row, Row) for row in rows):
        name = files[0].photos[0].name if files[0].photos else "named nowhere"
        raise UserError("none of the photos that are asked about is there", files[0].where, f"the first is {name}")
    rows = photos.readings.settle(rows)
    note = _note(files, rows)
    note += f"; {photos.readings.note}" if photos.readings.note else ""
    return Source(rows, "." if ask.source is None else str(root), LICENSE, note)


def _row(photos: Photos, file: Asked, n: int) -> Row | Reject:
    photo = file.photos[n]
    where = f"{file.where} image {photo.id}"
    return photos.row(photo.id, photo.name, {"questions": photo.questions}, where, file.split, file.split)


def _note(files: list[Asked], rows: list[Row | Reject]) -> str:
    """What was found, for the user."""
    kept = [row.values["questions"] for row in rows if isinstance(row, Row)]
    questions = [question for asked in kept for question in asked]
    blank = sum(not question["answers"] for question in questions)
    note = f"{len(questions):,} questions about {len(kept):,} photos, in {', '.join(file.where for file in files)}"
    return note + (f"; {blank:,} of them without answers" if blank else "")
