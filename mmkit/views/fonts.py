"""A font that can draw the text at hand, and text broken into lines of a given width."""

from __future__ import annotations

import functools
import os
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageFont

# Fonts with Chinese, Japanese and Korean, by the names of their files on Linux, macOS and Windows; the first found is taken.
CJK = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "NotoSansSC-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "simhei.ttf",
    "YuGothM.ttc",
)
ELLIPSIS = "…"


def font(text: str, size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """A font for `text`: DejaVu Sans, or for East Asian characters one of the system's if it has one."""
    if any(unicodedata.east_asian_width(c) in "WF" for c in text) and (path := cjk_font()):
        return _load(path, size)
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return _load(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


@functools.lru_cache(32)
def _load(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@functools.cache
def cjk_font() -> str | None:
    """The path of a font that draws East Asian characters; None if none of the known ones is installed."""
    found = {file.name: str(file) for folder in _font_folders() for file in _files(folder)}
    return next((found[name] for name in CJK if name in found), None)


def _font_folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"]
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts", home / ".fonts"]


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in names if name in CJK)


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """`text` in at most `lines` lines of `width` pixels; what does not fit ends in an ellipsis.

    Lines break at spaces, between East Asian characters, and inside a word that is longer than a line.
    """
    done: list[str] = []
    line = ""
    for piece in _pieces(text, font, width):
        if font.getlength((line + piece).rstrip()) <= width:
            line = (line + piece).lstrip() if not line.strip() else line + piece
            continue
        done.append(line.rstrip())
        line = piece.lstrip()
    done = [part for part in [*done, line.rstrip()] if part]
    if len(done) <= lines:
        return done
    last = done[lines - 1]
    while last and font.getlength(last + ELLIPSIS) > width:
        last = last[:-1]
    return [*done[: lines - 1], last.rstrip() + ELLIPSIS]


def _pieces(text: str, font: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    """What may not be broken: words with the space before them, and single East Asian characters."""
    word = ""
    for c in " ".join(text.split()):
        if c == " " or unicodedata.east_asian_width(c) in "WF":
            if word:
                yield from _halves(word, font, width)
            word = c
            if c != " ":
                yield c
                word = ""
        else:
            word += c
    if word:
        yield from _halves(word, font, width)


def _halves(word: str, font: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    """A word that is longer than a line, in parts that are not."""
    part = ""
    for c in word:
        if part and font.getlength((part + c).strip()) > width:
            yield part
            part = ""
        part += c
    yield part
