"""Augmentation keeps pictures and captions true to one another."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from mmkit.data.augment import Augment, drop_words
from mmkit.data.modalities.image import Spec as ImageData
from mmkit.data.pixels import Pixels


def augment(kinds: list[str], size: int = 32, crop_scale: tuple[float, float] = (0.9, 1.0)) -> Augment:
    spec = ImageData(
        size=size, resize="crop", resample="bicubic", mean=[0.5] * 3, std=[0.5] * 3, augment=kinds, crop_scale=list(crop_scale)
    )
    return Augment(spec, Pixels(spec))


def half() -> Image.Image:
    """Red on the left, black on the right."""
    image = Image.new("RGB", (32, 32))
    image.paste((255, 0, 0), (0, 0, 16, 32))
    return image


@pytest.mark.parametrize(
    ("caption", "flips"),
    [
        ("a red thing", True),
        ("a bright copyright sign", True),
        ("a red square left of a blue one", False),
        ("Counterclockwise arrows", False),
        ("Pfeil nach links", False),
        ("im Uhrzeigersinn", False),
        ("flèches dans le sens antihoraire", False),
        ("flèche gauche", False),
        ("flecha hacia la izquierda", False),
        ("flechas en sentido horario", False),
        ("左矢印", False),
        ("顺时针垂直箭头", False),
    ],
)
def test_a_flip_skips_captions_with_a_direction(caption: str, flips: bool) -> None:
    mirrored = half().transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()
    seen = {augment(["flip"])(half(), caption, random.Random(seed)).tobytes() for seed in range(20)}
    assert seen == ({half().tobytes(), mirrored} if flips else {half().tobytes()})


def test_word_dropout_leaves_out_its_share_and_never_all() -> None:
    caption = "a large red circle left of a small blue square"
    words = caption.split()
    kept = [drop_words(caption, 0.3, random.Random(seed)).split() for seed in range(300)]
    assert sum(map(len, kept)) / (300 * len(words)) == pytest.approx(0.7, abs=0.03)
    assert all(k and [w for w in words if w in k] for k in kept)
    assert drop_words("one", 0.99, random.Random(0)) == "one"
    assert drop_words(caption, 0.0, random.Random(0)) == caption


@pytest.mark.parametrize("share", [0.08, 0.25, 0.9])
def test_the_smallest_crop_is_not_blown_up(share: float) -> None:
    prepared = augment(["crop"], 32, (share, share)).prepare(Image.new("RGB", (400, 300)))
    assert min(prepared.size) * share**0.5 >= 32
    assert min(prepared.size) <= max(32 * 8 / 7, 32 / share**0.5) + 1
