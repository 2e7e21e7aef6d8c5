"""Options of `mmkit train` that say what is trained, shared by every command that trains; and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmkit.cli.levels import Typed
from mmkit.cli.options import MODEL
from mmkit.errors import UsageError
from mmkit.tune import tunes

# headings of --help
DATA, LENGTH, CONFIGURATION, MEMORY = "What to train on", "Length and learning", "Configuration", "Memory and precision"

DataFolder = Annotated[
    str | None, typer.Argument(metavar="DATA", help="A dataset folder.", show_default="data", rich_help_panel=DATA)
]
TrainLimit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Use at most this many training rows.", rich_help_panel=DATA)
]
Recipe = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE", help="A recipe (mmkit recipes) or a TOML file.", show_default="clip", rich_help_panel=MODEL
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="tiny, small, base or large.", show_default="tiny on a CPU, else small", rich_help_panel=MODEL
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(metavar="KIND|CHECKPOINT", help="A kind, or a transformers folder or hub id.", rich_help_panel=MODEL),
]
FrameEncoder = Annotated[
    str | None,
    typer.Option(metavar="KIND|CHECKPOINT", help="Of frames: vit, cnn, a transformers folder or hub id.", rich_help_panel=MODEL),
]
LockImage = Annotated[bool, typer.Option("--lock-image", help="The image encoder does not learn.", rich_help_panel=MODEL)]
LockAudio = Annotated[bool, typer.Option("--lock-audio", help="The audio encoder does not learn.", rich_help_panel=MODEL)]
LockText = Annotated[bool, typer.Option("--lock-text", help="The text encoder does not learn.", rich_help_panel=MODEL)]


def tune_option(words: str) -> Any:
    """`--tune`; `words` say what there is."""
    return typer.Option("--tune", metavar="NAME", help=words, show_default=False, rich_help_panel=MODEL)


Tune = Annotated[str | None, tune_option("A preset of train.")]
TuneSaid = Annotated[
    str | None, tune_option("What learns when. " + "; ".join(f"{name}: {table['doc']}" for name, table in tunes().items()) + ".")
]
Interpolate = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        min=0,
        max=1,
        help="Mix this share of the fine-tuned weights with those they began with, at the end.",
        rich_help_panel=LENGTH,
    ),
]
Init = Annotated[
    str | None,
    typer.Option(metavar="RUN|CHECKPOINT", help="Start from a run, or a CLIP, SigLIP or CLAP checkpoint.", rich_help_panel=MODEL),
]
Steps = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help='Length of the run: 500, "2 epochs", "15 min".', rich_help_panel=LENGTH),
]
Epochs = Annotated[
    float | None, typer.Option(metavar="N", help="Length in passes over the training rows.", rich_help_panel=LENGTH)
]
Patience = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Stop after this many evaluations without a better one.", rich_help_panel=LENGTH),
]
GlobalBatch = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="N", min=2, help="Pairs a step, over all processes.", rich_help_panel=LENGTH),
]
Rate = Annotated[float | None, typer.Option("--lr", metavar="RATE", help="Peak learning rate.", rich_help_panel=LENGTH)]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML over the recipe.", show_default=False, rich_help_panel=CONFIGURATION),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One key (mmkit recipes show clip lists all); may repeat. VALUE is TOML.",
        rich_help_panel=CONFIGURATION,
    ),
]
Amp = Annotated[
    bool | None,
    typer.Option("--amp/--no-amp", help="Half precision, where this device is faster with it.", rich_help_panel=MEMORY),
]
Accumulate = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Compute a batch in this many parts: less memory, the same result.", rich_help_panel=MEMORY
    ),
]

# option -> the key that it sets
KEYS = {
    "DATA": "data.path",
    "--data": "data.path",
    "--limit": "data.limit",
    "--workers": "data.workers",
    "--size": "size",
    "--steps": "train.steps",
    "--epochs": "train.epochs",
    "--batch-size": "train.batch_size",
    "--lr": "train.lr",
    "--seed": "train.seed",
    "--patience": "train.patience",
    "--interpolate": "train.interpolate",
    "--cache-limit": "train.cache_limit",
    "--init": "train.init",
    "--amp": "train.amp",
    "--accumulate": "train.accumulate",
    "--grad-checkpoint": "train.grad_checkpoint",
    "--report-to": "train.report_to",
    "--image-encoder": "encoder.image",
    "--text-encoder": "encoder.text",
    "--audio-encoder": "encoder.audio",
    "--video-encoder": "encoder.video",
}


def typed(
    recipe: str | None,
    config: Path | None,
    sets: list[str] | None,
    locked: dict[str, bool],
    options: dict[str, Any],
    tune: str | None = None,
) -> Typed:
    """What was typed as levels of the configuration.

    Args:
        locked: modality -> whether its encoder stands still.
        options: of KEYS, those with a value.
        tune: a preset.

    Raises:
        UsageError: two of them say the same.
    """
    given = {option: (KEYS[option], value) for option, value in options.items() if value is not None}
    if "--steps" in given and "--epochs" in given:
        raise UsageError("--steps and --epochs both say how long the run is", hint="leave one out")
    return Typed(recipe, config, given, [modality for modality, lock in locked.items() if lock], sets or [], tune)
