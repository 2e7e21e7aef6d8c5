"""A value as people see it, with what a model takes of it: what maps of weights are drawn on. No torch here.

H rows and W columns of a canvas, in units of its own
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]


class Axis(NamedTuple):
    """What a side of a canvas measures.

    Args:
        name: with its unit, such as `seconds`.
        values: of every column or row; of rows from the top, or of a rising canvas from the bottom.
        ticks: those that are written beside it.
    """

    name: str
    values: np.ndarray
    ticks: Sequence[float]

    def places(self) -> list[float]:
        """Where the ticks stand, in columns or rows."""
        return [float(np.interp(tick, self.values, np.arange(len(self.values)) + 0.5)) for tick in self.ticks]


@dataclass(frozen=True)
class Canvas:
    """A value as it is drawn.

    Args:
        pictures: one, or of a video its frames. They may have other pixels than the canvas has cells, over which they are laid.
        size: columns and rows: pixels; frames and mel bands; steps and channels.
        box: the part that a model sees: left, top, right, bottom in columns and rows, beyond the edges where it is filled up.
        across, up: what the sides measure; None of pixels.
        times: of each picture in seconds; None where there is one.
        rising: the first row of a map is the lowest of the canvas.
        listen: the bytes of a file that a browser plays, and its type.
        share: of the value that is drawn, of a long sound its middle.
    """

    pictures: list[Image.Image]
    size: tuple[int, int]
    box: Box
    across: Axis | None = None
    up: Axis | None = None
    times: np.ndarray | None = None
    rising: bool = False
    listen: tuple[bytes, str] | None = field(default=None, repr=False)
    share: float = 1.0

    def spread(self, grid: np.ndarray) -> np.ndarray:
        """A map (h, w), or of several pictures (n, h, w), in the canvas's own cells: (H, W) or (n, H, W) float32."""
        if grid.ndim == 2:
            return on_picture(grid, self.box, self.size)
        return np.stack([on_picture(one, self.box, self.size) for one in grid])

    def peak(self, grid: np.ndarray) -> list[float]:
        """Where a map weighs most: seconds of a frame where there are several, then column and row, as they are measured."""
        heat = self.spread(grid)
        *which, row, column = (int(i) for i in np.unravel_index(heat.argmax(), heat.shape))
        first = [float(self.times[i]) for i in which if self.times is not None]
        sides = [axis.values[i] if axis else i for axis, i in ((self.across, column), (self.up, row))]
        return [*first, *(round(float(value), 3) if isinstance(value, np.floating) else int(value) for value in sides)]

    def measures(self) -> dict[str, np.ndarray]:
        """What the frames, columns and rows are, by name."""
        found = {axis.name: axis.values for axis in (self.across, self.up) if axis}
        return found | ({} if self.times is None else {"seconds": self.times})

    def seen(self) -> float:
        """How much of it the model sees, of 1."""
        ends = zip(self.box[:2], self.box[2:], self.size, strict=True)
        sides = [min(end, most) - max(begin, 0) for begin, end, most in ends]
        return sides[0] * sides[1] / (self.size[0] * self.size[1])

    def drawn(self, grid: np.ndarray) -> np.ndarray:
        """A map as it is drawn: (n, h, w), of each picture, from the top row down."""
        grids = grid[None] if grid.ndim == 2 else grid
        return grids[:, ::-1] if self.rising else grids

    @property
    def labels(self) -> list[str]:
        """What is written under each picture."""
        return [""] * len(self.pictures) if self.times is None else [f"{time:.2f} s" for time in self.times]

    def within(self, most: int) -> Canvas:
        """The same with pictures of at most so many pixels a side."""
        pictures = [one.copy() for one in self.pictures]
        for one in pictures:
            one.thumbnail((most, most))
        if self.across:  # its cells are no pixels
            return replace(self, pictures=pictures)
        size = pictures[0].size
        scale = [new / old for new, old in zip(size * 2, self.size * 2, strict=True)]
        left, top, right, bottom = (edge * factor for edge, factor in zip(self.box, scale, strict=True))
        return replace(self, pictures=pictures, size=size, box=(left, top, right, bottom))


def nice(low: float, high: float, most: int = 6) -> list[float]:
    """At most so many round numbers between two."""
    wide = max(high - low, 1e-9)
    steps = (factor * 10.0**power for power in range(-3, 7) for factor in (1, 2, 5))
    step = next(s for s in steps if wide / s < most)
    return [round(step * i, 6) for i in range(int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9)) + 1)]


def on_picture(grid: np.ndarray, shown: Box, size: tuple[int, int]) -> np.ndarray:
    """A map of patches (h, w) in a picture's own pixels, (height, width) float32: bilinear between the middles of the patches,
    where the model did not look 0, or the least weight where some are negative.

    Args:
        shown: the part that the patches cover, in pixels; size: of the picture, width and height.
    """
    axes = []
    for count, begin, end, pixels in zip(grid.shape[::-1], shown[:2], shown[2:], size, strict=True):
        at = (np.arange(pixels) + 0.5 - begin) / (end - begin)
        place = np.clip(at * count - 0.5, 0, count - 1)
        low = np.minimum(place.astype(int), max(count - 2, 0))
        axes.append((low, np.minimum(low + 1, count - 1), (place - low).astype(np.float32), (at >= 0) & (at <= 1)))
    (x0, x1, across, in_x), (y0, y1, down, in_y) = axes
    rows = grid[y0] * (1 - down)[:, None] + grid[y1] * down[:, None]
    found = rows[:, x0] * (1 - across) + rows[:, x1] * across
    return np.where(in_y[:, None] & in_x, found, min(0.0, float(grid.min()))).astype(np.float32)
