"""A CLIP and a SigLIP checkpoint give in mmkit what they give in transformers, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmkit.encode import vectors
from mmkit.loading import load_model
from mmkit.model import Model
from tests.parity.conftest import CAPTIONS

TOLERANCE = 1e-5
SIZES = [(32, 32), (100, 50), (47, 91)]


def close(ours: torch.Tensor, theirs: torch.Tensor, stage: str) -> None:
    assert ours.shape == theirs.shape, stage
    assert (ours - theirs).abs().max() <= TOLERANCE, f"{stage}: {(ours - theirs).abs().max()}"


def squares(model: Model, images: list[Image.Image]) -> list[torch.Tensor]:
    return [model.readers["image"].pixels(image) for image in images]


def embedded(model: Model, name: str, items: list[Any]) -> torch.Tensor:
    """As `embed`, `eval` and `retrieve` have them."""
    found = vectors(model, name, items)
    assert isinstance(found, np.ndarray)
    return torch.from_numpy(found)


def probabilities(model: Model, image: Image.Image) -> torch.Tensor:
    """Of each caption for one picture."""
    return model.probabilities(embedded(model, "text", CAPTIONS) @ embedded(model, "image", squares(model, [image]))[0])


def stages(model: Model, images: list[Image.Image], kept: int) -> dict[str, torch.Tensor]:
    """Everything on the way from pictures and captions to logits; text tokens to position `kept`."""
    shown = squares(model, images)
    given = model.readers["image"].collate(shown)["pixels"]
    tokens = model.readers["text"].collate(CAPTIONS)
    with torch.inference_mode():
        pixels = model.encoder["image"].normalise(given)
        image, text = model.encoder["image"](given), model.encoder["text"](**tokens)
        image_vectors, text_vectors = embedded(model, "image", shown), embedded(model, "text", CAPTIONS)
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
    ours_ids = model.readers["text"].collate(CAPTIONS)["ids"]
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
    close(probabilities(model, images[0]), theirs["logits per text"].T.softmax(-1)[0], "probabilities")


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
    close(probabilities(model, images[0]), theirs["logits per text"].T.sigmoid()[0], "probabilities")


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
    words = model.readers["text"].collate
    assert torch.equal(words(CAPTIONS)["ids"], inputs["input_ids"])
    assert torch.equal(words(["A RED Circle"])["ids"], words(["a red circle"])["ids"])
    with torch.inference_mode():
        theirs = Siglip2Model.from_pretrained(siglip2_folder).eval()(**inputs)
    close(embedded(model, "image", squares(model, images)), theirs.image_embeds, "image vectors")
    close(embedded(model, "text", CAPTIONS), theirs.text_embeds, "text vectors")
    close(probabilities(model, images[0]), theirs.logits_per_text.T.sigmoid()[0], "probabilities")


@pytest.mark.parametrize("side", ["right", "left", None])
def test_siglip2s_text_encoder_alone(siglip2_folder: Path, tmp_path: Path, side: str | None) -> None:
    """Pooled, padded and masked as in the whole model, also once its run holds the tokenizer; left is its class's own side."""
    import json
    import shutil

    from transformers import AutoTokenizer, Siglip2TextModel

    from mmkit.config import Config
    from mmkit.data.checkpoint import open_checkpoint
    from mmkit.data.modalities import text as words
    from mmkit.encoders.pretrained import Pretrained, load
    from mmkit.foreign import resolve

    folder = tmp_path / "text"
    shutil.copytree(siglip2_folder, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"padding_side": side}
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if v}))
    theirs = Siglip2TextModel.from_pretrained(siglip2_folder).eval()
    theirs.save_pretrained(folder)  # config.json is now the text encoder's alone
    config = Config(encoder={"text": {"kind": "pretrained", "from": str(folder)}})
    resolve(config)
    found = words.foreign(config.data["text"], open_checkpoint(str(folder)))
    found.save(tmp_path, "text")
    architecture = config.encoder["text"]["architecture"]
    encoder = Pretrained(str(folder), architecture, modality="text").eval()
    load(encoder, str(folder), architecture)
    ids = AutoTokenizer.from_pretrained(folder)(CAPTIONS, padding="max_length", max_length=64, return_tensors="pt")["input_ids"]
    for reader in (found, words.load(config.data["text"], tmp_path, "text")):
        tokens = reader.collate(CAPTIONS)
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
