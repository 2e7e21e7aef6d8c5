"""The report of a run: one HTML file that says what was done, how well it went, what the model looks at, and how to go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmkit.data.modalities import plural
from mmkit.files import write_text
from mmkit.views import charts
from mmkit.views.page import chart, render
from mmkit.views.sheet import Strip, Tile
from mmkit.views.style import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PURPOSE = {"train": "to learn from", "val": "to watch the training by", "test": "to measure at the end; never seen before"}

Draw = Callable[[Theme], "Figure"]


class Shown(NamedTuple):
    """A chart, what it is called where pictures are not seen, and what is said of it."""

    draw: Draw
    alt: str
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """What a report can show. Whatever is empty leaves its section out.

    Args:
        steps: what was done, and a remark to each (its seconds).
        stats: large figures on top: figure, what it is, remark.
        findings: what the doctor says, a pair of what is wrong and what to do; None where nobody asked it.
        records: the JSON objects of `mmkit eval`; confusion: of classes.
        old_task: columns and rows: what is still known of the task of the run that this one started from.
        strips: queries with their answers, under a heading each; marks: what the marks of the answers mean.
        rows: of `metrics.jsonl`; batch_size is the training batch, curve_note a remark on the curve.
        map: of the shared space; attention: what single answers rest on; contribution: of each modality.
        splits: split -> rows; own_data: the run learned from it; data_note says what it is; samples of it; audit: what, how many,
            remark.
        model: names and facts; config: the resolved configuration as TOML.
        commands: shell lines with a remark to each; footer: a line at the end.
    """

    title: str
    kicker: str = ""
    lead: str = ""
    stats: Sequence[tuple[str, str, str]] = ()
    steps: Sequence[tuple[str, str]] = ()
    findings: Sequence[tuple[str, str]] | None = None
    records: Sequence[dict[str, Any]] = ()
    old_task: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None
    confusion: Shown | None = None
    strips: Sequence[tuple[str, Sequence[Strip]]] = ()
    marks: str = ""
    rows: Sequence[dict[str, Any]] = ()
    batch_size: int | None = None
    curve_note: str = ""
    map: Shown | None = None
    attention: Sequence[Shown] = ()
    contribution: Shown | None = None
    splits: dict[str, int] = field(default_factory=dict)
    own_data: bool = True
    data_note: str = ""
    samples: Sequence[Tile] = ()
    audit: Sequence[Sequence[str]] = ()
    model: Sequence[tuple[str, str]] = ()
    config: str = ""
    commands: Sequence[tuple[str, str]] = ()
    footer: str = ""


def write_report(report: Report, path: str | Path) -> None:
    """Write the report whole or not at all."""
    write_text(path, html(report))


def html(report: Report) -> str:
    """The report as one page."""
    rows = report.rows
    learned = any("train/loss" in row for row in rows)
    return render(
        "report.html",
        title=report.title,
        report=report,
        shared=any(at_most(record, name) for record in report.records for name in record["metrics"]),
        tables=[_table(record) for record in report.records],
        curve=chart(lambda theme: charts.training_curve(rows, report.batch_size, theme)) if learned else None,
        guessing=any(row.get("train/loss_at_chance") for row in rows),
        measured=any(name.endswith("_retrieval_recall@1") for row in rows for name in row),
        drawn=lambda shown: chart(shown.draw),
        splits=[(name, f"{count:,}", PURPOSE.get(name, "") if report.own_data else "") for name, count in report.splits.items()],
    )


class Table(NamedTuple):
    """A result of `eval` for the page: what was measured on what, its figures, and bars where it is recall."""

    record: dict[str, Any]
    counts: str
    columns: list[str]
    rows: list[list[str]]
    bars: Any


def _table(record: dict[str, Any]) -> Table:
    counts = " and ".join(f"{n:,} {plural(name)}" for name, n in record["n"].items())
    directions = charts.directions_of(record)
    if directions:
        columns, rows = ["", *directions.values(), "chance"], _recall(record, list(directions))
        return Table(record, counts, columns, rows, chart(lambda theme: charts.recall_bars(record, theme)))
    beside = ["chance", *(["nearest"] if record.get("nearest") else [])]
    rows = [
        [name.replace("_", " "), _figure(record, name)]
        + [_value(record[other][name], name) if name in record[other] else "" for other in beside]
        for name in record["metrics"]
    ]
    return Table(record, counts, ["", "value", *beside], rows, None)


def _recall(record: dict[str, Any], directions: list[str]) -> list[list[str]]:
    """Rows of the table: the name of a figure, the figure in each direction, and by chance."""
    ks = sorted({int(name.partition("@")[2]) for name in record["metrics"] if "_recall@" in name})
    return [
        [name.replace("recall", "R").replace("_", " ")]
        + [_figure(record, f"{direction}_{name}") for direction in directions]
        + [_value(record["chance"][f"{directions[0]}_{name}"], name)]
        for name in [*(f"recall@{k}" for k in ks), "median_rank"]
        if f"{directions[0]}_{name}" in record["metrics"]
    ]


def _figure(record: dict[str, Any], name: str) -> str:
    """A metric with its interval and what can be reached, where these are known."""
    value = _value(record["metrics"][name], name)
    if name in record.get("interval", {}):
        low, high = record["interval"][name]
        value += f" [{_value(low, name)}, {_value(high, name)}]"
    most = at_most(record, name)
    return f"{value} of {most}" if most else value


def at_most(record: dict[str, Any], name: str) -> str:
    """What equal captions of different items leave possible, where that is less than all; see `caption_ceiling`."""
    ceiling = (record.get("caption_ceiling") or {}).get(name, 1)
    return f"at most {ceiling:.3f}" if ceiling < 1 else ""


def _value(value: float, name: str) -> str:
    return f"{value:,.4g}" if "rank" in name else f"{value:.3f}"
