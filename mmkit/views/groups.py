"""What a point is coloured by: a few groups with a name, a colour and a shape each, the same in every view of a map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mmkit.views.style import LIGHT, Theme

MOST = 8  # groups that are still told apart
BANDS = 5
# of Okabe and Ito (jfly.uni-koeln.de/color), the yellow and the black replaced by what is seen on the ground
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a3d9a", "#7a4a21")
ON_DARK = ("#56b4e9", "#f0894a", "#3ccf9a", "#e39ac6", "#f2c14e", "#9ecbff", "#b79cf2", "#d0a27a")
# an order is seen by lightness, also in grey: cividis (Nuñez, Anderton and Renslow, 2018)
RAMP = ("#00306f", "#4c556c", "#7c7b78", "#b2a570", "#e8cf4a")
RAMP_ON_DARK = ("#5b6fa8", "#7f86a0", "#a6a293", "#cfbd78", "#f7e06a")
GREY, GREY_ON_DARK = "#a9b1bb", "#5d6673"
SHAPES = "o^sDvPX*"  # of matplotlib
REST = "."


@dataclass(frozen=True)
class Groups:
    """The groups of n points.

    Args:
        by: what they are groups of, for the title of a legend: "label".
        codes: (n,) numbers of the groups.
        names: of the groups; of the first `named` each has a colour, the others are grey.
        ordered: whether the colours are steps of one scale.
    """

    by: str
    codes: np.ndarray
    names: list[str]
    named: int
    ordered: bool = False

    @property
    def counts(self) -> list[int]:
        return np.bincount(self.codes, minlength=len(self.names)).tolist()

    def colours(self, theme: Theme = LIGHT) -> list[str]:
        """A colour for each group."""
        light = theme is LIGHT
        ramp, steps = (RAMP, COLOURS) if light else (RAMP_ON_DARK, ON_DARK)
        chosen = ramp if self.ordered else steps
        return [*chosen[: self.named], *[GREY if light else GREY_ON_DARK] * (len(self.names) - self.named)]

    def shapes(self) -> list[str]:
        """A marker of matplotlib for each group."""
        return [*SHAPES[: self.named], *[REST] * (len(self.names) - self.named)]


def largest(by: str, values: Sequence[str | None] | np.ndarray, most: int = MOST) -> Groups:
    """Groups of equal values, the largest first; the smallest of more than `most` are one, and so are those without a value."""
    counts = Counter(value for value in values if value is not None)
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    kept = ranked if len(ranked) <= most else ranked[: most - 1]
    number = {value: i for i, value in enumerate(kept)}
    names = list(kept)
    rest = len(ranked) - len(kept)
    if rest:
        number |= dict.fromkeys(ranked[len(kept) :], len(names))
        names.append(f"{rest} others")
    codes = np.array([number.get(value, len(names)) if value is not None else len(names) for value in values], np.int64)
    if any(value is None for value in values):
        names.append(f"no {by}")
    return Groups(by, codes, names, len(kept))


def bands(by: str, values: np.ndarray) -> Groups:
    """Five groups of about equal size, from low to high; nan is a group of its own."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Groups(by, np.zeros(len(values), np.int64), [f"no {by}"], 0)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BANDS + 1)))
    inner = edges[1:-1]
    codes = np.digitize(values, inner)
    names = [f"{low:z.2f} to {high:z.2f}" for low, high in pairwise(edges)] or [f"{edges[0]:z.2f}"]
    lost = np.isnan(values)
    named = len(names)
    if lost.any():
        codes[lost] = named
        names.append(f"no {by}")
    return Groups(by, codes, names, named, ordered=True)
