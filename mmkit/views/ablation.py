"""What each cell of an ablation is worth, as a forest plot with matplotlib."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmkit.views.style import LIGHT, WIDTH, Theme, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME_WIDTH = 28  # characters of a line of a cell's name
ROW, LINE = 0.34, 0.16  # inches of a cell, and of each further line of its name


@dataclass(frozen=True)
class Panel:
    """One metric: of each cell its mean in words, and its difference to the first with the interval of that, where it has one."""

    metric: str
    means: Sequence[str]
    differences: Sequence[tuple[float, Sequence[float]] | None]


def forest(names: Sequence[str], panels: Sequence[Panel], note: str = "", theme: Theme = LIGHT) -> Figure:
    """A panel a metric, a line a cell: its difference to the first with the 95 % interval, and its own value at the right.

    A point is filled where the interval leaves 0 out.

    Args:
        names: of the cells, the first that which the others are compared with.
        note: a line under the figure.
    """
    labels = [textwrap.fill(name, NAME_WIDTH, break_on_hyphens=False) for name in names]
    height = sum(ROW + LINE * label.count("\n") for label in labels) + 0.45
    with drawing(theme, height * len(panels) + 0.6, rows=len(panels), width=WIDTH + 1.2) as (figure, axes):
        for axis, panel in zip(axes, panels, strict=True):
            _panel(axis, labels, panel, theme)
        axes[-1].set_xlabel("\n".join(text for text in (f"difference to: {' '.join(names[0].split())}", note) if text))
    return figure


def _panel(axes: Axes, labels: Sequence[str], panel: Panel, theme: Theme) -> None:
    axes.axvline(0, color=theme.ink, linewidth=1)
    for y, found in enumerate(panel.differences):
        if found is None:
            if not y:
                axes.plot(0, y, marker="D", color=theme.ink, markersize=5)
            continue
        value, (low, high) = found
        certain = low > 0 or high < 0
        axes.plot([low, high], [y, y], color=theme.first, linewidth=2, solid_capstyle="butt")
        fill = theme.first if certain else theme.within
        axes.plot(value, y, marker="o", markersize=7, markerfacecolor=fill, markeredgecolor=theme.first, markeredgewidth=1.6)
    for y, text in enumerate(panel.means):
        axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), ha="left", va="center", fontsize=9)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_title(panel.metric, loc="left", fontsize=10, fontweight="bold")
    axes.margins(x=0.08)
