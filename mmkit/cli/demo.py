"""`mmkit demo`: the whole path on generated scenes, with a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import SEED_MOST, Debug, Device, Force, Json, Quiet
from mmkit.errors import Exit

if TYPE_CHECKING:
    from mmkit.workflows.fit import Talk

EPILOG = """\b
Examples:
  mmkit demo
  mmkit demo ./try --steps 300 --seed 1
  mmkit demo --json | jq .metrics
"""

TRAINING = "Training"  # a heading of --help

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Gets data/, runs/ and report.html.")] = Path("demo"),
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, help="Length of the training.", show_default="850", rich_help_panel=TRAINING),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", min=0, max=SEED_MOST, help="Of the scenes and of the training.", rich_help_panel=TRAINING
        ),
    ] = 0,
    device: Device = "auto",
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Draw 10,000 scenes, train a model on them, measure it on 300 unseen combinations and write a report: about 2 minutes.

    Prints the path of the report; with --json the metrics as one line. Everything goes to FOLDER and nowhere else. The
    same command goes on where an earlier one stopped.
    """
    from mmkit.training.loop import Interrupted
    from mmkit.workflows import demo as workflow

    options = workflow.Options(steps or workflow.STEPS, seed)
    try:
        state = workflow.run(folder, options, force, device, console.say, _view)
    except (Interrupted, KeyboardInterrupt):
        console.warn("stopped; the same command goes on where this one was")
        return Exit.INTERRUPTED
    report = folder / workflow.REPORT
    assert state.record is not None
    _table(state.record)
    if console.as_json:
        console.record(state.record | {"report": str(report), "seconds": state.seconds})
    else:
        console.product(str(report))
    return Exit.DONE


@contextmanager
def _view(training: bool) -> Iterator[Talk]:
    from mmkit.cli.live import LiveView
    from mmkit.cli.progress import bars
    from mmkit.talk import Talk

    if training:
        with LiveView(console) as view:
            yield Talk(say=console.say, begin=view.begin, step=view.step, report=view.row, progress=view.progress)
    else:
        with bars() as progress:
            yield Talk(say=console.say, progress=progress)


def _table(record: dict[str, Any]) -> None:
    """Recall both ways beside chance, on stderr."""
    metrics, chance = record["metrics"], record["chance"]
    names = [name.removeprefix("image_retrieval_") for name in metrics if name.startswith("image_retrieval_recall")]
    columns = ["", "sentence → picture", "picture → sentence", "chance"]
    rows = [
        [name.replace("recall", "R")]
        + [f"{metrics[f'{way}_{name}']:.3f}" for way in ("image_retrieval", "text_retrieval")]
        + [f"{chance[f'image_retrieval_{name}']:.3f}"]
        for name in names
    ]
    console.table(f"recall on {record['n']['image']} unseen combinations", columns, rows)
