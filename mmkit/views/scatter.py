"""A map of the shared space as a figure: points in groups, lines between what belongs together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.views.groups import REST, SHAPES, Groups
from mmkit.views.style import LIGHT, Theme, drawing, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 6.4, 6.2  # inches
LAYERS = 8  # groups are drawn in turns, so that none hides all of another
MOST_LINES = 5000  # more are a grey veil
MOST_VECTORS = 5000  # points; of more a drawing of shapes is larger than one of pixels
CHARACTER = 0.078  # inches, of a legend


def space_map(
    points: np.ndarray,
    groups: Groups,
    modality: np.ndarray,
    pairs: np.ndarray,
    theme: Theme = LIGHT,
    note: str = "",
    ground: np.ndarray | None = None,
    width: float = WIDTH,
    height: float = HEIGHT,
) -> Figure:
    """Points of all modalities on one map. A group has a colour and a shape; of two modalities the first is filled, of more each
    has a shape of its own instead of the group.

    Args:
        points: (n, 2); modality: (n,).
        pairs: (p, 2) row numbers of what a hair line joins; of more than 5,000 as many are drawn.
        note: lines under the map, such as the gap between the modalities.
        ground: (g, 2), points drawn faintly under the others.
    """
    with drawing(theme, height, width=width) as (figure, (axes,)):
        rastered = len(points) > MOST_VECTORS
        if ground is not None:
            faint: Any = {"marker": REST, "color": theme.faint, "alpha": 0.35, "linewidths": 0}
            raster = len(ground) > MOST_VECTORS
            axes.scatter(ground[:, 0], ground[:, 1], s=1.6 * _size(len(ground)), rasterized=raster, **faint)
        _lines(axes, points, pairs, theme)
        kinds: list[str | None] = list(dict.fromkeys(modality.tolist())) if groups.by != "modality" else [None]
        _points(axes, points, groups, modality, kinds, theme, rastered)
        _bare(axes, theme)
        axes.set_xlabel(note, fontsize=9)
        _legend(figure, groups, kinds, theme, width, 0 if ground is None else len(ground))
    return figure


def _points(
    axes: Axes, points: np.ndarray, groups: Groups, modality: np.ndarray, kinds: list[str | None], theme: Theme, rastered: bool
) -> None:
    looks = list(zip(groups.shapes(), groups.colours(theme), strict=True))
    own = _shapes(kinds)
    turn = np.random.default_rng(0).integers(LAYERS, size=len(points))
    for layer in range(LAYERS):
        # what is grey lies below
        for code in reversed(range(len(looks))):
            shape, colour = looks[code]
            grey = shape == REST
            size, alpha = _size(len(points)) * (1.6 if grey and not own else 1), 0.6 if grey else 0.8
            for i, kind in enumerate(kinds):
                chosen = points[(turn == layer) & (groups.codes == code) & ((modality == kind) if kind else True)]
                look: Any = {"facecolors": "none", "edgecolors": colour} if i else {"color": colour}
                marker = own[i] if own else shape
                look |= {"marker": marker, "alpha": alpha, "linewidths": 0.8 if i else 0, "rasterized": rastered}
                axes.scatter(chosen[:, 0], chosen[:, 1], s=size, **look)


def _shapes(kinds: list[str | None]) -> list[str]:
    """A marker for each modality where filled and hollow do not tell them apart."""
    return [SHAPES[i % len(SHAPES)] for i in range(len(kinds))] if len(kinds) > 2 else []


def _size(count: int) -> float:
    """Square points of a marker: smaller where there are many."""
    return float(np.clip(9000 / max(count, 1), 3, 24))


def _lines(axes: Axes, points: np.ndarray, pairs: np.ndarray, theme: Theme) -> None:
    from matplotlib.collections import LineCollection

    if len(pairs) > MOST_LINES:
        pairs = pairs[np.linspace(0, len(pairs) - 1, MOST_LINES).astype(int)]
    strength = float(np.clip(120 / max(len(pairs), 1), 0.12, 0.45))
    lines = LineCollection(list(points[pairs]), colors=theme.faint, linewidths=0.5, alpha=strength)
    lines.set_rasterized(len(points) > MOST_VECTORS)
    axes.add_collection(lines)


def _bare(axes: Axes, theme: Theme) -> None:
    """The directions and units of a map mean nothing; only what lies near what does."""
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    for side in axes.spines.values():
        side.set_visible(True)
        side.set_color(theme.grid)


def _legend(figure: Figure, groups: Groups, kinds: list[str | None], theme: Theme, width: float, ground: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    own = _shapes(kinds)
    for shape, colour, name, count in zip(groups.shapes(), groups.colours(theme), groups.names, groups.counts, strict=True):
        size = 9 if shape == REST else 6
        label = f"{short(name)}  {count:,}"
        if own:
            handles.append(Patch(facecolor=colour, linewidth=0, label=label))
            continue
        handles.append(Line2D([], [], linestyle="", marker=shape, color=colour, markersize=size, markeredgewidth=0, label=label))
    if len(kinds) > 1:
        for i, kind in enumerate(kinds):
            fill, marker = "none" if i else theme.faint, own[i] if own else "o"
            handles.append(
                Line2D([], [], linestyle="", marker=marker, color=theme.faint, markerfacecolor=fill, markersize=6, label=kind)
            )
    if ground:
        look: Any = {"linestyle": "", "marker": REST, "color": theme.faint, "alpha": 0.35, "markersize": 9}
        handles.append(Line2D([], [], markeredgewidth=0, label=f"the map  {ground:,}", **look))
    longest = max(_columns(str(handle.get_label())) for handle in handles)
    columns = int(np.clip(width // (0.4 + longest * CHARACTER), 1, len(handles)))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, handletextpad=0.3, fontsize=9)


def _columns(text: str) -> int:
    """The width of a text in characters; those of East Asia count twice."""
    return sum(2 if ord(c) > 0x2E7F else 1 for c in text)
