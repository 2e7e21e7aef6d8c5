"""What every head of every layer looks at in one picture, side by side. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmkit.data.canvas import Canvas
from mmkit.views.attention import pale, strength, tint
from mmkit.views.style import LIGHT, Theme, drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL = 1.1  # inches
MOST_WIDE = 12.0  # inches; of many heads the cells are smaller


def heads(canvas: Canvas, maps: np.ndarray, title: str = "", theme: Theme = LIGHT) -> Figure:
    """A row for each layer, the first on top, and a column for each head; every map by its own greatest weight.

    Args:
        maps: of each layer and head (L, H, h, w).
        title: above.
    """
    (picture,) = canvas.pictures
    layers, count = maps.shape[:2]
    side = min(CELL, MOST_WIDE / count)
    tall = side * picture.height / picture.width
    with drawing(theme, layers * tall + 0.9, width=max(count * side + 0.8, 3.6)) as (figure, (axes,)):
        axes.remove()
        cells = figure.subplots(layers, count, squeeze=False)
        for layer, row in enumerate(cells):
            for head, cell in enumerate(row):
                pale(cell, picture, canvas.size, theme)
                tint(cell, strength(canvas.drawn(canvas.spread(maps[layer, head]))[0]), theme)
                cell.set_aspect("auto" if canvas.across else "equal")
                if not layer:
                    cell.set_title(f"head {head}" if side > 0.6 else str(head), fontsize=8, color=theme.faint)
            row[0].set_ylabel(f"layer {layer}", fontsize=8)
        if title:
            figure.suptitle(title, fontsize=10, color=theme.ink)
        figure.supxlabel("each map by its own greatest weight", fontsize=8.5, color=theme.faint)
    return figure
