"""The only attention of mmkit, and the transformer block made of it.

B batch, N tokens (queries), M tokens (keys), D width, H heads
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoded(NamedTuple):
    """What every encoder returns: tokens (B, N, D), their mask (B, N; True = real) or None, and pooled (B, D)."""

    tokens: Tensor
    mask: Tensor | None
    pooled: Tensor


class Attention(nn.Module):
    """Multi-head attention with separate q, k, v and out projections (arXiv:1706.03762, 3.2.2)."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"width {dim} is not a multiple of {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        B, N, D = x.size()
        q, k, v = (
            f(x).view(B, N, self.heads, D // self.heads).transpose(1, 2) for f in (self.q, self.k, self.v)
        )  # (B, H, N, D/H)
        attn_mask = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, M)
        if causal and attn_mask is not None:
            attn_mask = attn_mask & torch.ones(N, N, dtype=torch.bool, device=x.device).tril()
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask, dropout, is_causal=causal and attn_mask is None)
        return self.out(y.transpose(1, 2).reshape(B, N, D))


class Block(nn.Module):
    """A pre-LayerNorm transformer block: x + attention(LN x), then x + MLP(LN x)."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, dropout)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim), nn.Dropout(dropout))

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        x = x + self.attention(self.norm1(x), mask, causal)
        return x + self.mlp(self.norm2(x))


class Stack(nn.ModuleList):
    """Blocks one after the other, recomputed in the backward pass where `checkpoint` is set."""

    checkpoint = False

    def __init__(self, layers: int, dim: int, heads: int, mlp_ratio: float = 4.0, dropout: float = 0.0) -> None:
        blocks = [Block(dim, heads, mlp_ratio, dropout) for _ in range(layers)]
        super().__init__(blocks)
        for block in blocks:
            # residual branches start small so that depth does not change the scale (GPT-2, section 2.3)
            for weight in (block.attention.out.weight, block.mlp.get_parameter("2.weight")):
                nn.init.normal_(weight, std=0.02 / (2 * layers) ** 0.5)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        for block in self:
            if self.checkpoint and torch.is_grad_enabled():
                x = torch.utils.checkpoint.checkpoint(block, x, mask, causal, use_reentrant=False)
            else:
                x = block(x, mask, causal)
        return x


def masked_mean(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the real tokens: tokens (B, N, D), mask (B, N) -> (B, D)."""
    if mask is None:
        return tokens.mean(1)
    weight = mask[..., None].to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)
