"""The text encoder trained from scratch.

B batch, M tokens, D width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkit.encoders import check_choice
from mmkit.encoders.layers import Encoded, Stack, masked_mean


class TextTransformer(nn.Module):
    """Pre-LayerNorm transformer over tokens with learned positions (arXiv:2103.00020, section 2.4).

    Args:
        vocab_size: number of tokens.
        context: longest text in tokens.
        causal: a token sees only the tokens before it (CLIP), else all (BERT).
        pool: "eos" (the last real token), "mean" (of the real tokens) or "cls" (the first).
    """

    def __init__(
        self,
        vocab_size: int,
        context: int,
        dim: int = 64,
        layers: int = 3,
        heads: int = 4,
        causal: bool = True,
        pool: str = "eos",
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("pool", pool, ("eos", "mean", "cls"))
        self.dim, self.causal, self.pool = dim, causal, pool
        self.tokens = nn.Embedding(vocab_size, dim)
        self.positions = nn.Parameter(torch.randn(context, dim) * 0.01)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, ids: Tensor, mask: Tensor) -> Encoded:
        x = self.tokens(ids) + self.positions[: ids.size(1)]  # (B, M, D)
        # under a causal mask no real token sees the padding on its right: the mask changes nothing and costs time
        x = self.norm(self.blocks(x, None if self.causal else mask, self.causal))
        if self.pool == "mean":
            pooled = masked_mean(x, mask)
        elif self.pool == "cls":
            pooled = x[:, 0]
        else:
            pooled = x[torch.arange(x.size(0), device=x.device), mask.sum(1) - 1]
        return Encoded(x, mask, pooled)
