"""What a model looks at as one HTML page: a word under the pointer lights its patches."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmkit.files import write_text
from mmkit.views.attention import Looked, as_shares, strength
from mmkit.views.page import data_uri, render

LARGEST = 900  # pixels of the picture's long side


def save_page(
    looked: Looked,
    grid: np.ndarray,
    shown: tuple[float, float, float, float],
    word_grids: Sequence[np.ndarray | None],
    path: str | Path,
    notes: Sequence[str] = (),
) -> None:
    """Write the page whole or not at all: the picture under the map, and the words, each of which shows its own map.

    Args:
        grid: (h, w), weights of patches; shown: what they cover of the picture: left, top, right, bottom in pixels.
        word_grids: the same of each word; None where it has none.
        notes: sentences under the picture.
    """
    weights = np.array([weight for _, weight in looked.words], np.float64)
    words = [
        {"text": text, "weight": f"{share:.2f}", "strength": round(float(dark), 4), "lit": own is not None}
        for (text, _), share, dark, own in zip(looked.words, as_shares(weights), strength(weights), word_grids, strict=True)
    ]
    width, height = looked.picture.size
    left, top, right, bottom = shown
    facts = {
        "size": [width, height],
        "box": [left, top, right - left, bottom - top],
        "grid": _rounded(grid),
        "words": [None if own is None else _rounded(own) for own in word_grids],
    }
    page = render(
        "attention.html",
        title=looked.title or "Attention",
        note=looked.note,
        notes=list(notes),
        picture=_picture(looked),
        pixelated=max(looked.picture.size) < 200,
        words=words,
        facts=json.dumps(facts),
        lit=any(own is not None for own in word_grids),
    )
    write_text(path, page)


def _rounded(grid: np.ndarray) -> list[list[float]]:
    return [[round(float(value), 3) for value in row] for row in strength(grid)]


def _picture(looked: Looked) -> str:
    picture = looked.picture.convert("RGB")
    small = max(picture.size) < 200
    picture.thumbnail((LARGEST, LARGEST))
    sink = io.BytesIO()
    picture.save(sink, "PNG" if small else "JPEG", **({"optimize": True} if small else {"quality": 88}))
    return data_uri(sink.getvalue(), "png" if small else "jpeg")
