"""LoRA: what is attached where, that only it learns, and that a run with adapters ends as a plain one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmkit.batch import Batch
from mmkit.config import Stage, Train
from mmkit.encoders.pretrained import Pretrained
from mmkit.errors import ConfigError, UserError
from mmkit.loading import load_model, load_weights
from mmkit.model import Model
from mmkit.training.lora import attach
from mmkit.training.schedule import make_optimizer
from mmkit.training.stages import apply_stage
from mmkit.training.step import gradients
from tests.parity.conftest import clip_folder  # noqa: F401  a fixture
from tests.small import small
from tests.training.test_depth import architecture

STAGE = Stage(["*", "!encoder.*", "encoder.*.lora_*"])


def adapted(**keys: Any) -> Model:
    model = small()
    model.config.train, model.config.stage = Train(lora=2, lr=0.1, **keys), [STAGE]
    attach(model.encoder, model.config)
    return model


def batch(model: Model) -> Batch:
    torch.manual_seed(1)
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    texts = model.reader("text").collate(["a red", "all", "blue picture", "green"])
    return Batch(list("abcd"), {"image": {"pixels": images}, "text": texts}, keys={"image": torch.arange(4)})


def vectors(model: Model) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(list(model.eval()(batch(model), model.wants()).values()))


def learn(model: Model, steps: int = 3) -> None:
    apply_stage(model, STAGE)
    optimizer = make_optimizer(model, model.config.train)
    for _ in range(steps):
        gradients(model, batch(model), 1, "fp32")
        optimizer.step()


def test_an_adapter_changes_nothing_at_first_and_is_the_same_for_a_seed() -> None:
    assert torch.equal(vectors(adapted()), vectors(small()))
    a, b = adapted().state_dict(), adapted().state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert {n.split(".lora_A.")[0] for n in a if ".lora_A." in n} == {
        f"encoder.{e}.blocks.0.attention.{layer}" for e in ("image", "text") for layer in "qv"
    }


def test_only_adapters_and_heads_learn() -> None:
    model = adapted()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learn(model)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    assert moved == {name for name in before if ".lora_" in name or not name.startswith("encoder.")}


def test_an_adapter_in_a_pretrained_encoder_learns_at_the_full_rate() -> None:
    model = adapted()
    model.encoder["text"].lr_factor = 0.05
    apply_stage(model, STAGE)
    assert {group["factor"] for group in make_optimizer(model, model.config.train).param_groups} == {1.0}


@pytest.mark.parametrize("alpha", [None, 3.0])
def test_its_weights_load_into_a_plain_model_and_give_the_same(alpha: float | None, tmp_path: Path) -> None:
    model = adapted(lora_alpha=alpha)
    learn(model)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    plain = small()
    plain.config.train = model.config.train
    untouched = vectors(plain)
    load_weights(plain, tmp_path / "model.safetensors")
    assert not any("lora" in name for name in plain.state_dict())
    assert (vectors(plain) - untouched).abs().max() > 1e-2
    assert torch.allclose(vectors(plain), vectors(model), atol=1e-5)
    # and a training that goes on loads them as they are
    again = adapted(lora_alpha=alpha)
    load_weights(again, tmp_path / "model.safetensors")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "targets"),
    [("bert", None), ("distilbert", None), ("gpt2", None), ("clip_text_model", ["fc1"]), ("mobilenet_v2", ["convolution"])],
)
def test_what_is_folded_is_what_peft_merges(kind: str, targets: list[str] | None, tmp_path: Path) -> None:
    """Of every kind of layer: Linear, GPT-2's Conv1D, convolutions, those of groups left alone."""
    modality, made = architecture(kind)
    model = small()
    model.encoder = nn.ModuleDict({modality: Pretrained("", made, modality=modality, size=32)})
    model.config.train, model.config.stage = Train(lora=2, lora_targets=targets), [STAGE]
    attach(model.encoder, model.config)
    torch.manual_seed(2)
    for name, p in model.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(p, std=0.1)
    tensors = {name: value.clone().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, tmp_path / "model.safetensors")
    plain = small()
    plain.encoder = nn.ModuleDict({modality: Pretrained("", made, modality=modality, size=32)})
    plain.config.train = model.config.train
    load_weights(plain, tmp_path / "model.safetensors")
    compared = 0
    for path, layer in model.named_modules():
        if hasattr(layer, "merge") and hasattr(layer, "base_layer"):
            layer.merge()
            assert torch.allclose(plain.get_submodule(path).weight, layer.base_layer.weight, atol=1e-6)
            assert not torch.allclose(tensors[f"{path}.base_layer.weight"], layer.base_layer.weight, atol=1e-3)
            compared += 1
    assert compared == {"bert": 4, "distilbert": 4, "gpt2": 3, "clip_text_model": 2, "mobilenet_v2": 35}[kind]


def test_what_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(
        encoder={"image": {"kind": "cnn", "dim": 16, "patch": 8}, "text": {"kind": "transformer", "dim": 16, "heads": 2}}
    )
    model.config.train, model.config.stage = Train(lora=2), [Stage(["*", "!encoder.text.*"])]
    with pytest.raises(ConfigError, match="no stage lets an adapter learn"):
        attach(model.encoder, model.config)
    del model.encoder["text"]
    with pytest.raises(ConfigError, match="no layer of an encoder is called q, v") as e:
        attach(model.encoder, model.config)
    assert e.value.hint.startswith("--set 'train.lora_targets=[") and '"conv1"' in e.value.hint
    monkeypatch.setitem(sys.modules, "peft", None)
    model = small()
    model.config.train = Train(lora=2)
    with pytest.raises(UserError, match="this needs the package peft") as missing:
        attach(model.encoder, model.config)
    assert missing.value.hint == "pip install 'mmkit[lora]'"


def test_a_run_ends_plain_and_is_used_without_the_package(
    run: Path,
    invoke: Callable[..., Any],
    clip_folder: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "data").symlink_to(run / "data")
    words = ["--text-encoder", clip_folder, "--tune", "lora", "--lock-image", "--image-encoder", clip_folder]
    outcome = invoke("train", *words, "--steps", 4, "--batch-size", 16, "--lr", 0.01, "--name", "lora", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    folder = tmp_path / "runs/lora"
    assert any(".lora_A." in name for name in load_file(folder / "checkpoints/step-00000004/model.safetensors"))
    # the locked encoder has none
    assert not any(
        "image" in name and "lora" in name for name in load_file(folder / "checkpoints/step-00000004/model.safetensors")
    )
    weights = load_file(folder / "model.safetensors")
    assert not any("lora" in name or "base_layer" in name for name in weights)
    monkeypatch.setitem(sys.modules, "peft", None)
    model = load_model(str(folder), "cpu")
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    moved = {
        n
        for n, v in load_model(str(clip_folder), "cpu").encoder["text"].state_dict().items()
        if not torch.equal(v, model.encoder["text"].state_dict()[n])
    }
    assert moved == {f"body.encoder.layers.{i}.self_attn.{layer}_proj.weight" for i in (0, 1) for layer in "qv"}
    for words in (["embed", "--model", folder], ["eval", "recall@1", "--model", folder / "checkpoints/step-00000004", "--json"]):
        outcome = invoke(*words, cwd=tmp_path)
        assert outcome.code == 0, outcome.stderr
