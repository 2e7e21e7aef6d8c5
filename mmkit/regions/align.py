"""RoIAlign over any map.

C channels, H, W rows and columns of a map, N boxes, S bins a side, M samples a bin and side
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def roi_align(x: Tensor, boxes: Tensor, bins: int, samples: int = 2) -> Tensor:
    """The means of the map's values in the cells of a grid over each box, as torchvision's `roi_align(…, aligned=True)`
    (Mask R-CNN, arXiv:1703.06870, section 3): what lies within a place of the border takes its value, what lies beyond is 0.

    Args:
        x: the map (C, H, W).
        boxes: (N, 4), x1, y1, x2, y2 in places of the map: a place is 1 wide, and the map spans 0 to W.
        bins, samples: cells of the grid a side, and values interpolated a cell and side.

    Returns:
        (N, C, S, S).
    """
    C, H, W = x.shape
    steps = (torch.arange(bins * samples, device=x.device) + 0.5) / (bins * samples)  # (S M,), of 0 to 1
    places = boxes[:, None, :2] + steps[:, None] * (boxes[:, 2:] - boxes[:, :2])[:, None]  # (N, S M, 2)
    sides = torch.tensor([W, H], dtype=x.dtype, device=x.device)
    within = ((places >= -0.5) & (places <= sides + 0.5)).to(x.dtype)  # (N, S M, 2)
    normal = 2 * places / sides - 1  # (N, S M, 2)
    n = bins * samples
    grid = torch.stack([normal[:, None, :, 0].expand(-1, n, n), normal[:, :, None, 1].expand(-1, n, n)], -1)  # (N, S M, S M, 2)
    found = F.grid_sample(x[None], grid.reshape(1, -1, n, 2), padding_mode="border", align_corners=False)  # (1, C, N S M, S M)
    found = found.view(C, -1, n, n) * (within[:, :, None, 1] * within[:, None, :, 0])
    return F.avg_pool2d(found, samples).transpose(0, 1)


def grid_boxes(side: int, width: float, height: float) -> Tensor:
    """The boxes (side * side, 4) of a grid over a picture, row by row."""
    x, y = (torch.arange(side + 1) * size / side for size in (width, height))
    corners = [(x[i], y[j], x[i + 1], y[j + 1]) for j in range(side) for i in range(side)]
    return torch.tensor(corners)
