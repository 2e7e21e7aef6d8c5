"""Small pictures with texts whose label is planted: in the picture alone, in the text alone, or in whether both agree."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.conftest import write_dataset

COLOURS = ((220, 120, 40), (60, 90, 200))
WORDS = (("a quiet one", "the quiet", "quiet"), ("a loud one", "the loud", "loud"))
LABELS = ("no", "yes")
RULES: dict[str, Callable[[int, int], int]] = {
    "image": lambda colour, word: colour,
    "text": lambda colour, word: word,
    "xor": lambda colour, word: colour ^ word,
}
# XOR is learnt with each of four seeds, in 200 steps; the others are easier
TRAINED = (
    *("--recipe", "fusion-mid", "--batch-size", 32, "--lr", 0.002, "--set", "data.image.size=16"),
    *("--set", "encoder.image.layers=1", "--set", "encoder.image.patch=8", "--set", "encoder.text.layers=1"),
    *("--set", "fusion.kind=merged"),
)
STEPS = {"image": 40, "text": 100, "xor": 220}


def planted(folder: Path, rule: str, seed: int = 0) -> Path:
    """A dataset of 400 training rows, 40 of val and 200 of test."""
    rng = np.random.default_rng(seed)
    rows = [_row(f"{n:03d}", rule, rng) for n in range(640)]
    return write_dataset(folder, {"train": rows[:400], "val": rows[400:440], "test": rows[440:]})


def _row(id: str, rule: str, rng: np.random.Generator) -> dict[str, Any]:
    colour, word = (int(rng.integers(2)) for _ in range(2))
    pixels = np.array(COLOURS[colour]) + rng.normal(0, 25, (16, 16, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return {
        "id": id,
        "image": {"bytes": buffer.getvalue(), "path": f"{id}.png"},
        "captions": [WORDS[word][rng.integers(3)]],
        "label": LABELS[RULES[rule](colour, word)],
    }
