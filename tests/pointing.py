"""The pointing game (arXiv:1608.00507, section 4.1) on generated scenes: does the map of "red circle" peak on the red circle?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmkit.data.shards import open_dataset
from mmkit.explain.attention import explain
from mmkit.model import Model


class Target(NamedTuple):
    """A picture, one of its two objects, such as `red circle`, and the object's box in pixels."""

    item: dict[str, Any]
    text: str
    box: list[float]

    def holds(self, x: int, y: int) -> bool:
        left, top, right, bottom = self.box
        return left <= x + 0.5 <= right and top <= y + 0.5 <= bottom


def targets(data: Path, scenes: int) -> list[Target]:
    """Both objects of the first scenes of the test split that show two."""
    rows = [row for row in open_dataset(data).rows("test") if len(row["regions"]["boxes"]) == 2][:scenes]
    # a phrase is `a small red circle`
    return [
        Target(row["image"], " ".join(phrase.split()[2:]), box)
        for row in rows
        for box, phrase in zip(row["regions"]["boxes"], row["regions"]["phrases"], strict=True)
    ]


def hits(model: Model, wanted: Sequence[Target], method: str | None = None) -> float:
    """The share of objects whose map peaks in their box."""
    return float(np.mean([one.holds(*explain(model, one.item, one.text, method).peak()) for one in wanted]))


def others(wanted: Sequence[Target]) -> list[Target]:
    """The same texts with the box of the scene's other object: what a map that does not know the words finds as often."""
    boxes = [wanted[i ^ 1].box for i in range(len(wanted))]
    return [one._replace(box=box) for one, box in zip(wanted, boxes, strict=True)]


def chance(wanted: Sequence[Target], side: int = 48) -> float:
    """That of a peak anywhere: the mean share of the picture that a box covers."""
    return float(np.mean([(b[2] - b[0]) * (b[3] - b[1]) / side**2 for b in (one.box for one in wanted)]))
