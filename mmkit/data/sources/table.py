"""A CSV, TSV, JSONL, Parquet or NPZ table of images, sounds, videos, series or texts, with captions, labels or numbers.

Separator, encoding, header and columns are detected and said. Columns named id, label and split count as such; numbered
ones (caption_0, caption_1 …) are captions of one picture. The only column of numbers named target, sentiment, score, rating,
valence or polarity is the number that a model may learn to predict; --column target=NAME names another. A series is a list
of numbers, or of channels (channels x time); in NPZ each array is a column. Columns question and answer (answers, answer_0 …)
are questions about the row, and no captions. --column depth=NAME makes a further column, called depth, of the pictures, sounds,
videos or series that it holds: an input of its own. In a folder, shards and splits of one table are read as one: train.csv and
test.csv, or Parquet as the Hub lays it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from mmkit.data.columns import parse
from mmkit.data.data_files import data_files
from mmkit.data.samples import Reading, read_parts
from mmkit.data.schema import Ask, Source

EXAMPLES = (
    "mmkit prep table ./data --source products.csv",
    "mmkit prep table ./data --source pairs.jsonl --image-root ~/photos",
    "mmkit prep table --source t.csv --column caption=title --column depth=map",
)
ROLES = "What a column is: image, audio, video, caption or series (may repeat), label, target, split, id, question, answer; or "
ROLES += "a name of its own."


def read(
    ask: Ask,
    *,
    column: Annotated[
        list[str] | None, Option("--column", metavar="ROLE=NAME", help=ROLES, show_default="detected, and said")
    ] = None,
    image_root: Annotated[
        Path | None,
        Option("--image-root", metavar="FOLDER", help="What relative paths start from.", show_default="the table's folder"),
    ] = None,
) -> Source:
    """The rows of the table, in its order; shards and splits of one table in a folder are read as one.

    Raises:
        UserError: the table is missing, damaged or without rows, or has no columns that make samples; its columns are
            named. It is not clear which files of a folder are one table. The disk is full.
    """
    in_place = ask.folder.absolute() == ask.out.absolute()
    return read_parts(data_files(ask.folder, in_place), Reading(ask, parse(column or []), image_root))
