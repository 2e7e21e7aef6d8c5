"""A CLIP and a SigLIP checkpoint give in mmkit what they give in transformers, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mmkit.model import Model, load_model
from tests.parity.conftest import CAPTIONS

TOLERANCE = 1e-5
SIZES = [(32, 32), (100, 50), (47, 91)]


def close(ours: torch.Tensor, theirs: torch.Tensor, stage: str) -> None:
    assert ours.shape == theirs.shape, stage
    assert (ours - theirs).abs().max() <= TOLERANCE, f"{stage}: {(ours - theirs).abs().max()}"


def stages(model: Model, images: list[Image.Image], kept: int) -> dict[str, torch.Tensor]:
    """Everything on the way from pictures and captions to logits; text tokens to position `kept`."""
    squares = torch.stack([model.pixels(image) for image in images])
    tokens = model.tokenizer(CAPTIONS)
    with torch.inference_mode():
        pixels = model.pixels.normalise(squares)
        image, text = model.encoder["image"](pixels), model.encoder["text"](**tokens)
        image_vectors, text_vectors = model.encode_images(squares), model.encode_texts(CAPTIONS)
        loss: Any = model.loss["itc"]
        logits = loss.logit_scale.exp() * text_vectors @ image_vectors.T + getattr(loss, "logit_bias", 0.0)
    return {
        "pixels": pixels,
        "ids": tokens["ids"],
        "image tokens": image.tokens,
        "image pooled": image.pooled,
        "text tokens": text.tokens[:, :kept],
        "text pooled": text.pooled,
        "image vectors": image_vectors,
        "text vectors": text_vectors,
        "logits per text": logits,
    }


def reference(whole: Any, inputs: Any, kept: int) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        out = whole(**inputs)
        image = whole.vision_model(inputs["pixel_values"])
        text = whole.text_model(inputs["input_ids"], inputs.get("attention_mask"))
    return {
        "pixels": inputs["pixel_values"],
        "image tokens": image.last_hidden_state,
        "image pooled": image.pooler_output,
        "text tokens": text.last_hidden_state[:, :kept],
        "text pooled": text.pooler_output,
        "image vectors": out.image_embeds,
        "text vectors": out.text_embeds,
        "logits per text": out.logits_per_text,
    }


@pytest.mark.parametrize("padding", [True, "max_length"], ids=["trimmed", "full"])
def test_clip(clip_folder: Path, picture: Callable[..., Image.Image], padding: Any) -> None:
    """Our text is trimmed to the longest caption, whatever length theirs is filled up to."""
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

    images = [picture(*size) for size in SIZES]
    processor = CLIPProcessor(CLIPImageProcessorPil.from_pretrained(clip_folder), CLIPTokenizer.from_pretrained(clip_folder))
    inputs = processor(text=CAPTIONS, images=images, return_tensors="pt", padding=padding)
    model = load_model(str(clip_folder), "cpu")
    ours_ids = model.tokenizer(CAPTIONS)["ids"]
    kept = ours_ids.size(1)
    assert kept < 77
    assert torch.equal(ours_ids, inputs["input_ids"][:, :kept])
    ours = stages(model, images, kept)
    assert torch.equal(ours["pixels"], inputs["pixel_values"])
    real = inputs["attention_mask"][:, :kept, None]
    theirs = reference(CLIPModel.from_pretrained(clip_folder).eval(), inputs, kept)
    # behind the end token nothing is read, and full padding is attended to there but for the mask
    ours["text tokens"], theirs["text tokens"] = ours["text tokens"] * real, theirs["text tokens"] * real
    for stage, value in theirs.items():
        close(ours[stage], value, stage)
    texts = model.encode_texts(CAPTIONS)
    expected = theirs["logits per text"].T.softmax(-1)[0]
    close(model.probabilities(model.encode_images(torch.stack([model.pixels(images[0])]))[0], texts), expected, "probabilities")


def test_siglip(siglip_folder: Path, picture: Callable[..., Image.Image]) -> None:
    from transformers import AutoTokenizer, SiglipImageProcessorPil, SiglipModel

    images = [picture(*size) for size in SIZES]
    ids = AutoTokenizer.from_pretrained(siglip_folder)(CAPTIONS, padding="max_length", return_tensors="pt")["input_ids"]
    pixels = SiglipImageProcessorPil.from_pretrained(siglip_folder)(images, return_tensors="pt")["pixel_values"]
    model = load_model(str(siglip_folder), "cpu")
    ours = stages(model, images, 16)
    assert ours["ids"].shape == (4, 16)
    assert torch.equal(ours["ids"], ids)
    assert torch.equal(ours["pixels"], pixels)
    theirs = reference(SiglipModel.from_pretrained(siglip_folder).eval(), {"input_ids": ids, "pixel_values": pixels}, 16)
    for stage, value in theirs.items():
        close(ours[stage], value, stage)
    image = model.encode_images(torch.stack([model.pixels(images[0])]))[0]
    close(model.probabilities(image, model.encode_texts(CAPTIONS)), theirs["logits per text"].T.sigmoid()[0], "probabilities")


@pytest.mark.parametrize(
    ("kind", "same", "other"),
    [
        ("SiglipTokenizer", "A red, circle!", "blue"),
        ("GemmaTokenizer", "A Red circle", "a red, circle"),
        ("T5Tokenizer", "a red circle", "A red circle"),
    ],
)
def test_siglips_tokenizers_write_small(siglip_folder: Path, tmp_path: Path, kind: str, same: str, other: str) -> None:
    """What SigLIP's tokenizer classes do in Python is done before tokenizer.json, which published checkpoints have without it."""
    import json
    import shutil

    from tokenizers import Tokenizer

    from mmkit.data.checkpoint import open_checkpoint, tokenizer

    shutil.copytree(siglip_folder, tmp_path / "copy")
    config = json.loads((siglip_folder / "tokenizer_config.json").read_text()) | {"tokenizer_class": kind}
    (tmp_path / "copy" / "tokenizer_config.json").write_text(json.dumps(config))
    backend = Tokenizer.from_file(str(siglip_folder / "tokenizer.json"))
    raw = json.loads(backend.to_str()) | {"normalizer": None}
    (tmp_path / "copy" / "tokenizer.json").write_text(json.dumps(raw))
    found = tokenizer(open_checkpoint(str(tmp_path / "copy")), 16, trim=False)
    plain, one, two = (found([text])["ids"] for text in ("a red circle", same, other))
    assert torch.equal(plain, one)
    assert not torch.equal(plain, two)
