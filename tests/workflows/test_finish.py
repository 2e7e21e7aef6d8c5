"""The end of a run: weights mixed with the first ones, exactly, and what a fine-tuned run still knows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmkit.config import read_toml
from mmkit.data.shards import Dataset, open_dataset
from mmkit.errors import UserError
from mmkit.loading import load_model
from mmkit.model import Model
from mmkit.workflows.finish import mix
from mmkit.workflows.forgetting import old_task

BRIEF = ["--steps", 4, "--batch-size", 16, "--lr", 0.01, "--set", "train.checkpoint_every=2"]


def test_mixing() -> None:
    first = {"a": torch.tensor([0.0, 1.0, 0.1]), "same": torch.tensor([0.3])}
    last = {"a": torch.tensor([1.0, 3.0, 0.1]), "same": torch.tensor([0.3]), "fresh": torch.tensor([5.0]), "n": torch.tensor(7)}
    mixed = mix(first, last, 0.4)
    assert torch.allclose(mixed["a"], 0.4 * last["a"] + 0.6 * first["a"])
    assert torch.equal(mixed["same"], first["same"]) and mixed["a"][2] == first["a"][2]
    assert torch.equal(mixed["fresh"], last["fresh"]) and mixed["n"] == 7
    assert torch.equal(mix(first, last, 0.0)["a"], first["a"])
    assert torch.equal(mix(first, last, 1.0)["a"], last["a"])


@pytest.fixture(scope="module")
def mixed(run: Path, invoke: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ./data, ./new, ./runs/first and ./runs/mixed, which started from it and ended with 0.4 of its weights."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "data").symlink_to(run / "data")
    for words in (
        ["prep", "shapes", "new", "--limit", 60, "--seed", 5],
        ["train", *BRIEF, "--name", "first"],
        ["train", "new", "--init", "runs/first", *BRIEF, "--interpolate", 0.4, "--set", "project.kind=mlp", "--name", "mixed"],
    ):
        outcome = invoke(*words, cwd=folder)
        assert outcome.code == 0, outcome.stderr
    return folder


def test_the_weights_of_a_run(mixed: Path) -> None:
    before, after = (load_file(mixed / f"runs/{name}/model.safetensors") for name in ("first", "mixed"))
    tuned = load_file(mixed / "runs/mixed/checkpoints/finetuned/model.safetensors")
    assert after.keys() == tuned.keys()
    for name, value in after.items():
        if name in before and before[name].shape == value.shape:
            assert torch.allclose(value, 0.4 * tuned[name] + 0.6 * before[name], atol=1e-6), name
        else:  # the projections are new
            assert name.startswith("project.") and torch.equal(value, tuned[name])
    assert any(not torch.equal(before[name], tuned[name]) for name in before.keys() & tuned.keys())
    assert not (mixed / "runs/mixed/first.safetensors").exists()
    config = read_toml(mixed / "runs/mixed/config.toml")
    assert config["run"]["weights"].startswith("0.6 x runs/first + 0.4 x checkpoints/finetuned (step ")
    card = (mixed / "runs/mixed/README.md").read_text()
    assert "| weights | 0.6 x runs/first + 0.4 x" in card and ", before the weights were mixed" in card


@pytest.mark.parametrize("at", [2, 4])
def test_a_run_killed_on_the_way_or_while_it_mixes_ends_the_same(
    at: int, mixed: Path, invoke: Callable[..., Any], tmp_path: Path
) -> None:
    whole, known = (load_file(mixed / f"runs/{name}/model.safetensors") for name in ("mixed", "first"))
    shutil.copytree(mixed, tmp_path / "copy", symlinks=True)
    folder = tmp_path / "copy/runs/mixed"
    # what it began with lies there until it is finished
    save_file({n: known[n] for n, v in whole.items() if n in known and known[n].shape == v.shape}, folder / "first.safetensors")
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text("\n".join(line for line in text.splitlines() if not line.startswith("finished")))
    if at == 2:
        shutil.rmtree(folder / "checkpoints/finetuned")
        shutil.rmtree(folder / "checkpoints/step-00000004")
    outcome = invoke("train", "--resume", "runs/mixed", cwd=tmp_path / "copy")
    assert outcome.code == 0, outcome.stderr
    again = load_file(folder / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_nothing_to_mix_with(run: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    outcome = invoke("train", run / "data", "--steps", 1, "--interpolate", 0.5, cwd=tmp_path)
    assert outcome.code == 2 and not (tmp_path / "runs").exists()
    assert (
        "error: the run starts from random weights: there is nothing to mix the fine-tuned ones with, --interpolate"
        in outcome.stderr
    )
    assert "hint: leave --interpolate out; --init" in outcome.stderr


def test_the_report_shows_the_old_task_beside_the_new_one(mixed: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("report", "runs/mixed", "-o", "report.html", "--limit", 20, cwd=mixed)
    assert outcome.code == 0, outcome.stderr
    page = (mixed / "report.html").read_text()
    table = page.partition("What it still knows")[2].partition("</table>")[0]
    for words in ("data test: mean recall", "new test: mean recall", "before", "fine-tuned", "0.4 x fine-tuned + 0.6 x before"):
        assert words in table
    cells = [cell for cell in table.split("<td>")[1:] if cell[0].isdigit()]
    assert len(cells) == 6 and all(0 <= float(cell.partition("<")[0]) <= 1 for cell in cells)
    # the same figures as eval gives
    tuned = "runs/mixed/checkpoints/finetuned"
    (record,) = invoke("eval", "recall@k", "--data", "data", "--model", tuned, "--limit", 20, "--json", cwd=mixed).lines
    recalls = [value for name, value in record["metrics"].items() if "recall@" in name]
    assert cells[2].startswith(f"{sum(recalls) / len(recalls):.3f}")


def test_on_the_old_data_all_are_measured_on_the_split_that_is_looked_at_and_other_figures_are_named(mixed: Path) -> None:
    def measure(model: Model, data: Dataset, split: str | None) -> list[dict[str, Any]]:
        return [{"metrics": {"acc1": 0.25} if model.name == "runs/mixed" else {"image_retrieval_recall@1": 0.5}}]

    with chdir(mixed):
        found = old_task(load_model("runs/mixed", "cpu"), open_dataset("data"), "val", measure)
    assert found is not None
    columns, rows = found
    assert columns[2:] == ["data val: mean recall"]
    assert [row[2] for row in rows] == ["0.500", "0.500", "0.250 (acc1)"]


def test_what_has_no_old_task(mixed: Path, run: Path) -> None:
    data = open_dataset(mixed / "new")
    for place in (run / "runs/latest", mixed / "runs/mixed/checkpoints/finetuned"):
        assert old_task(load_model(str(place), "cpu"), data, "test", lambda *given: []) is None
    # the paths of a run are relative to where it was trained
    with pytest.raises(UserError, match="the run that it started from is not there, runs/first"):
        old_task(load_model(str(mixed / "runs/mixed"), "cpu"), data, "test", lambda *given: [])
    with chdir(mixed):
        (mixed / "data").rename(mixed / "elsewhere")
        with pytest.raises(UserError, match="the data of the run that it started from is not there"):
            old_task(load_model("runs/mixed", "cpu"), data, "test", lambda *given: [])
        (mixed / "elsewhere").rename(mixed / "data")
