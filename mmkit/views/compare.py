"""Two models side by side: the difference of every metric with its interval, and what changed most."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmkit.tabular import is_less
from mmkit.views.charts import answers, directed
from mmkit.views.fonts import ELLIPSIS
from mmkit.views.style import LIGHT, Theme, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 0.2  # inches of a line of text
ROW = 0.3  # inches of a metric
ITEM, NAME = 38, 54  # characters of a query, of a model

Changed = tuple[str, str, float, float]


def differences(
    rows: Sequence[dict[str, Any]], names: tuple[str, str], about: str = "", changed: Sequence[Changed] = (), theme: Theme = LIGHT
) -> Figure:
    """A point and its interval for each metric, B minus A, and as text below the median ranks and the items that changed most.

    Where the interval holds 0 the point is hollow: the difference may be chance.

    Args:
        rows: of `mmkit compare`: metric, a, b, difference, interval.
        names: of A and B.
        about: what both were measured on.
        changed: (item, figure, value in A, value in B), those that got better first.
    """
    kinds = answers(row["metric"] for row in rows)
    shares = [row for row in rows if "median_rank" not in row["metric"]]
    medians = [row for row in rows if "median_rank" in row["metric"]]
    lines = len(medians) + bool(medians) + len(changed) + 2 * bool(changed)
    heights = [1.6 + ROW * len(shares), LINE * (lines + 1)]
    with drawing(theme, sum(heights)) as (figure, (axes,)):
        # each with a layout of its own: text may begin left of where the axes do
        axes.remove()
        parts = figure.subfigures(2 if lines else 1, 1, height_ratios=heights[: 2 if lines else 1], squeeze=False)[:, 0]
        for part in parts:
            part.set_facecolor("none")
        _points(parts[0].subplots(), shares, kinds, theme)
        if lines:
            _write(parts[1].subplots(), medians, changed, kinds, lines, theme)
        # of a path the end tells which it is
        a, b = (name if len(name) <= NAME else ELLIPSIS + name[1 - NAME :] for name in names)
        head = [f"A  {a}", f"B  {b}", _cut(about, NAME)]
        parts[0].suptitle("\n".join(line for line in head if line), x=0.02, ha="left", fontsize=10, linespacing=1.4)
    return figure


def _points(axes: Axes, rows: Sequence[dict[str, Any]], kinds: Sequence[str], theme: Theme) -> None:
    for y, row in enumerate(rows):
        low, high = row["interval"]
        gained = row["difference"] < 0 if is_less(row["metric"]) else row["difference"] > 0
        better, marker = (theme.first, "o") if gained else (theme.second, "v")
        colour, marker = (theme.faint, "o") if low <= 0 <= high else (better, marker)
        axes.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
        fill = (theme.ground if theme.ground != "none" else theme.within) if colour == theme.faint else colour
        axes.plot(row["difference"], y, marker=marker, markersize=7, color=colour, markerfacecolor=fill, markeredgewidth=1.6)
        values = f"{row['a']:.3f} → {row['b']:.3f}"
        axes.annotate(values, (1, y), (8, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=9)
    axes.set_facecolor("none")
    axes.axvline(0, color=theme.ink, linewidth=1)
    axes.set_yticks(range(len(rows)), [_label(row["metric"], kinds) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=5)
    hollow = any(row["interval"][0] <= 0 <= row["interval"][1] for row in rows)
    axes.set_xlabel("B minus A, with its 95 % interval" + ("; hollow: may be chance" if hollow else ""))


def _write(
    axes: Axes, medians: Sequence[dict[str, Any]], changed: Sequence[Changed], kinds: Sequence[str], lines: int, theme: Theme
) -> None:
    """Lines of text in three columns, in axes that are not drawn."""
    axes.axis("off")
    axes.set_xlim(0, 1)
    axes.set_ylim(lines, 0)
    y = 0.5

    def line(first: str, second: str, third: str, ink: str = theme.ink) -> None:
        nonlocal y
        for x, text, side in ((0.0, first, "left"), (0.57, second, "left"), (1.0, third, "right")):
            axes.text(x, y, text, color=ink, ha=side, va="center", fontsize=9)
        y += 1

    for row in medians:
        low, high = row["interval"]
        name = _label(row["metric"].replace("_median_rank", ""), kinds)
        line(f"median rank: {row['a']:g} → {row['b']:g}", name, f"{row['difference']:+g} [{low:+g}, {high:+g}]")
    y += bool(medians)
    if changed:
        line("what changed most", "", "rank, A → B" if changed[0][1].endswith(" rank") else "A → B", theme.faint)
    for item, figure, a, b in changed:
        line(_cut(item, ITEM), _label(figure.removesuffix(" rank"), kinds), f"{a:g} → {b:g}")


def _label(metric: str, kinds: Sequence[str]) -> str:
    """A metric as a reader says it: its direction by an arrow, for which `kinds` are the inputs that answer in any metric."""
    direction, figure = directed(metric, kinds)
    return f"{direction}  {figure.replace('recall@', 'R@')}".strip() if direction else figure.replace("_", " ")


def _cut(text: str, width: int) -> str:
    """The beginning of a text that is as wide as so many characters; those of East Asia count twice."""
    text, used = " ".join(text.split()), 0
    for i, character in enumerate(text):
        used += 1 + (unicodedata.east_asian_width(character) in "WF")
        if used > width:
            return text[: i - 1].rstrip() + ELLIPSIS
    return text
