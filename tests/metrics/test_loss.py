"""The losses of a model as a metric: over all rows once, the same each time, and the less the better."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.config import build
from mmkit.data.shards import open_dataset
from mmkit.encode import Pace
from mmkit.loading import load_model
from mmkit.metrics import loss as metric
from mmkit.metrics.evaluation import Request, Val, metrics_of
from tests.core import plan as planned
from tests.core import smallest, whole_dataset


@pytest.fixture(scope="module")
def data(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_dataset(run / "data", tmp_path_factory.mktemp("data") / "data", gaps=True)


@pytest.fixture(scope="module")
def model(data: Path) -> Any:
    words = {"loss": {"mlm": {"kind": "mlm", "of": "text"}, "mim": {"kind": "mim", "of": "image", "codes": 8, "weight": 0.5}}}
    config = smallest("clip", data, {"train": {"batch_size": 5}})
    config.loss = build(words).loss
    return planned(config).model.eval()


def test_a_model_that_nothing_else_measures_is_measured_by_its_losses(model: Any, data: Path) -> None:
    assert metrics_of(model) == ["loss"]
    measure = metric.during(model, Val(open_dataset(data), "val", None, {}, Pace(workers=1)))
    found = measure(model)
    assert measure(model) == found
    values = found.values
    assert found.name == "-loss" == next(iter(values)) == metric.names(model)[0]
    assert found.score == values["-loss"] == -values["loss"]
    assert values["loss"] == pytest.approx(values["loss/mlm"] + 0.5 * values["loss/mim"])
    # untrained: as if all tokens and codes were as likely
    assert values["loss/mim"] == pytest.approx(torch.tensor(8.0).log().item(), abs=0.5)
    with torch.no_grad():
        kept = {name: p.clone() for name, p in model.named_parameters()}
        model.head["mlm"][3].weight.fill_(float("nan"))
        with pytest.raises(FloatingPointError):
            measure(model)
        model.load_state_dict(kept, strict=False)


def test_every_row_counts_once_whatever_the_batch(model: Any, data: Path) -> None:
    opened = open_dataset(data)
    first = metric.of_model(model, opened, Request("loss", split="test", workers=1))[0].record
    rows = list(opened.rows("test", ["image", "captions"]))
    assert first["n"] == {"image": sum(bool(r["image"]) for r in rows), "text": sum(bool(r["captions"]) for r in rows)}
    model.config.train.batch_size = 12
    try:
        again = metric.of_model(model, opened, Request("loss", split="test", workers=1))[0].record
    finally:
        model.config.train.batch_size = 5
    assert again["metrics"] == pytest.approx(first["metrics"], rel=1e-5)
    part = metric.of_model(model, opened, Request("loss", split="test", workers=1, limit=4))[0].record
    assert sum(part["n"].values()) <= 8


def test_losses_of_pairs_and_matching_are_measured_too(data: Path) -> None:
    made = planned(smallest("match", data)).model.eval()
    values = metric.of_model(made, open_dataset(data), Request("loss", split="test", workers=1))[0].record["metrics"]
    assert set(values) == {"loss", "loss/itc", "loss/itm"} and all(value > 0 for value in values.values())


def test_the_command(run: Path, tmp_path: Path, invoke: Callable[..., Any]) -> None:
    words = ["--recipe", "classify", "--set", "loss.task.kind=mlm", "--set", "loss.task.of=text"]
    args = ["train", run / "data", *words, "--steps", 4, "--batch-size", 32, "--name", "words"]
    outcome = invoke(*args, "--set", "train.eval_every=2", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "best on val: loss " in outcome.stderr
    rows = [json.loads(line) for line in (tmp_path / "runs/words/metrics.jsonl").read_text().splitlines()]
    assert [row["val/loss"] == row["val/loss/task"] == -row["val/-loss"] for row in rows if "val/loss" in row] == [True, True]
    outcome = invoke("eval", "loss", "--model", "runs/words", "--data", run / "data", "--split", "test", "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert record["task"] == "loss" and record["split"] == "test" and record["metrics"]["loss"] > 0
    assert json.loads((tmp_path / "runs/words/eval/data-test-loss.json").read_text()) == record
    assert load_model(str(tmp_path / "runs/words"), "cpu").loss["task"].metric is None
    outcome = invoke("eval", "loss", "--model", "runs/words", "--data", run / "data", "--split", "test", cwd=tmp_path)
    assert outcome.code == 0 and outcome.lines[0]["metrics"] == record["metrics"]


def test_words_without_texts_is_one_line_before_training(run: Path, tmp_path: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("train", run / "data", "--recipe", "classify", "--set", "loss.task.kind=mlm", cwd=tmp_path)
    assert outcome.code == 1
    first, hint = outcome.stderr.splitlines()[-2:]
    assert first == "error: mlm hides words, and image has none, loss.task.of = image"
    assert hint == "hint: --set loss.task.of=text"
    assert not (tmp_path / "runs").exists()
