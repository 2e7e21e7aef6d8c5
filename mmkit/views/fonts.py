"""A font that can draw the text at hand, and text broken into lines of a given width."""

from __future__ import annotations

import functools
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from PIL import ImageFont

# Families with Chinese, Japanese and Korean on Linux, macOS and Windows, the preferred one first
CJK = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "PingFang HK",
    "Hiragino Sans GB",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "SimHei",
    "Yu Gothic",
)
ELLIPSIS = "…"


def font(text: str, size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """A font for `text`: DejaVu Sans, or for East Asian characters one of the system's if it has one."""
    return _load(any(map(_is_wide, text)), size, bold)


@functools.cache
def _load(wide: bool, size: int, bold: bool) -> ImageFont.FreeTypeFont:
    from matplotlib import font_manager

    family = next(iter(installed(CJK) if wide else ()), "DejaVu Sans")
    wanted = font_manager.FontProperties(family=family, weight="bold" if bold else "normal")
    return ImageFont.truetype(font_manager.findfont(wanted), size)


def installed(families: Sequence[str]) -> list[str]:
    """Those of the font families that this machine has, in their order."""
    from matplotlib import font_manager

    known = set(font_manager.get_font_names())
    return [family for family in families if family in known]


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """`text` in at most `lines` lines of `width` pixels; what does not fit ends in an ellipsis.

    Lines break at spaces, before and after East Asian characters, and inside a word that is longer than a line.
    """
    done: list[str] = []
    rest = " ".join(text.split())
    while rest and len(done) < lines:
        end = _fitting(rest, font, width)
        if end < len(rest):
            breaks = (i for i in range(end, 0, -1) if rest[i] == " " or _is_wide(rest[i]) or _is_wide(rest[i - 1]))
            end = next(breaks, end)
        done.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    if rest:
        last = done[-1]
        done[-1] = last[: _fitting(last, font, width, ELLIPSIS)].rstrip() + ELLIPSIS
    return done


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int, end: str = "") -> int:
    """How many characters of `text`, at least one, go into `width` pixels with `end` behind them."""
    return max(1, bisect_left(range(1, len(text) + 1), True, key=lambda n: font.getlength(text[:n] + end) > width))


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def lacking(texts: Iterable[str]) -> list[str]:
    """A line for the user where some texts are East Asian and no font here has their characters; else none."""
    if any(_is_wide(c) for text in texts for c in text) and not installed(CJK):
        return ["no font here has Chinese or Japanese characters, so they are drawn as boxes: install Noto Sans CJK"]
    return []
