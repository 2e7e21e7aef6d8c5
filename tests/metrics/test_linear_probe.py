"""The linear probe: parity with scikit-learn, CLIP's search, and what the command says of a run and of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmkit.data.shards import open_dataset
from mmkit.encode import encode
from mmkit.errors import UserError
from mmkit.loading import load_model
from mmkit.metrics.evaluation import Request
from mmkit.metrics.items import read_items
from mmkit.metrics.linear_probe import chosen, of_model
from tests.conftest import coloured_row, write_dataset
from tests.parity.conftest import clip_folder  # noqa: F401  a fixture


def test_the_search_finds_the_best_of_97_strengths() -> None:
    asked: list[float] = []

    def score(strength: float) -> float:
        asked.append(strength)
        return -abs(np.log10(strength) - peak)

    for peak in (-6.0, -3.3, 0.05, 1.62, 6.0):
        asked.clear()
        grid = 10.0 ** np.linspace(-6, 6, 97)
        assert chosen(score) == pytest.approx(grid[np.argmax([-abs(np.log10(one) - peak) for one in grid])])
        assert len(asked) == len(set(asked)) <= 7 + 2 * 4


def test_of_equal_strengths_the_stronger() -> None:
    assert chosen(lambda strength: 0.0) == pytest.approx(1e6)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colours, of which train has two only; a row without a label and one with two."""
    rows = [coloured_row(f"{c}{n}", c) for n in range(8) for c in ("red", "green")]
    test = [coloured_row(f"t{c}", c) for c in ("red", "green", "blue")]
    extra = [coloured_row("none", "red") | {"label": None}]
    return write_dataset(tmp_path_factory.mktemp("probe") / "data", {"train": rows, "val": rows[:4], "test": test + extra})


def test_parity_with_scikit_learn(run: Path, coloured: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    model, data = load_model(str(run / "runs" / "latest"), "cpu"), open_dataset(coloured)
    (result,) = of_model(model, data, Request("linear-probe"))
    features, labels = {}, {}
    for split in ("train", "val", "test"):
        rows = [row for row in data.rows(split, ["id", "image", "label"]) if row["label"]]
        items = [model.reader("image").prepare(row["image"]) for row in rows]
        features[split] = torch.stack(encode(model, "image", items, ["pooled"])["pooled"]).numpy()
        labels[split] = [row["label"] for row in rows]
    theirs = LogisticRegression(C=1 / result.record["probe"]["l2"], max_iter=1000)
    theirs.fit(np.concatenate([features["train"], features["val"]]), labels["train"] + labels["val"])
    assert result.rows["predicted"] == list(theirs.predict(features["test"]))
    assert result.rows["probability"] == pytest.approx(theirs.predict_proba(features["test"]).max(1))
    # a colour that train has not counts as wrong, the row without a label does not count
    assert result.record["n"] == {"image": 3}
    assert result.record["metrics"]["lp_acc1"] == pytest.approx(np.mean(theirs.predict(features["test"]) == labels["test"]))
    assert result.record["metrics"]["lp_acc1"] <= 2 / 3
    assert result.record["counts"] == {"classes": 2, "labels_outside_vocabulary": 1}
    assert result.record["chance"]["lp_acc1"] == pytest.approx(2 / 3 / 2)
    assert result.record["majority"]["lp_acc1"] == pytest.approx(1 / 3)


def test_what_it_needs(run: Path, coloured: Path) -> None:
    model, data = load_model(str(run / "runs" / "latest"), "cpu"), open_dataset(coloured)
    with pytest.raises(UserError, match="learns from train and is measured on another split"):
        of_model(model, data, Request("linear-probe", split="train"))


def test_the_command_on_a_run_and_a_checkpoint(
    run: Path,
    coloured: Path,
    invoke: Callable[..., Any],
    clip_folder: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    args = ["eval", "linear-probe", "--data", coloured, "--json", "-q"]
    outcome = invoke(*args, "--model", run / "runs/latest", "--model", clip_folder, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    of_run, of_checkpoint = outcome.lines
    assert of_run["task"] == of_checkpoint["task"] == "linear_probe"
    # flat pictures of two colours are told apart by any encoder
    assert of_run["metrics"]["lp_acc1"] == pytest.approx(2 / 3)
    assert set(of_run["metrics"]) == {"lp_acc1", "mean_per_class_recall"} == set(of_run["interval"])
    assert of_checkpoint["probe"]["width"] == load_model(str(clip_folder), "cpu").encoder["image"].dim
    saved = read_items(next((run / "runs/latest/eval").glob("*-linear-probe.rows.parquet")))
    assert saved.values["lp_acc1"].mean() == pytest.approx(2 / 3)


def test_without_val_a_part_of_train_stands_in(run: Path, tmp_path: Path) -> None:
    rows = [coloured_row(f"{c}{n}", c) for n in range(10) for c in ("red", "green")]
    data = open_dataset(write_dataset(tmp_path / "data", {"train": rows, "test": rows[:4]}))
    (result,) = of_model(load_model(str(run / "runs" / "latest"), "cpu"), data, Request("linear-probe", intervals=False))
    probe = result.record["probe"]
    assert probe["train"] + probe["val"] == 20 and 0 < probe["val"] < 10
    assert result.record["metrics"]["lp_acc1"] == 1.0
