"""The options that the sources of `mmkit prep` share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmkit.cli.options import DATA, OUTPUT, Debug, Force, Json, Limit, Quiet, Workers

SOURCE, PICTURES = "Source", "Pictures"  # headings of --help

Out = Annotated[Path, typer.Argument(metavar="OUT", help="The dataset folder to make.", show_default=True)]
SourceAt = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="FILE|FOLDER|URL",
        help="Where the raw data is.",
        show_default="OUT itself",
        rich_help_panel=SOURCE,
    ),
]
Splits = Annotated[
    str | None,
    typer.Option(
        "--splits",
        metavar="SHARES",
        help="Shares by hash of the id, such as train:0.9,test:0.1.",
        show_default="the official splits, else 80/10/10",
        rich_help_panel=DATA,
    ),
]
Resize = Annotated[
    int | None,
    typer.Option(
        "--resize",
        metavar="PIXELS",
        min=8,
        help="Shrink larger pictures to this short side.",
        show_default=False,
        rich_help_panel=PICTURES,
    ),
]
OnError = Annotated[
    str,
    typer.Option("--on-error", metavar="skip|fail", help="What a row that cannot be used leads to.", rich_help_panel=DATA),
]
Link = Annotated[
    bool,
    typer.Option("--link", help="Store the paths of the pictures and leave the pixels where they are.", rich_help_panel=PICTURES),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Read, show three samples, write nothing.", rich_help_panel=OUTPUT)]


def of_raw_data(
    splits: Splits = None,
    limit: Limit = None,
    on_error: OnError = "skip",
    resize: Resize = None,
    link: Link = False,
) -> None:
    """The options of sources that read raw data, beside --source."""


def of_all(
    dry_run: DryRun = False,
    force: Force = False,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The options of every source."""
