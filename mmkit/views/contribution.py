"""How much each modality contributes: bars with intervals by method, and points by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmkit.views.style import LIGHT, Theme, drawing, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Shares = Sequence[Mapping[str, Any]]
MARKERS = "o^sDvPX*"
HATCHES = ("", "////", "....", "xxxx", "----", "++", "oo", "\\\\")
MOST_CLASSES = 20
ROW, BAR = 0.27, 0.74  # inches of a line, share of it that a bar fills
HEADING = 1.25  # lines that a heading takes
POINT = 0.34  # lines that a modality takes of those of a class
TITLES = {"gradient": "Gradient", "ablation": "Ablation", "shapley": "Shapley"}


def contribution(
    shares: Shares, removal: str, by_class: Mapping[str, tuple[int, Shares]] | None = None, note: str = "", theme: Theme = LIGHT
) -> Figure:
    """Draw the share of each modality by every method, and the Shapley share of each class.

    Args:
        shares: the JSON objects that `mmkit contribution` prints.
        removal: the one that is drawn.
        by_class: class -> the number of its samples, and their shares; the first 20 are drawn.
        note: a line under the figure.
    """
    names = list(dict.fromkeys(one["modality"] for one in shares))
    methods = list(dict.fromkeys(one["method"] for one in shares))
    classes = list((by_class or {}).items())[:MOST_CLASSES]
    high = max(1.0, POINT * (len(names) + 0.5))  # lines of a class
    lines = len(methods) * (len(names) + HEADING) + (HEADING + high * len(classes) if classes else 0)
    with drawing(theme, 0.75 + ROW * lines + (0.3 if classes else 0) + (0.2 if note else 0)) as (figure, (axes,)):
        y, ticks = 0.0, {}
        for method in methods:
            found = [one for one in shares if one["method"] == method and one["removal"] in (None, removal)]
            y = _heading(axes, y, TITLES[method] + (f" ({removal})" if found[0]["removal"] else ""), theme)
            for one in found:
                _bar(axes, y, one, names.index(one["modality"]), theme)
                ticks[y] = short(one["modality"])
                y += 1
        if classes:
            some = f": the {len(classes)} most frequent of {len(by_class or {}):,}" if len(classes) < len(by_class or {}) else ""
            y = _heading(axes, y, f"Shapley ({removal}) by class{some}", theme) + (high - 1) / 2
            for label, (count, of) in classes:
                _points(axes, y, [one for one in of if one["method"] == "shapley" and one["removal"] == removal], theme)
                ticks[y] = f"{short(label)} ({count:,})"
                y += high
            y -= (high - 1) / 2
            _legend(figure, names, theme)
        axes.set_yticks(list(ticks), list(ticks.values()))
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(y - 0.4, -0.2)
        axes.set_xlim(0, 1)
        axes.set_xlabel("\n".join(line for line in ("share of the decision", note) if line))
        axes.grid(axis="y", visible=False)
    return figure


def _heading(axes: Axes, y: float, text: str, theme: Theme) -> float:
    """Write a heading above the lines that follow; returns where the first of them is."""
    axes.text(0.005, y + 0.42, text, color=theme.ink, weight="bold", va="center", fontsize=9.5)
    return y + HEADING


def _look(number: int, theme: Theme) -> str:
    return (theme.first, theme.second, theme.faint, theme.ink)[number % 4]


def _bar(axes: Axes, y: float, one: Mapping[str, Any], number: int, theme: Theme) -> None:
    share, interval = one["share"], one["interval"]
    axes.text(1.015, y, "–" if share is None else f"{share:.2f}", color=theme.ink, va="center", fontsize=9)
    if share is None:
        return
    ground = theme.within if theme.ground == "none" else theme.ground
    axes.barh(y, share, BAR, color=_look(number, theme), hatch=HATCHES[number % len(HATCHES)], edgecolor=ground, linewidth=0)
    if interval:
        _whisker(axes, y, interval, theme.ink, 0.16)


def _points(axes: Axes, y: float, found: Shares, theme: Theme) -> None:
    for number, one in enumerate(found):
        if one["share"] is None:
            continue
        at = y + (number - (len(found) - 1) / 2) * POINT
        colour = _look(number, theme)
        axes.plot(one["share"], at, MARKERS[number % len(MARKERS)], color=colour, markersize=5, zorder=3, clip_on=False)
        if one["interval"]:
            _whisker(axes, at, one["interval"], colour, 0)


def _whisker(axes: Axes, y: float, interval: Sequence[float], colour: str, cap: float) -> None:
    axes.plot(interval, [y, y], color=colour, linewidth=1.3, clip_on=False)
    for end in interval if cap else ():
        axes.plot([end, end], [y - cap, y + cap], color=colour, linewidth=1.3, clip_on=False)


def _legend(figure: Figure, names: Sequence[str], theme: Theme) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_look(i, theme), marker=MARKERS[i % len(MARKERS)], linewidth=1.3, markersize=5, label=short(name))
        for i, name in enumerate(names)
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, frameon=False)
