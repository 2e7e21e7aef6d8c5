"""Our pixels equal those of transformers' image processors exactly, their settings read from the saved folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mmkit.config import ImageData
from mmkit.data.checkpoint import CLIP_MEAN, CLIP_STD, Checkpoint, image_settings
from mmkit.data.pixels import Pixels

SIZES = [(100, 250), (250, 100), (224, 224), (33, 31), (640, 427), (427, 640), (255, 257), (1024, 683), (61, 300), (256, 256)]
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("CLIPImageProcessorPil", {}),
    "clip, small": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}}),
    "siglip": ("SiglipImageProcessorPil", {"size": {"height": 96, "width": 96}}),
    "vit": ("ViTImageProcessorPil", {"size": {"height": 64, "width": 64}}),
    "deit": ("DeiTImageProcessorPil", {}),
    "dinov2": (
        "BitImageProcessorPil",
        {"size": {"shortest_edge": 256}, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    ),
    "convnext and resnet": ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}),
    "convnext, 384": ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 384}}),
    "mobilenet": ("MobileNetV2ImageProcessorPil", {}),
}


def ours(folder: Path) -> Pixels:
    return Pixels(ImageData(**image_settings(Checkpoint("tiny", folder, {"model_type": "any"}))))


@pytest.mark.parametrize("kind", PROCESSORS)
def test_pixels_equal(kind: str, tmp_path: Path, picture: Callable[[int, int], Image.Image]) -> None:
    import transformers

    name, options = PROCESSORS[kind]
    theirs = getattr(transformers, name)(**options)
    theirs.save_pretrained(tmp_path)
    pixels = ours(tmp_path)
    for size in SIZES:
        image = picture(*size)
        expected = theirs(image, return_tensors="pt")["pixel_values"]
        found = pixels.normalise(pixels(image)[None])
        assert found.shape == expected.shape, size
        assert torch.equal(found, expected), (size, (found - expected).abs().max())


def test_an_old_preprocessor_file(tmp_path: Path, picture: Callable[[int, int], Image.Image]) -> None:
    """Published checkpoints of 2021 to 2023 say feature_extractor_type, and sizes as bare numbers."""
    from transformers import CLIPImageProcessorPil

    old = {"feature_extractor_type": "CLIPFeatureExtractor", "do_center_crop": True, "do_normalize": True, "do_resize": True}
    old |= {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "resample": 3, "size": 224, "crop_size": 224}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    pixels, image = ours(tmp_path), picture(300, 200)
    assert torch.equal(pixels.normalise(pixels(image)[None]), CLIPImageProcessorPil()(image, return_tensors="pt")["pixel_values"])
