"""The building blocks of an HTML page that is one file: no script, no font and no picture is loaded from anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from mmkit.files import MAKER
from mmkit.views.sheet import MARKS, Strip, Tile
from mmkit.views.style import CSS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmkit.views.charts import Theme

LARGEST = 320  # pixels of a picture's long side; larger ones are shrunk, for a page is looked at, not zoomed
SMALL = 96  # a picture whose long side is shorter is shown with its pixels visible


def document(title: str, body: str, language: str = "en") -> str:
    """A whole page."""
    return (
        f'<!doctype html>\n<html lang="{escape(language)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="{MAKER}">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def heading(title: str, lead: str = "", kicker: str = "") -> str:
    """The head of a page: a word above the title, the title, and a sentence below."""
    above = f'<p class="kicker">{escape(kicker)}</p>\n' if kicker else ""
    below = f'\n<p class="lead">{escape(lead)}</p>' if lead else ""
    return f"<header>\n{above}<h1>{escape(title)}</h1>{below}\n</header>\n"


def section(title: str, *parts: str) -> str:
    """A titled card; nothing where every part is empty."""
    body = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>\n" if body else ""


def paragraph(text: str, faint: bool = False) -> str:
    """A paragraph; nothing for an empty text."""
    kind = ' class="faint"' if faint else ""
    return f"<p{kind}>{escape(text)}</p>" if text else ""


def pair(left: str, right: str) -> str:
    """Two parts beside each other where there is room, else one below the other."""
    return f'<div class="pair"><div>{left}</div><div>{right}</div></div>'


def stats(items: Sequence[tuple[str, str, str]]) -> str:
    """Large figures: (figure, what it is, remark)."""
    cells = (f'<div class="stat"><b>{escape(a)}</b><span>{escape(b)}</span><small>{escape(c)}</small></div>' for a, b, c in items)
    return f'<div class="stats">{"".join(cells)}</div>\n' if items else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> str:
    """A table of figures: the first column and those in `words` to the left, the others to the right."""
    kinds = [' class="words"' if i in words else "" for i in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, columns, strict=True))
    cells = ("".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>' if rows else ""


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names and what is true of them."""
    body = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>' if rows else ""


def steps(rows: Sequence[tuple[str, str]]) -> str:
    """A numbered list of what was done, each with a remark such as its seconds."""
    body = "".join(
        f"<li><span>{i}. {escape(what)}</span><small>{escape(how)}</small></li>" for i, (what, how) in enumerate(rows, 1)
    )
    return f'<ol class="steps">{body}</ol>' if rows else ""


def commands(lines: Sequence[tuple[str, str]]) -> str:
    """Shell lines, each with its comment above."""
    body = "\n".join((f"<i># {escape(remark)}</i>\n" if remark else "") + escape(line) for line, remark in lines)
    return f"<pre><code>{body}</code></pre>" if lines else ""


def picture(image: Image.Image, alt: str) -> str:
    """An image as a data: URI."""
    small = max(image.size) < SMALL
    image = image.convert("RGB")
    image.thumbnail((LARGEST, LARGEST))
    sink = io.BytesIO()
    # drawn or tiny pictures are smaller and exact as PNG, photos as JPEG
    if small:
        image.save(sink, "PNG", optimize=True)
    else:
        image.save(sink, "JPEG", quality=85)
    kind = "png" if small else "jpeg"
    style = ' class="small"' if small else ""
    return (
        f'<img{style} alt="{escape(alt)}" width="{image.width}" height="{image.height}" src="{data_uri(sink.getvalue(), kind)}">'
    )


def chart(draw: Callable[[Theme], Figure], alt: str, caption: str = "") -> str:
    """A chart drawn twice, for light and for dark; the browser shows the one that fits."""
    from mmkit.views import charts

    light, dark = (data_uri(charts.encode(draw(theme), ".svg"), "svg+xml") for theme in (charts.LIGHT, charts.DARK))
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img alt="{escape(alt)}" src="{light}"></picture>{below}</figure>'
    )


def data_uri(data: bytes, kind: str) -> str:
    """Bytes of an image of `kind` (png, jpeg, svg+xml) as a URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def answers(strips: Sequence[Strip]) -> str:
    """Queries and their answers: side by side where there is room, else one below the other."""
    return "".join(_strip(strip) for strip in strips)


def gallery(tiles: Sequence[Tile]) -> str:
    """A grid of pictures with captions."""
    return f'<div class="answers">{"".join(_tile(tile) for tile in tiles)}</div>' if tiles else ""


def _strip(strip: Strip) -> str:
    query, note = strip.query, f"<small>{escape(strip.note)}</small>" if strip.note else ""
    shown = picture(query.picture, query.text or "the query") if query.picture is not None else ""
    words = f"“{escape(query.text)}”" if query.picture is None else f"<small>{escape(query.text)}</small>" if query.text else ""
    kind = "answers texts" if all(tile.picture is None for tile in strip.answers) else "answers"
    tiles = "".join(_tile(tile) for tile in strip.answers)
    return f'<div class="strip"><div class="query">{shown}{words}{note}</div><div class="{kind}">{tiles}</div></div>\n'


def _tile(tile: Tile) -> str:
    kind = {True: " right", False: " wrong", None: ""}[tile.right]
    if tile.picture is None:
        face, below = f'<div class="words">{escape(tile.text)}</div>', ""
    else:
        face, below = picture(tile.picture, tile.text or "an answer"), f"<span>{escape(tile.text)}</span>" if tile.text else ""
    verdict = f'<span class="score">{escape(tile.verdict)}</span>' if tile.verdict else ""
    assert tile.right in MARKS
    return f'<div class="tile{kind}"><div class="face">{face}</div>{verdict}{below}</div>'
