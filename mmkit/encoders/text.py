"""The text encoder trained from scratch.

B batch, M tokens, D width
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmkit.encoders import check_choice
from mmkit.layers import Encoded, Stack, State, masked_mean

# --size -> width, blocks and heads; `base` and `large` are CLIP's beside ViT-B/16 and ViT-L/14 (arXiv:2103.00020, table 20)
SIZES = {
    "tiny": dict(dim=64, layers=2, heads=4),
    "small": dict(dim=256, layers=6, heads=4),
    "base": dict(dim=512, layers=12, heads=8),
    "large": dict(dim=768, layers=12, heads=12),
}


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
        dim: int = 64,
        layers: int = 3,
        heads: int = 4,
        causal: bool = True,
        pool: str = "eos",
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        *,
        vocab_size: int,
        context: int,
    ) -> None:
        super().__init__()
        check_choice("pool", pool, ("eos", "mean", "cls"))
        self.dim, self.causal, self.pool = dim, causal, pool
        self.tokens = nn.Embedding(vocab_size, dim)
        self.positions = nn.Parameter(torch.randn(context, dim) * 0.01)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout)
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return dict(SIZES[dial])

    def embed(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.tokens(ids) + self.positions[: ids.size(1)], mask  # (B, M, D)

    def encode(self, x: Tensor, mask: Tensor) -> Encoded:
        # under a causal mask no real token sees the padding on its right: the mask changes nothing and costs time
        x = self.norm(self.blocks(x, None if self.causal else mask[:, None], self.causal))
        if self.pool == "mean":
            pooled = masked_mean(x, mask)
        elif self.pool == "cls":
            pooled = x[:, 0]
        else:
            pooled = x[torch.arange(x.size(0), device=x.device), mask.sum(1) - 1]
        return Encoded(x, mask, pooled)

    def forward(self, ids: Tensor, mask: Tensor) -> Encoded:
        """Token ids (B, M) and their mask (B, M), True = real."""
        return self.encode(*self.embed(ids, mask))

    @property
    def depth(self) -> int:
        """Blocks."""
        return len(self.blocks)

    def drive(
        self, x: Tensor, mask: Tensor, between: Callable[[int, Tensor], Tensor] | None = None, state: State | None = None
    ) -> Tensor:
        """What its blocks make of x (B, N, D), which need not be words: tokens (B, N, D).

        Args:
            mask: of x and of all that `state` holds before it, (B, M).
            between: what becomes of x before the block of a number.
        """
        N, M = x.size(1), mask.size(1)
        allowed = mask[:, None]
        if self.causal:
            allowed = allowed & torch.ones(N, M, dtype=torch.bool, device=x.device).tril(M - N)
        for i, block in enumerate(self.blocks):
            x = x if between is None else between(i, x)
            x = self.blocks.through(block, x, allowed, False, None, None, state.caches[i] if state else None)
        return self.norm(x)

    def start(self) -> State:
        """Before the first token of texts that are read one token after the other, which takes a causal encoder."""
        return State(len(self.blocks))

    def step(self, ids: Tensor, state: State, encoded: bool = True) -> Tensor:
        """The next token of each text, ids (B,), as `encode` gives it, or else as `embed`: (B, 1, D)."""
        x = self.word(ids, state)
        return self.norm(self.blocks(x, state=state)) if encoded else x

    def word(self, ids: Tensor, state: State) -> Tensor:
        """The same as its blocks begin with it."""
        x = (self.tokens(ids) + self.positions[state.length])[:, None]
        state.length += 1
        return x
