"""The encoder of regions: what they show and where they are, in one vector each.

B batch, N regions, F values of a feature, D width
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkit.layers import Encoded, Stack, masked_mean

# `base` and `large` are the widths of UNITER's single stream (arXiv:1909.11740, section 3.1)
WIDTHS = {"tiny": 64, "small": 256, "base": 768, "large": 1024}


class RegionEncoder(nn.Module):
    """LN(W f) + LN(V p), f the features of a region and p where it is (UNITER, arXiv:1909.11740, section 3.1); then blocks, if
    there are any.

    Args:
        layers, heads, mlp_ratio, dropout: of the blocks.
        features: values of a feature.
    """

    def __init__(
        self,
        dim: int = 64,
        layers: int = 0,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        *,
        features: int,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.what, self.where = nn.Linear(features, dim), nn.Linear(7, dim)
        self.norm_what, self.norm_where = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout)
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return {"dim": WIDTHS[dial]}

    def embed(self, features: Tensor, boxes: Tensor, mask: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.norm_what(self.what(features)) + self.norm_where(self.where(boxes)), mask  # (B, N, D)

    def encode(self, x: Tensor, mask: Tensor) -> Encoded:
        x = self.norm(self.blocks(x, mask[:, None]))
        return Encoded(x, mask, masked_mean(x, mask))

    def forward(self, features: Tensor, boxes: Tensor, mask: Tensor, labels: Tensor | None = None) -> Encoded:
        """Features (B, N, F), boxes (B, N, 7) and their mask (B, N), True = a region; a detector's labels are not looked at."""
        return self.encode(*self.embed(features, boxes, mask))
