"""A model that compares and matches, by every command that scores pairs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmkit.talk import Talk
from mmkit.workflows import fit
from tests.core import smallest


@pytest.fixture(scope="module")
def place(asked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with red.png, ./colours and the run ./runs/match after 4 steps."""
    folder = tmp_path_factory.mktemp("match")
    for name in ("red.png", "colours"):
        (folder / name).symlink_to(asked / name)
    fit.start(smallest("match", folder / "colours"), folder / "runs", "match", False, "cpu", Talk())
    return folder


def test_pairs_of_a_split_and_as_many_others(place: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("eval", "match", "--data", "colours", "--model", "runs/match", "--json", cwd=place)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert (record["task"], record["split"], record["n"]) == ("matching", "test", {"image": 6, "text": 6})
    assert set(record["metrics"]) == set(record["interval"]) == {"match_accuracy", "match_auroc"}
    assert set(record["chance"].values()) == {0.5}
    assert record["counts"] == {"pairs": 6, "others": 6}
    rows = pq.read_table(next((place / "runs/match/eval").glob("*-match.rows.parquet"))).to_pylist()
    assert record["metrics"]["match_accuracy"] == pytest.approx(sum(row["match_accuracy"] for row in rows) / 12)
    assert [row["target"] for row in rows] == ["match"] * 6 + ["no match"] * 6
    assert all((row["predicted"] == "match") == (row["probability"] > 0.5) for row in rows)
    assert all((row["predicted"] == row["target"]) == row["match_accuracy"] for row in rows)
    assert all(row["caption"].split()[1] != row["id"][:-1] for row in rows[6:]), "equal pictures are no others"


def test_val_is_measured_by_both_while_training(place: Path) -> None:
    rows = [json.loads(line) for line in (place / "runs/match/metrics.jsonl").read_text().splitlines()]
    measured = [row for row in rows if "val/match_accuracy" in row]
    assert len(measured) == 2 and all(
        "val/text_retrieval_recall@1" in row and 0 <= row["val/match_auroc"] <= 1 for row in measured
    )


def test_val_is_measured_alike_where_the_encoders_ran_before(place: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    still: dict[str, Any] = {"stage": [{"train": ["fusion.*", "head.*"]}], "data": {"image": {"augment": []}}}
    config = smallest("match", place / "colours", still, {"train": {"lr": 0.0}})
    run = fit.start(config, tmp_path / "runs", "still", False, "cpu", Talk())
    during = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if "val/match_auroc" in line][-1]
    (record,) = invoke("eval", "match", "--data", place / "colours", "--split", "val", "--model", run, cwd=tmp_path).lines
    assert {f"val/{name}": value for name, value in record["metrics"].items()}.items() <= during.items()


def test_the_nearest_are_ranked_again_by_the_head(place: Path, invoke: Callable[..., Any]) -> None:
    args = ["eval", "recall@1,5", "--data", "colours", "--model", "runs/match", "--json"]
    plain, again, one = (invoke(*args, *more, cwd=place) for more in ([], ["--rerank", 4], ["--rerank", 1]))
    assert again.code == 0, again.stderr
    assert again.lines[0]["rerank"] == 4 and "rerank" not in plain.lines[0]
    assert again.lines[0]["metrics"].keys() == plain.lines[0]["metrics"].keys()
    assert one.lines[0]["metrics"] == plain.lines[0]["metrics"], "the nearest alone is where it was"
    files = {path.name for path in (place / "runs/match/eval").glob("*.ranks.parquet")}
    assert {"colours-test.ranks.parquet", "colours-test-rerank4.ranks.parquet"} <= files


def test_the_probability_that_a_text_matches(place: Path, invoke: Callable[..., Any]) -> None:
    texts = ["a red picture", "a blue picture"]
    outcome = invoke("predict", "red.png", *texts, "--model", "runs/match", cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert [list(line) for line in outcome.lines] == [["image", "text", "probability", "score"]] * 2
    assert [line["text"] for line in outcome.lines] == texts
    for line in outcome.lines:  # each on its own
        assert line["probability"] == pytest.approx(1 / (1 + math.exp(-line["score"])), abs=1e-6)
        alone = invoke("predict", "red.png", line["text"], "--model", "runs/match", "--by", "match", cwd=place).lines[0]
        assert alone == pytest.approx(line, abs=1e-6)
    compared = invoke("predict", "red.png", *texts, "--model", "runs/match", "--by", "contrast", cwd=place).lines
    assert sum(line["probability"] for line in compared) == pytest.approx(1) and all(abs(line["score"]) <= 1 for line in compared)
    stdin = json.dumps({"id": 3, "image": "red.png", "texts": texts}) + "\n"
    piped = invoke("predict", "-", "--model", "runs/match", cwd=place, stdin=stdin).lines
    assert piped == [{"id": 3} | line for line in outcome.lines]


def test_pairs_as_published_by_either(place: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    rows = {str(i): {"filename": "red.png", "caption": "a red picture", "negative_caption": f"blue {i}"} for i in range(3)}
    (tmp_path / "swap_att.json").write_text(json.dumps(rows))
    (tmp_path / "red.png").write_bytes((place / "red.png").read_bytes())
    found = {}
    for by in ("match", "contrast"):
        how = ["--model", "runs/match", "--by", by]
        outcome = invoke("eval", "pairs", "--data", tmp_path, *how, "--json", cwd=place)
        assert outcome.code == 0, outcome.stderr
        found[by] = outcome.lines[0]
        answers = [invoke("predict", "red.png", "a red picture", f"blue {i}", *how, cwd=place).lines for i in range(3)]
        right = [first["score"] > second["score"] for first, second in answers]
        assert found[by]["metrics"] == {"acc": sum(right) / 3, "acc/swap_att": sum(right) / 3}
    assert (found["match"]["by"], found["contrast"]["by"]) == ("match", "cosine")
    assert len(list((place / "runs/match/eval").glob("*-pairs.json"))) == 2


def test_two_models_are_compared_by_their_pairs(place: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("compare", "runs/match", "runs/match", "--metric", "match", "--json", cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert [line["metric"] for line in outcome.lines] == ["match_accuracy"]
    assert all(line["difference"] == 0 for line in outcome.lines)


BOTH, CLASSES = ["--model", "runs/both"], ["--model", "runs/classes"]
FAULTS = [
    (["eval", "recall@1", "--rerank", "4", *BOTH, "--data", "colours"], 1, "no matching head to re-rank", "recipe match"),
    (["eval", "recall@1", "--rerank", "4", *CLASSES, "--data", "colours"], 1, "compares nothing", "its losses: classify"),
    (["eval", "match", *BOTH, "--data", "colours"], 1, "the model was not trained to match", "its losses: infonce"),
    (["eval", "vqa", "--rerank", "4"], 2, "--rerank is of recall@k", "mmkit eval recall@k --rerank"),
    (["eval", "recall@k", "--by", "match"], 2, "--by is of pairs", "mmkit eval pairs --by"),
    (["eval", "recall@k", "--rerank", "4", "--embeddings", "e.arrow"], 2, "--rerank reads the items themselves", "leave"),
    (["eval", "pairs", "--data", "absent", *BOTH], 1, "no such file or folder, absent", ""),
    (["predict", "red.png", "a cat", "--by", "match", *BOTH], 1, "the model was not trained to match", "--by contrast"),
    (["predict", "red.png", "a cat", "--by", "mach", *BOTH], 2, "no such by 'mach'", "did you mean match?"),
]


@pytest.mark.parametrize(("args", "code", "message", "hint"), FAULTS)
def test_what_cannot_be_matched_is_one_line(
    asked: Path, invoke: Callable[..., Any], args: list[str], code: int, message: str, hint: str
) -> None:
    outcome = invoke(*args, cwd=asked)
    assert (outcome.code, outcome.stdout) == (code, "")
    error = next(line for line in outcome.stderr.splitlines() if line.startswith("error: "))
    assert message in error and hint in outcome.stderr


def test_two_samples_are_too_few_to_match(asked: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    outcome = invoke("train", asked / "colours", "--recipe", "match", "--batch-size", 2, cwd=tmp_path)
    assert outcome.code == 1 and "one of 2 has none to choose from" in outcome.stderr
    assert "hint: --batch-size 64" in outcome.stderr and not (tmp_path / "runs").exists()


def test_it_learns_what_belongs_together(place: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    """Of three colours, by the hard negatives too; the loss of one that cannot tell is that of one pair in three that match."""
    level: dict[str, Any] = {"train": {"steps": 300, "lr": 0.003, "eval_every": 300, "checkpoint_every": 300}}
    config = smallest("match", place / "colours", level, {"loss": {"itm": {"hard_from": 20.0}}})
    run = fit.start(config, tmp_path / "runs", "learns", False, "cpu", Talk())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train/loss/itm"] for row in rows if "train/loss/itm" in row]
    chance = -math.log(1 / 3) / 3 - 2 * math.log(2 / 3) / 3
    assert losses[-1] < 0.1 < chance < losses[0] + 0.1
    (record,) = invoke("eval", "match", "--data", place / "colours", "--model", run, "--json", cwd=tmp_path).lines
    assert min(record["metrics"].values()) >= 0.95
