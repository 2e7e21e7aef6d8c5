"""What is typed after `mmkit train` as levels: --set above every shortcut, those above --config, that above the recipe."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmkit.cli.train import _train
from mmkit.config import Config


@pytest.fixture
def resolved(invoke: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """`resolved(*args)`: the configuration that `mmkit train ARGS` goes on with."""
    found: list[Config] = []

    def stand_in(typed: Any, *rest: Any) -> int:
        found.append(typed.resolve())
        return 0

    monkeypatch.setattr(f"{_train.__module__}._train", stand_in)

    def call(*args: Any) -> Config:
        outcome = invoke("train", *args, cwd=tmp_path)
        assert outcome.code == 0, outcome.stderr
        return found[-1]

    return call


@pytest.mark.parametrize(
    ("shortcut", "text", "path", "value"),
    [
        (["--lr", "1e-3"], "train.lr=5e-4", "train.lr", 5e-4),
        (["--size", "small"], "size=base", "size", "base"),
        (["--batch-size", "64"], "train.batch_size=32", "train.batch_size", 32),
        (["--epochs", "3"], "train.epochs=4", "train.epochs", 4.0),
        (["--epochs", "3"], "train.steps=40", "train.epochs", None),
        (["--steps", "3"], "train.steps=40", "train.steps", 40),
        (["--steps", "3"], "train.epochs=4", "train.steps", None),
        (["--seed", "3"], "train.seed=4", "train.seed", 4),
        (["--limit", "30"], "data.limit=40", "data.limit", 40),
        (["--workers", "3"], "data.workers=1", "data.workers", 1),
        (["--patience", "3"], "train.patience=1", "train.patience", 1),
        (["--cache-limit", "3"], "train.cache_limit=1", "train.cache_limit", 1.0),
        (["--accumulate", "3"], "train.accumulate=1", "train.accumulate", 1),
        (["--amp"], "train.amp=false", "train.amp", False),
        (["--no-amp"], "train.amp=true", "train.amp", True),
        (["--grad-checkpoint"], "train.grad_checkpoint=false", "train.grad_checkpoint", False),
        (["--init", "a"], "train.init=b", "train.init", "b"),
        (["--report-to", "wandb"], 'train.report_to=["tensorboard"]', "train.report_to", ["tensorboard"]),
        (["./a"], "data.path=./b", "data.path", "./b"),
    ],
)
def test_set_is_above_each_shortcut(
    resolved: Callable[..., Config], shortcut: list[str], text: str, path: str, value: Any
) -> None:
    for args in ([*shortcut, "--set", text], ["--set", text, *shortcut]):
        found: Any = resolved(*args)
        for part in path.split("."):
            found = getattr(found, part)
        assert found == value


@pytest.mark.parametrize("modality", ["image", "text"])
def test_set_says_more_of_the_encoder_that_a_shortcut_names(resolved: Callable[..., Config], modality: str) -> None:
    config = resolved(f"--{modality}-encoder", "./x", "--set", f"encoder.{modality}.pool=mean")
    assert config.encoder[modality] == {"kind": "pretrained", "from": "./x", "pool": "mean"}
    config = resolved(f"--{modality}-encoder", "./x", "--set", f"encoder.{modality}.from=./y")
    assert config.encoder[modality]["from"] == "./y"


def test_set_names_another_encoder_than_the_shortcut(resolved: Callable[..., Config]) -> None:
    config = resolved("--image-encoder", "./x", "--set", "encoder.image.kind=cnn", "--set", "encoder.image.dim=32")
    assert config.encoder["image"] == {"kind": "cnn", "dim": 32}


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_lock_adds_to_the_stages_below_it_and_gives_way_to_those_of_set(
    resolved: Callable[..., Config], tmp_path: Path, modality: str
) -> None:
    (tmp_path / "c.toml").write_text('[[stage]]\ntrain = ["project.*"]\nuntil = "10%"\n[[stage]]\n')
    pattern = f"!encoder.{modality}.*"
    config = resolved(f"--lock-{modality}", "--config", "c.toml")
    assert [stage.train for stage in config.stage] == [["project.*", pattern], ["*", pattern]]
    assert [stage.train for stage in resolved(f"--lock-{modality}").stage] == [["*", pattern]]
    config = resolved(f"--lock-{modality}", "--config", "c.toml", "--set", 'stage=[{train=["loss.*"]}]')
    assert [stage.train for stage in config.stage] == [["loss.*"]]


def test_a_lock_that_set_undoes_is_said(invoke: Callable[..., Any], tmp_path: Path) -> None:
    args = ["train", "--lock-image", "--lock-text", "--set"]
    outcome = invoke(*args, 'stage=[{train=["project.*", "encoder.image.*"]}]', cwd=tmp_path)
    assert "warning: --lock-image is without effect: --set stage says what learns\n" in outcome.stderr
    assert "--lock-text is" not in outcome.stderr


def test_shortcuts_are_above_config_and_that_above_the_recipe(resolved: Callable[..., Config], tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        "size = 'base'\n[train]\nlr = 0.1\nepochs = 3\nseed = 7\n[encoder.text]\npool = 'mean'\nlayers = 3\n"
    )
    config = resolved("--config", "c.toml", "--size", "small", "--lr", "0.2", "--steps", "5", "--text-encoder", "./x")
    assert (config.size, config.train.lr, config.train.steps, config.train.epochs) == ("small", 0.2, 5, None)
    assert config.train.seed == 7
    assert config.encoder["text"] == {"kind": "pretrained", "from": "./x"}
    config = resolved("--config", "c.toml")
    assert config.encoder["text"] == {"kind": "transformer", "causal": True, "pool": "mean", "layers": 3}


@pytest.mark.parametrize(
    "word", ["train.warmpu=3", "encoder.image.kind=vti", "loss.itc.kind=infonse", "train.lr=fast", "size=big"]
)
def test_what_is_typed_wrongly_is_said_without_torch(tmp_path: Path, word: str) -> None:
    """torch is hidden: its import would be another failure."""
    (tmp_path / "torch.py").write_text("raise ImportError('torch was imported')")
    code = "import sys; sys.path.insert(0, '.'); from mmkit.cli.app import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "--set", word], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "torch" not in done.stderr
