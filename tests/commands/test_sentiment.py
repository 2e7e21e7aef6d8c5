"""Sentiment as a user types it: tables of texts with pictures or series, numbers or classes, to a model that says them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmkit.files import read_json
from tests import raw
from tests.conftest import Outcome

Invoke = Callable[..., Outcome]
SMALL = ("--batch-size", 32, "--set", "train.eval_every=50%")


@pytest.fixture(scope="module")
def mosi(tmp_path_factory: pytest.TempPathFactory, invoke: Invoke) -> Path:
    """A folder with ./mosi.npz as CMU-MOSI is: words say whether it is meant well, a voice how strongly; ./data of it, and
    ./runs/mood, which has learnt it, on every second row."""
    folder = tmp_path_factory.mktemp("mosi")
    rng = np.random.default_rng(0)
    n = 240
    sign, strength = rng.choice([-1, 1], n), rng.uniform(0, 1, n)
    words = np.array([f"i found it {'great' if s > 0 else 'awful'}" for s in sign])
    voice = strength[:, None, None] * 2 * np.sin(np.arange(16) / 2 + rng.uniform(0, 6, n)[:, None])[:, None] + np.zeros(
        (n, 2, 16)
    )
    target = np.clip(sign * (0.5 + 2.5 * strength), -3, 3)
    np.savez(folder / "mosi.npz", series=voice.astype("float32"), text=words, sentiment=target.astype("float32"))
    for args in (
        ("prep", "table", "data", "--source", "mosi.npz"),
        ("train", "--recipe", "sentiment", "--name", "mood", "--steps", 60, "--lr", "0.003", *SMALL),
    ):
        outcome = invoke(*args, cwd=folder)
        assert outcome.code == 0, outcome.stderr
    return folder


def test_it_predicts_better_than_the_mean(mosi: Path, invoke: Invoke) -> None:
    outcome = invoke("eval", "regress", "--figure", "seen.png", cwd=mosi)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert record["task"] == "regression"
    assert set(record["n"]) == {"text", "series"}
    assert list(record["metrics"]) == ["mae", "pearson", "acc7", "acc2", "f1"]
    assert record["metrics"]["mae"] < 0.7 * record["chance"]["mae"]
    assert record["metrics"]["acc2"] > record["chance"]["acc2"]
    assert record["metrics"]["pearson"] > 0.7
    assert record["acc2"] == "negative/non-negative"
    assert record["interval"]["mae"][0] < record["metrics"]["mae"] < record["interval"]["mae"][1]
    assert record["baseline"] == {
        "always": read_json(mosi / "runs/mood/targets.json")["task"]["mean"],
        "what": "the mean target of the training rows",
    }
    assert (mosi / "seen.png").stat().st_size > 5_000
    kept = mosi / "runs" / "mood" / "eval"
    assert (kept / "data-test-regress.scatter.png").is_file()
    rows = pq.read_table(kept / "data-test-regress.rows.parquet").to_pydict()
    errors = np.abs(np.array(rows["target"]) - np.array(rows["predicted"]))
    assert errors.mean() == pytest.approx(record["metrics"]["mae"])
    assert rows["mae"] == pytest.approx(errors)


def test_weights_are_chosen_by_the_error_on_val(mosi: Path) -> None:
    lines = [json.loads(line) for line in (mosi / "runs/mood/metrics.jsonl").read_text().splitlines()]
    measured = [line for line in lines if "val/mae" in line]
    assert measured
    assert all(line["val/-mae"] == -line["val/mae"] for line in measured)
    card = (mosi / "runs/mood/README.md").read_text()
    assert "best on val: mae 0." in card and "| mae | 0." in card and "-mae" not in card


def test_predict_says_the_number(mosi: Path, invoke: Invoke) -> None:
    np.save(mosi / "loud.npy", np.tile(2 * np.sin(np.arange(16) / 2), (2, 1)).astype("float32"))
    outcome = invoke("predict", "loud.npy", "i found it great", "i found it awful", cwd=mosi)
    assert outcome.code == 0, outcome.stderr
    good, bad = outcome.lines
    assert good == {"series": "loud.npy", "text": "i found it great", "probability": None, "score": good["score"]}
    assert 3.5 > good["score"] > 0.5
    assert -3.5 < bad["score"] < -0.5
    alone = invoke("predict", "loud.npy", cwd=mosi)
    assert alone.lines[0]["text"] == "target"
    assert "the target is that for the series alone; the model reads text, too" in alone.stderr


def test_two_runs_are_compared_by_their_errors(mosi: Path, invoke: Invoke) -> None:
    args = ("train", "--recipe", "sentiment", "--name", "worse", "--steps", 2, *SMALL, "--set", "loss.task.loss=huber")
    assert invoke(*args, cwd=mosi).code == 0
    outcome = invoke("compare", "runs/worse", "runs/mood", "--figure", "both.png", cwd=mosi)
    assert outcome.code == 0, outcome.stderr
    rows = {row["metric"]: row for row in outcome.lines}
    assert list(rows) == ["mae", "acc7", "acc2"]
    assert rows["mae"]["difference"] < 0  # the second one errs less


def test_what_its_inputs_contribute_and_the_report(mosi: Path, invoke: Invoke) -> None:
    outcome = invoke("contribution", "--limit", 12, "--json", cwd=mosi)
    assert outcome.code == 0, outcome.stderr
    assert {line["modality"] for line in outcome.lines} == {"text", "series"}
    outcome = invoke("report", "runs/mood", "-o", "report.html", cwd=mosi)
    assert outcome.code == 0, outcome.stderr
    page = (mosi / "report.html").read_text()
    assert "Predicted numbers beside true ones" in page
    assert "%" not in page.partition("mae")[0][-60:]


def test_a_column_of_words_is_no_number(mosi: Path, invoke: Invoke) -> None:
    outcome = invoke("train", "--recipe", "sentiment", "--steps", 1, "--set", "loss.task.column=mood", cwd=mosi)
    assert outcome.code == 1
    assert "error: the dataset has no column 'mood' to predict" in outcome.stderr
    outcome = invoke("eval", "classify", cwd=mosi)
    assert "the model was not trained to classify" in outcome.stderr


def test_pictures_with_texts_and_classes(tmp_path: Path, invoke: Invoke) -> None:
    for i in range(24):
        raw.jpeg(tmp_path / "img" / f"{i}.jpg", i)
    lines = [f"img/{i}.jpg,what a {'fine' if i % 2 else 'sad'} day number {i},{'good' if i % 2 else 'bad'}" for i in range(24)]
    (tmp_path / "posts.csv").write_text("\n".join(["image,text,label", *lines]))
    assert invoke("prep", "table", "data", "--source", "posts.csv", cwd=tmp_path).code == 0
    outcome = invoke("train", "--recipe", "sentiment", "--steps", 2, "--batch-size", 8, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "without.target" in outcome.stderr or "classify" in (tmp_path / "runs/latest/config.toml").read_text()
    (record,) = invoke("eval", "classify", cwd=tmp_path).lines
    assert set(record["n"]) == {"image", "text"}


def test_texts_alone(tmp_path: Path, invoke: Invoke) -> None:
    lines = [f"a {'fine' if i % 2 else 'sad'} film number {i},{i % 5 + 0.5}" for i in range(30)]
    (tmp_path / "reviews.csv").write_text("\n".join(["review,stars", *lines]))
    assert invoke("prep", "table", "data", "--source", "reviews.csv", "--column", "target=stars", cwd=tmp_path).code == 0
    typed = ("--recipe", "classify", "--set", "loss.task.kind=regress", "--steps", 2, "--batch-size", 8)
    outcome = invoke("train", *typed, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    (record,) = invoke("eval", "regress", cwd=tmp_path).lines
    assert list(record["metrics"]) == ["mae", "pearson"]  # stars have no sign
    assert "acc2" not in record
