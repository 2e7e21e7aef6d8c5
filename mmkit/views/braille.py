"""A map in a terminal: braille cells of 2 x 4 dots in colours, or without colours a letter for each group."""

from __future__ import annotations

import unicodedata

import numpy as np

from mmkit.views.groups import Groups

# of the 256 colours of terminals, seen on a light ground and on a dark one
COLOURS = (33, 202, 35, 170, 178, 45, 99, 137)
RAMP = (26, 67, 108, 143, 220)
GREY, GROUND = 245, 240
LETTERS = "ABCDEFGH"
REST = "·"
DOTS = "⣿"  # stands for what is drawn by dots
# bit of each dot of a cell, from left to right and from top to bottom (Unicode, Braille Patterns)
BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
BLANK = 0x2800
LOWEST = 8  # lines
WIDEST = 2.0


def plot(
    points: np.ndarray, groups: Groups, columns: int, lines: int, colour: bool, ground: np.ndarray | None = None
) -> list[str]:
    """Lines of a terminal: the map, then the legend. A cell shows the group of most of its points.

    Args:
        points: (n, 2).
        columns, lines: of the terminal that the map may take; the legend takes some more.
        ground: (g, 2), points drawn faintly where there are no others.
    """
    both = points if ground is None else np.concatenate([points, ground])
    dots, height, width = _dots(both, columns, lines)
    cells = dots // np.array([2, 4])
    number = cells[:, 1] * width + cells[:, 0]
    majority = np.full(height * width, -1)
    if ground is not None:
        majority[number[len(points) :]] = len(groups.names)
    counts = np.zeros((height * width, len(groups.names)), np.int64)
    np.add.at(counts, (number[: len(points)], groups.codes), 1)
    held = counts.any(1)
    majority[held] = counts[held].argmax(1)
    pattern = np.zeros(height * width, np.int64)
    np.bitwise_or.at(pattern, number, BITS[dots[:, 1] % 4, dots[:, 0] % 2])
    marks = _marks(groups, colour)
    grid = zip(majority.reshape(height, width).tolist(), pattern.reshape(height, width).tolist(), strict=True)
    return [_line(codes, patterns, marks, colour) for codes, patterns in grid] + ["", *_legend(groups, marks, columns, colour)]


def _dots(points: np.ndarray, columns: int, lines: int) -> tuple[np.ndarray, int, int]:
    """The dot of each point from the upper left (n, 2), and the lines and columns of cells.

    Dots are as wide as they are high; a map that is higher than wide is drawn out, up to twice, for there is more room.
    """
    low, span = points.min(0), np.maximum(np.ptp(points, axis=0).astype(np.float64), 1e-9)
    lines = max(lines, LOWEST)
    across = (2 * columns - 1) / span[0]
    down = min((4 * lines - 1) / span[1], across)
    scale = np.array([min(across, WIDEST * down), down])
    height = int(min(max(scale[1] * span[1] // 4 + 1, LOWEST), lines))
    room = (np.array([2 * columns, 4 * height]) - 1 - scale * span) / 2
    dots = np.floor((points - low) * scale + room).astype(np.int64)
    dots[:, 1] = 4 * height - 1 - dots[:, 1]
    return np.clip(dots, 0, [2 * columns - 1, 4 * height - 1]), height, columns


def _marks(groups: Groups, colour: bool) -> list[str | int]:
    """Of each group its colour or its letter, and at the end that of the ground."""
    rest = len(groups.names) - groups.named
    if colour:
        return [*(RAMP if groups.ordered else COLOURS)[: groups.named], *[GREY] * rest, GROUND]
    if len(groups.names) == 1:
        return [DOTS, "."]
    return [*LETTERS[: groups.named], *[REST] * rest, "."]


def _line(codes: list[int], patterns: list[int], marks: list[str | int], colour: bool) -> str:
    """A line of cells, each group of one colour in one escape sequence."""
    if not colour:
        # one group alone needs no letters
        shown = [" " if c < 0 else marks[c] for c in codes]
        return "".join(chr(BLANK + p) if mark == DOTS else str(mark) for mark, p in zip(shown, patterns, strict=True)).rstrip()
    parts, last = [], -1
    for code, pattern in zip(codes, patterns, strict=True):
        if code >= 0 and code != last:
            parts.append(f"\x1b[38;5;{marks[code]}m")
            last = code
        parts.append(" " if code < 0 else chr(BLANK + pattern))
    return "".join(parts).rstrip() + ("\x1b[0m" if last >= 0 else "")


def _legend(groups: Groups, marks: list[str | int], columns: int, colour: bool) -> list[str]:
    """The groups with their counts, as many in a line as there is room for."""
    lines, line, used = [], "", 0
    for name, count, mark in zip(groups.names, groups.counts, marks, strict=False):
        number = f"{count:,}"
        said = _cut(" ".join(name.split()), columns - len(number) - 4)
        width = 2 + _width(said) + 1 + len(number)
        shown = f"\x1b[38;5;{mark}m●\x1b[0m" if colour else str(mark)
        if used and used + 3 + width > columns:
            lines.append(line)
            line, used = "", 0
        line += f"{'   ' if used else ''}{shown} {said} {number}"
        used += (3 if used else 0) + width
    return [*lines, line]


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def _cut(text: str, columns: int) -> str:
    if _width(text) <= columns:
        return text
    while text and _width(text) > columns - 1:
        text = text[:-1]
    return text + "…"
