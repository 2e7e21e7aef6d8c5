"""Few tokens of many: what learned latents see of all inputs (Perceiver, arXiv:2103.03206; Flamingo, arXiv:2204.14198, section
2.1).

B rows, N tokens of all inputs, K latents, D width
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkit.layers import Attention, Encoded, everywhere

SIZES = {
    "tiny": dict(dim=64, layers=2, heads=4, latents=16),
    "small": dict(dim=256, layers=4, heads=4, latents=32),
    "base": dict(dim=768, layers=6, heads=12, latents=64),
    "large": dict(dim=1536, layers=6, heads=16, latents=64),
}


class SquaredReLU(nn.Module):
    """max(0, x) squared (arXiv:2109.08668)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().square()


def feed_forward(dim: int, ratio: float) -> nn.Sequential:
    """LayerNorm, then two layers without bias about a squared ReLU (Flamingo, appendix A.1.1 and A.1.2)."""
    hidden = int(dim * ratio)
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden, bias=False), SquaredReLU(), nn.Linear(hidden, dim, bias=False))


class Look(nn.Module):
    """Latents (B, K, D) look at tokens (B, N, D) and at themselves, which stand behind them: x + attention, then x + MLP."""

    def __init__(self, dim: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.norm_latents, self.norm_tokens = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.mlp = feed_forward(dim, ratio)

    def forward(self, latents: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """mask (B, 1, N + K): where they may look."""
        x = self.norm_latents(latents)
        latents = latents + self.attention(x, torch.cat([self.norm_tokens(tokens), x], 1), mask)
        return latents + self.mlp(latents)


class Resampler(nn.Module):
    """K latents look at the tokens of all inputs, each with a learned type and those of a video with a learned time, and at
    themselves in every block. The pooled vector is their mean; a row that has none of the inputs shows no latent.

    Args:
        latents: K; dim, layers, heads, mlp_ratio: of the blocks.
        widths: input -> width of its tokens.
        times: input -> the most frames of it, and the tokens of each.
    """

    reads = "tokens"

    def __init__(
        self,
        latents: int = 16,
        dim: int = 64,
        layers: int = 2,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        *,
        widths: Mapping[str, int],
        times: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        super().__init__()
        if latents < 1:
            raise ValueError(f"{latents} latents: it needs one or more")
        self.dim = dim
        self.adapt = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in widths.items()})
        self.kind = nn.ParameterDict({name: nn.Parameter(torch.randn(dim) * 0.02) for name in widths})
        self.each = {name: each for name, (_, each) in (times or {}).items()}
        frames = {name: nn.Parameter(torch.randn(most, dim) * 0.02) for name, (most, _) in (times or {}).items()}
        self.times = nn.ParameterDict(frames)
        self.latents = nn.Parameter(torch.randn(latents, dim) * 0.5)
        self.blocks = nn.ModuleList(Look(dim, heads, mlp_ratio) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return dict(SIZES[dial])

    def forward(self, parts: Mapping[str, Encoded]) -> Encoded:
        tokens = torch.cat([self._adapted(name, part.tokens) for name, part in parts.items()], 1)  # (B, N, D)
        mask = torch.cat([part.mask for part in parts.values()], 1)
        x = self.latents.expand(len(tokens), -1, -1)  # (B, K, D)
        shown = torch.cat([mask, everywhere(x)], 1)[:, None]
        for block in self.blocks:
            x = block(x, tokens, shown)
        x = self.norm(x)
        return Encoded(x, everywhere(x) & mask.any(1, keepdim=True), x.mean(1))

    def _adapted(self, name: str, tokens: Tensor) -> Tensor:
        x: Tensor = self.adapt[name](tokens) + self.kind[name]
        if name in self.each:
            count = x.size(1)
            x = x + self.times[name].repeat_interleave(self.each[name], 0)[:count]
        return x

    def spans(self, parts: Mapping[str, Encoded]) -> dict[str, slice]:
        return {}
