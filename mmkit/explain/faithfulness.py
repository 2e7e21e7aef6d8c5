"""Whether the patches of a map are those that the score hangs on: deletion and insertion (RISE, arXiv:1806.07421, section 4.3).

P patches, S side of the square that the model sees
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmkit.errors import UserError
from mmkit.explain.asked import Asked

STEPS = 24  # pictures between the whole and the empty one
DRAWS = 5  # random maps
BATCH = 64


@dataclass(frozen=True)
class Faithfulness:
    """Areas under the score as patches go or come, the weightiest first, in the score's own unit.

    Args:
        deletion: the lower the better; insertion: the higher the better. random_…: the mean of some random orders.
        whole, empty: the score of the picture and of its mean colour.
    """

    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float
    whole: float
    empty: float


def faithfulness(asked: Asked, grid: np.ndarray, seed: int = 0) -> Faithfulness:
    """Delete patches from a picture, and insert them into an empty one, in the order of a map and in random orders.

    What is not there is of the picture's mean colour. (A blurred picture, from which RISE inserts, still shows what small ones
    show: on shapes the score falls by a sixth only.)

    Args:
        grid: (h, w) weights; seed: of the random orders.

    Raises:
        UserError: the picture is not prepared as a square of pixels.
    """
    pixels = asked.items[asked.picture]
    if not isinstance(pixels, Tensor) or pixels.ndim != 3:
        raise UserError("the model takes no square of pixels", asked.model.name)
    rng = np.random.default_rng(seed)
    flat = grid.ravel()
    orders = [np.argsort(-flat, kind="stable"), *(rng.permutation(len(flat)) for _ in range(DRAWS))]
    curves = np.array([_curves(asked, pixels, order, grid.shape) for order in orders])  # (1 + draws, 2, steps + 1)
    areas = np.trapezoid(curves, axis=-1) / (curves.shape[-1] - 1)
    random = areas[1:].mean(0)
    whole, empty = curves[0, 0, 0], curves[0, 0, -1]
    return Faithfulness(*map(float, (areas[0, 0], areas[0, 1], random[0], random[1], whole, empty)))


def _curves(asked: Asked, pixels: Tensor, order: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The scores as the patches go in this order, and as they come: (2, steps + 1)."""
    empty = _empty(pixels)
    steps = min(STEPS, len(order))
    changed = []
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    cells = _cells(torch.from_numpy(rank.reshape(shape)), pixels.size(-1))
    for step in range(steps + 1):
        gone = cells < round(step * len(order) / steps)
        changed.append(torch.where(gone, empty, pixels))
    for step in range(steps + 1):
        there = cells < round(step * len(order) / steps)
        changed.append(torch.where(there, pixels, empty))
    scores = torch.cat([asked.measured(changed[i : i + BATCH]) for i in range(0, len(changed), BATCH)])
    return scores.view(2, -1).numpy()


def _cells(patches: Tensor, side: int) -> Tensor:
    """Of each pixel (S, S) the value of its patch."""
    h, w = patches.shape
    at = torch.arange(side)
    return patches[(at * h // side)[:, None], (at * w // side)[None]]


def _empty(pixels: Tensor) -> Tensor:
    """A picture of the mean colour: uint8 (3, S, S)."""
    return pixels.float().mean((1, 2), keepdim=True).round().to(pixels.dtype).expand_as(pixels)
