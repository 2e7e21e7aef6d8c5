"""RoIAlign is what its definition says, place by place."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmkit.regions.align import grid_boxes, roi_align

BOXES = torch.tensor(
    [
        [1.3, 0.7, 5.2, 4.4],  # within
        [0.0, 0.0, 7.0, 5.0],  # the whole map
        [-3.0, -2.0, 2.5, 1.5],  # across the border
        [5.0, 3.0, 9.5, 8.0],  # across the other
        [2.0, 2.0, 2.0, 2.0],  # a point
        [7.0, 5.0, 7.6, 5.9],  # beyond the corner, within a place of it
        [9.0, 9.0, 12.0, 12.0],  # nothing of it is on the map
    ]
)


def naive(x: Tensor, box: list[float], bins: int, samples: int) -> Tensor:
    """torchvision's `roi_align(aligned=True)`, one value after the other."""
    C, H, W = x.shape
    left, top = box[0] - 0.5, box[1] - 0.5
    wide, high = (box[2] - box[0]) / bins, (box[3] - box[1]) / bins
    out = torch.zeros(C, bins, bins)
    for i in range(bins):
        for j in range(bins):
            for a in range(samples):
                for b in range(samples):
                    v = top + i * high + (a + 0.5) * high / samples
                    u = left + j * wide + (b + 0.5) * wide / samples
                    if v < -1 or v > H or u < -1 or u > W:
                        continue
                    v, u = min(max(v, 0.0), H - 1), min(max(u, 0.0), W - 1)
                    v0, u0 = math.floor(v), math.floor(u)
                    v1, u1 = min(v0 + 1, H - 1), min(u0 + 1, W - 1)
                    p, q = v - v0, u - u0
                    upper = (1 - q) * x[:, v0, u0] + q * x[:, v0, u1]
                    lower = (1 - q) * x[:, v1, u0] + q * x[:, v1, u1]
                    out[:, i, j] += (1 - p) * upper + p * lower
    return out / samples**2


@pytest.mark.parametrize(("bins", "samples"), [(1, 1), (2, 2), (3, 2), (7, 3)])
def test_it_is_the_definition(bins: int, samples: int) -> None:
    x = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([naive(x, box, bins, samples) for box in BOXES.tolist()])
    found = roi_align(x, BOXES, bins, samples)
    assert found.shape == (len(BOXES), 3, bins, bins)
    assert (found - expected).abs().max() < 1e-5
    assert not found[-1].any() and found[-2].any()


def test_a_map_that_is_a_plane_gives_the_centres_of_cells() -> None:
    across = torch.arange(8.0).expand(1, 6, 8) + 0.5  # a place's own x
    found = roi_align(across, torch.tensor([[1.0, 1.0, 5.0, 5.0]]), 2)
    assert torch.allclose(found[0, 0], torch.tensor([[2.0, 4.0], [2.0, 4.0]]), atol=1e-6)


def test_a_grid_covers_the_picture_row_by_row() -> None:
    boxes = grid_boxes(2, 10, 6)
    assert boxes.tolist() == [[0, 0, 5, 3], [5, 0, 10, 3], [0, 3, 5, 6], [5, 3, 10, 6]]
