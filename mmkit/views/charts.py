"""Charts with matplotlib: training curve, recall beside chance, confusion of classes, predicted numbers beside true ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.talk import VAL, as_read, chosen_by
from mmkit.views.style import LIGHT, WIDTH, Theme, drawing, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# query -> answer, as a reader says it
PICTURES = {"image", "text"}
DIRECTIONS = {"image_retrieval": "sentence → picture", "text_retrieval": "picture → sentence"}
LINES: Sequence[tuple[Any, str]] = (("-", "o"), ((0, (5, 1.5)), "^"), ("-.", "s"), (":", "D"))  # told apart without colour
MOST_CLASSES = 40  # whose names can still be read beside each other
MOST_POINTS = 4000  # that are drawn
MOST_COUNTED = 16  # classes whose cells have room for a number
SMOOTH = 9  # rows of the log that the bold loss line averages


def training_curve(rows: Sequence[dict[str, Any]], batch_size: int | None = None, theme: Theme = LIGHT) -> Figure:
    """Loss, and what was measured on val, over the steps: recall@1 each way, else what the weights are chosen by.

    Args:
        rows: of `metrics.jsonl`.
        batch_size: of the training; the loss of guessing, where the rows say it, is called ln(batch) where it is that.
    """
    losses = [(r["step"], r["train/loss"]) for r in rows if "train/loss" in r]
    guessing = [r["train/loss_at_chance"] for r in rows if r.get("train/loss_at_chance")]
    level = float(np.median(guessing)) if guessing else 0.0
    measured = _measured(rows)
    with drawing(theme, 4.6 if measured else 2.6, rows=2 if measured else 1) as (figure, axes):
        top = axes[0]
        steps, values = _columns(losses)
        top.plot(steps, values, color=theme.first, alpha=0.35, linewidth=0.9)
        top.plot(steps, _smooth(values), color=theme.first, linewidth=2)
        top.set_ylim(0, max([*values, level, 0.1]) * 1.12)
        if level and len(steps):
            formula = f"ln {batch_size} = " if batch_size and abs(level - math.log(batch_size)) < 0.005 else ""
            _level(top, level, f"guessing: {formula}{level:.2f}", theme)
        top.set_ylabel("training loss (nats)")
        if measured:
            _val_lines(axes[1], measured, theme)
        axes[-1].set_xlabel("training step")
        figure.align_ylabels(axes)
    return figure


def _measured(rows: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """name -> (step, value) of recall@1 each way; of one line where that would be too many, or where there is no recall."""
    names = {name for row in rows for name in row if name.startswith(VAL) and name.endswith("_retrieval_recall@1")}
    if not 1 <= len(names) <= len(LINES):
        names = {f"{VAL}{name}" for row in rows if (name := chosen_by(row))}
    found = {}
    for key in sorted(names):
        name, _ = as_read(key.removeprefix(VAL), 0)
        found[name] = [(row["step"], as_read(key.removeprefix(VAL), row[key])[1]) for row in rows if key in row]
    return found


def _val_lines(axes: Axes, measured: dict[str, list[tuple[int, float]]], theme: Theme) -> None:
    kinds = answers(measured)
    for (name, points), (style, marker), colour in zip(
        measured.items(), LINES, (theme.first, theme.second, theme.ink, theme.faint), strict=False
    ):
        steps, values = _columns(points)
        label = f"{said(name, kinds)}  {values[-1]:.2g}"
        axes.plot(steps, values, color=colour, linewidth=2, linestyle=style, marker=marker, markersize=4.5, label=label)
    lowest = min(value for points in measured.values() for _, value in points)
    highest = max(value for points in measured.values() for _, value in points)
    axes.set_ylim(min(0, lowest), 1.02 * max(1, highest) if lowest >= 0 else None)
    axes.set_ylabel("R@1 on val (share)" if any("recall@1" in name for name in measured) else "on val")
    axes.legend(loc="best", frameon=False)


def said(metric: str, others: Sequence[str] = ()) -> str:
    """A metric as a reader says it: `image_retrieval_recall@1` is `sentence → picture`, where texts are among the `others`."""
    direction, figure = directed(metric, others)
    return direction if direction and figure == "recall@1" else metric.replace("_", " ")


def directed(metric: str, others: Sequence[str] = ()) -> tuple[str, str]:
    """A figure of retrieval as its direction and what it is of it; "" and the whole metric where it is of no direction.

    Args:
        others: the inputs that answer in the metrics beside it; they tell the query where the metric does not name its inputs.

    >>> directed("image-audio/image_retrieval_recall@5"), directed("text_retrieval rank", ["audio", "text"])
    (('audio → image', 'recall@5'), ('audio → text', 'rank'))
    """
    place, _, name = metric.rpartition("/")
    answer, found, figure = name.partition("_retrieval")
    if not found:
        return "", metric
    query = place.removeprefix(f"{answer}-") if place.startswith(f"{answer}-") else place.removesuffix(f"-{answer}")
    query = query or next((one for one in others if one != answer), "")
    told = DIRECTIONS.get(answer + found) if not place and (not query or {query, answer} == PICTURES) else None
    return told or f"{query} → {answer}".strip(), figure.strip("_ ")


def answers(metrics: Iterable[str]) -> list[str]:
    """The inputs that are found by retrieval, each once."""
    return list(
        dict.fromkeys(metric.rpartition("/")[2].partition("_retrieval")[0] for metric in metrics if "_retrieval" in metric)
    )


def directions_of(record: dict[str, Any]) -> dict[str, str]:
    """The directions of retrieval in a result of `eval`: the prefix of their metrics, and how a reader says it."""
    names = list(dict.fromkeys(name.partition("_recall@")[0] for name in record["metrics"] if "_recall@" in name))
    return {name: directed(name, answers(names))[0] for name in names}


def recall_bars(record: dict[str, Any], theme: Theme = LIGHT) -> Figure:
    """Recall@k both ways as bars with their intervals, and what a random order reaches as a line across each.

    Args:
        record: the JSON object that `mmkit eval recall@k` prints.
    """
    metrics, chance, interval = record["metrics"], record.get("chance", {}), record.get("interval", {})
    ks = sorted({int(name.partition("recall@")[2]) for name in metrics if "recall@" in name})
    with drawing(theme, 0.75 + 0.72 * len(ks)) as (figure, (axes,)):
        for i, (direction, label) in enumerate(directions_of(record).items()):
            colour = (theme.first, theme.second)[i]
            for row, k in enumerate(ks):
                name, y = f"{direction}_recall@{k}", row + (i - 0.5) * 0.36
                axes.barh(y, metrics[name], 0.32, color=colour, label=label if not row else None)
                if name in interval:
                    axes.plot(interval[name], [y, y], color=theme.ink, linewidth=1.4, solid_capstyle="butt")
                inside = metrics[name] > 0.5
                x = interval.get(name, [metrics[name]] * 2)[0 if inside else 1] + (-0.015 if inside else 0.025)
                ink = theme.within if inside else theme.ink
                axes.text(x, y, f"{metrics[name]:.3f}", color=ink, ha="right" if inside else "left", va="center", fontsize=9)
                if name in chance:
                    once = "chance" if not row and not i else None
                    axes.plot([chance[name]] * 2, [y - 0.2, y + 0.2], color=theme.ink, linewidth=2, label=once)
        axes.set_yticks(range(len(ks)), [f"R@{k}" for k in ks])
        axes.set_ylim(len(ks) - 0.45, -0.55)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of queries whose right answer is among the first k")
        axes.grid(axis="y", visible=False)
        # bars first, as the reader meets them
        handles = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda pair: pair[1] == "chance")
        figure.legend(*zip(*handles, strict=True), loc="outside upper left", ncols=3, frameon=False, handlelength=1.2)
    return figure


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


def predicted(target: np.ndarray, found: np.ndarray, theme: Theme = LIGHT, note: str = "") -> Figure:
    """Numbers as they were predicted over what they are, and the line on which both are the same.

    Args:
        target, found: (N,), as they are and as they were predicted; of more than some thousands an even choice is drawn.
        note: a line under the figure.

    Raises:
        ValueError: there are none, or not as many of both.
    """
    if target.shape != found.shape or not len(target):
        raise ValueError(f"numbers of shape {target.shape} and {found.shape}")
    step = -(-len(target) // MOST_POINTS)
    low, high = min(target.min(), found.min()), max(target.max(), found.max())
    room = 0.04 * (high - low or 1.0)
    with drawing(theme, 5.2, width=6.0) as (figure, (axes,)):
        axes.plot([low, high], [low, high], color=theme.faint, linewidth=1, linestyle=(0, (4, 3)))
        axes.scatter(target[::step], found[::step], s=14, color=theme.first, alpha=0.45, linewidth=0)
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(low - room, high + room)
        axes.set_aspect("equal")
        some = f"one of {step} of {len(target):,} rows" if step > 1 else ""
        axes.set_xlabel("\n".join(line for line in ("true", some, note) if line))
        axes.set_ylabel("predicted")
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
