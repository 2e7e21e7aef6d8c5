"""`mmkit compare`: whether one model is better than another, by what both made of the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import DATA, OUTPUT, BatchSize, Debug, Device, Force, Json, Limit, Quiet, Split, Workers
from mmkit.tabular import is_less

if TYPE_CHECKING:
    from mmkit.metrics.changes import Change
    from mmkit.metrics.items import Items

EPILOG = """\b
Examples:
  mmkit compare runs/clip-data-1 runs/clip-data-2
  mmkit compare runs/a runs/b --data ./coco --split val --figure difference.png
  mmkit compare runs/a openai/clip-vit-base-patch32 --metric recall@1 -o queries.csv
  mmkit compare a/eval/data-test.json b/eval/data-test.json --json | jq 'select(.p < 0.05)'
"""

WIDEST = 34  # characters of a query in the table

app = typer.Typer(rich_markup_mode=None, add_completion=False)

SIDE = "A run, a checkpoint, or a .json or .parquet of `mmkit eval`."


@app.command(cls=Page, epilog=EPILOG)
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=SIDE, show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one, likewise.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="A dataset folder.",
            show_default="what both were measured on",
            rich_help_panel=DATA,
        ),
    ] = None,
    split: Split = None,
    limit: Limit = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="METRIC",
            help="recall@k, classify …, as of eval; may repeat.",
            show_default="what both were measured by",
            rich_help_panel=DATA,
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=0, help="Queries to show that changed most.", rich_help_panel=OUTPUT)
    ] = 10,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Every query with both figures: .csv .json or .parquet; `-` prints them in place of the metrics.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure",
            metavar="FILE",
            help="Draw the differences with their intervals: .png .svg .pdf or .html.",
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
    """Compare B with A on the same queries. The difference is B minus A: above 0, B finds more.

    Images are drawn again and again with all of their captions, and both models answer the same ones (a paired bootstrap): the
    interval holds 95 % of the differences; p is how often chance alone makes one as large. What a run has not been
    measured on yet is measured first, as by eval. Prints tables in a terminal and one JSON object a metric elsewhere.
    """
    from mmkit.cli.progress import bars
    from mmkit.files import make_way
    from mmkit.metrics.changes import of_all, write
    from mmkit.metrics.compare import aligned, compared
    from mmkit.metrics.evaluation import parse_metrics
    from mmkit.workflows.pairs import Asked, pairs_of

    metrics = parse_metrics(metric or ())
    _check(out, figure, force)
    names = (a, b)
    with bars() as progress:
        asked = Asked(data, split, limit, metrics, device, batch_size, workers, progress, console.say)
        pairs = [(first, aligned(first, second, names)) for first, second in pairs_of(a, b, asked)]
    rows = [row for pair in pairs for row in compared(*pair)]
    found = of_all(pairs)
    if str(out) == "-":
        for change in found:
            console.record(change.record())
    else:
        _show(rows, found, pairs, names, top)
    if out and str(out) != "-":
        make_way(out, force)
        write(found, out)
        console.say(f"wrote {out}")
    if figure:
        _draw(rows, found, pairs, names, top, figure, force)


def _check(out: Path | None, figure: Path | None, force: bool) -> None:
    """Refuse what cannot be written, before any work is done."""
    from mmkit.errors import UsageError
    from mmkit.files import check_output, is_special
    from mmkit.metrics.changes import FORMATS, is_ours

    if out and str(out) != "-":
        if out.suffix.lower() not in FORMATS and not is_special(out):
            what = f"queries cannot be written as {out.suffix or 'a file without suffix'}"
            raise UsageError(what, str(out), f"one of {' '.join(FORMATS)}; --figure draws")
        check_output(out, is_ours, force)
    if figure:
        from mmkit.views.style import FORMATS as DRAWN
        from mmkit.views.target import check_target

        check_target(figure, DRAWN, force)


def _show(
    rows: Sequence[dict[str, Any]],
    found: Sequence[Change],
    pairs: Sequence[tuple[Items, Items]],
    names: tuple[str, str],
    top: int,
) -> None:
    from mmkit.metrics.changes import most_changed
    from mmkit.metrics.compare import FEW
    from mmkit.tabular import short_name

    samples = min(len(set(first.ids)) for first, _ in pairs)
    if samples < FEW:
        console.warn(f"there are only {samples} samples: of fewer than {FEW}, p is too small and the interval too narrow")
    if console.json:
        for row in rows:
            console.record(row)
        return
    title = f"A {names[0]}, B {names[1]}\n{_about(rows, pairs)}"
    console.table(title, ["metric", "A", "B", "B - A", "95 % interval", "p"], [_row(row) for row in rows], to_stdout=True)
    of = [row["metric"] for row in rows if is_less(row["metric"])]
    if less := dict.fromkeys("a median rank" if "median_rank" in name else name for name in of):
        console.say(f"of {', '.join(less)}, less is better")
    if chosen := most_changed(found, top):
        cells = [
            [_cut(one.item, WIDEST), short_name(one.figure), *(_number(value, one.figure) for value in (one.a, one.b))]
            for one in chosen
        ]
        console.table("what changed most, better in B first", ["query", "of it", "A", "B"], cells, to_stdout=True)
    elif top:
        console.say("no query changed")


def _about(rows: Sequence[dict[str, Any]], pairs: Sequence[tuple[Items, Items]]) -> str:
    """What was measured, in one line."""
    from mmkit.metrics.compare import scope_words

    counts = sorted({row["n"] for row in rows})
    n = f"{counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else "")
    samples = {sample for first, _ in pairs for sample in first.ids}
    return f"{scope_words(pairs[0][0].record)}: {n} queries of {len(samples):,} samples"


def _row(row: dict[str, Any]) -> list[str]:
    from mmkit.tabular import short_name

    low, high = (_signed(end, row) for end in row["interval"])
    a, b = (_number(row[side], row["metric"]) for side in ("a", "b"))
    return [short_name(row["metric"]), a, b, _signed(row["difference"], row), f"[{low}, {high}]", f"{row['p']:.3f}"]


def _signed(value: float, row: dict[str, Any]) -> str:
    return f"{value:+,.3f}" if not row["metric"].endswith("rank") else f"{value:+,.1f}".removesuffix(".0")


def _number(value: float, figure: str) -> str:
    return f"{value:,.3f}" if not figure.endswith("rank") else f"{value:,.1f}".removesuffix(".0")


def _cut(text: str, width: int) -> str:
    """The beginning of a text that fits into so many columns of a terminal."""
    from rich.cells import cell_len, set_cell_size

    text = " ".join(text.split())
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _draw(
    rows: Sequence[dict[str, Any]],
    found: Sequence[Change],
    pairs: Sequence[tuple[Items, Items]],
    names: tuple[str, str],
    top: int,
    figure: Path,
    force: bool,
) -> None:
    from mmkit.files import make_way
    from mmkit.metrics.changes import most_changed
    from mmkit.views.compare import differences
    from mmkit.views.fonts import lacking
    from mmkit.views.style import save

    make_way(figure, force)
    changed = [(one.item, one.figure, one.a, one.b) for one in most_changed(found, top)]
    save(differences(rows, names, _about(rows, pairs), changed), figure, f"{names[1]} against {names[0]}")
    console.say(f"wrote {figure}")
    for line in lacking([*names, *(item for item, *_ in changed)]):
        console.say(line)
