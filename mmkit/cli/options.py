"""Options that mean the same in every command, declared once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import GLOBAL
from mmkit.errors import UsageError, nearest

SEED_MOST = 2**32 - 1  # of numpy's generators

# headings of --help that several commands share
DATA, MODEL, OUTPUT, MACHINE = "Data", "Model", "Output", "Machine"


def _json(value: bool) -> bool:
    console.as_json = value
    return value


def _quiet(value: bool) -> bool:
    console.quiet = value
    return value


def _debug(value: bool) -> bool:
    console.debug = value
    return value


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|(cpu|cuda|mps)(:\d+)?", value):
        raise UsageError(f"no such device {value!r}", "--device", "known: auto, cpu, cuda, cuda:1, mps")
    return value


def one_of(known: tuple[str, ...], option: str) -> Callable[[str | None], str | None]:
    """The callback of an option that takes one of a few words."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in known:
            raise UsageError(f"no such {option.strip('-')} {value!r}", option, nearest(value, known))
        return value

    return check


Json = Annotated[bool, typer.Option("--json", callback=_json, help="JSON even in a terminal.", rich_help_panel=GLOBAL)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_quiet, help="No progress on stderr.", rich_help_panel=GLOBAL)]
Debug = Annotated[bool, typer.Option("--debug", callback=_debug, help="Show tracebacks.", rich_help_panel=GLOBAL)]
Force = Annotated[
    bool, typer.Option("--force", help="Replace an output that exists (it is moved aside).", rich_help_panel=OUTPUT)
]
Data = Annotated[Path, typer.Argument(metavar="DATA", help="A dataset folder made by `mmkit prep`.", rich_help_panel=DATA)]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DATA", help="A dataset folder.", show_default="data", rich_help_panel=DATA),
]
Split = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="train, val or test.", show_default=False, rich_help_panel=DATA)
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="RUN|CHECKPOINT",
        help="A run folder, a checkpoint in one, or a CLIP / SigLIP / CLAP checkpoint (folder or hub id).",
        rich_help_panel=MODEL,
    ),
]
Writer = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="RUN|CHECKPOINT",
        help="A run folder, a checkpoint in one, or a vision-language checkpoint of transformers (folder or hub id).",
        rich_help_panel=MODEL,
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="Where the product goes; `-` is stdout.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", metavar="DEVICE", callback=_device, help="auto, cpu, cuda or mps.", rich_help_panel=MACHINE),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, help="Threads that decode.", show_default="one per core", rich_help_panel=MACHINE
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=1, help="Use at most this many rows.", show_default=False, rich_help_panel=DATA),
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="match|contrast",
        callback=one_of(("match", "contrast"), "--by"),
        help="Score pairs by the matching head, or by how alike their vectors are.",
        show_default="match, of a model that was trained to",
        rich_help_panel=MODEL,
    ),
]
Beams = Annotated[
    int | None,
    typer.Option(
        "--beams",
        metavar="N",
        min=1,
        help="Texts written side by side, of which the best is taken.",
        show_default="1: the likeliest token at a time",
        rich_help_panel=MODEL,
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help="What a vision-language checkpoint is asked; {} is the question.",
        show_default="as it was trained",
        rich_help_panel=MODEL,
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        metavar="P",
        min=0.0,
        max=1.0,
        help="Draw tokens of the likeliest P.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        metavar="T",
        min=0.01,
        help="Draw them, higher: more evenly.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Shots = Annotated[
    int,
    typer.Option("--shots", metavar="K", min=0, help="Examples of train shown first.", rich_help_panel=MODEL),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, max=SEED_MOST, help="Of what is drawn.", rich_help_panel=MODEL)]


def drawing(top_p: float | None, temperature: float | None, seed: int, beams: int | None) -> Any:
    """How tokens are drawn, by these options; None where they are not.

    Raises:
        UsageError: beams are asked for, too, or P is 0.
    """
    if top_p is None and temperature is None:
        return None
    if beams is not None:
        raise UsageError("--beams looks for the likeliest text, --top-p and --temperature draw one", hint="leave --beams out")
    if top_p == 0:
        raise UsageError("--top-p 0 leaves no token to draw", hint="leave it out: the likeliest token is taken then")
    from mmkit.decoding import Sampling

    return Sampling(1.0 if top_p is None else top_p, temperature or 1.0, seed)


BatchSize = Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Rows a step.", rich_help_panel=MACHINE)]
