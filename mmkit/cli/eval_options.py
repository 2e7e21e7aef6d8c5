"""The options of `mmkit eval` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmkit.cli.options import DATA, MODEL, OUTPUT
from mmkit.errors import UsageError, nearest

ZERO_SHOT = "Zero-shot"  # a heading of --help
TABLES = {"md": ".md", "csv": ".csv", "latex": ".tex"}  # --format -> the suffix of its files


def _format(value: str | None) -> str | None:
    if value is not None and value not in (known := ["table", *TABLES]):
        raise UsageError(f"no such format {value!r}", "--format", nearest(value, known))
    return value


Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="RUN|CHECKPOINT",
        help="A run, a checkpoint in one, or one of transformers; may repeat.",
        show_default="runs/latest",
        rich_help_panel=MODEL,
    ),
]
NoIntervals = Annotated[
    bool, typer.Option("--no-intervals", help="Leave the 95 % intervals of the metrics out.", rich_help_panel=OUTPUT)
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="FILE.json, of several results FILE-1.json …; or all in one .md, .csv or .tex; `-` is stdout.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        callback=_format,
        help="One table of all: table, md, csv or latex.",
        show_default="table in a terminal, else JSON",
        rich_help_panel=OUTPUT,
    ),
]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--classes",
        metavar="A,B|FILE",
        help="Names of the classes, or a file of them (a line each, or JSON); may repeat.",
        show_default="the labels of the data",
        rich_help_panel=ZERO_SHOT,
    ),
]
Templates = Annotated[
    list[str] | None,
    typer.Option(
        "--templates",
        metavar="NAME|FILE",
        help="openai (CLIP's 80 of ImageNet), a file (a line each, or JSON), or a sentence with {} in it; may repeat.",
        show_default="as the captions of the data are made, else {} of a run, a photo of a {}. of a checkpoint",
        rich_help_panel=ZERO_SHOT,
    ),
]
Embeddings = Annotated[
    Path | None,
    typer.Option(
        "--embeddings",
        metavar="FILE",
        help="Rank the rows of this file; no model.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Rerank = Annotated[
    int | None,
    typer.Option(
        "--rerank",
        metavar="K",
        min=1,
        help="recall@k: put the K nearest in the order of the matching head, both ways.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
ImageRoot = Annotated[
    Path | None,
    typer.Option(
        "--image-root",
        metavar="FOLDER",
        help="Of pairs and POPE: where the pictures are, in subfolders too.",
        show_default="--data",
        rich_help_panel=DATA,
    ),
]
Synonyms = Annotated[
    Path | None,
    typer.Option(
        "--synonyms",
        metavar="FILE",
        help="hallucination: a thing a line, then its synonyms.",
        show_default="COCO's 80",
        rich_help_panel=DATA,
    ),
]
Figure = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        help="Draw which class is taken for which: .png .svg .pdf or .html; of several models FILE-1, FILE-2 …",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
