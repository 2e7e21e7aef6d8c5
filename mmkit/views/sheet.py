"""Contact sheets: a grid of pictures with captions, and the answers to queries, drawn with Pillow or as an HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from mmkit.files import MAKER, write_text, writing
from mmkit.views import fonts, target
from mmkit.views.page import render
from mmkit.views.style import LIGHT, check_suffix

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".pdf": "PDF", ".html": "HTML"}
GROUND, INK, FAINT, CARD, EDGE = LIGHT.ground, LIGHT.ink, LIGHT.faint, "#f3f5f8", "#d5dae1"
# green and red of unlike lightness; a mark beside the score says the same without colour
RIGHT, WRONG = "#0b8f63", "#d0374b"
MARKS = {True: "✓ ", False: "✗ ", None: ""}
CELL, GAP, FRAME, TEXT, SMALL = 168, 14, 4, 15, 13
LINES = 3


@dataclass(frozen=True)
class Tile:
    """A picture with a caption, or a text alone.

    Args:
        score: printed under it.
        right: whether it is a right answer; None where nobody knows.
        listen: on a page, the bytes of a file that can be heard, and its type.
    """

    text: str = ""
    picture: Image.Image | None = None
    score: float | None = None
    right: bool | None = None
    listen: tuple[bytes, str] | None = None

    @property
    def verdict(self) -> str:
        """Score and mark, such as `✓ 0.312`."""
        return MARKS[self.right] + (f"{self.score:.3f}" if self.score is not None else "")


@dataclass(frozen=True)
class Strip:
    """A query and its answers, best first; `note` is a remark under the query."""

    query: Tile
    answers: Sequence[Tile]
    note: str = ""


def verdicts(right: Sequence[bool]) -> list[bool | None]:
    """For answers, best first: True for right ones, False for wrong ones before the first right one, None below it.

    What stands below the right answer is where it belongs, so it is neither.
    """
    first = next((i for i, is_right in enumerate(right) if is_right), len(right))
    return [True if is_right else False if i < first else None for i, is_right in enumerate(right)]


def contact_sheet(
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
    columns: int | None = None,
    right: Sequence[bool | None] | None = None,
    title: str = "",
    cell: int = CELL,
) -> Image.Image:
    """A grid of pictures with a caption under each.

    Args:
        columns: by default as many as make the sheet about 4:3.
        right: for each picture whether it is framed green, red (False) or not at all (None).
        title: a line above the grid.
        cell: side of a picture, pixels.
    """
    if len(pictures) != len(labels):
        raise ValueError(f"{len(pictures)} pictures, {len(labels)} labels")
    marks = list(right or [None] * len(pictures))
    tiles = [Tile(text, picture, None, mark) for text, picture, mark in zip(labels, pictures, marks, strict=True)]
    columns = min(len(tiles) or 1, columns or max(1, round(math.sqrt(len(tiles) * 1.6))))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    head = 0 if not title else 2 * TEXT + GAP
    heights = [cell + _caption_height(row, cell) for row in rows]
    size = (GAP + columns * (cell + GAP), GAP + head + sum(h + GAP for h in heights))
    sheet = Image.new("RGB", size, GROUND)
    if title:
        ImageDraw.Draw(sheet).text((GAP, GAP), title, INK, fonts.font(title, TEXT + 2, bold=True))
    y = GAP + head
    for row, height in zip(rows, heights, strict=True):
        for i, tile in enumerate(row):
            _draw_tile(sheet, tile, GAP + i * (cell + GAP), y, cell)
        y += height + GAP
    return sheet


def answer_sheet(strips: Sequence[Strip], cell: int = CELL) -> Image.Image:
    """One row a query: the query on the left, its answers from the best one on."""
    across = max((len(strip.answers) for strip in strips), default=0)
    left = cell + cell // 4
    heights = [_strip_height(strip, left, cell) for strip in strips]
    size = (2 * GAP + left + GAP + across * (cell + GAP), GAP + sum(h + 2 * GAP for h in heights))
    sheet = Image.new("RGB", size, GROUND)
    brush = ImageDraw.Draw(sheet)
    y = GAP
    for i, (strip, height) in enumerate(zip(strips, heights, strict=True)):
        if i:
            brush.line([(GAP, y - GAP), (size[0] - GAP, y - GAP)], EDGE)
        _draw_query(sheet, strip, GAP, y, left)
        for j, tile in enumerate(strip.answers):
            _draw_tile(sheet, tile, 2 * GAP + left + GAP + j * (cell + GAP), y, cell)
        y += height + 2 * GAP
    return sheet


def check_target(path: str | Path, force: bool = False) -> None:
    """Refuse a path that no sheet can be written to; see `mmkit.views.target`."""
    target.check_target(path, FORMATS, force)


def save_answers(strips: Sequence[Strip], path: str | Path, title: str = "") -> None:
    """Write the answers to queries as PNG, JPEG, PDF or one self-contained HTML page, by suffix, whole or not at all."""
    kind = FORMATS[check_suffix(path, FORMATS)]
    if kind == "HTML":
        write_text(path, render("answers.html", title=title or "Answers", strips=strips))
        return
    save_sheet(answer_sheet(strips), path)


def save_sheet(sheet: Image.Image, path: str | Path) -> None:
    """Write a drawn sheet as PNG, JPEG or PDF, by suffix, whole or not at all."""
    kind = FORMATS[check_suffix(path, FORMATS)]
    made_by = PngInfo()
    made_by.add_text("Software", MAKER)
    options: dict[str, Any] = {
        "JPEG": {"quality": 92, "comment": MAKER.encode()},
        "PDF": {"resolution": 144.0, "creator": MAKER},
        "PNG": {"optimize": True, "pnginfo": made_by},
    }
    with writing(path) as temporary:
        sheet.save(temporary, kind, **options[kind])


def fit(picture: Image.Image, side: int) -> Image.Image:
    """A picture inside a square: small ones enlarged by a whole factor with their pixels visible, large ones shrunk."""
    picture = picture.convert("RGB")
    w, h = picture.size
    factor = side / max(w, h)
    if factor >= 2:
        whole = int(factor)
        return picture.resize((w * whole, h * whole), Image.Resampling.NEAREST)
    size = (max(1, round(w * factor)), max(1, round(h * factor)))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _draw_tile(sheet: Image.Image, tile: Tile, x: int, y: int, cell: int) -> None:
    brush = ImageDraw.Draw(sheet)
    colour = {True: RIGHT, False: WRONG, None: EDGE}[tile.right]
    box = (x, y, x + cell - 1, y + cell - 1)
    brush.rounded_rectangle(box, 6, fill=CARD, outline=colour, width=FRAME if tile.right is not None else 1)
    inside = cell - 2 * FRAME
    if tile.picture is None:
        _write_centred(brush, tile.text, (x + cell // 2, y + cell // 2), inside - 12)
    else:
        picture = fit(tile.picture, inside)
        sheet.paste(picture, (x + (cell - picture.width) // 2, y + (cell - picture.height) // 2))
    below = y + cell + 5
    if tile.verdict:
        ink = {True: RIGHT, False: WRONG, None: FAINT}[tile.right]
        brush.text((x, below), tile.verdict, ink, fonts.font("", SMALL, bold=True))
        below += SMALL + 5
    if tile.picture is not None:
        _write_lines(brush, tile.text, x, below, cell, SMALL, INK)


def _draw_query(sheet: Image.Image, strip: Strip, x: int, y: int, width: int) -> None:
    brush = ImageDraw.Draw(sheet)
    query = strip.query
    if query.picture is not None:
        picture = fit(query.picture, width - width // 4)
        sheet.paste(picture, (x, y))
        y += picture.height + 6
    y = _write_lines(brush, query.text, x, y, width, TEXT, INK, lines=2 * LINES, bold=query.picture is None)
    if strip.note:
        _write_lines(brush, strip.note, x, y + 6, width, SMALL, FAINT)


def _write_lines(
    brush: ImageDraw.ImageDraw, text: str, x: int, y: int, width: int, size: int, ink: str, lines: int = LINES, bold: bool = False
) -> int:
    """Write wrapped text and return the y below it."""
    face = fonts.font(text, size, bold)
    for line in fonts.wrap(text, face, width, lines):
        brush.text((x, y), line, ink, face)
        y += size + 4
    return y


def _write_centred(brush: ImageDraw.ImageDraw, text: str, centre: tuple[int, int], width: int) -> None:
    face = fonts.font(text, TEXT)
    lines = fonts.wrap(text, face, width, 2 * LINES)
    top = centre[1] - len(lines) * (TEXT + 4) // 2
    for i, line in enumerate(lines):
        brush.text((centre[0], top + i * (TEXT + 4)), line, INK, face, anchor="ma")


def _caption_height(tiles: Sequence[Tile], cell: int) -> int:
    """Pixels under the pictures of a row for its longest caption."""

    def height(tile: Tile) -> int:
        lines = len(fonts.wrap(tile.text, fonts.font(tile.text, SMALL), cell, LINES)) if tile.picture else 0
        return 5 + (SMALL + 5 if tile.verdict else 0) + lines * (SMALL + 4)

    return max((height(tile) for tile in tiles), default=0)


def _strip_height(strip: Strip, left: int, cell: int) -> int:
    query = strip.query
    picture = fit(query.picture, left - left // 4).height + 6 if query.picture is not None else 0
    text = fonts.wrap(query.text, fonts.font(query.text, TEXT, query.picture is None), left, 2 * LINES)
    note = fonts.wrap(strip.note, fonts.font(strip.note, SMALL), left, LINES) if strip.note else []
    asked = picture + len(text) * (TEXT + 4) + (6 + len(note) * (SMALL + 4) if note else 0)
    return max(asked, cell + _caption_height(strip.answers, cell))
