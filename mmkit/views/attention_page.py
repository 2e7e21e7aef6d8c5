"""What a model looks at as one HTML page: a word under the pointer lights what it is about."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmkit.data.canvas import Canvas
from mmkit.files import write_text
from mmkit.views.attention import Looked, as_shares, said, strength
from mmkit.views.page import data_uri, render, sound_uri

LARGEST = 900  # pixels of the picture's long side


def save_page(looked: Looked, word_grids: Sequence[np.ndarray | None], path: str | Path, notes: Sequence[str] = ()) -> None:
    """Write the page whole or not at all: the picture or frames under the map, and the words, each of which shows its own map. A
    sound can be heard.

    Args:
        word_grids: of each word a map as the whole's; None where it has none.
        notes: sentences under the picture.
    """
    canvas = looked.canvas
    weights = np.array([weight for _, weight in looked.words], np.float64)
    words = [
        {"text": text, "weight": f"{share:.2f}", "strength": round(float(dark), 4), "lit": own is not None}
        for (text, _), share, dark, own in zip(looked.words, as_shares(weights), strength(weights), word_grids, strict=True)
    ]
    left, top, right, bottom = canvas.box
    facts = {
        "size": list(canvas.size),
        "box": [left, top, right - left, bottom - top],
        "grids": _rounded(canvas.drawn(looked.grid)),
        "words": [None if own is None else _rounded(canvas.drawn(own)) for own in word_grids],
    }
    page = render(
        "attention.html",
        title=looked.title or "Attention",
        note=looked.note,
        notes=list(notes),
        pictures=list(zip(map(_picture, canvas.pictures), canvas.labels, strict=True)),
        pixelated=max(canvas.pictures[0].size) < 200,
        ticks=_ticks(canvas),
        sides=[axis.name for axis in (canvas.across, canvas.up) if axis],
        rising=canvas.rising,
        sound=sound_uri(*canvas.listen) if canvas.listen else "",
        words=words,
        facts=json.dumps(facts),
        lit=any(own is not None for own in word_grids),
    )
    write_text(path, page)


def _ticks(canvas: Canvas) -> list[tuple[str, float, str]]:
    """Those of both sides: the edge they stand on, how far along it from left or top in percent, and what is written."""
    found: list[tuple[str, float, str]] = []
    if canvas.across:
        places = canvas.across.places()
        found += [("bottom", 100 * at / canvas.size[0], said(tick)) for at, tick in zip(places, canvas.across.ticks, strict=True)]
    if canvas.up:
        places = [canvas.size[1] - at if canvas.rising else at for at in canvas.up.places()]
        found += [("left", 100 * at / canvas.size[1], said(tick)) for at, tick in zip(places, canvas.up.ticks, strict=True)]
    return found


def _rounded(grids: np.ndarray) -> list[list[list[float]]]:
    return [[[round(float(value), 3) for value in row] for row in grid] for grid in strength(grids)]


def _picture(picture: Image.Image) -> str:
    picture = picture.convert("RGB")
    small = max(picture.size) < 200
    picture.thumbnail((LARGEST, LARGEST))
    sink = io.BytesIO()
    picture.save(sink, "PNG" if small else "JPEG", **({"optimize": True} if small else {"quality": 88}))
    return data_uri(sink.getvalue(), "png" if small else "jpeg")
