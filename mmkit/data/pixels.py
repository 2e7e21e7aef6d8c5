"""A picture to the square of pixels that an image encoder sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from mmkit.errors import UserError, nearest

if TYPE_CHECKING:
    from mmkit.data.modalities.image import Spec

# of each channel over the pictures that CLIP was trained on (arXiv:2103.00020)
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
RESAMPLE = {r.name.lower(): r for r in Image.Resampling}


class Pixels:
    """Evaluation preprocessing: resize and centre crop with Pillow, as `CLIPImageProcessorPil` does it (equal to the bit).

    Args:
        spec: `data.image` of the configuration with `size` set.
    """

    def __init__(self, spec: Spec) -> None:
        assert spec.size is not None and spec.resample, "resolved by now"
        if spec.resample not in RESAMPLE:
            raise UserError(f"unknown data.image.resample {spec.resample!r}", hint=nearest(spec.resample, RESAMPLE))
        self.size, self.spec = spec.crop_size or spec.size, spec
        self.short_side, self.resample = spec.size, RESAMPLE[spec.resample]

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

    def shown(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a picture that the square shows: left, top, right, bottom in pixels of the picture, beyond its edges where
        the square is filled up."""
        if self.spec.resize == "square":
            scales = width / self.short_side, height / self.short_side
        else:
            scales = (min(width, height) / self.short_side,) * 2
        half = [scale * self.size / 2 for scale in scales]
        return width / 2 - half[0], height / 2 - half[1], width / 2 + half[0], height / 2 + half[1]


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
