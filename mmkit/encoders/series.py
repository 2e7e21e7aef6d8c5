"""The encoder of series trained from scratch.

B batch, C channels, T time steps, N patches, D width
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmkit.encoders import check_choice
from mmkit.layers import Encoded, Stack, masked_mean

SIZES = {
    "tiny": dict(dim=64, layers=2, heads=4, patch=8),
    "small": dict(dim=256, layers=4, heads=4, patch=16),
    "base": dict(dim=512, layers=8, heads=8, patch=16),
    "large": dict(dim=768, layers=12, heads=12, patch=16),
}


class SeriesTransformer(nn.Module):
    """Pre-LayerNorm transformer over patches of time, all channels of a patch in one token (PatchTST's patches,
    arXiv:2211.14730, with ImageBind's channels together, arXiv:2305.05665, appendix A).

    Args:
        channels, length: of the input (B, C, T); mean, std: per channel, taken off and divided by.
        patch: time steps of a token.
        pool: "mean" (of the real patches) or "cls" (class token).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        dim: int = 64,
        layers: int = 2,
        heads: int = 4,
        patch: int = 8,
        pool: str = "mean",
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        *,
        channels: int,
        length: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        check_choice("pool", pool, ("cls", "mean"))
        self.prefix = int(pool == "cls")
        self.dim, self.patch, self.length = dim, patch, -(-length // patch) * patch
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(list(values))[:, None], persistent=False)  # (C, 1)
        self.patches = nn.Conv1d(channels, dim, patch, patch)
        self.positions = nn.Parameter(torch.randn(self.length // patch + (pool == "cls"), dim) * 0.02)
        self.cls = nn.Parameter(torch.randn(dim) * 0.02) if pool == "cls" else None
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout)
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return dict(SIZES[dial])

    def embed(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        rest = self.length - values.size(2)
        normal = ((values - self.mean) / self.std) * mask[:, None]
        x = self.patches(nn.functional.pad(normal, (0, rest))).transpose(1, 2)  # (B, N, D)
        real = nn.functional.pad(mask, (0, rest)).unflatten(1, (-1, self.patch)).any(2)  # (B, N)
        if self.cls is not None:
            x = torch.cat([self.cls.expand(x.size(0), 1, -1), x], 1)
            real = nn.functional.pad(real, (1, 0), value=True)
        return x + self.positions, real

    def encode(self, x: Tensor, mask: Tensor) -> Encoded:
        x = self.norm(self.blocks(x, mask[:, None]))
        return Encoded(x, mask, x[:, 0] if self.cls is not None else masked_mean(x, mask))

    def forward(self, values: Tensor, mask: Tensor) -> Encoded:
        """Values (B, C, T) of at most `length` steps and their mask (B, T), True = measured."""
        return self.encode(*self.embed(values, mask))
