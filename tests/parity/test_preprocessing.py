"""Our pixels equal those of transformers' image processors exactly, their settings read from the saved folder."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmkit.config import resolve
from mmkit.data.augment import Augment
from mmkit.data.checkpoint import OF_CHECKPOINT, Checkpoint, image_settings, image_source
from mmkit.data.modalities.image import Spec as ImageData
from mmkit.data.pixels import CLIP_MEAN, CLIP_STD, Pixels
from mmkit.encoders.image import Normalise
from mmkit.errors import UserError

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
    "align": (
        "EfficientNetImageProcessorPil",
        {"do_center_crop": True, "resample": 2, "rescale_factor": 1 / 127.5, "rescale_offset": True}
        | {"do_normalize": False, "include_top": False},
    ),
}


def ours(folder: Path) -> ImageData:
    return ImageData(**image_settings(Checkpoint("tiny", folder, {"model_type": "any"})))


def seen(spec: ImageData, image: Image.Image) -> torch.Tensor:
    """What an encoder's blocks begin with: its own normalisation of the square that the Reader makes."""
    return Normalise(spec.mean or [], spec.std or [])(Pixels(spec)(image)[None])


@pytest.mark.parametrize("kind", PROCESSORS)
def test_pixels_equal(kind: str, tmp_path: Path, picture: Callable[[int, int], Image.Image]) -> None:
    import transformers

    name, options = PROCESSORS[kind]
    theirs = getattr(transformers, name)(**options)
    theirs.save_pretrained(tmp_path)
    spec = ours(tmp_path)
    for size in SIZES:
        image = picture(*size)
        expected = theirs(image, return_tensors="pt")["pixel_values"]
        found = seen(spec, image)
        assert found.shape == expected.shape, size
        assert torch.equal(found, expected), (size, (found - expected).abs().max())


def test_align_at_base_reads_pictures_as_the_checkpoint_does(tmp_path: Path) -> None:
    import transformers

    name, options = PROCESSORS["align"]
    getattr(transformers, name)(**options).save_pretrained(tmp_path)
    theirs, stated = ours(tmp_path), resolve("align", None, [{"size": "base"}]).data["image"]
    for key in ("size", "crop_size", "resize", "resample", "mean", "std"):
        assert getattr(stated, key) == getattr(theirs, key), key
    assert (theirs.size, theirs.crop_size) == (346, 289)


def test_align_at_base_trains_on_289_of_346_pixels_anywhere() -> None:
    spec = resolve("align", None, [{"size": "base"}]).data["image"]
    rise = np.linspace(0, 255, 692, dtype=np.uint8)
    ramps = np.stack([np.tile(rise, (692, 1)), np.tile(rise[:, None], (1, 692)), np.zeros((692, 692), np.uint8)], 2)
    augment = Augment(replace(spec, augment=["crop"]), Pixels(spec))
    prepared = augment.prepare(Image.fromarray(ramps).resize((900, 692)))
    corners = set()
    for seed in range(8):
        seen = np.asarray(augment(prepared, "", random.Random(seed)), dtype=int)
        assert seen.shape == (289, 289, 3)
        for channel in (0, 1):  # of the width and of the height, which are squeezed to one
            share = (seen[..., channel].max() - seen[..., channel].min()) / 255
            assert share == pytest.approx(289 / 346, abs=0.01)
        corners.add((seen[0, 0, 0] // 8, seen[0, 0, 1] // 8))
    assert len(corners) > 4


def test_an_old_preprocessor_file(tmp_path: Path, picture: Callable[[int, int], Image.Image]) -> None:
    """Published checkpoints of 2021 to 2023 say feature_extractor_type, and sizes as bare numbers."""
    from transformers import CLIPImageProcessorPil

    old = {"feature_extractor_type": "CLIPFeatureExtractor", "do_center_crop": True, "do_normalize": True, "do_resize": True}
    old |= {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "resample": 3, "size": 224, "crop_size": 224}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    spec, image = ours(tmp_path), picture(300, 200)
    assert torch.equal(seen(spec, image), CLIPImageProcessorPil()(image, return_tensors="pt")["pixel_values"])


# config.json of a folder without preprocessor_config.json -> the class, and the arguments, that transformers has for it
UNSAID: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "clip": ({"model_type": "clip", "vision_config": {"image_size": 224}}, "CLIPImageProcessorPil", {}),
    "clip, at another size": (
        {"model_type": "clip", "vision_config": {"image_size": 96}},
        "CLIPImageProcessorPil",
        {"size": {"shortest_edge": 96}, "crop_size": 96},
    ),
    "clip's vision encoder": ({"model_type": "clip_vision_model"}, "CLIPImageProcessorPil", {}),
    "siglip": (
        {"model_type": "siglip", "vision_config": {"image_size": 64}},
        "SiglipImageProcessorPil",
        {"size": {"height": 64, "width": 64}},
    ),
    "vit": ({"model_type": "vit", "image_size": 224}, "ViTImageProcessorPil", {}),
    "dinov2": ({"model_type": "dinov2"}, "BitImageProcessorPil", {}),
    "dinov2 with registers": ({"model_type": "dinov2_with_registers"}, "BitImageProcessorPil", {}),
    "convnext": ({"model_type": "convnext", "image_size": 224}, "ConvNextImageProcessorPil", {"size": {"shortest_edge": 224}}),
    "resnet": ({"model_type": "resnet"}, "ConvNextImageProcessorPil", {}),
    "mobilenet": ({"model_type": "mobilenet_v2", "image_size": 224}, "MobileNetV2ImageProcessorPil", {}),
    "beit": ({"model_type": "beit", "image_size": 224}, "BeitImageProcessorPil", {"do_center_crop": False}),
    "levit": ({"model_type": "levit", "image_size": 224}, "LevitImageProcessorPil", {}),
}


@pytest.mark.parametrize("kind", UNSAID)
def test_what_a_checkpoint_leaves_unsaid_is_its_architectures(
    kind: str, tmp_path: Path, picture: Callable[[int, int], Image.Image]
) -> None:
    import transformers

    config, name, options = UNSAID[kind]
    theirs = getattr(transformers, name)(**options)
    checkpoint = Checkpoint("tiny", tmp_path, config)
    assert image_source(checkpoint) == f"{name.removesuffix('Pil')}'s defaults: the checkpoint has no preprocessor_config.json"
    settings = image_settings(checkpoint)
    theirs.save_pretrained(tmp_path)
    assert settings == image_settings(checkpoint)
    assert image_source(checkpoint) == OF_CHECKPOINT
    spec, image = ImageData(**settings), picture(300, 200)
    assert torch.equal(seen(spec, image), theirs(image, return_tensors="pt")["pixel_values"])


def test_an_architecture_without_an_image_processor(tmp_path: Path) -> None:
    checkpoint = Checkpoint("tiny", tmp_path, {"model_type": "any", "image_size": 48})
    assert image_source(checkpoint) == "plain defaults: the checkpoint has no preprocessor_config.json"
    assert image_settings(checkpoint)["size"] == 48


def test_blue_before_red_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint("tiny", tmp_path, {"model_type": "mobilevit"})
    with pytest.raises(UserError, match="blue, green, red"):
        image_settings(checkpoint)
