"""Staged freezing: what learns when, that the rest stands still, and that a resumed run is the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.batch import Batch
from mmkit.config import Config, Input, Project, Stage, Train, build, merge, to_dict
from mmkit.data.modalities import image, text
from mmkit.data.shards import open_dataset
from mmkit.data.tokenizer import Tokenizer, train_tokenizer
from mmkit.errors import UserError
from mmkit.model import Model
from mmkit.training.auto import resolve_frozen
from mmkit.training.schedule import make_optimizer, next_optimizer
from mmkit.training.stages import (
    apply_stage,
    check_ends,
    check_patterns,
    frozen,
    largest,
    learns,
    stage_at,
    stages_of,
)
from mmkit.training.step import gradients
from mmkit.tune import without
from tests.conftest import coloured_row, write_dataset


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model(tiny(), readers())


def readers() -> dict[str, Any]:
    tokenizer = Tokenizer(train_tokenizer(["a red circle", "a blue square"] * 3, 300), 8)
    config = tiny()
    return {"image": image.Reader(image.plain(config.data["image"])), "text": text.Reader(config.data["text"], tokenizer)}


def tiny(*stages: Stage) -> Config:
    encoder = {
        "image": {"kind": "cnn", "dim": 16, "layers": 1, "patch": 4},
        "text": {"kind": "transformer", "dim": 16, "layers": 1, "heads": 2},
    }
    config = Config(size="tiny", encoder=encoder, project=Project(8, {"image": "mlp", "text": "linear"}), stage=list(stages))
    config.loss = {"itc": {"kind": "infonce", "between": ["image", "text"]}}
    config.train = Train(lr=1e-2, batch_size=16)
    config.input = {name: Input(name, name, name) for name in encoder}
    spec = config.data["image"]
    spec.size, spec.resize, spec.resample, spec.mean, spec.std = 16, "crop", "bicubic", [0.5] * 3, [0.5] * 3
    return config


def batch(model: Model) -> Batch:
    torch.manual_seed(1)
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    texts = model.reader("text").collate(["a red", "a blue", "a circle", "square"])
    return Batch(list("abcd"), {"image": {"pixels": images}, "text": texts}, keys={"image": torch.arange(4)})


def test_patterns() -> None:
    stage = Stage(["*", "!encoder.image.*", "encoder.image.norm.*"])
    assert learns(stage, "project.text.weight")
    assert not learns(stage, "encoder.image.stem.0.weight")
    assert learns(stage, "encoder.image.norm.bias")


def test_the_stage_of_a_step() -> None:
    first, second = Stage(["project.*"], until=3), Stage()
    config = tiny(first, second)
    assert [stage_at(config, step) is first for step in range(5)] == [True, True, True, False, False]
    assert stage_at(tiny(), 7).train == ["*"]
    assert stage_at(tiny(Stage(until=2)), 9).until == 2


def test_what_does_not_learn_stands_still(model: Model) -> None:
    """No gradient, no moments, eval mode; Adam's moments and weight decay do not move it either."""
    everything = make_optimizer(model, model.config.train)
    gradients(model, batch(model), 1, "fp32")
    everything.step()
    apply_stage(model, Stage(["project.*", "loss.*"]))
    optimizer = next_optimizer(everything, model, model.config.train)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for _ in range(2):
        gradients(model, batch(model), 2, "fp32")
        optimizer.step()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert not model.encoder["image"].training
    assert model.project["image"].training
    moved = {k for k, v in model.state_dict().items() if not torch.equal(before[k], v)}
    assert moved == {k for k in before if k.startswith(("project.", "loss."))}


def test_moments_are_kept_across_stages(model: Model) -> None:
    optimizer = make_optimizer(model, model.config.train)
    gradients(model, batch(model), 1, "fp32")
    optimizer.step()
    apply_stage(model, Stage(["project.text.*"]))
    kept = next_optimizer(optimizer, model, model.config.train)
    p = model.project["text"].weight
    assert set(kept.state) == {p}
    assert kept.state[p]["step"] == 1


def test_wrong_stages(model: Model) -> None:
    names = [name for name, _ in model.named_parameters()]
    with pytest.raises(UserError, match=r"'projekt\.\*' matches no parameter") as e:
        check_patterns(tiny(Stage(["projekt.*"])), names)
    assert e.value.hint == "did you mean project.*?"
    with pytest.raises(UserError, match="nothing learns"):
        check_patterns(tiny(Stage(["!project.*"])), names)


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ([None], "stage 1 has no end"),
        ([8, 4], "stage 2 ends at step 4, but it begins at step 8"),
        ([4, 20], "stage 2 ends at step 20 of 10, so stage 3 would never begin"),
    ],
)
def test_a_stage_that_would_never_begin(ends: list[int | None], message: str) -> None:
    config = tiny(*(Stage(until=end) for end in ends), Stage())
    config.train.steps = 10
    with pytest.raises(UserError, match=message):
        check_ends(config)


def test_patterns_match_the_projection_over_a_frozen_encoder(run: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    args = ["train", run / "data", "--steps", 2, "--quiet", "--lock-image", "--set"]
    outcome = invoke(*args, 'stage=[{train=["project.image.4.*"]}]', cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    outcome = invoke(*args, 'stage=[{train=["project.image.weight"]}]', cwd=tmp_path)
    assert outcome.code == 2 and "'project.image.weight' matches no parameter" in outcome.stderr


def locked(config: Config, *modalities: str) -> Config:
    tables = to_dict(config)
    return build(merge(tables, without(modalities)(tables)))


def test_lock(model: Model) -> None:
    names = [name for name, _ in model.named_parameters()]
    config = locked(tiny(), "image")
    assert frozen(config, stages_of(config), names) == ["image"]
    config = tiny(Stage(["project.*"], until=5), Stage())
    assert frozen(config, stages_of(config), names) == []
    assert frozen(config, config.stage[:1], names) == ["image", "text"]
    assert largest(config, model) is config.stage[1]
    config = locked(config, "image", "text")
    assert frozen(config, stages_of(config), names) == ["image", "text"]
    check_patterns(config, names)


def test_augmentation_is_off_in_a_stage_in_which_the_image_encoder_is_frozen(model: Model, tmp_path: Path) -> None:
    data = open_dataset(write_dataset(tmp_path / "data", {"train": [coloured_row("a", "red", ["a red square"])]}))
    config = tiny(Stage(["project.*"], until=5), Stage())
    reasons = resolve_frozen(config, model.encoder, data)
    assert (config.data["image"].augment, config.stage[0].augment, config.stage[1].augment) == (["crop"], [], None)
    assert reasons["stage 1: augment"].startswith("[] (the image encoder is frozen in it")
    config = tiny(Stage(["project.*"], until=5), Stage())
    config.data["image"].augment = ["crop"]
    resolve_frozen(config, model.encoder, data)
    assert config.stage[0].augment is None


@pytest.mark.parametrize("killed_at", [5, 6, 7])
def test_a_resumed_run_is_the_same(killed_at: int, run: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    """Stopped within a stage, at its end, and in the next one."""
    from safetensors.torch import load_file

    (tmp_path / "data").symlink_to(run / "data")
    stages = 'stage=[{train=["project.*", "loss.*"], until=6, lr=0.01}, {train=["*"]}]'
    common = ["--steps", 8, "--batch-size", 16, "--set", stages, "--set", "train.eval_every=100"]
    common += ["--set", f"train.checkpoint_every={killed_at}"]
    outcome = invoke("train", *common, "--name", "cut", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    cut = tmp_path / "runs" / "cut"
    whole = load_file(cut / "model.safetensors")
    # as if it had been killed: later checkpoints never were, and the run is not marked finished
    shutil.rmtree(cut / "checkpoints" / "step-00000008")
    assert [p.name for p in (cut / "checkpoints").iterdir()] == [f"step-{killed_at:08d}"]
    text = (cut / "config.toml").read_text()
    (cut / "config.toml").write_text("\n".join(line for line in text.splitlines() if not line.startswith("finished")))
    outcome = invoke("train", "--resume", cut, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    again = load_file(cut / "model.safetensors")
    assert all(torch.equal(whole[k], again[k]) for k in whole)
