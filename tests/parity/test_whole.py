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


def siglip2_inputs(folder: Path, images: list[Image.Image]) -> Any:
    """What SigLIP 2's processor gives: texts filled up to 64 tokens, pictures as patches."""
    from transformers import AutoTokenizer, Siglip2ImageProcessorPil, Siglip2Processor

    processor = Siglip2Processor(Siglip2ImageProcessorPil.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
    return processor(text=CAPTIONS, images=images, return_tensors="pt", patch_size=8, max_num_patches=16)


def test_siglip2(siglip2_folder: Path, picture: Callable[..., Image.Image]) -> None:
    """Square pictures are in their own shape; others are squeezed, and that is said."""
    from transformers import Siglip2Model

    images = [picture(32, 32), picture(91, 91), picture(20, 20)]
    inputs = siglip2_inputs(siglip2_folder, images)
    assert "attention_mask" not in inputs
    said: list[str] = []
    model = load_model(str(siglip2_folder), "cpu", said.append)
    assert "NaFlex; here they are squeezed to a square" in said[0]
    assert torch.equal(model.tokenizer(CAPTIONS)["ids"], inputs["input_ids"])
    assert torch.equal(model.tokenizer(["A RED Circle"])["ids"], model.tokenizer(["a red circle"])["ids"])
    with torch.inference_mode():
        theirs = Siglip2Model.from_pretrained(siglip2_folder).eval()(**inputs)
    squares = torch.stack([model.pixels(image) for image in images])
    vectors, texts = model.encode_images(squares), model.encode_texts(CAPTIONS)
    close(vectors, theirs.image_embeds, "image vectors")
    close(texts, theirs.text_embeds, "text vectors")
    close(model.probabilities(vectors[0], texts), theirs.logits_per_text.T.sigmoid()[0], "probabilities")


@pytest.mark.parametrize("side", ["right", "left", None])
def test_siglip2s_text_encoder_alone(siglip2_folder: Path, tmp_path: Path, side: str | None) -> None:
    """Pooled, padded and masked as in the whole model, also once its run holds the tokenizer; left is its class's own side."""
    import json
    import shutil

    from transformers import AutoTokenizer, Siglip2TextModel

    from mmkit.config import Config
    from mmkit.data.tokenizer import Tokenizer
    from mmkit.encoders.pretrained import Pretrained, load
    from mmkit.pretrained import resolve, text_tokenizer

    folder = tmp_path / "text"
    shutil.copytree(siglip2_folder, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"padding_side": side}
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if v}))
    theirs = Siglip2TextModel.from_pretrained(siglip2_folder).eval()
    theirs.save_pretrained(folder)  # config.json is now the text encoder's alone
    config = Config(encoder={"text": {"kind": "pretrained", "from": str(folder)}})
    resolve(config)
    found = text_tokenizer(config)
    assert found is not None
    found.save(tmp_path / "tokenizer.json")
    architecture = config.encoder["text"]["architecture"]
    encoder = Pretrained("text", 0, str(folder), architecture).eval()
    load(encoder, str(folder), architecture)
    ids = AutoTokenizer.from_pretrained(folder)(CAPTIONS, padding="max_length", max_length=64, return_tensors="pt")["input_ids"]
    for tokenizer in (found, Tokenizer.load(tmp_path / "tokenizer.json", 64)):
        tokens = tokenizer(CAPTIONS)
        assert torch.equal(tokens["ids"], ids)
        assert torch.equal(tokens["mask"], ids != 0)
        with torch.inference_mode():
            close(encoder(**tokens).pooled, theirs(input_ids=ids).pooler_output, "text pooled")


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
