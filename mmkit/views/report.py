"""The report of a run: one HTML file that says what was done, how well it went, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmkit.files import write_text
from mmkit.views import charts, page
from mmkit.views.charts import DIRECTIONS
from mmkit.views.projection import Gap
from mmkit.views.sheet import Strip, Tile

KS = (1, 5, 10)
SMALL_GAP = 0.3  # where the words of the report change; no standard


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
    parts = [
        page.heading(report.title, report.lead, report.kicker),
        page.stats(report.stats),
        page.section("What was done", page.steps(report.steps)),
        _recall(report),
        _examples(report),
        _curve(report),
        _map(report),
        _data(report),
        page.section("The model", page.facts(report.model)),
        _onward(report),
        f"<footer>{page.escape(report.footer)}</footer>" if report.footer else "",
    ]
    return page.document(report.title, "\n".join(part for part in parts if part))


def _recall(report: Report) -> str:
    record = report.record
    if record is None:
        return ""
    metrics, chance = record["metrics"], record["chance"]
    names = [f"recall@{k}" for k in KS if f"image_retrieval_recall@{k}" in metrics] + ["median_rank"]
    rows = [
        [name.replace("recall", "R").replace("_", " ")]
        + [_figure(metrics[f"{direction}_{name}"], name) for direction in DIRECTIONS]
        + [_figure(chance[f"image_retrieval_{name}"], name)]
        for name in names
    ]
    images, texts = record["n"]["image"], record["n"]["text"]
    said = (
        f"The {record['split']} split has {images:,} pictures and {texts:,} sentences. A sentence is compared with all "
        "pictures, and a picture with all sentences; they are sorted by how well they fit. R@1 is the share of queries whose "
        "right answer comes first; R@5 and R@10 allow it among the first five or ten. Median rank: half of the right answers "
        "come at this place or before it. Chance is what sorting blindly reaches."
    )
    bars = page.chart(lambda theme: charts.recall_bars(record, theme), "Recall at 1, 5 and 10 in both directions, beside chance")
    return page.section(
        "How often does it find the right one?",
        page.paragraph(said),
        page.pair(page.table(["", *DIRECTIONS.values(), "chance"], rows), bars),
    )


def _figure(value: float, name: str) -> str:
    return f"{value:,.4g}" if "rank" in name else f"{value:.3f}"


def _examples(report: Report) -> str:
    legend = (
        "✓ and a green frame: the picture that the sentence was written for. ✗ and a red frame: another one that was placed "
        "before it. The number is the cosine of sentence and picture; 1 means the same direction."
    )
    groups = (
        ("Found at once", report.right),
        ("Not found at once: the hardest cases", report.wrong),
        ("The other way round: sentences for a picture", report.reverse),
    )
    shown = [f"<h3>{title}</h3>{page.answers(strips)}" for title, strips in groups if strips]
    return page.section("See for yourself", page.paragraph(legend, faint=True), *shown) if shown else ""


def _curve(report: Report) -> str:
    if not any("train/loss" in row for row in report.rows):
        return ""
    said = (
        "In every step the model sees a batch of pictures with their sentences and has to tell which belong together. The loss "
        "measures how surprised it is by the right pairing: at the dashed line it guesses, at 0 it is certain."
    )
    measured = any("val/image_retrieval_recall@1" in row for row in report.rows)
    below = "Below, R@1 on pictures kept out of training (the val split), measured on the way." if measured else ""
    draw = page.chart(
        lambda theme: charts.training_curve(report.rows, report.batch_size, theme), "Training loss and recall over the steps"
    )
    return page.section(
        "How it learned", page.pair(draw, page.paragraph(said) + page.paragraph(f"{below} {report.curve_note}".strip()))
    )


def _map(report: Report) -> str:
    if report.map is None:
        return ""
    m, gap = report.map, report.map.gap
    said = (
        "Every picture and every sentence is a point in the same space. Here its many dimensions are brought down to two "
        f"({m.method}); a thin line joins a picture to its sentence. Short lines mean that the two came to lie together."
    )
    facts = (
        f"A picture and its sentence have a cosine of {_cosine(gap.matching)} on average, a picture and another sentence "
        f"{_cosine(gap.other)}. The mean picture and the mean sentence are {gap.distance:.2f} apart: that is the modality gap "
        "(0 would be none, 2 is the most there can be)."
    )
    gap_said = (
        "Here it is small: the two kinds share one region."
        if gap.distance < SMALL_GAP
        else "Pictures and sentences keep to regions of their own here, as is usual for models trained this way "
        "(arXiv:2203.02053). Only the order of the distances counts, so the two kinds need not overlap on the map."
    )
    note = f"modality gap {gap.distance:.2f} (from the mean picture to the mean sentence)"
    draw = page.chart(
        lambda theme: charts.space_map(m.points, m.modality, theme, note, m.ids),
        "Map of picture and sentence vectors in two dimensions",
    )
    return page.section(
        "A map of what it learned",
        page.pair(draw, page.paragraph(said) + page.paragraph(facts) + page.paragraph(gap_said, faint=True)),
    )


def _cosine(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # no minus before a zero


def _data(report: Report) -> str:
    purpose = {"train": "to learn from", "val": "to watch the training by", "test": "to measure at the end; never seen before"}
    rows = [[name, f"{count:,}", purpose.get(name, "")] for name, count in report.splits.items()]
    counts = page.table(["split", "pictures", "what for"], rows, words=(2,))
    return page.section(
        "The data",
        page.paragraph(report.data_note),
        counts,
        "<h3>From the training split</h3>" if report.samples else "",
        page.gallery(report.samples),
    )


def _onward(report: Report) -> str:
    said = "The same commands, typed in a shell, work on your pictures:"
    return (
        page.section("Go on with your own data", page.paragraph(said), page.commands(report.commands)) if report.commands else ""
    )
