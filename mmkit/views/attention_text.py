"""What a model looks at, in a terminal: the picture and its map side by side, the words with bars beneath. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image
from rich.cells import cell_len, set_cell_size
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from mmkit.views.attention import Looked, as_shares, strength

ROWS = 22  # lines of a picture at most
ABREAST = 4  # frames of a video side by side
GAP = 4  # columns between the two pictures
BAR = 24  # columns of the longest bar
WORD = 24  # columns of the longest word
RAMP = " .:-=+*#%@"  # from light to dark ink: what stands for colours where there are none
UPPER = "▀"
PAPER, INK = np.array([255, 255, 255]), np.array([213, 94, 0])  # the vermilion of the figures


def print_looked(looked: Looked, console: Console) -> None:
    """Print it: two pixels a cell in colours, a ramp of characters without them; at most as wide as the console."""
    canvas = looked.canvas
    # of 16 colours a terminal has its own idea
    coloured = console.color_system in ("truecolor", "256", "windows") and not console.no_color
    if looked.title:
        console.print(Text(looked.title, style="bold"))
    for i in range(0, len(canvas.pictures), ABREAST):
        picture, share = _abreast(canvas.pictures[i : i + ABREAST], looked.shares[i : i + ABREAST])
        # of several rows each is lower
        most = ROWS if len(canvas.pictures) <= ABREAST else ROWS // 2
        columns = min((console.width - GAP) // 2, max(1, round(2 * most * picture.width / picture.height)))
        lines = max(1, round(columns * picture.height / picture.width / 2))
        draw = _cells if coloured else _characters
        for left, right in zip(*draw(picture, share, columns, lines), strict=True):
            console.print(Text.assemble(left, " " * GAP, right), no_wrap=True, crop=False)
        if canvas.times is not None:
            console.print(Text("  ".join(canvas.labels[i : i + ABREAST]), style="dim"))
    for axis, way in (
        (canvas.across, "from left to right"),
        (canvas.up, "from the bottom up" if canvas.rising else "from the top"),
    ):
        if axis is not None:
            console.print(Text(f"{axis.name} {way}: {axis.values[0]:.4g} to {axis.values[-1]:.4g}", style="dim"))
    for line in _words(looked):
        console.print(line, no_wrap=True)
    if looked.note:
        console.print(Text(looked.note, style="dim"))


def _abreast(pictures: Sequence[Image.Image], shares: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """Pictures of one size side by side, and their maps (n, h, w) likewise (h, n * w)."""
    width, height = pictures[0].size
    whole = Image.new("RGB", (width * len(pictures), height))
    for i, one in enumerate(pictures):
        whole.paste(one, (i * width, 0))
    return whole, np.concatenate(list(shares), 1)


def _cells(picture: Image.Image, share: np.ndarray, columns: int, lines: int) -> tuple[list[Text], list[Text]]:
    """The picture and the map as half blocks: two rows of pixels a line."""
    size = (columns, 2 * lines)
    heat = _resized(share, size)[..., None]
    grey = np.asarray(picture.convert("L").resize(size, Image.Resampling.BOX), np.float32)[..., None] * 0.3 + 255 * 0.7
    found = np.asarray(picture.resize(size, Image.Resampling.BOX)), grey * (PAPER / 255) * (1 - heat) + INK * heat
    return _blocks(found[0]), _blocks(found[1])


def _blocks(pixels: np.ndarray) -> list[Text]:
    lines = []
    for top, bottom in zip(pixels[::2], pixels[1::2], strict=True):
        line = Text()
        for above, below in zip(top.astype(int).tolist(), bottom.astype(int).tolist(), strict=True):
            line.append(UPPER, Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        lines.append(line)
    return lines


def _characters(picture: Image.Image, share: np.ndarray, columns: int, lines: int) -> tuple[list[Text], list[Text]]:
    """The picture, its levels stretched, and the map in a ramp of characters."""
    light = np.asarray(picture.convert("L").resize((columns, lines), Image.Resampling.BOX), np.float32)
    spread = max(float(np.ptp(light)), 1.0)
    heat = _resized(share, (columns, lines))
    return _ramp((light - light.min()) / spread), _ramp(heat / max(float(heat.max()), 1e-9))


def _ramp(levels: np.ndarray) -> list[Text]:
    numbers = np.clip(np.rint(levels * (len(RAMP) - 1)), 0, len(RAMP) - 1).astype(int)
    return [Text("".join(RAMP[i] for i in row)) for row in numbers]


def _resized(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BOX))


def _words(looked: Looked) -> Iterator[Text]:
    weights = np.array([weight for _, weight in looked.words], np.float64)
    long = max((cell_len(word) for word, _ in looked.words), default=0)
    for (word, _), length, weight in zip(looked.words, strength(weights), as_shares(weights), strict=True):
        bar = "█" * round(BAR * float(length)) or ("▏" if length > 0 else "")
        yield Text.assemble(set_cell_size(word, min(long, WORD)), "  ", (f"{weight:5.2f}", "dim"), "  ", (bar, "#d55e00"))
