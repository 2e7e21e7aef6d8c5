"""Hybrid fusion: attention over all tokens beside the product of the pooled vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mmkit.fusion.attention import Merged
from mmkit.fusion.late import Product
from mmkit.layers import Encoded


class Hybrid(nn.Module):
    """The pooled vector of `Merged` and that of `Product`, mixed by one layer; the tokens are those of `Merged`.

    Args:
        dim, layers, heads, mlp_ratio, dropout: of `Merged`; the product is as wide.
        widths: input -> width of its tokens and of its pooled vector.
    """

    reads = "tokens"

    def __init__(
        self,
        dim: int = 64,
        layers: int = 2,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        *,
        widths: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.dim = dim
        self.merged = Merged(dim, layers, heads, mlp_ratio, dropout, widths=widths)
        self.product = Product(dim, widths=widths)
        self.mix = nn.Linear(2 * dim, dim)
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return Merged.sizes(dial)

    def forward(self, parts: Mapping[str, Encoded]) -> Encoded:
        merged = self.merged(parts)
        both = torch.cat([merged.pooled, self.product(parts).pooled], -1)
        return Encoded(merged.tokens, merged.mask, self.norm(self.mix(both)))
