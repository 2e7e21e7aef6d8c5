"""A picture to the square of pixels that an image encoder sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from mmkit.errors import UserError, nearest

if TYPE_CHECKING:
    from mmkit.config import ImageData

RESAMPLE = {r.name.lower(): r for r in Image.Resampling}


class Pixels:
    """Evaluation preprocessing: resize and centre crop with Pillow, as `CLIPImageProcessorPil` does it (equal to the bit).

    Args:
        spec: `data.image` of the configuration with `size` set.
    """

    def __init__(self, spec: ImageData) -> None:
        assert spec.size is not None and spec.resample and spec.mean and spec.std, "resolved by now"
        if spec.resample not in RESAMPLE:
            raise UserError(f"unknown data.image.resample {spec.resample!r}", hint=nearest(spec.resample, RESAMPLE))
        self.size, self.spec = spec.crop_size or spec.size, spec
        self.short_side, self.resample = spec.size, RESAMPLE[spec.resample]
        # uint8 -> float through a table of the 256 values, in the order of operations of transformers' numpy path
        levels = np.arange(256).astype(np.float64) * (1 / 255)
        mean, std = (np.array(v, dtype=np.float32) for v in (spec.mean, spec.std))
        table = (levels.astype(np.float32)[None, :] - mean[:, None]) / std[:, None]
        self.table = torch.from_numpy(table.astype(np.float32))  # (3, 256)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """An RGB picture to uint8 (3, S, S)."""
        return to_tensor(self.fit(image))

    def fit(self, image: Image.Image) -> Image.Image:
        """Resize and crop to the square."""
        if self.spec.resize == "square":
            image = image.resize((self.short_side, self.short_side), self.resample)
        else:
            image = shrink(image, self.short_side, self.resample)
        w, h = image.size
        left, top = (w - self.size) // 2, (h - self.size) // 2
        return image.crop((left, top, left + self.size, top + self.size)) if (w, h) != (self.size, self.size) else image

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (B, 3, S, S) to float32: (pixels / 255 - mean) / std."""
        table = self.table.to(pixels.device)
        return torch.stack([table[c][pixels[:, c].long()] for c in range(3)], 1)


def shrink(image: Image.Image, short_side: int, resample: Image.Resampling) -> Image.Image:
    """Resize so that the short side is `short_side` pixels, the long side rounded down."""
    w, h = image.size
    short, long = min(w, h), max(w, h)
    if short == short_side:
        return image
    other = int(short_side * long / short)
    return image.resize((short_side, other) if w <= h else (other, short_side), resample)


def to_tensor(image: Image.Image) -> torch.Tensor:
    """An RGB picture to uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)
