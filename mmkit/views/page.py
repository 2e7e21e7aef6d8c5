"""HTML pages that are one file each: a template filled in; no script, no font and no picture is loaded from anywhere."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from mmkit.files import MAKER
from mmkit.views import style

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
LARGEST = 320  # pixels of a picture's long side; larger ones are shrunk, for a page is looked at, not zoomed
SMALL = 96  # a picture whose long side is shorter is shown with its pixels visible


class Photo(NamedTuple):
    """A picture as a data: URI with its size in pixels; `small` ones are shown with their pixels visible."""

    uri: str
    width: int
    height: int
    small: bool


class Chart(NamedTuple):
    """A chart as two data: URIs."""

    light: str
    dark: str


def render(template: str, **values: Any) -> str:
    """A page of `mmkit/views/templates` with `values`, which are escaped.

    Raises:
        jinja2.UndefinedError: the template names a value that is not there.
    """
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["maker"] = MAKER
    environment.filters["photo"] = photo
    environment.filters["sound_uri"] = lambda listen: sound_uri(*listen)
    return environment


def photo(image: Image.Image) -> Photo:
    """A picture for a page, at most 320 pixels wide and high."""
    small = max(image.size) < SMALL
    image = image.convert("RGB")
    image.thumbnail((LARGEST, LARGEST))
    sink = io.BytesIO()
    # drawn or tiny pictures are smaller and exact as PNG, photos as JPEG
    if small:
        image.save(sink, "PNG", optimize=True)
    else:
        image.save(sink, "JPEG", quality=85)
    return Photo(data_uri(sink.getvalue(), "png" if small else "jpeg"), *image.size, small)


def chart(draw: Callable[[style.Theme], Figure]) -> Chart:
    """A chart for a page, drawn for light and for dark."""
    return Chart(*(data_uri(style.encode(draw(theme), ".svg"), "svg+xml") for theme in (style.LIGHT, style.DARK)))


def data_uri(data: bytes, kind: str) -> str:
    """Bytes of an image of `kind` (png, jpeg, svg+xml) as a URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def sound_uri(data: bytes, kind: str) -> str:
    """Bytes of a file that can be heard, of a type such as audio/mpeg, as a URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
