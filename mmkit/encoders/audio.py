"""The encoder of sounds trained from scratch.

B batch, N frames, F mel bands, M tokens, D width
"""

from __future__ import annotations

import itertools
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


class Halvings(nn.Module):
    """Frames to tokens by convolutions that halve time and bands, each with GELU: (B, F, N) -> (B, D, N / patch).

    Args:
        patch: frames of a token, a power of two.
    """

    def __init__(self, patch: int, bands: int, dim: int) -> None:
        super().__init__()
        count = patch.bit_length() - 1
        if 2**count != patch or patch < 2:
            raise ValueError(f"a stem of halvings needs a patch of 2, 4, 8 or 16, not {patch}")
        widths = [1, *(max(8, dim >> (count - 1 - i) >> 1) for i in range(count))]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(widths))
        self.out = nn.Linear(widths[-1] * -(-bands // patch), dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x[:, None]  # (B, 1, F, N)
        for conv in self.convs:
            mask = mask[:, ::2]
            # padding stays 0, so that a sound is heard alike beside a longer one
            x = F.gelu(conv(x)) * mask[:, None, None]
        return self.out(x.flatten(1, 2).transpose(1, 2)).transpose(1, 2)


class AudioTransformer(nn.Module):
    """Pre-LayerNorm transformer over log-mel frames, all bands of a stretch of time in one token.

    Args:
        bands: of a frame; frames: at most so many.
        patch: frames of a token.
        stem: "conv" (two convolutions over time with GELU, as in Whisper, arXiv:2212.04356, section 2.2, the second of the width
            of a token), "conv2d" (convolutions over time and bands, each of which halves both, as in Conformer,
            arXiv:2005.08100, section 2.1, so that what is heard may lie a little higher or lower) or "linear" (one patch
            convolution, as in AST, arXiv:2104.01778, but over all bands).
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
        check_choice("stem", stem, ("conv", "conv2d", "linear"))
        check_choice("pool", pool, ("cls", "mean"))
        self.prefix = int(pool == "cls")
        self.dim, self.patch = dim, patch
        self.conv = nn.Conv1d(bands, dim, 3, 1, 1) if stem == "conv" else None
        self.halvings = Halvings(patch, bands, dim) if stem == "conv2d" else None
        self.patches = nn.Conv1d(dim if self.conv else bands, dim, patch, patch) if self.halvings is None else None
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
        x = self._tokens(x * mask[:, None], mask).transpose(1, 2)  # (B, M, D)
        real = mask.unflatten(1, (-1, self.patch)).any(2)  # (B, M)
        if self.cls is not None:
            x = torch.cat([self.cls.expand(x.size(0), 1, -1), x], 1)
            real = F.pad(real, (1, 0), value=True)
        return x + self.positions[: x.size(1)], real

    def _tokens(self, x: Tensor, mask: Tensor) -> Tensor:
        """Frames (B, F, N), 0 where nothing is heard, to (B, D, M)."""
        if self.halvings is not None:
            return self.halvings(x, mask)
        assert self.patches is not None
        if self.conv is None:
            return self.patches(x)
        # what a convolution makes of padding beside a sound must not reach the next one
        return F.gelu(self.patches(F.gelu(self.conv(x)) * mask[:, None]))

    def encode(self, x: Tensor, mask: Tensor) -> Encoded:
        x = self.norm(self.blocks(x, mask[:, None]))
        return Encoded(x, mask, x[:, 0] if self.cls is not None else masked_mean(x, mask))

    def forward(self, sound: Tensor, mask: Tensor) -> Encoded:
        """Frames (B, N, F), at most `frames` of them, and their mask (B, N), True = heard."""
        return self.encode(*self.embed(sound, mask))
