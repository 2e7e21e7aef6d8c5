"""Image encoders trained from scratch: a vision transformer on a small convolutional stem, and a plain CNN.

B batch, S side in pixels, N patches, D width
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.encoders import check_choice
from mmkit.encoders.layers import Encoded, Stack


class Residual(nn.Module):
    """A pre-activation residual block (arXiv:1603.05027) with GroupNorm, whose result no batch mate changes."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(min(8, width_in), width_in), nn.GroupNorm(min(8, width), width)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.skip = nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(x))
        y = self.conv2(F.relu(self.norm2(self.conv1(h))))
        return y + self.skip(h)


class Stem(nn.Sequential):
    """Pixels to patch vectors with overlapping convolutions (arXiv:2106.14881): (B, 3, S, S) -> (B, D, S/patch, S/patch)."""

    def __init__(self, dim: int, patch: int) -> None:
        halvings = patch.bit_length() - 1
        if 2**halvings != patch or patch < 4:
            raise ValueError(f"a convolutional stem needs a patch of 4, 8, 16 or 32, not {patch}")
        widths = [max(16, dim >> (halvings - 1 - i)) for i in range(halvings)]
        blocks = [Residual(a, b, 2) for a, b in zip(widths, [*widths[1:-1], dim], strict=False)]
        super().__init__(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), *blocks, nn.GroupNorm(min(8, dim), dim))


class ViT(nn.Module):
    """Vision transformer (arXiv:2010.11929): patches, learned positions, pre-LayerNorm blocks.

    Args:
        size: side of the input in pixels.
        dim, layers, heads: width, depth and heads of the blocks.
        patch: side of a patch in pixels.
        stem: "conv" (small convolutional stem) or "linear" (one patch convolution, as in the paper and in CLIP).
        pool: "cls" (class token) or "mean" (of the patches).
    """

    def __init__(
        self,
        size: int,
        dim: int = 64,
        layers: int = 3,
        heads: int = 4,
        patch: int = 8,
        stem: str = "conv",
        pool: str = "mean",
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if size % patch:
            raise ValueError(f"image size {size} is not a multiple of the patch {patch}")
        check_choice("stem", stem, ("conv", "linear"))
        check_choice("pool", pool, ("cls", "mean"))
        self.dim, self.pool = dim, pool
        self.stem = Stem(dim, patch) if stem == "conv" else nn.Conv2d(3, dim, patch, patch, bias=False)
        tokens = (size // patch) ** 2 + (pool == "cls")
        self.positions = nn.Parameter(torch.randn(tokens, dim) * 0.02)
        self.cls = nn.Parameter(torch.randn(dim) * 0.02) if pool == "cls" else None
        self.norm_in = nn.LayerNorm(dim)
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixels: Tensor) -> Encoded:
        x = self.stem(pixels).flatten(2).transpose(1, 2)  # (B, N, D)
        if self.cls is not None:
            x = torch.cat([self.cls.expand(x.size(0), 1, -1), x], 1)  # (B, 1 + N, D)
        x = self.norm(self.blocks(self.norm_in(x + self.positions)))
        return Encoded(x, None, x[:, 0] if self.cls is not None else x.mean(1))


class CNN(nn.Module):
    """A small residual network with GroupNorm and a global mean.

    Args:
        size: side of the input in pixels (any; kept so that every image encoder is built alike).
        dim: channels of the last map.
        patch: total stride: one token covers patch x patch pixels.
        layers: further residual blocks at the last resolution.
    """

    def __init__(self, size: int, dim: int = 64, layers: int = 1, patch: int = 8) -> None:
        super().__init__()
        self.dim = dim
        self.stem = Stem(dim, patch)
        self.blocks = nn.Sequential(*[Residual(dim, dim, 1) for _ in range(layers)])
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixels: Tensor) -> Encoded:
        x = self.norm(self.blocks(self.stem(pixels)).flatten(2).transpose(1, 2))  # (B, N, D)
        return Encoded(x, None, x.mean(1))
