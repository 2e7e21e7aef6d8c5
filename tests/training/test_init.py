"""`--init`: training goes on from a run, a CLIP or a SigLIP checkpoint."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmkit.config import build, read_toml
from mmkit.embedding import embed_texts
from mmkit.loading import load_model
from mmkit.training.schedule import make_optimizer
from tests.parity.conftest import clip_folder, siglip_folder  # noqa: F401  fixtures

BRIEF = ["--steps", 2, "--batch-size", 8]


def ids(model: Any, texts: list[str]) -> torch.Tensor:
    return model.reader("text").collate(texts)["ids"]


@pytest.fixture
def place(run: Path, tmp_path: Path) -> Path:
    (tmp_path / "data").symlink_to(run / "data")
    return tmp_path


def test_a_clip_checkpoint(place: Path, invoke: Callable[..., Any], clip_folder: Path) -> None:  # noqa: F811
    outcome = invoke("train", "--init", clip_folder, *BRIEF, "--patience", 3, cwd=place)
    assert outcome.code == 0, outcome.stderr
    folder = place / outcome.stdout.strip()
    config = build(read_toml(folder / "config.toml"))
    assert config.train.lr == 1e-5
    assert config.train.patience == 3
    assert (config.project.dim, config.project.kind) == (16, "linear")
    before, after = load_model(str(clip_folder), "cpu"), load_model(str(folder), "cpu")
    texts = ["a red circle", "a"]
    assert torch.equal(ids(before, texts), ids(after, texts))
    # two steps at 1e-5: close to where it began, but not the same
    moved = (torch.from_numpy(embed_texts(before, texts)) - torch.from_numpy(embed_texts(after, texts))).abs().max()
    assert 0 < moved < 0.05


def test_a_siglip_checkpoint_stays_fully_padded(place: Path, invoke: Callable[..., Any], siglip_folder: Path) -> None:  # noqa: F811
    outcome = invoke("train", "--init", siglip_folder, *BRIEF, "--lr", 0.0, "--set", "train.weight_decay=0.0", cwd=place)
    assert outcome.code == 0, outcome.stderr
    before, after = load_model(str(siglip_folder), "cpu"), load_model(str(place / outcome.stdout.strip()), "cpu")
    assert ids(after, ["a"]).shape == (1, 16)
    assert torch.equal(
        torch.from_numpy(embed_texts(before, ["a red circle"])), torch.from_numpy(embed_texts(after, ["a red circle"]))
    )
    assert before.loss["itc"].logit_bias == after.loss["itc"].logit_bias


def test_a_siglip_scale_beyond_the_clamp_of_clip_is_kept(place: Path, invoke: Callable[..., Any], siglip_folder: Path) -> None:  # noqa: F811
    shutil.copytree(siglip_folder, place / "siglip")
    tensors = load_file(place / "siglip/model.safetensors")
    save_file(
        tensors | {"logit_scale": torch.full_like(tensors["logit_scale"], math.log(117.3))}, place / "siglip/model.safetensors"
    )
    outcome = invoke("train", "--init", place / "siglip", *BRIEF, "--lr", 0.0, "--set", "train.weight_decay=0.0", cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert load_model(str(place / outcome.stdout.strip()), "cpu").loss["itc"].logit_scale.exp().item() == pytest.approx(
        117.3, 1e-4
    )


def test_another_encoder_takes_the_place_of_the_checkpoints(place: Path, invoke: Callable[..., Any], clip_folder: Path) -> None:  # noqa: F811
    shutil.copytree(clip_folder, place / "other")
    config = json.loads((place / "other/config.json").read_text())
    config["vision_config"]["num_hidden_layers"] += 1
    (place / "other/config.json").write_text(json.dumps(config))
    still = ["--lr", 0.0, "--set", "train.weight_decay=0.0"]
    outcome = invoke("train", "--init", clip_folder, "--image-encoder", place / "other", *BRIEF, *still, cwd=place)
    assert outcome.code == 1 and "the weights do not fit the architecture" in outcome.stderr
    shutil.copytree(clip_folder, place / "same")
    weights = load_file(place / "same/model.safetensors")
    name = "vision_model.embeddings.class_embedding"
    save_file(weights | {name: weights[name] + 1}, place / "same/model.safetensors", {"format": "pt"})
    outcome = invoke("train", "--init", clip_folder, "--image-encoder", place / "same", *BRIEF, *still, cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert f"not from {clip_folder}: encoder.image.*" in outcome.stderr
    before, after = (load_model(str(m), "cpu").state_dict() for m in (clip_folder, place / outcome.stdout.strip()))
    moved = {k for k in before if not torch.equal(before[k], after[k]) and not k.startswith("loss.")}
    assert moved == {"encoder.image.body.embeddings.class_embedding"}


def test_a_run_over_a_pretrained_encoder(place: Path, invoke: Callable[..., Any], clip_folder: Path) -> None:  # noqa: F811
    first = invoke("train", "--image-encoder", clip_folder, *BRIEF, "--name", "first", cwd=place)
    assert first.code == 0, first.stderr
    assert "lr_factor" not in load_model(str(place / "runs/first"), "cpu").config.encoder["image"]
    outcome = invoke("train", "--init", place / "runs/first", *BRIEF, cwd=place)
    assert outcome.code == 0, outcome.stderr
    model = load_model(str(place / outcome.stdout.strip()), "cpu")
    assert {group["factor"] for group in make_optimizer(model, model.config.train).param_groups} == {1.0}


def test_a_run(place: Path, run: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("train", "--init", run / "runs" / "latest", *BRIEF, "--lr", 0.0, "--lock-image", cwd=place)
    assert outcome.code == 0, outcome.stderr
    before, after = load_model(str(run / "runs" / "latest"), "cpu"), load_model(str(place / outcome.stdout.strip()), "cpu")
    assert all(torch.equal(v, after.state_dict()[k]) for k, v in before.state_dict().items() if not k.startswith("loss."))


def test_another_loss_keeps_its_own_scalars(place: Path, invoke: Callable[..., Any], clip_folder: Path) -> None:  # noqa: F811
    loss = ["--set", 'loss.itc={kind="sigmoid", between=["image", "text"]}']
    outcome = invoke("train", "--init", clip_folder, *BRIEF, *loss, cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert "loss.itc.logit_bias" in outcome.stderr


def test_what_does_not_fit_is_fresh_and_said(place: Path, invoke: Callable[..., Any], clip_folder: Path) -> None:  # noqa: F811
    outcome = invoke("train", "--init", clip_folder, *BRIEF, "--set", "project.dim=8", cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert f"not from {clip_folder}: project.image.weight, project.text.weight" in outcome.stderr
    nothing = ["--image-encoder", "cnn", "--text-encoder", "transformer"]
    outcome = invoke("train", "--init", clip_folder, *BRIEF, *nothing, cwd=place)
    assert outcome.code == 1
    assert "--init does not fit this configuration: no tensor of an encoder" in outcome.stderr


def test_a_checkpoint_is_a_model_of_every_command(place: Path, invoke: Callable[..., Any], clip_folder: Path) -> None:  # noqa: F811
    outcome = invoke("eval", "recall@1", "--model", clip_folder, "--json", cwd=place)
    assert outcome.code == 0, outcome.stderr
    outcome = invoke("retrieve", "a red circle", "--model", clip_folder, "--in", "data", "--top", 2, "--json", cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert len(outcome.lines) == 2


def test_what_a_fusion_learnt_of_captions_serves_questions(place: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("train", "--recipe", "match", *BRIEF, "--name", "first", cwd=place)
    assert outcome.code == 0, outcome.stderr
    still = ["--lr", 0.0, "--set", "train.weight_decay=0.0"]
    outcome = invoke("train", "--recipe", "vqa", "--init", "runs/first", *BRIEF, *still, "--name", "second", cwd=place)
    assert outcome.code == 0, outcome.stderr
    first, second = (load_file(place / "runs" / name / "model.safetensors") for name in ("first", "second"))
    one, other = (found[f"fusion.fused.adapt.{name}.weight"] for found, name in ((first, "text"), (second, "question")))
    assert torch.equal(one, other)
    said = next(line for line in outcome.stderr.splitlines() if line.startswith("init "))
    assert "head.task" in said and "fusion" not in said
    # encoders that stand still are run once, that of the questions, too, which the answers on val are scored by
    outcome = invoke("train", "--recipe", "vqa", "--init", "runs/second", "--tune", "heads", *BRIEF, "--name", "third", cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert "question features of val" in outcome.stderr
