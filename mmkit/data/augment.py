"""Paired augmentation: what is drawn for a picture and its caption, seeded by (seed, epoch, sample)."""

from __future__ import annotations

import math
import random
import re
from typing import TYPE_CHECKING

from PIL import Image, ImageEnhance

from mmkit.data.pixels import Pixels, shrink
from mmkit.files import stable_hash

if TYPE_CHECKING:
    from mmkit.data.modalities.image import Spec

# A mirrored picture makes these words false: English, German, French, Spanish, Japanese, Chinese.
DIRECTIONS = re.compile(
    r"\b(left|right|leftwards?|rightwards?|clockwise|anticlockwise|counterclockwise|"
    r"links|rechts|(?:link|recht)(?:e|er|es|en|em)|linksherum|rechtsherum|uhrzeigersinn|"
    r"gauche|droite?|(?:anti)?horaire|izquierd[ao]s?|derech[ao]s?|(?:anti)?horario)\b|左|右|时针|時計回り",
    re.IGNORECASE,
)


def draws(seed: int, epoch: int, sample: str) -> random.Random:
    """The random numbers of one sample in one epoch: the same in every process and after every resumption."""
    # an integer seeds three times as fast as a string, and this is done for every sample
    return random.Random(stable_hash(f"{seed} {epoch} {sample}"))


def drop_words(caption: str, share: float, rng: random.Random) -> str:
    """Leave out each word with probability `share`, but never all of them."""
    if share <= 0:
        return caption
    words = caption.split()
    kept = [w for w in words if rng.random() >= share]
    return " ".join(kept or [rng.choice(words)]) if words else caption


class Augment:
    """Training pictures: shrink, then what `data.image.augment` names.

    Args:
        spec: `data.image`, with `augment` set.
        pixels: the evaluation preprocessing, used where nothing is cropped.
    """

    def __init__(self, spec: Spec, pixels: Pixels) -> None:
        self.kinds, self.pixels, self.scale = set(spec.augment or ()), pixels, spec.crop_scale

    @property
    def still(self) -> bool:
        """Nothing is drawn: a prepared picture is the training square."""
        return not self.kinds

    def prepare(self, image: Image.Image) -> Image.Image:
        """The part without chance, done once per picture: down to the smallest crop's resolution, or 1/7 more, for speed."""
        if "crop" not in self.kinds:
            return self.pixels.fit(image)
        margin = math.ceil(self.pixels.size * max(8 / 7, min(self.scale) ** -0.5))
        return shrink(image, margin, self.pixels.resample) if min(image.size) > margin else image

    def __call__(self, image: Image.Image, caption: str, rng: random.Random) -> Image.Image:
        """A prepared picture to the training square."""
        if "crop" in self.kinds:
            image = self._crop(image, rng)
        if "colour" in self.kinds:
            for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                image = change(image).enhance(rng.uniform(0.7, 1.3))
        if "flip" in self.kinds and rng.random() < 0.5 and not DIRECTIONS.search(caption):
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image

    def _crop(self, image: Image.Image, rng: random.Random) -> Image.Image:
        w, h = image.size
        share = rng.uniform(*self.scale) ** 0.5
        if self.pixels.spec.resize == "square":
            cw, ch = w * share, h * share
        else:
            cw = ch = min(w, h) * share
        x, y = rng.uniform(0, w - cw), rng.uniform(0, h - ch)
        side = self.pixels.size
        return image.resize((side, side), self.pixels.resample, box=(x, y, x + cw, y + ch))
