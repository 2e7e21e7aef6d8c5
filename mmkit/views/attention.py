"""What a model looks at: a picture, the spectrogram of a sound, curves or the frames of a video, the same under a map of weights,
and the words with theirs. No torch here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mmkit.data.canvas import Canvas
from mmkit.views.style import LIGHT, WIDTH, Theme, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

STRONGEST = 0.92  # opacity of the greatest weight
PALE = 0.7  # share of white over the picture under the map, so that the map is what is dark
LEAST_LABELLED = 1.9  # inches of height that the words beside the colour bar need
LARGEST = 1200  # pixels of a drawn picture's long side
SIDE = (WIDTH - 0.9) / 2  # inches of a picture's width
STRIP = 1.4  # inches of height of what has axes
ACROSS = 6  # frames of a video in a row
BOX, LINE, SPACE = 0.2, 0.5, 0.12  # inches: padding of a word's box both sides, a line of words, and between two words


@dataclass(frozen=True)
class Looked:
    """A value and where a model looked.

    Args:
        canvas: the value as it is drawn; grid: the map of it, (h, w) or of several pictures (n, h, w).
        words: with their weights, in the order of the text.
        title: above; note: below.
    """

    canvas: Canvas
    grid: np.ndarray
    words: Sequence[tuple[str, float]] = field(default=())
    title: str = ""
    note: str = ""

    @cached_property
    def heat(self) -> np.ndarray:
        """Weight of each cell of each picture, from the top down: (n, height, width)."""
        return self.canvas.drawn(self.canvas.spread(self.grid))

    @cached_property
    def shares(self) -> np.ndarray:
        """The same from 0 to 1, over all pictures together; see `strength`."""
        return strength(self.heat)


def strength(weights: np.ndarray) -> np.ndarray:
    """Weights from 0 to 1: shares of the greatest; of weights that can be negative, from the least to the greatest."""
    low = min(float(weights.min(initial=0)), 0.0)
    high = float(weights.max(initial=0))
    return (weights - low) / (high - low) if high > low else np.zeros_like(weights)


def attention(looked: Looked, theme: Theme = LIGHT) -> Figure:
    """The value, the same under the map with a colour bar, and the words, darker the more they weigh: also in grey.

    A picture beside its map; what has axes above its map; the frames of a video in rows, each above its map.
    """
    lay, tall = _layout(looked)
    with drawing(theme, tall + 1) as (figure, (axes,)):
        axes.remove()
        with warnings.catch_warnings():
            lines = _lines(figure, [word for word, _ in looked.words])
        rows = [tall, *([LINE * len(lines)] if lines else [])]
        figure.set_size_inches(WIDTH, sum(rows) + 0.3 * bool(looked.title) + 0.3 * bool(looked.note) + 0.15)
        grid = figure.add_gridspec(len(rows), 1, height_ratios=rows)
        lay(looked, figure, grid[0], theme)
        if lines:
            _words(figure.add_subplot(grid[1]), lines, looked.words, theme)
        if looked.title:
            figure.suptitle(looked.title, fontsize=10, color=theme.ink)
        if looked.note:
            figure.supxlabel(looked.note, fontsize=8.5, color=theme.faint)
    return figure


def _layout(looked: Looked) -> tuple[Callable[[Looked, Figure, Any, Theme], None], float]:
    """How it is laid out, and how tall that is in inches."""
    width, height = looked.canvas.size
    if looked.canvas.across:
        return _stacked, 2 * STRIP + 0.6
    if len(looked.canvas.pictures) > 1:
        across = min(ACROSS, len(looked.canvas.pictures))
        return _in_rows, -(-len(looked.canvas.pictures) // across) * ((WIDTH - 0.6) / across * height / width + 0.2) * 2
    return _side_by_side, min(SIDE * height / width, 2 * SIDE)


def _side_by_side(looked: Looked, figure: Figure, place: Any, theme: Theme) -> None:
    cells = place.subgridspec(1, 3, width_ratios=[SIDE, SIDE, 0.12])
    left, right = (figure.add_subplot(cells[0, i]) for i in range(2))
    _lay(left, np.asarray(_small(looked.canvas.pictures[0])), looked.canvas.size, theme)
    pale(right, looked.canvas.pictures[0], looked.canvas.size, theme)
    tint(right, looked.shares[0], theme)
    flat = SIDE * looked.canvas.size[1] / looked.canvas.size[0] <= LEAST_LABELLED
    _bar(looked, figure, right, figure.add_subplot(cells[0, 2]), theme, not flat)


def _stacked(looked: Looked, figure: Figure, place: Any, theme: Theme) -> None:
    """What is over time, and its map below, with what both sides measure."""
    canvas = looked.canvas
    cells = place.subgridspec(2, 2, width_ratios=[WIDTH - 1, 0.12])
    above, below = (figure.add_subplot(cells[i, 0]) for i in range(2))
    _lay(above, np.asarray(_small(canvas.pictures[0])), canvas.size, theme)
    pale(below, canvas.pictures[0], canvas.size, theme)
    tint(below, looked.shares[0], theme)
    for axes in (above, below):
        axes.set_aspect("auto")
        if canvas.up:
            places = canvas.up.places()
            axes.set_yticks([canvas.size[1] - y for y in places] if canvas.rising else places, list(map(said, canvas.up.ticks)))
            axes.set_ylabel(canvas.up.name, fontsize=8.5)
        axes.tick_params(labelsize=8, length=2)
    assert canvas.across
    below.set_xticks(canvas.across.places(), list(map(said, canvas.across.ticks)))
    below.set_xlabel(canvas.across.name, fontsize=8.5)
    _bar(looked, figure, below, figure.add_subplot(cells[1, 1]), theme, False)


def _in_rows(looked: Looked, figure: Figure, place: Any, theme: Theme) -> None:
    """Frames in the order of time, each above its map; all maps by the greatest weight of them together."""
    canvas = looked.canvas
    across = min(ACROSS, len(canvas.pictures))
    rows = -(-len(canvas.pictures) // across)
    cells = place.subgridspec(2 * rows, across + 1, width_ratios=[*[(WIDTH - 0.6) / across] * across, 0.12])
    for i, (picture, share, label) in enumerate(zip(canvas.pictures, looked.shares, canvas.labels, strict=True)):
        row, column = divmod(i, across)
        above, below = (figure.add_subplot(cells[2 * row + k, column]) for k in range(2))
        _lay(above, np.asarray(_small(picture)), canvas.size, theme)
        pale(below, picture, canvas.size, theme)
        tint(below, share, theme)
        below.set_xlabel(label, fontsize=8, labelpad=2)
    _bar(looked, figure, below, figure.add_subplot(cells[:, across]), theme, rows > 1)


def _bar(looked: Looked, figure: Figure, axes: Axes, place: Axes, theme: Theme, labelled: bool) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    # where none is negative, only how weights compare means something
    least, most = float(looked.heat.min()), float(looked.heat.max())
    low, high = (least, most) if least < 0 else (0.0, 1.0)
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), _colours(theme)), cax=place)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=8, length=2)
    if labelled:
        bar.set_label("weight" if low < 0 else "share of the greatest weight", size=8.5)
    else:  # there is no room
        bar.set_ticks([low, high])


def said(tick: float) -> str:
    """A tick as it is written."""
    return f"{tick:g}" if tick < 10_000 else f"{tick:,.0f}"


def pale(axes: Axes, picture: Image.Image, size: tuple[int, int], theme: Theme) -> None:
    """The picture in light greys, over `size` (width, height) cells, for a map to lie on."""
    grey = np.asarray(_small(picture).convert("L"), np.float32)[..., None].repeat(3, 2) / 255
    _lay(axes, grey * (1 - PALE) + PALE, size, theme)


def tint(axes: Axes, share: np.ndarray, theme: Theme) -> None:
    """A map of shares (height, width) of the greatest weight over what is there: the darker, the more."""
    height, width = share.shape
    look: dict[str, Any] = {"cmap": _colours(theme), "alpha": share * STRONGEST, "vmin": -1, "vmax": 0}
    axes.imshow(np.zeros_like(share), extent=(0.0, float(width), float(height), 0.0), **look)


def _small(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGB")
    picture.thumbnail((LARGEST, LARGEST))
    return picture


def _lay(axes: Axes, pixels: np.ndarray, size: tuple[int, int], theme: Theme) -> None:
    width, height = size
    smooth = "antialiased" if max(pixels.shape) > 200 else "nearest"
    axes.imshow(pixels, extent=(0.0, float(width), float(height), 0.0), interpolation=smooth)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for edge in axes.spines.values():
        edge.set_visible(True)
        edge.set_color(theme.grid)


def _colours(theme: Theme) -> Colormap:
    """From the paper to vermilion, darker all the way."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("weight", ["#ffffff", theme.second])


def _lines(figure: Figure, words: Sequence[str]) -> list[list[tuple[int, float]]]:
    """The words in lines that fit the figure: the number of each and its width in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.font_manager import FontProperties

    # the width of a character that no font has is that of its box
    warnings.filterwarnings("ignore", message="Glyph .* missing")
    renderer = FigureCanvasAgg(figure).get_renderer()
    face = FontProperties(size=10)
    lines: list[list[tuple[int, float]]] = []
    left = 0.0
    for number, word in enumerate(words):
        width = renderer.get_text_width_height_descent(word, face, False)[0] / figure.dpi + BOX
        width = max(width, 0.42)  # its weight stands under it
        if not lines or left + width > WIDTH - 0.2:
            lines.append([])
            left = 0.0
        lines[-1].append((number, width))
        left += width + SPACE
    return lines


def _words(axes: Axes, lines: Sequence[Sequence[tuple[int, float]]], words: Sequence[tuple[str, float]], theme: Theme) -> None:
    from matplotlib.patches import FancyBboxPatch

    weights = np.array([weight for _, weight in words], np.float64)
    shares, shown = strength(weights), as_shares(weights)
    axes.set_xlim(0, WIDTH - 0.2)
    axes.set_ylim(len(lines) * LINE, 0)
    axes.axis("off")
    for row, line in enumerate(lines):
        left, top = 0.0, row * LINE
        for number, width in line:
            share = float(shares[number])
            box = FancyBboxPatch((left, top + 0.03), width, 0.25, boxstyle="round,pad=0,rounding_size=0.05")
            box.set_facecolor(_colours(theme)(share * STRONGEST))
            box.set_edgecolor(theme.grid)
            axes.add_patch(box)
            ink = "#1b1f24"  # the boxes are light in either theme
            middle = left + width / 2
            axes.text(middle, top + 0.155, words[number][0], ha="center", va="center", color=ink, fontsize=10)
            axes.text(middle, top + 0.38, f"{shown[number]:.2f}", ha="center", va="center", color=theme.faint, fontsize=8)
            left += width + SPACE


def as_shares(weights: np.ndarray) -> np.ndarray:
    """Weights as they are printed: shares of their sum; as they are, where some are negative."""
    return weights / weights.sum() if weights.min(initial=0) >= 0 and weights.sum() > 0 else weights
