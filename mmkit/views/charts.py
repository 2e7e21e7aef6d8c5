"""Charts with matplotlib: training curve, recall beside chance, 2-D map of the shared space, confusion of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.views.style import LIGHT, WIDTH, Theme, drawing, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# query -> answer, as a reader says it
DIRECTIONS = {"image_retrieval": "sentence → picture", "text_retrieval": "picture → sentence"}
MOST_CLASSES = 40  # whose names can still be read beside each other
MOST_COUNTED = 16  # classes whose cells have room for a number
SMOOTH = 9  # rows of the log that the bold loss line averages


def training_curve(rows: Sequence[dict[str, Any]], batch_size: int | None = None, theme: Theme = LIGHT) -> Figure:
    """Loss, and recall@1 on val where it was measured, over the steps.

    Args:
        rows: of `metrics.jsonl`.
        batch_size: draws the loss of guessing, ln(batch), beside the curve.
    """
    losses = [(r["step"], r["train/loss"]) for r in rows if "train/loss" in r]
    recalls = {d: [(r["step"], r[k]) for r in rows if (k := f"val/{d}_recall@1") in r] for d in DIRECTIONS}
    measured = any(recalls.values())
    with drawing(theme, 4.6 if measured else 2.6, rows=2 if measured else 1) as (figure, axes):
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
    with drawing(theme, 0.75 + 0.72 * len(ks)) as (figure, (axes,)):
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
    with drawing(theme, 4.9) as (figure, (axes,)):
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


def confusion(counts: np.ndarray, names: Sequence[str], theme: Theme = LIGHT, note: str = "") -> Figure:
    """What each class was taken for: right answers in blue, wrong ones in vermilion, by their share of the true class.

    Up to 16 classes their counts stand in the cells. Of more than 40, the 40 most confused are drawn, and that is said.

    Args:
        counts: (C, C) of whole numbers, rows the true class and columns the predicted one.
        names: of the C classes.
        note: a line under the figure.

    Raises:
        ValueError: the counts are not square, or there is not one name for each class.
    """
    from matplotlib.colors import to_rgba

    classes = len(names)
    if counts.shape != (classes, classes) or not classes:
        raise ValueError(f"counts of shape {counts.shape} for {classes} names")
    shown = _most_confused(counts, MOST_CLASSES)
    shares = (counts / counts.sum(1, keepdims=True).clip(1))[np.ix_(shown, shown)]
    cells = np.array([[to_rgba(theme.first if i == j else theme.second) for j in shown] for i in shown])
    cells[..., 3] = _strength(shares)
    labels, few = [short(names[i]) for i in shown], len(shown) <= MOST_COUNTED
    size, cell = (10, 0.3) if few else (8, 0.17)  # points of a label, inches
    longest = max(map(len, labels))
    side = max(WIDTH, 0.6 + longest * 0.008 * size + len(shown) * cell)
    with drawing(theme, side, width=side) as (figure, (axes,)):
        axes.pcolormesh(cells, edgecolors=theme.grid, linewidth=0.5)
        if few:
            _write_counts(axes, counts[np.ix_(shown, shown)], cells, theme)
        middles = np.arange(len(shown)) + 0.5
        axes.set_xticks(middles, labels, rotation=90 if longest * len(labels) > 36 else 0, fontsize=size)
        axes.set_yticks(middles, labels, fontsize=size)
        axes.tick_params(length=0)
        axes.set_ylim(len(shown), 0)
        axes.set_aspect("equal")
        axes.grid(visible=False)
        left_out = f"the {len(shown)} most confused of {classes} classes" if len(shown) < classes else ""
        axes.set_xlabel("\n".join(line for line in ("predicted class", left_out, note) if line))
        axes.set_ylabel("true class")
        _key_of_shares(figure, theme)
    return figure


def _most_confused(counts: np.ndarray, most: int) -> np.ndarray:
    """Which classes to draw, in their order: those with the most errors, as the true class or as the predicted one."""
    errors = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    return np.sort(np.argsort(-errors, kind="stable")[:most])


def _strength(shares: Any) -> Any:
    """Opacity of a share: its root, so that one error in a hundred is still seen."""
    return np.sqrt(shares)


def _write_counts(axes: Axes, counts: np.ndarray, cells: np.ndarray, theme: Theme) -> None:
    ground = 0.1 if theme.ground == "none" else 1.0  # of the page, which the colours let through
    grey = cells[..., :3] @ (0.299, 0.587, 0.114) * cells[..., 3] + ground * (1 - cells[..., 3])
    for i, j in np.argwhere(counts):
        count = counts[i, j]
        text = str(count) if count < 1000 else f"{count / 1000:.{int(count < 9950)}f}k"
        ink = theme.ink if (grey[i, j] > 0.5) == (ground > 0.5) else theme.within
        axes.text(j + 0.5, i + 0.5, text, color=ink, ha="center", va="center", fontsize=10 if len(counts) <= 6 else 7.5)


def _key_of_shares(figure: Figure, theme: Theme) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch

    right, wrong = theme.first, theme.second
    looks = (("right 100%", right, 1.0), ("wrong 50%", wrong, 0.5), ("10%", wrong, 0.1), ("1%", wrong, 0.01))
    handles = [Patch(facecolor=to_rgba(colour, _strength(s)), linewidth=0, label=label) for label, colour, s in looks]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, frameon=False, handlelength=1.2)


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
