"""A map as one HTML page, which zooms, searches and shows what a point is; it loads nothing."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from mmkit.files import write_text
from mmkit.views.groups import Groups
from mmkit.views.page import data_uri, render
from mmkit.views.style import DARK, LIGHT

THUMBNAIL = 72  # pixels of the long side
SHAPES = dict(
    zip(".o^sDvPX*", ("dot", "circle", "triangle", "square", "diamond", "wedge", "plus", "cross", "star"), strict=True)
)  # of matplotlib, in the words of map.js


@dataclass(frozen=True)
class MapPage:
    """What the page shows of n points.

    Args:
        points: (n, 2).
        groups: what they can be coloured by; the first is shown at the beginning.
        ids, modality, split, label, captions: of each; a caption is what is said of a point that has no text of its own.
        pairs: (p, 2) row numbers of what belongs together.
        pictures: row -> JPEG.
        ground: (g, 2), points drawn faintly under the others.
        facts: lines under the title.
    """

    title: str
    points: np.ndarray
    groups: Sequence[Groups]
    ids: Sequence[str]
    modality: Sequence[str]
    split: Sequence[str | None]
    label: Sequence[str | None]
    captions: Sequence[str]
    pairs: np.ndarray
    pictures: Mapping[int, bytes] = field(default_factory=dict)
    ground: np.ndarray | None = None
    facts: Sequence[str] = ()


def write_map(page: MapPage, path: str | Path) -> None:
    """Write the page whole or not at all."""
    write_text(path, html(page))


def html(page: MapPage) -> str:
    """The map as one page."""
    values = {
        "points": _packed(page.points, "<f4"),
        "ground": _packed(page.ground if page.ground is not None else np.empty((0, 2)), "<f4"),
        "pairs": _packed(page.pairs, "<u4"),
        "ids": list(page.ids),
        "captions": list(page.captions),
        "modality": _coded(page.modality),
        "split": _coded(page.split),
        "label": _coded(page.label),
        "groups": [_group(group) for group in page.groups],
        "rows": list(page.pictures),
        "pictures": [data_uri(picture, "jpeg") for picture in page.pictures.values()],
    }
    from markupsafe import Markup

    # no text ends the script
    written = json.dumps(values, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return render("map.html", title=page.title, facts=page.facts, data=Markup(written))


def thumbnail(image: Image.Image) -> bytes:
    """A picture as a small JPEG."""
    image = image.convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=78)
    return sink.getvalue()


def _group(groups: Groups) -> dict[str, object]:
    return {
        "by": groups.by,
        "codes": _packed(groups.codes, "u1"),
        "names": groups.names,
        "counts": groups.counts,
        "light": groups.colours(LIGHT),
        "dark": groups.colours(DARK),
        "shapes": [SHAPES[shape] for shape in groups.shapes()],
    }


def _coded(values: Sequence[str | None]) -> dict[str, object]:
    """Each different value once, None as an empty one."""
    number: dict[str, int] = {}
    codes = [number.setdefault(value or "", len(number)) for value in values]
    return {"names": list(number), "codes": _packed(np.array(codes), "<u4")}


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()
