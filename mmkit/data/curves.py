"""A series as a picture: the curve of each channel, one under the other."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 512, 256
SMALL = (256, 160)  # on sheets
LOWEST = 24  # pixels of a channel's row at least
TALLEST = 1024
MARGIN = 0.1  # of a row, above and below its curve
GROUND, INK, EDGE = "#ffffff", "#0072b2", "#d5dae1"


def curves(values: np.ndarray, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """The channels of a series (C, T), the first on top, each from its own least to its own greatest value.

    Args:
        size: in pixels; of more channels than it holds it is taller, up to a limit.
    """
    channels, steps = values.shape
    width, height = size[0], min(TALLEST, max(size[1], channels * LOWEST))
    picture = Image.new("RGB", (width, height), GROUND)
    brush = ImageDraw.Draw(picture)
    row = height / channels
    across = (np.arange(steps) + 0.5) / steps * width
    for number, channel in enumerate(values):
        low, high = float(channel.min()), float(channel.max())
        share = (channel - low) / (high - low) if high > low else np.full(steps, 0.5)
        down = (number + 1 - MARGIN - share * (1 - 2 * MARGIN)) * row
        if number:
            brush.line([(0, number * row), (width, number * row)], EDGE)
        points = list(zip(across.tolist(), down.tolist(), strict=True))
        if steps > 1:
            brush.line(points, INK, 2)
        else:
            brush.point(points, INK)
    return picture
