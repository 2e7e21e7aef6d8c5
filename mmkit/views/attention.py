"""What a model looks at: a picture, the same under a map of weights, and the words with theirs. No torch here."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mmkit.views.style import LIGHT, WIDTH, Theme, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

STRONGEST = 0.92  # opacity of the greatest weight
PALE = 0.7  # share of white over the picture under the map, so that the map is what is dark
LEAST_LABELLED = 1.9  # inches of height that the words beside the colour bar need
LARGEST = 1200  # pixels of a drawn picture's long side
BOX, LINE, SPACE = 0.2, 0.5, 0.12  # inches: padding of a word's box both sides, a line of words, and between two words


@dataclass(frozen=True)
class Looked:
    """A picture and where a model looked.

    Args:
        heat: weight of each pixel (height, width).
        words: with their weights, in the order of the text.
        title: above; note: below.
    """

    picture: Image.Image
    heat: np.ndarray
    words: Sequence[tuple[str, float]] = field(default=())
    title: str = ""
    note: str = ""


def strength(weights: np.ndarray) -> np.ndarray:
    """Weights from 0 to 1: shares of the greatest; of weights that can be negative, from the least to the greatest."""
    low = min(float(weights.min(initial=0)), 0.0)
    high = float(weights.max(initial=0))
    return (weights - low) / (high - low) if high > low else np.zeros_like(weights)


def attention(looked: Looked, theme: Theme = LIGHT) -> Figure:
    """The picture, the same under the map with a colour bar, and the words, darker the more they weigh: also in grey."""
    width, height = looked.picture.size
    side = (WIDTH - 0.9) / 2  # inches of a picture's width
    tall = min(side * height / width, 2 * side)
    with drawing(theme, tall + 1) as (figure, (axes,)):
        axes.remove()
        with warnings.catch_warnings():
            lines = _lines(figure, [word for word, _ in looked.words])
        rows = [tall, *([LINE * len(lines)] if lines else [])]
        figure.set_size_inches(WIDTH, sum(rows) + 0.3 * bool(looked.title) + 0.3 * bool(looked.note) + 0.15)
        grid = figure.add_gridspec(len(rows), 3, height_ratios=rows, width_ratios=[side, side, 0.12])
        _pictures(looked, [figure.add_subplot(grid[0, i]) for i in range(3)], side, theme)
        if lines:
            _words(figure.add_subplot(grid[1, :]), lines, looked.words, theme)
        if looked.title:
            figure.suptitle(looked.title, fontsize=10, color=theme.ink)
        if looked.note:
            figure.supxlabel(looked.note, fontsize=8.5, color=theme.faint)
    return figure


def _pictures(looked: Looked, axes: Sequence[Axes], side: float, theme: Theme) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    _lay(axes[0], np.asarray(_small(looked.picture)), looked.heat.shape, theme)
    pale(axes[1], looked.picture, looked.heat.shape, theme)
    tint(axes[1], looked.heat, theme)
    # where none is negative, only how weights compare means something
    low, high = (float(looked.heat.min()), float(looked.heat.max())) if looked.heat.min() < 0 else (0.0, 1.0)
    bar = axes[1].figure.colorbar(ScalarMappable(Normalize(low, high), _colours(theme)), cax=axes[2])
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=8, length=2)
    if side * looked.heat.shape[0] / looked.heat.shape[1] > LEAST_LABELLED:  # beside a flat picture there is no room
        bar.set_label("weight" if low < 0 else "share of the greatest weight", size=8.5)
    else:
        bar.set_ticks([low, high])


def pale(axes: Axes, picture: Image.Image, size: tuple[int, ...], theme: Theme) -> None:
    """The picture in light greys, over `size` (height, width) pixels, for a map to lie on."""
    grey = np.asarray(_small(picture).convert("L"), np.float32)[..., None].repeat(3, 2) / 255
    _lay(axes, grey * (1 - PALE) + PALE, size, theme)


def tint(axes: Axes, heat: np.ndarray, theme: Theme) -> None:
    """A map of weights (height, width) over what is there: the darker, the more."""
    height, width = heat.shape
    share = strength(heat)
    look: dict[str, Any] = {"cmap": _colours(theme), "alpha": share * STRONGEST, "vmin": -1, "vmax": 0}
    axes.imshow(np.zeros_like(share), extent=(0.0, float(width), float(height), 0.0), **look)


def _small(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGB")
    picture.thumbnail((LARGEST, LARGEST))
    return picture


def _lay(axes: Axes, pixels: np.ndarray, size: tuple[int, ...], theme: Theme) -> None:
    height, width = size
    smooth = "antialiased" if max(width, height) > 200 else "nearest"
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
