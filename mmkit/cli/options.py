"""Options that mean the same in every command, declared once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from mmkit.cli.console import console
from mmkit.errors import UsageError

SEED_MOST = 2**32 - 1  # of numpy's generators


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
        raise UsageError(f"no such device {value!r}", "--device", "auto, cpu, cuda, cuda:1 or mps")
    return value


Json = Annotated[bool, typer.Option("--json", callback=_json, help="JSON even in a terminal.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_quiet, help="No progress on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", callback=_debug, help="Show tracebacks.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that exists (it is moved aside).")]
Data = Annotated[Path, typer.Argument(help="A dataset folder made by `mmkit prep`.", show_default=True)]
DataOption = Annotated[Path | None, typer.Option("--data", help="A dataset folder. Default: ./data.", show_default=False)]
Split = Annotated[str | None, typer.Option("--split", help="train, val or test.", show_default=False)]
Model = Annotated[str, typer.Option("--model", "-m", help="A run folder, a checkpoint in one, or a CLIP / SigLIP checkpoint.")]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Where the product goes; `-` is stdout.", show_default=False)]
Device = Annotated[str, typer.Option("--device", callback=_device, help="auto, cpu, cuda or mps.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Threads that decode. Default: one per core.", show_default=False)
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Use at most this many rows.", show_default=False)]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Rows a step.")]
