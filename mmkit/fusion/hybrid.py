"""Hybrid fusion: attention over all tokens beside the product of the pooled vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mmkit.fusion.attention import Cross, Merged
from mmkit.fusion.late import Product
from mmkit.layers import Encoded


class Hybrid(nn.Module):
    """The pooled vector of a fusion by attention and that of `Product`, mixed by one layer; the tokens are the attention's.

    Args:
        attention: "merged" (`Merged`) or "cross" (`Cross`, pooled at its first token).
        dim, layers, heads, mlp_ratio, dropout: of it; the product is as wide.
        widths: input -> width of its tokens and of its pooled vector; language: the inputs of words.
    """

    reads = "tokens"

    def __init__(
        self,
        attention: str = "merged",
        dim: int = 64,
        layers: int = 2,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        *,
        widths: Mapping[str, int],
        language: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.dim = dim
        self.attention: Merged | Cross
        if attention == "merged":
            self.attention = Merged(dim, layers, heads, mlp_ratio, dropout, widths=widths)
        elif attention == "cross":
            self.attention = Cross(None, dim, layers, heads, mlp_ratio, dropout, pool="first", widths=widths, language=language)
        else:
            raise ValueError(f"attention is merged or cross, not {attention!r}")
        self.product = Product(dim, widths=widths)
        self.mix = nn.Linear(2 * dim, dim)
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return Merged.sizes(dial)

    def forward(self, parts: Mapping[str, Encoded]) -> Encoded:
        joined = self.attention(parts)
        both = torch.cat([joined.pooled, self.product(parts).pooled], -1)
        return Encoded(joined.tokens, joined.mask, self.norm(self.mix(both)))

    def spans(self, parts: Mapping[str, Encoded]) -> dict[str, slice]:
        return self.attention.spans(parts)
