"""Image encoders trained from scratch: a vision transformer on a small convolutional stem, and a plain CNN.

B batch, S side in pixels, N patches, D width
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.encoders import check_choice
from mmkit.layers import Encoded, Stack, everywhere

# --size -> width, blocks and heads; `base` and `large` are ViT-B/16 and ViT-L/16 (arXiv:2010.11929, table 1)
SIZES = {
    "tiny": dict(dim=64, layers=1, heads=4, patch=8),
    "small": dict(dim=256, layers=6, heads=4, patch=16),
    "base": dict(dim=768, layers=12, heads=12, patch=16),
    "large": dict(dim=1024, layers=24, heads=16, patch=16),
}


class Normalise(nn.Module):
    """Pixels as the encoder takes them: uint8 (B, 3, S, S) to float32, (pixels / 255 - mean) / std.

    Args:
        mean, std: per channel, of pixels in 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(list(values))[:, None, None], persistent=False)  # (3, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        # a division, as transformers' rescale by 1/255 in double precision rounds the same way for all 256 values
        normal = pixels.float().div_(255).sub_(self.mean).div_(self.std)
        # convolutions are faster on interleaved channels, and no result changes beyond rounding
        return normal.contiguous(memory_format=torch.channels_last)


class GroupNorm(nn.GroupNorm):
    """As torch's, also where it learns and what lies below it does not: there the backward pass of torch (2.x, CPU) kills the
    process, for interleaved channels that need no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self.weight.requires_grad and not x.requires_grad:
            x = x.detach().requires_grad_()
        return super().forward(x)


class Residual(nn.Module):
    """A pre-activation residual block (arXiv:1603.05027) with GroupNorm, whose result no batch mate changes."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = GroupNorm(min(8, width_in), width_in), GroupNorm(min(8, width), width)
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
        super().__init__(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), *blocks, GroupNorm(min(8, dim), dim))


class ViT(nn.Module):
    """Vision transformer (arXiv:2010.11929): patches, learned positions, pre-LayerNorm blocks.

    Args:
        size: side of the input in pixels; mean, std: of `Normalise`.
        dim, layers, heads: width, depth and heads of the blocks.
        patch: side of a patch in pixels.
        stem: "conv" (small convolutional stem) or "linear" (one patch convolution, as in the paper and in CLIP).
        pool: "cls" (class token) or "mean" (of the patches).
    """

    def __init__(
        self,
        dim: int = 64,
        layers: int = 3,
        heads: int = 4,
        patch: int = 8,
        stem: str = "conv",
        pool: str = "mean",
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        if size % patch:
            raise ValueError(f"image size {size} is not a multiple of the patch {patch}")
        check_choice("stem", stem, ("conv", "linear"))
        check_choice("pool", pool, ("cls", "mean"))
        self.dim, self.pool, self.normalise = dim, pool, Normalise(mean, std)
        self.stem = Stem(dim, patch) if stem == "conv" else nn.Conv2d(3, dim, patch, patch, bias=False)
        self.prefix = int(pool == "cls")  # tokens before the patches, which follow row by row
        tokens = (size // patch) ** 2 + self.prefix
        self.positions = nn.Parameter(torch.randn(tokens, dim) * 0.02)
        self.cls = nn.Parameter(torch.randn(dim) * 0.02) if pool == "cls" else None
        self.norm_in = nn.LayerNorm(dim)
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout)
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return dict(SIZES[dial])

    def embed(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(self.normalise(pixels)).flatten(2).transpose(1, 2)  # (B, N, D)
        if self.cls is not None:
            x = torch.cat([self.cls.expand(x.size(0), 1, -1), x], 1)  # (B, 1 + N, D)
        return self.norm_in(x + self.positions), everywhere(x)

    def encode(self, x: Tensor, mask: Tensor) -> Encoded:
        x = self.norm(self.blocks(x))
        return Encoded(x, mask, x[:, 0] if self.cls is not None else x.mean(1))

    def forward(self, pixels: Tensor) -> Encoded:
        """Pixels (B, 3, S, S), uint8."""
        return self.encode(*self.embed(pixels))


class CNN(nn.Module):
    """A small residual network with GroupNorm and a global mean.

    Args:
        mean, std: of `Normalise`.
        dim: channels of the last map.
        patch: total stride: one token covers patch x patch pixels.
        layers: further residual blocks at the last resolution.
    """

    def __init__(self, dim: int = 64, layers: int = 1, patch: int = 8, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.dim, self.normalise = dim, Normalise(mean, std)
        self.prefix = 0
        self.stem = Stem(dim, patch)
        self.blocks = nn.Sequential(*[Residual(dim, dim, 1) for _ in range(layers)])
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return {key: SIZES[dial][key] for key in ("dim", "patch")}

    def embed(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        # the blocks work on the map, so they are part of what tokens begin with
        x = self.blocks(self.stem(self.normalise(pixels))).flatten(2).transpose(1, 2)  # (B, N, D)
        return x, everywhere(x)

    def encode(self, x: Tensor, mask: Tensor) -> Encoded:
        x = self.norm(x)
        return Encoded(x, mask, x.mean(1))

    def forward(self, pixels: Tensor) -> Encoded:
        """Pixels (B, 3, S, S), uint8."""
        return self.encode(*self.embed(pixels))
