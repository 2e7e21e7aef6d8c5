"""mmkit train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.levels import level
from mmkit.cli.options import SEED_MOST, Debug, Device, Force, Json, Quiet
from mmkit.config import Config, parse_set, resolve
from mmkit.errors import Exit, UsageError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

EPILOG = """\b
Examples:
  mmkit train
  mmkit train ./coco --amp --steps "10 epochs" --set train.warmup=10%
  mmkit train --image-encoder facebook/dinov2-small --lock-image --text-encoder ./minilm --lock-text
  mmkit train --resume latest
"""
SHEET = 48  # pictures of the first batch that --dry-run draws


@app.command(epilog=EPILOG)
def train(
    data: Annotated[str | None, typer.Argument(help="A dataset folder. Default: ./data.", show_default=False)] = None,
    recipe: Annotated[str, typer.Option(help="A recipe (mmkit recipes) or a TOML file.")] = "clip",
    config: Annotated[Path | None, typer.Option(help="TOML over the recipe.", show_default=False)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="One key (mmkit recipes show clip lists all); may repeat. VALUE is TOML."
        ),
    ] = None,
    size: Annotated[str | None, typer.Option(help="tiny, small, base or large.")] = None,
    steps: Annotated[str | None, typer.Option(help='A duration: 500, "2 epochs", "15 min".')] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the training rows.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Pairs a step, over all processes.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most this many training rows.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that decode.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=SEED_MOST, help="Of everything drawn.")] = None,
    image_encoder: Annotated[
        str | None,
        typer.Option(metavar="KIND|CHECKPOINT", help="A kind, or a transformers folder or hub id."),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(metavar="KIND|CHECKPOINT", help="A kind, or a transformers folder or hub id."),
    ] = None,
    lock_image: Annotated[bool, typer.Option("--lock-image", help="The image encoder does not learn.")] = False,
    lock_text: Annotated[bool, typer.Option("--lock-text", help="The text encoder does not learn.")] = False,
    init: Annotated[
        str | None,
        typer.Option(metavar="RUN|CHECKPOINT", help="Start from a run, or from a CLIP or SigLIP checkpoint."),
    ] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="Stop after this many evaluations without a better one.")] = None,
    cache_limit: Annotated[
        float | None, typer.Option(min=0, metavar="GB", help="Disk for the features of frozen encoders.")
    ] = None,
    amp: Annotated[
        bool | None,
        typer.Option("--amp/--no-amp", help="Half precision, where this device is faster with it."),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(min=1, help="Compute a batch in this many parts: less memory, the same result."),
    ] = None,
    grad_checkpoint: Annotated[
        bool, typer.Option("--grad-checkpoint", help="Recompute activations: less memory, slower.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="The run is runs/NAME.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN|latest|auto", help="Go on with a run.")] = None,
    report_to: Annotated[
        str | None,
        typer.Option(metavar="tensorboard,wandb", help="Experiment trackers besides metrics.jsonl."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the resolved configuration and draw the first batch; train nothing."),
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture that --dry-run draws.")] = Path("dry-run.png"),
    device: Device = "auto",
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Train a model on a dataset folder. Prints the run folder on stdout, nothing else."""
    if name and ("/" in name or name.startswith(".") or name == "latest"):
        raise UsageError(f"--name {name!r} is no folder name", hint="letters, digits, - and _")
    if steps is not None and epochs is not None:
        raise UsageError("--steps and --epochs both say how long the run is", hint="leave one out")
    typed = {
        "DATA": ("data.path", data),
        "--limit": ("data.limit", limit),
        "--workers": ("data.workers", workers),
        "--size": ("size", size),
        "--steps": ("train.steps", steps),
        "--epochs": ("train.epochs", epochs),
        "--batch-size": ("train.batch_size", batch_size),
        "--lr": ("train.lr", lr),
        "--seed": ("train.seed", seed),
        "--patience": ("train.patience", patience),
        "--cache-limit": ("train.cache_limit", cache_limit),
        "--init": ("train.init", init),
        "--amp": ("train.amp", amp),
        "--accumulate": ("train.accumulate", accumulate),
        "--grad-checkpoint": ("train.grad_checkpoint", grad_checkpoint or None),
        "--report-to": ("train.report_to", report_to),
        "--image-encoder": ("encoder.image", image_encoder),
        "--text-encoder": ("encoder.text", text_encoder),
    }
    levels = [parse_set(s) for s in set_ or []]
    levels += [level(option, key, value) for option, (key, value) in typed.items() if value is not None]
    locked = [modality for modality, lock in (("image", lock_image), ("text", lock_text)) if lock]
    return _train(recipe, config, levels, locked, resume, name, force, device, out if dry_run else None)


def _train(
    recipe: str,
    file: Path | None,
    levels: list[dict[str, Any]],
    locked: list[str],
    resume: str | None,
    name: str | None,
    force: bool,
    device: str,
    sheet: Path | None,
) -> int:
    """Everything of `mmkit train` that needs torch.

    Args:
        levels: of --set and its shortcuts.
        sheet: where to draw the first batch instead of training.
    """
    # before torch is imported: what is typed wrongly is said at once
    if sheet is not None:
        from mmkit.views.sheet import check_target

        check_target(sheet, force)
    resolved = resolve(recipe, file, levels)
    from mmkit.cli.live import LiveView
    from mmkit.training import distributed
    from mmkit.training.loop import Interrupted
    from mmkit.workflows import fit

    if resolved.train.init and not resume:
        from mmkit.pretrained import init_tables

        resolved = resolve(recipe, file, levels, init_tables(resolved.train.init, console.say))
    if locked:
        from mmkit.training.stages import lock

        lock(resolved, locked)
    distributed.join(device)
    first = distributed.world()[0] == 0
    console.quiet = console.quiet or not first
    runs = Path("runs")
    try:
        with LiveView(console) as view:
            talk = fit.Talk(say=console.say, warn=console.warn, begin=view.begin, report=view.row)
            if sheet is not None:
                return _dry_run(resolved, device, talk, sheet, force)
            folder = fit.resume(resume, runs, device, talk, levels) if resume else None
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
    import tomli_w

    from mmkit.config import to_dict
    from mmkit.files import make_way
    from mmkit.views.sheet import contact_sheet, save_sheet
    from mmkit.workflows import fit

    made, pictures, captions = fit.dry_run(config, device, talk)
    shown = min(SHEET, len(pictures))
    make_way(out, force)
    save_sheet(contact_sheet(pictures[:shown], captions[:shown]), out)
    console.say(f"first     {shown} of {len(pictures)} pairs of a batch, as the model sees them: {out}")
    console.product(tomli_w.dumps(to_dict(made.config)).rstrip())
    return Exit.DONE
