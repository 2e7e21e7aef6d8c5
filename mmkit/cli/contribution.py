"""`mmkit contribution`: how much each modality contributes to what a model decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import (
    OUTPUT,
    BatchSize,
    DataOption,
    Debug,
    Device,
    Force,
    Json,
    Limit,
    Model,
    Quiet,
    Split,
    Workers,
    one_of,
)

if TYPE_CHECKING:
    from mmkit.explain.shares import Share
    from mmkit.workflows.contribution import Contribution

    Classes = dict[str, tuple[int, list[Share]]]

EPILOG = """\b
Examples:
  mmkit contribution
  mmkit contribution --model runs/fusion-mid-data-1 --by-class -o contribution.png
  mmkit contribution --data ./data --split val --samples shares.csv
  mmkit contribution --json | jq 'select(.method == "shapley" and .removal == "shuffle")'
"""
SHOWN_CLASSES = 20
REMOVALS = ("zero", "mean", "shuffle")  # what stands for a modality that is removed
REMOVING = {"ablation": "ablation", "shapley": "Shapley"}  # methods as they are said

# what is to be done about an input that is ignored; a model that compares is aligned already
ALIGN, LONGER = "align first (train --recipe clip, then --init that run) or train longer", "train longer"

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def contribution(
    data: DataOption = None,
    split: Split = None,
    model: Model = "runs/latest",
    limit: Limit = None,
    removal: Annotated[
        str | None,
        typer.Option(
            "--removal",
            metavar="|".join(REMOVALS),
            callback=one_of(REMOVALS, "--removal"),
            help="Which removal the figure and the classes show, and the table first; all are computed.",
            show_default="shuffle; mean for a model that compares",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    by_class: Annotated[
        bool, typer.Option("--by-class", help="Also for the samples of each class.", rich_help_panel=OUTPUT)
    ] = False,
    samples: Annotated[
        Path | None,
        typer.Option(
            "--samples",
            metavar="FILE",
            help="The shares of each sample: .csv .jsonl or .parquet.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Draw the shares with their intervals: .png .svg .pdf or .html.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Force = False,
    device: Device = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """How much of a decision each modality carries, on a split: test, else val, else all rows. Shares of a method add up to 1.

    The decision is the probability of the true class or answer, of a model with a head over several modalities, else the
    similarity of pairs. gradient: how steeply it rises along each. ablation: how much of it is lost without one. shapley: what
    one adds on average to every set of the others. What is removed is not there (zero), is the average (mean), or is that of
    another row (shuffle).
    Prints a table in a terminal and one JSON object a modality and method elsewhere. In a run folder the result is kept in eval/.
    """
    from mmkit.cli.progress import bars
    from mmkit.data.shards import open_dataset
    from mmkit.loading import load_model
    from mmkit.metrics.evaluation import Request
    from mmkit.workflows import contribution as workflow

    _check(out, samples, force)
    opened = open_dataset(data or Path("data"))
    loaded = load_model(model, device, console.say)
    with bars() as progress:
        request = Request(workflow.METRIC, (), split, limit, batch_size=batch_size, workers=workers, progress=progress)
        found = workflow.contribution(loaded, opened, request)
    if loaded.folder:
        found.save(loaded.folder / "eval")
    shown = removal or found.telling
    classes = found.by_class() if by_class else {}
    _show(found, classes, shown)
    _say(found, shown, by_class and not classes, ALIGN if loaded.pairing is None else LONGER)
    if samples:
        _write_samples(found, samples, force)
    if out:
        _draw(found, classes, shown, out, force)


def _check(out: Path | None, samples: Path | None, force: bool) -> None:
    """The files that it goes to, before any work is done."""
    if out:
        from mmkit.views.style import FORMATS
        from mmkit.views.target import check_target

        check_target(out, FORMATS, force)
    if samples:
        from mmkit.workflows.contribution import SAMPLE
        from mmkit.workflows.table_file import check_table

        check_table(samples, SAMPLE, force)


def _show(found: Contribution, classes: Classes, shown: str) -> None:
    if console.json:
        for one in found.shares:
            console.record(vars(one))
        for label, (count, shares) in classes.items():
            for one in shares:
                console.record({"class": label, "n": count} | vars(one))
        return
    removals = sorted(dict.fromkeys(one.removal for one in found.shares if one.removal), key=lambda removal: removal != shown)
    rows = [["gradient", *map(_figure, found.of("gradient"))]]
    for removal in removals:
        rows += [[f"{said}, {removal}", *map(_figure, found.of(method, removal))] for method, said in REMOVING.items()]
    console.table(_title(found), ["method, removal", *found.names], rows, to_stdout=True)
    if classes:
        of = {
            label: [one for one in shares if (one.method, one.removal) == ("shapley", shown)]
            for label, (_, shares) in list(classes.items())[:SHOWN_CLASSES]
        }
        rows = [[label, f"{classes[label][0]:,}", *map(_figure, shares)] for label, shares in of.items()]
        some = f", the {len(of)} most frequent of {len(classes):,}" if len(of) < len(classes) else ""
        console.table(f"Shapley, {shown}, by class{some}", ["class", "samples", *found.names], rows, to_stdout=True)


def _title(found: Contribution) -> str:
    record = found.record
    return f"{record['model']} on {record['dataset']} {record['split']}: {len(found.ids):,} samples"


def _figure(one: Share) -> str:
    if one.share is None:
        return "–"
    low, high = one.interval or (float("nan"),) * 2
    return f"{one.share:.2f} ({low:.2f}–{high:.2f})"


def _say(found: Contribution, shown: str, classless: bool, advice: str) -> None:
    from mmkit.metrics.compare import FEW
    from mmkit.workflows.contribution import IGNORED

    support = found.record["support"]
    none = f"with all removed ({shown}) {support[f'none, {shown}']:z.3f}"
    console.say(f"{found.record['of']}: {support['all']:z.3f} on average, {none}")
    for why, count in found.record["left_out"].items():
        console.say(f"left out: {count:,} {why}")
    if found.record["full"]:
        console.warn(f"no more than the first {len(found.ids):,} samples fit into memory; their order is one by chance")
    if (rows := found.record["n"]["rows"]) < FEW:
        console.warn(f"there are only {rows} samples: of fewer than {FEW}, the intervals are too narrow")
    if classless:
        console.warn("--by-class: the rows have no classes, or all the same one")
    if all(one.share is None for one in found.of("shapley", shown)):
        console.warn("nothing contributes: the model supports what is true no more with its inputs than without")
    doubt = "what is true may not depend on it; if it does"
    for name in found.ignored(shown):
        console.warn(f"{name} is ignored (Shapley share below {IGNORED:.0%}): {doubt}, {advice}")


def _write_samples(found: Contribution, path: Path, force: bool) -> None:
    from mmkit.files import make_way
    from mmkit.workflows.table_file import write_table

    make_way(path, force)
    write_table(path, found.samples())
    console.say(f"wrote {path}")


def _draw(found: Contribution, classes: Classes, shown: str, path: Path, force: bool) -> None:
    from mmkit.files import make_way
    from mmkit.views.contribution import contribution
    from mmkit.views.fonts import lacking
    from mmkit.views.style import save

    make_way(path, force)
    by_class = {label: (count, [vars(one) for one in shares]) for label, (count, shares) in classes.items()}
    figure = contribution([vars(one) for one in found.shares], shown, by_class, _title(found))
    save(figure, path, _title(found))
    console.say(f"wrote {path}")
    for line in lacking(by_class):
        console.say(line)
