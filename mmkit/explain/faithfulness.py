"""Whether the parts of a map are those that the score hangs on: deletion and insertion (RISE, arXiv:1806.07421, section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmkit.errors import UserError
from mmkit.explain.asked import Asked

STEPS = 24  # between the whole and the empty one
DRAWS = 5  # random maps
BATCH = 64


@dataclass(frozen=True)
class Faithfulness:
    """Areas under the score as parts go or come, the weightiest first, in the score's own unit.

    Args:
        deletion: the lower the better; insertion: the higher the better. random_…: the mean of some random orders.
        whole, empty: the score of the item and of one that is of its mean alone.
    """

    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float
    whole: float
    empty: float


def faithfulness(asked: Asked, grid: np.ndarray, seed: int = 0) -> Faithfulness:
    """Delete parts of an item, and insert them into an empty one, in the order of a map and in random orders.

    What is not there is of a picture's mean colour, or the mean of a band or channel. (A blurred picture, from which RISE
    inserts, still shows what small ones show: on shapes the score falls by a sixth only.)

    Args:
        grid: the map, as of `Explanation`; seed: of the random orders.

    Raises:
        UserError: no parts of what the model takes can be taken away.
    """
    item = asked.items[asked.looked]
    if not isinstance(item, Tensor):
        raise UserError("the model takes nothing of which parts can be taken away", asked.model.name, "no --faithfulness")
    rng = np.random.default_rng(seed)
    flat = grid.ravel()
    orders = [np.argsort(-flat, kind="stable"), *(rng.permutation(len(flat)) for _ in range(DRAWS))]
    curves = np.array([_curves(asked, item, order, grid.shape) for order in orders])  # (1 + draws, 2, steps + 1)
    areas = np.trapezoid(curves, axis=-1) / (curves.shape[-1] - 1)
    random = areas[1:].mean(0)
    whole, empty = curves[0, 0, 0], curves[0, 0, -1]
    return Faithfulness(*map(float, (areas[0, 0], areas[0, 1], random[0], random[1], whole, empty)))


def _curves(asked: Asked, item: Tensor, order: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The scores as the parts go in this order, and as they come: (2, steps + 1)."""
    steps = min(STEPS, len(order))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    cells = torch.from_numpy(rank.reshape(shape))
    reader = asked.model.reader(asked.looked)
    first = [cells < round(step * len(order) / steps) for step in range(steps + 1)]
    changed = [reader.without(item, gone) for gone in [*first, *(~there for there in first)]]
    scores = torch.cat([asked.measured(changed[i : i + BATCH]) for i in range(0, len(changed), BATCH)])
    return scores.view(2, -1).numpy()
