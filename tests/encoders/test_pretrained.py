"""One contract for every kind of checkpoint: built from its folder, pooled as it should be, rebuilt without the folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.encoders import build
from mmkit.encoders.pretrained import Pretrained, describe, load

T = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
V = T | {"image_size": 32, "patch_size": 8}
WORDS = T | {"vocab_size": 40, "max_position_embeddings": 24}

# name -> modality, configuration class, its arguments, and the pooling that is expected by default
KINDS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "resnet": (
        "image",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "mean",
    ),
    "convnext": ("image", "ConvNextConfig", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}, "mean"),
    "mobilenet_v2": ("image", "MobileNetV2Config", {"depth_multiplier": 0.25, "min_depth": 4}, "mean"),
    "vit": ("image", "ViTConfig", V, "cls"),
    "dinov2": ("image", "Dinov2Config", V, "cls"),
    "swin": (
        "image",
        "SwinConfig",
        {"image_size": 32, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
        "mean",
    ),
    "siglip_vision_model": ("image", "SiglipVisionConfig", V, "native"),
    "clip_vision_model": ("image", "CLIPVisionConfig", V, "native"),
    "bert": ("text", "BertConfig", WORDS, "mean"),
    "roberta": ("text", "RobertaConfig", WORDS, "mean"),
    "distilbert": (
        "text",
        "DistilBertConfig",
        {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": 40},
        "mean",
    ),
    "clip_text_model": ("text", "CLIPTextConfig", WORDS | {"eos_token_id": 39, "bos_token_id": 38, "pad_token_id": 39}, "native"),
    "siglip_text_model": ("text", "SiglipTextConfig", WORDS | {"projection_size": 16}, "native"),
}


def checkpoint(kind: str, folder: Path) -> Any:
    """Save a tiny random checkpoint and return transformers' model."""
    import transformers

    _, config, options, _ = KINDS[kind]
    torch.manual_seed(0)
    made = getattr(transformers, config)(**options)
    name = config.removesuffix("Config") + "Model"
    model = getattr(transformers, name)(made).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    model.save_pretrained(folder)
    return model


def inputs(modality: str) -> dict[str, torch.Tensor]:
    """Three pictures, or three texts of 4 to 9 tokens that end with the highest id and are filled up to 9."""
    torch.manual_seed(1)
    if modality == "image":
        return {"pixels": torch.randn(3, 3, 32, 32)}
    lengths = torch.tensor([4, 9, 6])
    mask = torch.arange(9) < lengths[:, None]
    ids = torch.randint(3, 37, (3, 9))
    ids[torch.arange(3), lengths - 1] = 39
    return {"ids": ids.masked_fill(~mask, 1), "mask": mask}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_contract(kind: str, tmp_path: Path) -> None:
    modality, _, _, pool = KINDS[kind]
    theirs, folder = checkpoint(kind, tmp_path / kind), str(tmp_path / kind)
    architecture = describe(folder, modality)
    table = {"kind": "pretrained", "from": folder, "architecture": architecture}
    encoder = build(modality, modality, table, {"size": 32, "vocab_size": 40, "context": 24})
    load(encoder, folder, architecture)
    given = inputs(modality)
    with torch.no_grad():
        found = encoder.eval()(**given)
        if modality == "image":
            expected = theirs(pixel_values=given["pixels"])
        else:
            expected = theirs(
                input_ids=given["ids"], attention_mask=None if kind == "siglip_text_model" else given["mask"].long()
            )
    assert encoder.pool == pool
    assert found.pooled.shape == (3, encoder.dim)
    assert found.tokens.ndim == 3
    tokens = expected.last_hidden_state
    if tokens.ndim == 4:
        tokens = tokens.flatten(2).transpose(1, 2)
    assert torch.equal(found.tokens, tokens)
    if pool == "native" or kind == "convnext":
        pooled = expected.pooler_output
    elif pool == "cls":
        pooled = tokens[:, 0]
    elif modality == "text":
        pooled = torch.stack([t[m].mean(0) for t, m in zip(tokens, given["mask"], strict=True)])
    else:
        pooled = tokens.mean(1)
    assert torch.allclose(found.pooled, pooled, atol=1e-6)

    # a run folder rebuilds it from the configuration and its own weights, the checkpoint gone
    shutil.rmtree(folder)
    again = Pretrained(folder, architecture, modality=modality, size=32)
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(**given).pooled, found.pooled)


def test_no_batch_mate_changes_a_vector_while_it_learns(tmp_path: Path) -> None:
    """BatchNorm keeps the checkpoint's statistics also in train mode, and does not count on."""
    for kind in ("resnet", "mobilenet_v2"):
        checkpoint(kind, tmp_path / kind)
        architecture = describe(str(tmp_path / kind), "image")
        encoder = Pretrained("", architecture, modality="image", size=32)
        load(encoder, str(tmp_path / kind), architecture)
        before = {k: v.clone() for k, v in encoder.state_dict().items()}
        pixels = inputs("image")["pixels"]
        encoder.train()
        assert torch.allclose(encoder(pixels).pooled[:1], encoder(pixels[:1]).pooled, atol=1e-5)
        assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "clip_text_model"])
def test_trimming_is_exact(kind: str, tmp_path: Path) -> None:
    checkpoint(kind, tmp_path)
    architecture = describe(str(tmp_path), "text")
    encoder = Pretrained("", architecture, modality="text").eval()
    load(encoder, str(tmp_path), architecture)
    short = inputs("text")
    long = {
        "ids": torch.cat([short["ids"], torch.ones(3, 5, dtype=torch.long)], 1),
        "mask": torch.cat([short["mask"], torch.zeros(3, 5).bool()], 1),
    }
    with torch.no_grad():
        assert torch.allclose(encoder(**short).pooled, encoder(**long).pooled, atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "dinov2", "clip_vision_model", "swin"])
def test_another_size_than_the_checkpoints(kind: str, tmp_path: Path) -> None:
    """Positions are interpolated."""
    checkpoint(kind, tmp_path)
    encoder = Pretrained("", describe(str(tmp_path), "image"), modality="image", size=64).eval()
    with torch.no_grad():
        assert encoder(torch.randn(2, 3, 64, 64)).pooled.shape == (2, encoder.dim)


@pytest.mark.parametrize("pool", ["cls", "mean", "max", "last"])
def test_pool_overrides(pool: str, tmp_path: Path) -> None:
    checkpoint("bert", tmp_path)
    architecture = describe(str(tmp_path), "text")
    encoder = Pretrained("", architecture, pool, modality="text").eval()
    load(encoder, str(tmp_path), architecture)
    given = inputs("text")
    with torch.no_grad():
        found = encoder(**given)
    for tokens, mask, pooled in zip(found.tokens, given["mask"], found.pooled, strict=True):
        real = tokens[mask]
        expected = {"cls": real[0], "mean": real.mean(0), "max": real.amax(0), "last": real[-1]}[pool]
        assert torch.allclose(pooled, expected, atol=1e-6)


def test_a_whole_checkpoint_gives_its_part(tmp_path: Path) -> None:
    """`from` = a CLIP folder as one encoder; and a classifier's folder gives its backbone."""
    from transformers import CLIPConfig, CLIPModel, ResNetConfig, ResNetForImageClassification

    whole = CLIPModel(CLIPConfig(text_config=WORDS, vision_config=V, projection_dim=8)).eval()
    whole.save_pretrained(tmp_path / "clip")
    architecture = describe(str(tmp_path / "clip"), "image")
    assert json.loads(architecture)["model_type"] == "clip_vision_model"
    encoder = Pretrained("", architecture, modality="image", size=32).eval()
    load(encoder, str(tmp_path / "clip"), architecture)
    pixels = inputs("image")["pixels"]
    with torch.no_grad():
        assert torch.equal(encoder(pixels).pooled, whole.vision_model(pixels).pooler_output)

    classifier = ResNetForImageClassification(ResNetConfig(**KINDS["resnet"][2], num_labels=5)).eval()
    classifier.save_pretrained(tmp_path / "resnet")
    architecture = describe(str(tmp_path / "resnet"), "image")
    assert "id2label" not in architecture
    encoder = Pretrained("", architecture, modality="image", size=32).eval()
    load(encoder, str(tmp_path / "resnet"), architecture)
    with torch.no_grad():
        assert torch.allclose(encoder(pixels).pooled, classifier.resnet(pixels).pooler_output.flatten(1), atol=1e-6)
