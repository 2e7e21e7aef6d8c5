"""The encoder of sounds trained from scratch.

B batch, N frames, F mel bands, M tokens, D width
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.encoders import check_choice
from mmkit.layers import Encoded, Stack, masked_mean

# `base` and `large` have the widths of AST (arXiv:2104.01778) and of ViT-L; a token is 40 to 160 ms
SIZES = {
    "tiny": dict(dim=64, layers=2, heads=4, patch=8),
    "small": dict(dim=256, layers=4, heads=4, patch=8),
    "base": dict(dim=768, layers=12, heads=12, patch=8),
    "large": dict(dim=1024, layers=24, heads=16, patch=8),
}


class AudioTransformer(nn.Module):
    """Pre-LayerNorm transformer over log-mel frames, all bands of a stretch of time in one token.

    Args:
        bands: of a frame; frames: at most so many.
        patch: frames of a token.
        stem: "conv" (two convolutions over time with GELU, as in Whisper, arXiv:2212.04356, section 2.2, the second of the width
            of a token) or "linear" (one patch convolution, as in AST, arXiv:2104.01778, but over all bands).
        pool: "mean" (of the real tokens) or "cls" (class token).
    """

    def __init__(
        self,
        dim: int = 64,
        layers: int = 2,
        heads: int = 4,
        patch: int = 8,
        stem: str = "conv",
        pool: str = "mean",
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        *,
        bands: int,
        frames: int,
    ) -> None:
        super().__init__()
        check_choice("stem", stem, ("conv", "linear"))
        check_choice("pool", pool, ("cls", "mean"))
        self.dim, self.patch = dim, patch
        self.conv = nn.Conv1d(bands, dim, 3, 1, 1) if stem == "conv" else None
        self.patches = nn.Conv1d(dim if self.conv else bands, dim, patch, patch)
        self.positions = nn.Parameter(torch.randn(-(-frames // patch) + (pool == "cls"), dim) * 0.02)
        self.cls = nn.Parameter(torch.randn(dim) * 0.02) if pool == "cls" else None
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout)
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return dict(SIZES[dial])

    def embed(self, sound: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        rest = -sound.size(1) % self.patch
        x, mask = F.pad(sound, (0, 0, 0, rest)).transpose(1, 2), F.pad(mask, (0, rest))  # (B, F, N)
        x = x * mask[:, None]
        if self.conv is not None:
            # what a convolution makes of padding beside a sound must not reach the next one
            x = F.gelu(self.conv(x)) * mask[:, None]
        x = self.patches(x).transpose(1, 2)  # (B, M, D)
        x = F.gelu(x) if self.conv is not None else x
        real = mask.unflatten(1, (-1, self.patch)).any(2)  # (B, M)
        if self.cls is not None:
            x = torch.cat([self.cls.expand(x.size(0), 1, -1), x], 1)
            real = F.pad(real, (1, 0), value=True)
        return x + self.positions[: x.size(1)], real

    def encode(self, x: Tensor, mask: Tensor) -> Encoded:
        x = self.norm(self.blocks(x, mask[:, None]))
        return Encoded(x, mask, x[:, 0] if self.cls is not None else masked_mean(x, mask))

    def forward(self, sound: Tensor, mask: Tensor) -> Encoded:
        """Frames (B, N, F), at most `frames` of them, and their mask (B, N), True = heard."""
        return self.encode(*self.embed(sound, mask))
