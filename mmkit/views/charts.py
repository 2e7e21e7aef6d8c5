"""Charts with matplotlib: the training curve, recall beside chance, and the 2-D map of the shared space."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.errors import UsageError
from mmkit.files import MAKER, writing
from mmkit.views import fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf", ".html")
WIDTH = 5.4  # inches; readable on a phone, where it is shrunk to 3.7
DPI = 200  # sharp on a screen of twice the usual density
FONTS = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")
# query -> answer, as a reader says it
DIRECTIONS = {"image_retrieval": "sentence → picture", "text_retrieval": "picture → sentence"}
SMOOTH = 9  # rows of the log that the bold loss line averages


@dataclass(frozen=True)
class Theme:
    """Colours of a chart. `first` and `second` are Okabe and Ito's blue and vermilion, told apart by any eye."""

    ink: str
    faint: str
    grid: str
    first: str
    second: str
    ground: str
    within: str  # text on `first` and `second`


LIGHT = Theme("#1b1f24", "#667080", "#e3e7ec", "#0072b2", "#d55e00", "#ffffff", "#ffffff")
DARK = Theme("#e8eaee", "#98a2b0", "#333a44", "#56b4e9", "#f0894a", "none", "#14181d")


def training_curve(rows: Sequence[dict[str, Any]], batch_size: int | None = None, theme: Theme = LIGHT) -> Figure:
    """Loss, and recall@1 on val where it was measured, over the steps.

    Args:
        rows: of `metrics.jsonl`.
        batch_size: draws the loss of guessing, ln(batch), beside the curve.
    """
    losses = [(r["step"], r["train/loss"]) for r in rows if "train/loss" in r]
    recalls = {d: [(r["step"], r[k]) for r in rows if (k := f"val/{d}_recall@1") in r] for d in DIRECTIONS}
    measured = any(recalls.values())
    with _figure(theme, 4.6 if measured else 2.6, rows=2 if measured else 1) as (figure, axes):
        top = axes[0]
        steps, values = _columns(losses)
        top.plot(steps, values, color=theme.first, alpha=0.35, linewidth=0.9)
        top.plot(steps, _smooth(values), color=theme.first, linewidth=2)
        top.set_ylim(0, max([*values, math.log(batch_size) if batch_size else 0.0, 0.1]) * 1.12)
        if batch_size and len(steps):
            _level(top, math.log(batch_size), f"guessing: ln {batch_size} = {math.log(batch_size):.2f}", theme)
        top.set_ylabel("training loss (nats)")
        if measured:
            _recall_lines(axes[1], recalls, theme)
        axes[-1].set_xlabel("training step")
        figure.align_ylabels(axes)
    return figure


def _recall_lines(axes: Axes, recalls: dict[str, list[tuple[int, float]]], theme: Theme) -> None:
    looks = ((theme.first, "-", "o"), (theme.second, (0, (5, 1.5)), "^"))
    for (direction, points), (colour, style, marker) in zip(recalls.items(), looks, strict=True):
        if points:
            steps, values = _columns(points)
            label = f"{DIRECTIONS[direction]}  {values[-1]:.2f}"
            axes.plot(steps, values, color=colour, linewidth=2, linestyle=style, marker=marker, markersize=4.5, label=label)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("R@1 on val (share)")
    axes.legend(loc="lower right", frameon=False)


def recall_bars(record: dict[str, Any], theme: Theme = LIGHT) -> Figure:
    """Recall@k both ways as bars, with what a random order reaches as a line across each.

    Args:
        record: the JSON object that `mmkit eval recall@k` prints.
    """
    metrics, chance = record["metrics"], record.get("chance", {})
    ks = sorted({int(name.partition("recall@")[2]) for name in metrics if "recall@" in name})
    with _figure(theme, 0.75 + 0.72 * len(ks)) as (figure, (axes,)):
        for i, direction in enumerate(DIRECTIONS):
            colour = (theme.first, theme.second)[i]
            for row, k in enumerate(ks):
                name, y = f"{direction}_recall@{k}", row + (i - 0.5) * 0.36
                axes.barh(y, metrics[name], 0.32, color=colour, label=DIRECTIONS[direction] if not row else None)
                inside = metrics[name] > 0.5
                x = metrics[name] + (-0.015 if inside else 0.025)
                ink = theme.within if inside else theme.ink
                axes.text(x, y, f"{metrics[name]:.3f}", color=ink, ha="right" if inside else "left", va="center", fontsize=9)
                if name in chance:
                    label = "chance" if not row and not i else None
                    axes.plot([chance[name]] * 2, [y - 0.2, y + 0.2], color=theme.ink, linewidth=2, label=label)
        axes.set_yticks(range(len(ks)), [f"R@{k}" for k in ks])
        axes.set_ylim(len(ks) - 0.45, -0.55)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of queries whose right answer is among the first k")
        axes.grid(axis="y", visible=False)
        # bars first, as the reader meets them
        handles = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda pair: pair[1] == "chance")
        figure.legend(*zip(*handles, strict=True), loc="outside upper left", ncols=3, frameon=False, handlelength=1.2)
    return figure


def space_map(
    points: np.ndarray, modality: np.ndarray, theme: Theme = LIGHT, note: str = "", ids: np.ndarray | None = None
) -> Figure:
    """Image and text vectors on one map.

    Args:
        points: (n, 2), of `mmkit.views.projection.flat`.
        modality: (n,) "image" or "text".
        note: a line under the map, such as the gap between the modalities.
        ids: (n,); draws a hair line from each picture to the texts of its id.
    """
    looks = {"image": ("o", theme.first, "pictures", 22), "text": ("^", theme.second, "sentences", 20)}
    with _figure(theme, 4.9) as (figure, (axes,)):
        if ids is not None:
            _pair_lines(axes, points, modality, ids, theme)
        for name, (marker, colour, label, size) in looks.items():
            chosen = points[modality == name]
            if len(chosen):
                text = f"{len(chosen):,} {label}"
                axes.scatter(
                    chosen[:, 0], chosen[:, 1], s=size, marker=marker, color=colour, alpha=0.75, linewidths=0, label=text
                )
        axes.grid(visible=False)
        # the directions and units of a map mean nothing; only what lies near what does
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", adjustable="datalim")
        for side in axes.spines.values():
            side.set_visible(True)
            side.set_color(theme.grid)
        axes.set_xlabel(note)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, handletextpad=0.3)
    return figure


def _pair_lines(axes: Axes, points: np.ndarray, modality: np.ndarray, ids: np.ndarray, theme: Theme) -> None:
    from matplotlib.collections import LineCollection

    pictures = {ids[i]: points[i] for i in np.flatnonzero(modality == "image")}
    lines = [(pictures[ids[i]], points[i]) for i in np.flatnonzero(modality == "text") if ids[i] in pictures]
    axes.add_collection(LineCollection(lines, colors=theme.faint, linewidths=0.5, alpha=0.45))


def save(figure: Figure, path: str | Path, title: str = "") -> None:
    """Write a figure as PNG, SVG, PDF or one self-contained HTML page, by suffix, whole or not at all.

    Args:
        title: of the page; by default the file's name.

    Raises:
        UsageError: another suffix.
    """
    suffix = check_suffix(path, FORMATS)
    if suffix == ".html":
        from mmkit.views.page import data_uri, render

        chart = data_uri(encode(figure, ".svg"), "svg+xml")
        data = render("figure.html", title=title or Path(path).stem, chart=chart).encode()
    else:
        data = encode(figure, suffix)
    with writing(path) as temporary:
        temporary.write_bytes(data)


def check_suffix(path: str | Path, formats: Collection[str]) -> str:
    """The suffix of a path, in lower case.

    Raises:
        UsageError: it is none of the formats.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in formats:
        raise UsageError(f"cannot draw a {suffix or 'file without suffix'}", str(path), f"one of {' '.join(formats)}")
    return suffix


def encode(figure: Figure, suffix: str) -> bytes:
    """The bytes of a figure as `.png`, `.svg` or `.pdf`; the same figure gives the same bytes."""
    import matplotlib

    sink = io.BytesIO()
    about = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": MAKER}}[suffix]
    settings: Any = {"svg.fonttype": "path", "svg.hashsalt": "mmkit", "pdf.fonttype": 42}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # a character that no font here has is drawn as a box, which says enough
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(sink, format=suffix[1:], dpi=DPI, metadata=about)
    return sink.getvalue()


@contextlib.contextmanager
def _figure(theme: Theme, height: float, rows: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of so many inches with axes, one below the other, in the house style."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "font.family": fonts.installed((*FONTS, *fonts.CJK)),
        "font.size": 10,
        "axes.edgecolor": theme.faint,
        "axes.labelcolor": theme.ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "legend.labelcolor": theme.ink,
        "text.color": theme.ink,
    }
    with matplotlib.rc_context(style):
        # a Figure of its own, not pyplot's: no window system, nothing kept after it is drawn
        figure = Figure((WIDTH, height), facecolor=theme.ground, layout="constrained")
        axes = figure.subplots(rows, 1, sharex=rows > 1, squeeze=False)[:, 0]
        for one in axes:
            one.set_facecolor("none")
        yield figure, list(axes)


def _level(axes: Axes, y: float, text: str, theme: Theme) -> None:
    axes.axhline(y, color=theme.faint, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(text, (1, y), (0, 3), ("axes fraction", "data"), "offset points", color=theme.faint, ha="right", fontsize=9)


def _columns(points: Sequence[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(points, np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _smooth(values: np.ndarray) -> np.ndarray:
    """A centred running mean that narrows towards both ends."""
    reach = SMOOTH // 2
    return np.array(
        [values[max(0, i - r) : i + r + 1].mean() for i in range(len(values)) for r in [min(reach, i, len(values) - 1 - i)]]
    )
