"""The house style of every figure: colours, fonts, formats, and how one is written."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.errors import UsageError
from mmkit.files import MAKER, writing
from mmkit.views import fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf", ".html")
WIDTH = 5.4  # inches; readable on a phone, where it is shrunk to 3.7
DPI = 200  # sharp on a screen of twice the usual density
FONTS = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")
LONGEST_NAME = 22


@dataclass(frozen=True)
class Theme:
    """Colours of a chart. `first` and `second` are Okabe and Ito's blue and vermilion, told apart by any eye."""

    ink: str
    faint: str
    grid: str
    first: str
    second: str
    ground: str
    within: str  # text on `first` and `second`


LIGHT = Theme("#1b1f24", "#667080", "#e3e7ec", "#0072b2", "#d55e00", "#ffffff", "#ffffff")
DARK = Theme("#e8eaee", "#98a2b0", "#333a44", "#56b4e9", "#f0894a", "none", "#14181d")


def save(figure: Figure, path: str | Path, title: str = "") -> None:
    """Write a figure as PNG, SVG, PDF or one self-contained HTML page, by suffix, whole or not at all.

    Args:
        title: of the page; by default the file's name.

    Raises:
        UsageError: another suffix.
    """
    suffix = check_suffix(path, FORMATS)
    if suffix == ".html":
        from mmkit.views.page import data_uri, render

        chart = data_uri(encode(figure, ".svg"), "svg+xml")
        data = render("figure.html", title=title or Path(path).stem, chart=chart).encode()
    else:
        data = encode(figure, suffix)
    with writing(path) as temporary:
        temporary.write_bytes(data)


def check_suffix(path: str | Path, formats: Collection[str]) -> str:
    """The suffix of a path, in lower case.

    Raises:
        UsageError: it is none of the formats.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in formats:
        raise UsageError(f"cannot draw a {suffix or 'file without suffix'}", str(path), f"one of {' '.join(formats)}")
    return suffix


def encode(figure: Figure, suffix: str) -> bytes:
    """The bytes of a figure as `.png`, `.svg` or `.pdf`; the same figure gives the same bytes."""
    import matplotlib

    sink = io.BytesIO()
    about = {
        ".svg": {"Date": None, "Creator": MAKER},
        ".pdf": {"CreationDate": None, "Creator": MAKER},
        ".png": {"Software": MAKER},
    }[suffix]
    settings: Any = {"svg.fonttype": "path", "svg.hashsalt": "mmkit", "pdf.fonttype": 42}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # a character that no font here has is drawn as a box, which says enough
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(sink, format=suffix[1:], dpi=DPI, metadata=about)
    return sink.getvalue()


@contextlib.contextmanager
def drawing(theme: Theme, height: float, rows: int = 1, width: float = WIDTH) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of so many inches with axes, one below the other, in the house style."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "font.family": fonts.installed((*FONTS, *fonts.CJK)),
        "font.size": 10,
        "text.parse_math": False,  # a class may be called $5
        "axes.edgecolor": theme.faint,
        "axes.labelcolor": theme.ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "legend.labelcolor": theme.ink,
        "text.color": theme.ink,
    }
    with matplotlib.rc_context(style):
        # a Figure of its own, not pyplot's: no window system, nothing kept after it is drawn
        figure = Figure((width, height), facecolor=theme.ground, layout="constrained")
        axes = figure.subplots(rows, 1, sharex=rows > 1, squeeze=False)[:, 0]
        for one in axes:
            one.set_facecolor("none")
        yield figure, list(axes)


def short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1].rstrip() + fonts.ELLIPSIS
