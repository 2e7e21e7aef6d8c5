"""How deep a parameter stands, in every family of encoders, and what follows from it: rates and patterns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.config import Config, Stage, Train
from mmkit.encoders.pretrained import Pretrained
from mmkit.training.depth import blocks, depths
from mmkit.training.schedule import make_optimizer
from mmkit.training.stages import learns, resolve_top
from tests.encoders.test_pretrained import KINDS
from tests.small import ENCODERS, small

# kind -> its blocks, one name below them and one above
FAMILIES: dict[str, tuple[str, int, str, str]] = {
    "resnet": ("encoder.stages.", 2, "embedder.embedder.convolution.weight", ""),
    "convnext": ("encoder.stages.", 4, "embeddings.layernorm.weight", "layernorm.weight"),
    "mobilenet_v2": ("layer.", 16, "conv_stem.first_conv.convolution.weight", "conv_1x1.convolution.weight"),
    "vit": ("layers.", 2, "embeddings.cls_token", "layernorm.weight"),
    "dinov2": ("encoder.layer.", 2, "embeddings.patch_embeddings.projection.bias", "layernorm.weight"),
    "swin": ("encoder.layers.", 2, "embeddings.norm.weight", "layernorm.weight"),
    "siglip_vision_model": ("encoder.layers.", 2, "embeddings.position_embedding.weight", "head.probe"),
    "clip_vision_model": ("encoder.layers.", 2, "pre_layrnorm.weight", "post_layernorm.weight"),
    "bert": ("encoder.layer.", 2, "embeddings.word_embeddings.weight", ""),
    "roberta": ("encoder.layer.", 2, "embeddings.LayerNorm.bias", ""),
    "distilbert": ("transformer.layer.", 2, "embeddings.word_embeddings.weight", ""),
    "clip_text_model": ("encoder.layers.", 2, "embeddings.token_embedding.weight", "final_layer_norm.weight"),
    "siglip_text_model": ("encoder.layers.", 2, "embeddings.token_embedding.weight", "head.weight"),
    "gpt2": ("h.", 3, "wpe.weight", "ln_f.weight"),
}
GPT2 = ("text", "GPT2Config", {"n_layer": 3, "n_embd": 16, "n_head": 2, "vocab_size": 40}, "last")


def architecture(kind: str) -> tuple[str, str]:
    """The modality of a tiny checkpoint of transformers, and what it is built from."""
    import json

    import transformers

    modality, config, options, _ = (KINDS | {"gpt2": GPT2})[kind]
    return modality, json.dumps(getattr(transformers, config)(**options).to_diff_dict())


def pretrained(kind: str) -> Pretrained:
    modality, made = architecture(kind)
    with torch.device("meta"):
        return Pretrained("", made, modality=modality, size=32)


@pytest.mark.parametrize("kind", [*KINDS, "gpt2"])
def test_every_family(kind: str) -> None:
    prefix, count, below, above = FAMILIES[kind]
    names = [name for name, _ in pretrained(kind).named_parameters()]
    assert blocks(names) == [f"body.{prefix}{i}." for i in range(count)]
    found = depths(names)
    assert found[f"body.{below}"] == count + 1
    assert not above or found[f"body.{above}"] == 0
    for i in range(count):
        own = {depth for name, depth in found.items() if name.startswith(f"body.{prefix}{i}.")}
        assert own == {count - i}
    assert set(found.values()) == {*range(1, count + 2), *([0] if above else [])}


def test_own_encoders() -> None:
    names = ("image", "text", "series")
    model = small(names, encoder={name: {**ENCODERS[name], "layers": 2} for name in names})
    for encoder in model.encoder.values():
        found = depths(name for name, _ in encoder.named_parameters())
        assert found["blocks.1.mlp.0.weight"] == 1 and found["blocks.0.attention.q.weight"] == 2
        assert found["positions"] == 3 and found["norm.weight"] == 0
    # the stem of convolutions is numbered, too, and no block
    assert depths(name for name, _ in model.encoder["image"].named_parameters())["stem.1.conv1.weight"] == 3


def test_an_encoder_without_blocks_is_all_above_them() -> None:
    assert depths(["weight", "mlp.0.weight"]) == {"weight": 0, "mlp.0.weight": 0}


def test_rates_fall_with_depth_and_every_parameter_is_in_one_group() -> None:
    model = small(encoder={name: {**ENCODERS[name], "layers": 3} for name in ("image", "text")})
    model.encoder["text"].lr_factor = 0.1
    optimizer = make_optimizer(model, Train(lr=1.0, layer_decay=0.5))
    rates = {id(p): group["factor"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    named = {name: rates[id(p)] for name, p in model.named_parameters()}
    for i, factor in enumerate((0.125, 0.25, 0.5)):
        assert named[f"encoder.image.blocks.{i}.mlp.0.weight"] == factor
        assert named[f"encoder.text.blocks.{i}.attention.v.bias"] == pytest.approx(0.1 * factor)
    assert named["encoder.image.norm.weight"] == named["project.image.weight"] == 1.0
    assert named["encoder.text.tokens.weight"] == pytest.approx(0.1 * 0.0625)
    assert named["loss.itc.logit_scale"] == 1.0


@pytest.mark.parametrize("kind", ["mobilenet_v2", "bert", "resnet", "gpt2"])
@pytest.mark.parametrize("top", [0.34, 0.67, 1.0])
def test_the_top_of_the_blocks_as_patterns(kind: str, top: float) -> None:
    """Exactly the upper share learns, and what is above the blocks; below them something learns with all blocks alone."""
    encoder = pretrained(kind)
    name, names = encoder.modality, [n for n, _ in encoder.named_parameters()]
    config = Config(encoder={name: {"kind": "pretrained"}}, stage=[Stage(["*"], top=top)])
    resolve_top(config, {name: encoder})
    (stage,) = config.stage
    assert stage.top is None
    count, depth = len(blocks(names)), depths(names)
    expected = {n for n in names if top == 1 or depth[n] <= -(-count * top // 1)}
    assert {n for n in names if learns(stage, f"encoder.{name}.{n}")} == expected
    assert all("[" not in pattern for pattern in stage.train)


def test_a_locked_encoder_gets_no_patterns(tmp_path: Path) -> None:
    encoders: Any = small().encoder
    config = Config(stage=[Stage(["*", "!encoder.image.*"], top=0.5)])
    resolve_top(config, encoders)
    assert not any(pattern.startswith("!encoder.image.") and pattern != "!encoder.image.*" for pattern in config.stage[0].train)
    assert any(pattern.startswith("!encoder.text.") for pattern in config.stage[0].train)
