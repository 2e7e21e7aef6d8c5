"""`mmkit report`: one page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import DATA, OUTPUT, DataOption, Debug, Device, Force, Json, Limit, Quiet, Split
from mmkit.errors import UsageError

EPILOG = """\b
Examples:
  mmkit report
  mmkit report runs/clip-data-1 -o report.html
  mmkit report runs/latest --data ./others --split val -o others.html
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint in one.", rich_help_panel=DATA)] = (
        "runs/latest"
    ),
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE.html", help="The page.", show_default="in RUN", rich_help_panel=OUTPUT),
    ] = None,
    data: DataOption = None,
    split: Split = None,
    limit: Limit = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """One page about a run: how it learned, how good it is with intervals, what it finds and misses, a map, what it looks at,
    what each input contributes, the data and its audit, and what is wrong by the doctor's word.

    It is measured on --data, by default the data it was trained on, and a split of it: test, else val, else all rows. The page
    is one file that loads nothing. Prints its path.
    """
    from mmkit.cli.progress import bars
    from mmkit.files import make_way, pointed
    from mmkit.talk import Talk
    from mmkit.views.report import write_report
    from mmkit.views.target import check_target
    from mmkit.workflows.report import Asked, gather

    target = out or _beside(pointed(Path(run)))
    if target.suffix.lower() != ".html":
        raise UsageError("a report is an HTML page", str(target), f"-o {target.with_suffix('.html')}")
    check_target(target, (".html",), force)
    with bars() as progress:
        talk = Talk(say=console.say, warn=console.warn, progress=progress)
        page = gather(Asked(run, data, split, limit, device), talk)
    make_way(target, force)
    write_report(page, target)
    if console.as_json:
        console.record({"report": str(target), "metrics": {r["task"]: r["metrics"] for r in page.records}})
    else:
        console.product(str(target))


def _beside(run: Path) -> Path:
    """The page of a run within it; that of a checkpoint, too, whose own folder is not kept for ever."""
    from mmkit.files import CONFIG

    inside = (run / CONFIG).exists() or not (run.parent.parent / CONFIG).exists()
    return run / "report.html" if inside else run.parent.parent / f"report-{run.name}.html"
