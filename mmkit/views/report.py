"""The report of a run: one HTML file that says what was done, how well it went, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.files import write_text
from mmkit.views import charts
from mmkit.views.charts import DIRECTIONS
from mmkit.views.page import chart, render
from mmkit.views.projection import Gap
from mmkit.views.sheet import Strip, Tile
from mmkit.views.style import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KS = (1, 5, 10)
SMALL_GAP = 0.3  # where the words of the report change; no standard
PURPOSE = {"train": "to learn from", "val": "to watch the training by", "test": "to measure at the end; never seen before"}


@dataclass(frozen=True)
class SpaceMap:
    """Points (n, 2) of the vectors with their modality and ids (n,), how they were made, and the gap measured."""

    points: np.ndarray
    modality: np.ndarray
    ids: np.ndarray
    method: str
    gap: Gap


@dataclass(frozen=True)
class Report:
    """What a report can show. Whatever is empty leaves its section out.

    Args:
        steps: what was done, and a remark to each (its seconds).
        stats: large figures on top: figure, what it is, remark.
        splits: split -> rows; data_note says what the pictures are.
        samples: some training pictures with their captions.
        model: names and facts.
        rows: of `metrics.jsonl`; batch_size is the training batch, curve_note a remark on the curve.
        record: the JSON object of `mmkit eval recall@k`.
        right, wrong, reverse: queries that found their picture at once, those that did not, and pictures that look for sentences.
        commands: shell lines with a remark to each; footer: a line at the end.
    """

    title: str
    kicker: str = ""
    lead: str = ""
    steps: Sequence[tuple[str, str]] = ()
    stats: Sequence[tuple[str, str, str]] = ()
    splits: dict[str, int] = field(default_factory=dict)
    data_note: str = ""
    samples: Sequence[Tile] = ()
    model: Sequence[tuple[str, str]] = ()
    rows: Sequence[dict[str, Any]] = ()
    batch_size: int | None = None
    curve_note: str = ""
    record: dict[str, Any] | None = None
    right: Sequence[Strip] = ()
    wrong: Sequence[Strip] = ()
    reverse: Sequence[Strip] = ()
    map: SpaceMap | None = None
    commands: Sequence[tuple[str, str]] = ()
    footer: str = ""


def write_report(report: Report, path: str | Path) -> None:
    """Write the report whole or not at all."""
    write_text(path, html(report))


def html(report: Report) -> str:
    """The report as one page."""
    record, rows, shown = report.record, report.rows, report.map
    learned = any("train/loss" in row for row in rows)
    return render(
        "report.html",
        title=report.title,
        report=report,
        directions=list(DIRECTIONS.values()),
        recall=_recall(record) if record else None,
        bars=chart(lambda theme: charts.recall_bars(record, theme)) if record else None,
        curve=chart(lambda theme: charts.training_curve(rows, report.batch_size, theme)) if learned else None,
        measured=any("val/image_retrieval_recall@1" in row for row in rows),
        map=chart(lambda theme: _map(shown, theme)) if shown else None,
        small_gap=SMALL_GAP,
        splits=[(name, f"{count:,}", PURPOSE.get(name, "")) for name, count in report.splits.items()],
    )


def _recall(record: dict[str, Any]) -> list[list[str]]:
    """Rows of the table: the name of a figure, the figure in each direction, and by chance."""
    metrics, chance = record["metrics"], record["chance"]
    names = [f"recall@{k}" for k in KS if f"image_retrieval_recall@{k}" in metrics] + ["median_rank"]
    return [
        [name.replace("recall", "R").replace("_", " ")]
        + [_figure(metrics[f"{direction}_{name}"], name) for direction in DIRECTIONS]
        + [_figure(chance[f"image_retrieval_{name}"], name)]
        for name in names
    ]


def _figure(value: float, name: str) -> str:
    return f"{value:,.4g}" if "rank" in name else f"{value:.3f}"


def _map(shown: SpaceMap, theme: Theme) -> Figure:
    note = f"modality gap {shown.gap.distance:.2f} (from the mean picture to the mean sentence)"
    return charts.space_map(shown.points, shown.modality, theme, note, shown.ids)
