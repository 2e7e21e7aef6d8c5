"""mmkit train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.levels import Typed
from mmkit.cli.options import OUTPUT, SEED_MOST, Debug, Device, Force, Json, Quiet, Workers
from mmkit.cli.train_options import (
    LENGTH,
    MEMORY,
    Accumulate,
    Amp,
    ConfigFile,
    DataFolder,
    Encoder,
    Epochs,
    FrameEncoder,
    GlobalBatch,
    Init,
    Interpolate,
    LockAudio,
    LockImage,
    LockText,
    Patience,
    Rate,
    Recipe,
    Sets,
    Size,
    Steps,
    TrainLimit,
    TuneSaid,
    typed,
)
from mmkit.config import Config
from mmkit.errors import Exit, UsageError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

EPILOG = """\b
Examples:
  mmkit train
  mmkit train ./coco --amp --steps "10 epochs" --set train.warmup=10%
  mmkit train --image-encoder facebook/dinov2-small --lock-image --text-encoder ./minilm --lock-text
  mmkit train --init runs/clip --tune gradual --interpolate 0.5
  mmkit train --resume latest
"""
SHEET = 48  # pictures of the first batch that --dry-run draws


@app.command(cls=Page, epilog=EPILOG)
def train(
    data: DataFolder = None,
    limit: TrainLimit = None,
    recipe: Recipe = None,
    size: Size = None,
    image_encoder: Encoder = None,
    text_encoder: Encoder = None,
    audio_encoder: Encoder = None,
    video_encoder: FrameEncoder = None,
    lock_image: LockImage = False,
    lock_text: LockText = False,
    lock_audio: LockAudio = False,
    tune: TuneSaid = None,
    init: Init = None,
    steps: Steps = None,
    epochs: Epochs = None,
    patience: Patience = None,
    interpolate: Interpolate = None,
    batch_size: GlobalBatch = None,
    lr: Rate = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=SEED_MOST, help="Of everything drawn.", rich_help_panel=LENGTH)
    ] = None,
    config: ConfigFile = None,
    set_: Sets = None,
    amp: Amp = None,
    accumulate: Accumulate = None,
    grad_checkpoint: Annotated[
        bool,
        typer.Option("--grad-checkpoint", help="Recompute activations: less memory, slower.", rich_help_panel=MEMORY),
    ] = False,
    cache_limit: Annotated[
        float | None,
        typer.Option(min=0, metavar="GB", help="Disk for the features of frozen encoders.", rich_help_panel=MEMORY),
    ] = None,
    device: Device = "auto",
    workers: Workers = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The run is runs/NAME.", rich_help_panel=OUTPUT)] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN|latest|auto", help="Go on with a run.", rich_help_panel=OUTPUT)
    ] = None,
    report_to: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Experiment trackers besides metrics.jsonl: tensorboard, wandb.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the resolved configuration and draw the first batch; train nothing.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="The picture that --dry-run draws.", rich_help_panel=OUTPUT),
    ] = Path("dry-run.png"),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Train a model on a dataset folder. Prints the run folder on stdout, nothing else."""
    if name and ("/" in name or name.startswith(".") or name == "latest"):
        raise UsageError(f"--name {name!r} is no folder name", hint="letters, digits, - and _")
    options = {
        "DATA": data,
        "--limit": limit,
        "--workers": workers,
        "--size": size,
        "--steps": steps,
        "--epochs": epochs,
        "--batch-size": batch_size,
        "--lr": lr,
        "--seed": seed,
        "--patience": patience,
        "--interpolate": interpolate,
        "--cache-limit": cache_limit,
        "--init": init,
        "--amp": amp,
        "--accumulate": accumulate,
        "--grad-checkpoint": grad_checkpoint or None,
        "--report-to": report_to,
        "--image-encoder": image_encoder,
        "--text-encoder": text_encoder,
        "--audio-encoder": audio_encoder,
        "--video-encoder": video_encoder,
    }
    words = typed(recipe, config, set_, {"image": lock_image, "text": lock_text, "audio": lock_audio}, options, tune)
    with words.named():
        return _train(words, resume, name, force, device, out if dry_run else None)


def _train(words: Typed, resume: str | None, name: str | None, force: bool, device: str, sheet: Path | None) -> int:
    """Everything of `mmkit train` that needs torch.

    Args:
        sheet: where to draw the first batch instead of training.
    """
    # before torch is imported: what is typed wrongly is said at once
    if sheet is not None:
        from mmkit.views.sheet import check_target

        check_target(sheet, force)
    from mmkit.training.names import check_names

    resolved = words.resolve()
    check_names(resolved)
    from mmkit.cli.live import LiveView
    from mmkit.talk import Talk
    from mmkit.training import distributed
    from mmkit.training.loop import Interrupted
    from mmkit.workflows import fit

    if resolved.train.init and not resume:
        from mmkit.loading import init_tables

        resolved = words.resolve(init_tables(resolved.train.init, console.say))
    distributed.join(device)
    first = distributed.world()[0] == 0
    console.quiet = console.quiet or not first
    for option in words.overruled(resolved):
        console.warn(f"{option} is without effect: --set stage says what learns")
    runs = Path("runs")
    try:
        with LiveView(console) as view:
            talk = Talk(console.say, console.warn, view.begin, view.step, view.row, view.progress)
            if sheet is not None:
                return _dry_run(resolved, device, talk, sheet, force)
            folder = fit.resume(resume, runs, device, talk, words.differing) if resume else None
            if folder is None:
                folder = fit.start(resolved, runs, name, force, device, talk)
    except Interrupted as e:
        if first:
            console.warn(f"stopped; go on with: mmkit train --resume {e}")
        return Exit.INTERRUPTED
    finally:
        distributed.leave()
    if first:
        console.product(str(folder))
    return Exit.DONE


def _dry_run(config: Config, device: str, talk: Any, out: Path, force: bool) -> int:
    """The resolved configuration on stdout, the first batch as a contact sheet."""
    from mmkit.config import to_dict
    from mmkit.files import make_way, toml_text
    from mmkit.views.sheet import contact_sheet, save_sheet
    from mmkit.workflows import fit

    made = fit.dry_run(config, device, talk)
    batch = made.first_batch
    shown = min(SHEET, batch.rows)
    pictures, captions = _first_rows(batch, shown)
    make_way(out, force)
    save_sheet(contact_sheet(pictures, captions), out)
    console.say(f"first     {shown} of {batch.rows} samples of a batch, as the model sees them: {out}")
    console.product(toml_text(to_dict(made.config)).rstrip())
    return Exit.DONE


def _first_rows(batch: Any, shown: int) -> tuple[list[Any], list[str]]:
    """Pictures and texts of the first rows; a grey square stands for what has no picture."""
    from PIL import Image

    pictures = [_seen(batch, i) or Image.new("RGB", (64, 64), (128, 128, 128)) for i in range(shown)]
    said = [" / ".join(texts[i] for texts in batch.said.values()) for i in range(shown)]
    targets = [_told(value) for value in next(iter(batch.targets.values()), [None] * shown)[:shown]]
    return pictures, [" · ".join(part for part in (text, target) if part) for text, target in zip(said, targets, strict=True)]


def _seen(batch: Any, row: int) -> Any:
    """The first input of a row of which there is a picture: pixels, a spectrogram, the curves of a series."""
    from mmkit.data.curves import SMALL, curves
    from mmkit.data.spectrogram import spectrogram_of

    for name, tensors in batch.inputs.items():
        there = batch.has(name)
        if there is not None and not there[row]:
            continue
        if "pixels" in tensors:
            return _picture(tensors["pixels"][row])
        if "sound" in tensors and tensors["sound"].ndim == 3:
            return spectrogram_of(tensors["sound"][row][tensors["mask"][row]].numpy())
        if "values" in tensors:
            return curves(tensors["values"][row][:, tensors["mask"][row]].numpy(), SMALL)
    return None


def _picture(pixels: Any) -> Any:
    """A picture (3, S, S), or four of the frames (F, 3, S, S) of a video, as they are."""
    from PIL import Image

    from mmkit.data.videos import mosaic

    if pixels.ndim == 4:
        return mosaic([_picture(pixels[i * len(pixels) // 4]) for i in range(4)])
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def _told(target: Any) -> str:
    """A target in words: a class, several, or the answers of a question."""
    told = target["answers"] if isinstance(target, dict) else target
    return ", ".join(told) if isinstance(told, list) else "" if told is None else str(told)
