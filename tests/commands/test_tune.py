"""`mmkit train --tune NAME`: what each preset makes of a run, and that a run of it is resumed to the bit."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mmkit.config import read_toml, resolve
from mmkit.tune import is_tuned, tuned, tunes, without

BRIEF = ["--steps", 8, "--batch-size", 16]
LAST = "checkpoints/step-00000008/model.safetensors"


@pytest.fixture
def place(run: Path, tmp_path: Path) -> Path:
    (tmp_path / "data").symlink_to(run / "data")
    return tmp_path


@pytest.fixture(scope="module")
def started(run: Path, invoke: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ./data and a run of each preset that started from ./runs/latest; not to be changed."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "data").symlink_to(run / "data")
    for name in tunes():
        words = ["--init", run / "runs/latest", "--tune", name, "--lr", 0.01, "--set", "train.checkpoint_every=4", "--name", name]
        outcome = invoke("train", *words, *BRIEF, cwd=folder)
        assert outcome.code == 0, outcome.stderr
    return folder


@pytest.mark.parametrize("name", tunes())
def test_what_moves(name: str, started: Path, run: Path) -> None:
    before, after = load_file(run / "runs/latest/model.safetensors"), load_file(started / f"runs/{name}" / LAST)
    after = {key.replace(".base_layer", ""): value for key, value in after.items() if ".lora_" not in key}
    shared = [key for key in before if before[key].shape == after[key].shape]
    moved = {key for key in shared if not torch.equal(before[key], after[key])}
    encoders = {"heads": (), "lit": ("text",), "lora": ()}.get(name, ("image", "text"))
    expected = {key for key in shared if not key.startswith("encoder.") or key.split(".")[1] in encoders}
    assert moved == expected


@pytest.mark.parametrize("name", tunes())
def test_what_a_preset_stands_for_is_in_the_configuration(name: str, started: Path) -> None:
    tables = read_toml(started / f"runs/{name}/config.toml")
    assert is_tuned(name, tables)
    # these two are everything with one thing more, which may have been typed
    also = {"layerwise": {"full"}, "lit": {"full"}}.get(name, set())
    assert {other for other in tunes() if is_tuned(other, tables)} == {name} | also
    for key, value in tunes()[name].get("train", {}).items():
        assert tables["train"][key] == value
    if name == "gradual":
        stages = tables["stage"]
        assert [stage.get("until") for stage in stages] == [2, 4, 6, None]
        assert not any("top" in stage for stage in stages)
        # the text encoder has two blocks: the upper one, then both, then what lies below them
        taken = [{p for p in stage["train"] if p.startswith("!encoder.text.")} for stage in stages]
        assert taken[1:] == [
            {"!encoder.text.positions", "!encoder.text.tokens.*", "!encoder.text.blocks.0.*"},
            {"!encoder.text.positions", "!encoder.text.tokens.weight"},
            set(),
        ]


def test_adapters_learn_in_the_stages_of_the_recipe() -> None:
    """As LLaVA with LoRA: the projector, then with it adapters of the language model."""
    config = resolve("llava", None, [tuned("lora"), without(["image"])])
    assert [(stage.train[:-1], stage.until) for stage in config.stage] == [
        (["fusion.*"], "30%"),
        (["fusion.*", "encoder.text.*.lora_*", "head.*"], None),
    ]
    assert {stage.train[-1] for stage in config.stage} == {"!encoder.image.*"} and config.train.lora == 8


@pytest.mark.parametrize(("name", "killed_at"), [("gradual", 3), ("gradual", 4), ("gradual", 6), ("layerwise", 4), ("lora", 4)])
def test_a_killed_run_goes_on_to_the_bit(
    name: str, killed_at: int, started: Path, run: Path, invoke: Callable[..., Any], place: Path
) -> None:
    """Within a stage, at its end; rates by depth and adapters, too."""
    folder = place / "runs/cut"
    if killed_at == 4:  # where the run that was made before has a checkpoint
        shutil.copytree(started / f"runs/{name}", folder)
    else:
        words = ["--init", run / "runs/latest", "--tune", name, "--lr", 0.01, "--set", f"train.checkpoint_every={killed_at}"]
        assert invoke("train", *words, *BRIEF, "--name", "cut", cwd=place).code == 0
    whole = load_file(folder / LAST)
    assert whole.keys() == load_file(started / f"runs/{name}" / LAST).keys()
    assert all(torch.equal(value, whole[key]) for key, value in load_file(started / f"runs/{name}" / LAST).items())
    shutil.rmtree(folder / "checkpoints/step-00000008")
    for later in folder.glob("checkpoints/step-*"):
        if int(later.name.removeprefix("step-")) > killed_at:
            shutil.rmtree(later)
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text("\n".join(line for line in text.splitlines() if not line.startswith("finished")))
    outcome = invoke("train", "--resume", folder, cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert all(torch.equal(value, whole[key]) for key, value in load_file(folder / LAST).items())


def test_other_options_lie_above_a_preset(invoke: Callable[..., Any], place: Path) -> None:
    words = ["train", "--dry-run", "-q", "--force", *BRIEF, "--tune"]
    outcome = invoke(*words, "layerwise", "--lock-image", "--set", "train.layer_decay=0.5", cwd=place)
    assert outcome.code == 0, outcome.stderr
    found = tomllib.loads(outcome.stdout)
    assert found["train"]["layer_decay"] == 0.5 and found["stage"][0]["train"] == ["*", "!encoder.image.*"]
    outcome = invoke(*words, "lora", "--set", 'stage=[{train=["project.*"]}]', "--set", "train.lora=4", cwd=place)
    assert outcome.code == 2 and "no stage lets an adapter learn" in outcome.stderr
    outcome = invoke(*words, "heads", "--set", "stage=[{}]", cwd=place)
    assert outcome.code == 0 and "warning: --tune is without effect: --set stage says what learns" in outcome.stderr


def test_a_config_file_lies_below_a_preset(invoke: Callable[..., Any], place: Path) -> None:
    (place / "c.toml").write_text('[[stage]]\ntrain = ["loss.*"]\n')
    outcome = invoke("train", "--dry-run", "-q", *BRIEF, "--config", "c.toml", "--tune", "heads", cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert tomllib.loads(outcome.stdout)["stage"] == [{"train": ["*", "!encoder.*"]}]


def test_a_wrong_name_is_said_with_the_nearest(invoke: Callable[..., Any], tmp_path: Path) -> None:
    outcome = invoke("train", "--tune", "gradul", cwd=tmp_path)
    assert outcome.code == 2
    assert outcome.stderr.splitlines()[-2:] == ["error: no preset 'gradul', --tune", "hint: did you mean gradual?"]


def test_help_says_what_each_is(invoke: Callable[..., Any]) -> None:
    page = " ".join(invoke("train", "--help").stdout.split())
    for name, table in tunes().items():
        assert f"{name}: {table['doc']}" in page


def test_a_resumed_run_says_where_another_preset_is_without_effect(started: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("train", "--resume", "runs/heads", "--tune", "lit", cwd=started)
    assert "without effect: --tune" in outcome.stderr
    outcome = invoke("train", "--resume", "runs/gradual", "--tune", "gradual", cwd=started)
    assert "without effect" not in outcome.stderr
