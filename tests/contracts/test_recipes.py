"""Every recipe, as a run: two steps, a kill and a resumption to the bit, saved and loaded equal, and measured."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mmkit.batch import Want
from mmkit.config import read_toml, write_toml
from mmkit.data.shards import open_dataset
from mmkit.loading import load_model, run_config
from mmkit.metrics.evaluation import Request, metrics_of
from mmkit.talk import Talk
from mmkit.workflows import fit
from tests.conftest import coloured_row, write_dataset
from tests.core import RECIPES, smallest, whole_dataset


@pytest.fixture(scope="module")
def data(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_dataset(run / "data", tmp_path_factory.mktemp("data") / "data", gaps=True)


def start(recipe: str, data: Path, runs: Path) -> Path:
    return fit.start(smallest(recipe, data), runs, recipe, False, "cpu", Talk())


def killed(run: Path, at: int) -> None:
    """As if the process had died after step `at`: later checkpoints never were, and the run is not marked finished."""
    config = run_config(run)
    for name in ("finished", "weights"):
        config.run.pop(name)
    write_toml(run / "config.toml", config)
    for checkpoint in (run / "checkpoints").iterdir():
        if int(checkpoint.name.removeprefix("step-")) > at:
            shutil.rmtree(checkpoint)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run(recipe: str, data: Path, tmp_path: Path) -> None:
    folder = start(recipe, data, tmp_path / "runs")
    last = load_file(folder / "checkpoints" / "step-00000004" / "model.safetensors")
    killed(folder, 2)
    assert fit.resume(str(folder), tmp_path / "runs", "cpu", Talk()) == folder
    again = load_file(folder / "checkpoints" / "step-00000004" / "model.safetensors")
    assert last.keys() == again.keys() and all(torch.equal(last[name], again[name]) for name in last)
    model = load_model(str(folder), "cpu")
    weights = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    for metric in metrics_of(model):
        for result in Request(metric, split="test").module.of_model(model, open_dataset(data), Request(metric, split="test")):
            result.save(folder / "eval")
            record = result.record
            assert record["metrics"] and all(v >= 0 or name == "pearson" for name, v in record["metrics"].items())
            assert all(isinstance(n, int) and n <= 72 for n in record["n"].values())
            assert set(record["chance"]) <= set(record["metrics"]) | {"auroc"}
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    assert any('"val/' in row for row in rows) and len(rows) == 1 + 4 + 2


def test_what_nobody_answers_is_one_line_before_the_first_step(run: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    args = ["train", run / "data", "--steps", 1]
    outcome = invoke(*args, "--set", "loss.task.kind=classify", "--set", "loss.task.of=fused", cwd=tmp_path)
    assert outcome.code == 2
    assert outcome.stderr.splitlines()[-2:][0].startswith("error: there is no fusion")
    outcome = invoke(*args, "--recipe", "classify", "--set", "loss.task.column=colour", cwd=tmp_path)
    assert outcome.code == 1
    assert "error: the dataset has no column 'colour' to classify by" in outcome.stderr
    rows = [coloured_row(c, c) for c in ("red", "green")]
    colours = write_dataset(tmp_path / "colours", {"train": rows}, {"image": "image", "captions": "text"})
    outcome = invoke("train", colours, "--recipe", "vqa", "--steps", 1, cwd=tmp_path)
    assert outcome.code == 1
    assert "error: no questions, and the dataset has no column 'label' to classify by" in outcome.stderr
    assert not (tmp_path / "runs").exists()


def test_an_unknown_want_is_named(run: Path) -> None:
    from mmkit.errors import UserError

    model = load_model(str(run / "runs" / "latest"), "cpu")
    for want, hint in (
        (Want("text", "token"), "text gives: pooled, tokens, mask, embedded, vector, vectors"),
        (Want("fused", "pooled"), "there are: image, text"),
        (Want("audio"), "there are: image, text"),
    ):
        with pytest.raises(UserError, match=f"nothing in the model answers {want}") as e:
            model.check([want])
        assert e.value.hint == hint


def test_a_run_of_another_format_is_refused_in_one_line(run: Path, tmp_path: Path, invoke: Callable[..., Any]) -> None:
    shutil.copytree(run / "runs", tmp_path / "runs", symlinks=True)
    path = next((tmp_path / "runs").glob("*/config.toml"))
    config = run_config(path.parent)
    del config.run["format"]
    write_toml(path, config)
    version = read_toml(path)["run"]["mmkit"]
    for args in (["eval", "recall@1", "--data", run / "data"], ["train", "--resume", path.parent]):
        outcome = invoke(*args, cwd=tmp_path)
        assert outcome.code == 1
        line = f"error: the run was trained by mmkit {version}, run format 1, and this mmkit reads format 3"
        assert outcome.stderr.splitlines()[0].startswith(line)
