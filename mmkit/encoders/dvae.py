"""The discrete VAE of DALL-E (arXiv:2102.12092, appendix A): a picture as a grid of codes, and codes as a picture.

B batch, S side in pixels, g = S / patch, N = g * g places, K codes, D width
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.layers import Encoded, everywhere

# --size -> `base` and `large` are the paper's; a smaller net has few layers, whose branches need no small gain
SIZES: dict[str, dict[str, Any]] = {
    "tiny": dict(dim=128, layers=2, codes=128, patch=4, fold=4, gain=1.0, linear=True, lr_factor=0.01),
    "small": dict(dim=128, layers=2, codes=1024, patch=8, fold=4, gain=1.0, linear=True),
    "base": dict(dim=256, layers=2, codes=8192, patch=8),
    "large": dict(dim=256, layers=2, codes=8192, patch=8),
}
EDGE = 0.1  # what is left free at both ends of 0..1, where a logit has no bounds (appendix A.3)
# twice what the logit of a patch is above the next one's, at the beginning: noise moves few, and gradients are no zeros
APART = 100.0
BACK = 128  # width of what codes become first (appendix A.2)


def inside(pixels: Tensor) -> Tensor:
    """Pixels in 0..1 as the encoder takes them, in EDGE..1 - EDGE."""
    return (1 - 2 * EDGE) * pixels + EDGE


def outside(pixels: Tensor) -> Tensor:
    """The other way round."""
    return ((pixels - EDGE) / (1 - 2 * EDGE)).clamp(0, 1)


class Bottleneck(nn.Module):
    """x + gain * branch(x), of four convolutions over a quarter of the width.

    Args:
        sides: of the four kernels: 3, 3, 3, 1 of the encoder, 1, 3, 3, 3 of the decoder.
    """

    def __init__(self, width_in: int, width: int, gain: float, sides: tuple[int, ...]) -> None:
        super().__init__()
        self.gain, hidden = gain, max(1, width // 4)
        widths = [width_in, hidden, hidden, hidden, width]
        self.skip = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
        pairs = zip(widths, widths[1:], sides, strict=False)
        self.branch = nn.ModuleList(nn.Conv2d(a, b, side, padding=side // 2) for a, b, side in pairs)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer in self.branch:
            h = layer(F.relu(h))
        return self.skip(x) + self.gain * h


class DVAE(nn.Module):
    """The discrete VAE. Its tokens are logits of the codes, (B, N, K), row by row; what is pooled is how likely each code is
    anywhere in the picture. It learns by a loss of kind `dvae`.

    Args:
        dim: channels of the first group; each further group of the encoder has twice as many.
        layers: blocks of a group.
        codes: K.
        patch: pixels of a code, 2, 4, 8 or 16: between groups the map is halved.
        fold: squares of so many pixels a side are read and written as one place, which makes the first groups needless: most of
            the work of a small net then sees other codes; 1 is the paper's.
        gain: of the blocks' branches; default: 1 / (groups * layers) ** 2, the paper's.
        linear: a linear way past the blocks, from patches to logits and from codes to patches; see `begin`.
        lr_factor: what chooses codes learns at `train.lr` times this. Codes that are good from the beginning are best moved
            slowly: few places are undecided, and of all others the gradient is noise, which Adam makes as large as any.
        size: side of the input in pixels.
    """

    def __init__(
        self,
        dim: int = 16,
        layers: int = 1,
        codes: int = 128,
        patch: int = 8,
        fold: int = 1,
        gain: float | None = None,
        linear: bool = False,
        lr_factor: float = 1.0,
        *,
        size: int,
    ) -> None:
        super().__init__()
        if patch.bit_count() != 1 or patch < 2:
            raise ValueError(f"a patch of 2, 4, 8 or 16, not {patch}")
        if fold < 1 or fold.bit_count() != 1 or patch % fold:
            raise ValueError(f"fold is 1, 2, 4, 8 or 16, and no more than the patch {patch}, not {fold}")
        groups = (patch // fold).bit_length()
        if size % patch:
            raise ValueError(f"image size {size} is not a multiple of the patch {patch}")
        if codes < 2:
            raise ValueError(f"codes tell patches apart: 2 or more, not {codes}")
        gain = 1 / (groups * layers) ** 2 if gain is None else gain
        self.dim, self.patch, self.grid, self.fold = codes, patch, size // patch, fold
        self.prefix = 0
        widths = [dim * 2**i for i in range(groups)]
        side = max(3, 7 // fold)
        self.stem = nn.Conv2d(3 * fold**2, dim, side, padding=side // 2)
        self.groups = nn.ModuleList(
            _group(a, b, layers, gain, (3, 3, 3, 1)) for a, b in zip([dim, *widths], widths, strict=False)
        )
        self.codes = nn.Conv2d(widths[-1], codes, 1)
        back = min(BACK, widths[-1])
        self.colours = nn.Conv2d(codes, back, 1)  # the vector of each code is a column of its weight
        widths = widths[::-1]
        self.back = nn.ModuleList(_group(a, b, layers, gain, (1, 3, 3, 3)) for a, b in zip([back, *widths], widths, strict=False))
        self.pixels = nn.Conv2d(dim, 6 * fold**2, 1)
        self.past = nn.Conv2d(3, codes, patch, patch) if linear else None
        chooses: list[Any] = [self.stem, self.groups, self.codes, *([self.past] if linear else [])]
        for module in chooses:
            module.lr_factor = lr_factor
        self.past_back = nn.ConvTranspose2d(codes, 3, patch, patch) if linear else None
        for part in [*chooses[:3], self.colours, self.back, self.pixels]:
            for each in part.modules():
                # as torch begins them four in a row pass on next to nothing, and a short run is over before they do
                if isinstance(each, nn.Conv2d):
                    nn.init.kaiming_normal_(each.weight, nonlinearity="relu")

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return dict(SIZES[dial])

    def forward(self, pixels: Tensor) -> Encoded:
        """Pixels (B, 3, S, S), uint8."""
        pictures = inside(pixels.float() / 255).contiguous(memory_format=torch.channels_last)
        x = self.stem(F.pixel_unshuffle(pictures, self.fold))
        for i, group in enumerate(self.groups):
            x = group(F.max_pool2d(x, 2) if i else x)
        x = self.codes(F.relu(x)) + (0 if self.past is None else self.past(pictures))
        logits = x.flatten(2).transpose(1, 2)  # (B, N, K)
        return Encoded(logits, everywhere(logits), logits.softmax(-1).mean(1))

    def decode(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures of codes.

        Args:
            weights: how much of each code stands at each place, (B, N, K): 1 and zeros, or relaxed.

        Returns:
            Location and log of the scale of a Laplace distribution of the logit of each pixel, (B, 3, S, S) each.
        """
        codes = weights.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        x = self.colours(codes)
        for i, group in enumerate(self.back):
            x = group(F.interpolate(x, scale_factor=2.0, mode="nearest") if i else x)
        location, log_scale = F.pixel_shuffle(self.pixels(F.relu(x)), self.fold).chunk(2, 1)
        return location if self.past_back is None else location + self.past_back(codes), log_scale

    @torch.no_grad()
    def begin(self, centres: Tensor) -> None:
        """Begin, by the linear way alone, with codes that are patches: the nearest one is the likeliest, and its patch is what is
        seen. Else a short run finds one code that is good for all places, and no other.

        Args:
            centres: as many patches as there are codes or fewer, (k, 3 * patch * patch) in 0..1.
        """
        assert self.past is not None and self.past_back is not None, "it has no linear way"
        k, flat = len(centres), inside(centres)
        near = torch.cdist(flat, flat).square().fill_diagonal_(torch.inf).amin(1).median()
        sharp = APART / near.clamp_min(1e-6)
        for weight in (self.codes.weight, self.codes.bias, self.pixels.weight, self.pixels.bias, self.past_back.bias):
            nn.init.zeros_(weight)  # type: ignore[arg-type]
        shaped = (-1, *self.past.weight.shape[1:])
        self.past.weight[:k] = (sharp * flat).view(shaped)
        self.past.bias[:k] = -0.5 * sharp * flat.square().sum(1)  # type: ignore[index]
        self.past_back.weight[:k] = flat.logit().view(shaped)

    def pictures(self, codes: Tensor) -> Tensor:
        """The picture of the codes (B, N) at all places: float (B, 3, S, S) in 0..1."""
        return outside(self.decode(F.one_hot(codes, self.dim).to(self.pixels.weight.dtype))[0].sigmoid())


def _group(width_in: int, width: int, layers: int, gain: float, sides: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(*[Bottleneck(width_in if i == 0 else width, width, gain, sides) for i in range(layers)])
