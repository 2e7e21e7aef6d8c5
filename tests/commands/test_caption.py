"""`mmkit caption` and what else is asked of a model that writes: eval, compare, attn-viz, contribution, report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmkit.metrics import caption as metric

RUN = ("--model", "runs/captions")


def test_a_caption(asked: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("caption", "red.png", *RUN, cwd=asked)
    assert outcome.code == 0, outcome.stderr
    (one,) = outcome.lines
    assert list(one) == ["image", "caption", "score"]
    assert one["image"] == "red.png" and isinstance(one["caption"], str) and one["score"] < 0
    beams = invoke("caption", "red.png", *RUN, "--beams", 4, cwd=asked).lines
    assert len(beams) == 1
    best = invoke("caption", "red.png", *RUN, "--top", 3, cwd=asked).lines
    assert len(best) == 3 and [o["score"] for o in best] == sorted((o["score"] for o in best), reverse=True)
    assert invoke("caption", "red.png", *RUN, "--top", 1, "--beams", 3, cwd=asked).lines[0] == pytest.approx(best[0], abs=1e-4)


def test_several_images_and_lines_on_stdin(asked: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    blue = tmp_path / "blue.png"
    Image.new("RGB", (30, 20), "blue").save(blue)
    outcome = invoke("caption", "red.png", blue, *RUN, cwd=asked)
    assert [one["image"] for one in outcome.lines] == ["red.png", str(blue)]
    assert outcome.lines[0]["score"] != outcome.lines[1]["score"], "the picture is looked at"
    stdin = "".join(json.dumps(line) + "\n" for line in ({"id": 7, "image": "red.png"}, {"image": str(blue)}))
    lines = invoke("caption", "-", *RUN, cwd=asked, stdin=stdin).lines
    assert [line.get("id") for line in lines] == [7, None]
    assert [line["caption"] for line in lines] == [line["caption"] for line in outcome.lines]


def test_a_table_for_people(asked: Path, invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmkit.cli.console.Console.json", False)
    stdout = invoke("caption", "red.png", *RUN, cwd=asked).stdout
    assert "mean log-probability" in stdout and "red.png" in stdout


FAULTS = [
    (["-", "red.png"], 2, "- reads the images from stdin, all of them", "leave - out"),
    (["absent.png"], 1, "no such image, absent.png", ""),
    (["red.png", "absent.png"], 1, "no such image, absent.png", ""),
    (["runs"], 1, "this is a folder, not an image, runs", "--in runs"),
    (["note.txt"], 1, "cannot be read as an image", ""),
    (["red.png", "--top", "3", "--beams", "2"], 2, "--top 3 of 2 beams", "--beams 3"),
    (["red.png", "--beams", "0"], 2, "0 is not at least 1, --beams", "mmkit caption --help"),
    (["red.png", "--model", "runs/classes"], 1, "the model was not trained to write captions", "mmkit train --recipe caption"),
]


@pytest.mark.parametrize(("args", "code", "message", "hint"), FAULTS, ids=[" ".join(args) for args, *_ in FAULTS])
def test_one_line_a_hint_and_an_exit_code(
    asked: Path, invoke: Callable[..., Any], args: list[str], code: int, message: str, hint: str
) -> None:
    (asked / "note.txt").write_text("no picture")
    outcome = invoke("caption", *args, *(() if "--model" in args else RUN), cwd=asked)
    error, *rest = outcome.stderr.splitlines()
    assert (outcome.code, outcome.stdout) == (code, "")
    assert error.startswith("error: ") and message in error
    assert len(rest) == bool(hint) and hint in "".join(rest)


def test_a_bad_line_is_named_after_those_before_it(asked: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("caption", "-", *RUN, cwd=asked, stdin='{"image": "red.png"}\n{"id": 2, "picture": "red.png"}\n')
    assert outcome.code == 1 and len(outcome.lines) == 1
    assert "no image in the object, stdin line 2, id 2" in outcome.stderr


def test_eval_caption(asked: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("eval", "caption", "--data", "shapes", *RUN, "--limit", 20, "--beams", 2, cwd=asked)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert record["task"] == "captioning" and record["tokenizer"] == "mmkit-ptb" and record["beams"] == 2
    assert list(record["metrics"]) == ["CIDEr", "Bleu_4", "ROUGE_L", "exact_match"]
    assert set(record["chance"]) == set(record["nearest"]) == set(record["interval"]) == set(record["metrics"])
    assert record["n"]["image"] == 20 and record["n"]["text"] > 20, "both wordings of two objects are references"
    # what is near by the encoder says more than always the same
    assert record["nearest"]["CIDEr"] > record["chance"]["CIDEr"] > 0
    table = pq.read_table(next((asked / "runs/captions/eval").glob("*first20-caption.rows.parquet"))).to_pylist()
    assert len(table) == 20
    assert np.mean([row["CIDEr"] for row in table]) == pytest.approx(record["metrics"]["CIDEr"])
    assert all(row["reference"] == row["references"][0] and row["log_probability"] < 0 for row in table)
    said = metric.score([row["caption"] for row in table], [row["references"] for row in table])
    assert said.metrics == pytest.approx(record["metrics"])
    outcome = invoke("eval", "recall@1", "--beams", 2, cwd=asked)
    assert outcome.code == 2 and "--beams is of caption" in outcome.stderr


def test_a_table_of_eval_has_both_baselines(asked: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("eval", "caption", "--data", "shapes", *RUN, "--limit", 6, "--format", "table", cwd=asked)
    assert outcome.code == 0, outcome.stderr
    assert "chance" in outcome.stdout and "nearest" in outcome.stdout and "CIDEr" in outcome.stdout
    assert "chance: always the most frequent caption; words by mmkit-ptb" in outcome.stderr


def test_compare_pairs_captions(asked: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    shutil.copytree(asked / "runs", tmp_path / "runs", symlinks=True)
    (tmp_path / "shapes").symlink_to(asked / "shapes")
    outcome = invoke("compare", "runs/captions", "runs/captions", "--data", "shapes", "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    metrics = {row["metric"]: row for row in outcome.lines}
    assert {"CIDEr", "ROUGE_L", "exact_match"} <= set(metrics) and "log_probability" not in metrics
    assert all(row["difference"] == 0 and row["n"] for row in metrics.values())


def test_what_it_looks_at(asked: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    said = invoke("caption", "red.png", *RUN, cwd=asked).lines[0]
    own = invoke("attn-viz", "red.png", *RUN, "--json", cwd=asked)
    assert own.code == 0, own.stderr
    assert own.lines[0]["kind"] == "log-probability" and own.lines[0]["answer"] == said["caption"]
    # what two steps have taught may be spelled otherwise when it is read again, so the caption is typed, too
    typed = invoke("attn-viz", "red.png", said["caption"], *RUN, "--json", cwd=asked)
    assert own.lines[0]["score"] == pytest.approx(typed.lines[0]["score"], abs=1e-5)
    assert own.lines[0]["score"] == pytest.approx(said["score"], abs=0.1), "what decoding counted is what is explained"
    given = invoke("attn-viz", "red.png", "a red circle", *RUN, "--json", "--faithfulness", cwd=asked)
    assert given.code == 0, given.stderr
    (record,) = given.lines
    assert [word["word"] for word in record["words"]] == ["a", "red", "circle"] and record["answer"] is None
    assert record["score"] <= said["score"] + 1e-4
    assert 0 < record["faithfulness"]["whole"] < 1
    assert np.isfinite(record["patches"]).all() and np.any(record["patches"])
    for method in ("rollout", "attention", "align", "gradcam"):
        for name in ("out.npz", "out.html"):
            args = ["attn-viz", "red.png", "a red circle", *RUN, "--method", method, "-o", tmp_path / name, "--force"]
            assert invoke(*args, cwd=asked).code == 0


def test_contribution(asked: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("contribution", "--data", "shapes", *RUN, "--limit", 16, cwd=asked)
    assert outcome.code == 0, outcome.stderr
    shares = {(row["modality"], row["method"], row["removal"]): row["share"] for row in outcome.lines}
    assert shares["image", "shapley", "shuffle"] + shares["text", "shapley", "shuffle"] == pytest.approx(1)
    assert "probability of the words of the true text" in outcome.stderr


def test_the_card_and_the_report(asked: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    card = (asked / "runs/captions/README.md").read_text()
    assert "image-to-text" in card and "mmkit caption picture.jpg --model captions" in card
    assert "mmkit eval caption --data ./data --model captions" in card and "| CIDEr |" in card
    out = tmp_path / "report.html"
    outcome = invoke("report", "runs/captions", "--data", "shapes", "--limit", 12, "-o", out, cwd=asked)
    assert outcome.code == 0, outcome.stderr
    page = out.read_text()
    assert "Captions furthest from it" in page and "Captions near to what people wrote" in page
    assert "left out of the report" not in outcome.stderr
    assert ">nearest<" in page


def test_what_is_written_without_looking(asked: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    """The baseline of the words alone: a language model, which says the same of every picture."""
    small = ["--steps", 2, "--limit", 32, "--batch-size", 16]
    args = ["ablate", asked / "shapes", "--recipe", "caption", "--drop", "image", *small, "-o", tmp_path / "grid", "--json"]
    outcome = invoke(*args, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    whole, blind = outcome.lines
    assert blind["error"] is None and blind["drop"] == ["image"] and "CIDEr" in blind["metrics"]
    outcome = invoke(
        "eval", "caption", "--data", asked / "shapes", "--model", tmp_path / blind["run"], "--limit", 9, cwd=tmp_path
    )
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert record["nearest"] == {} and "image" not in record["n"]
    table = pq.read_table(next((tmp_path / blind["run"] / "eval").glob("*first9-caption.rows.parquet"))).to_pylist()
    assert len(table) == 9 and len({row["caption"] for row in table}) == 1
    assert whole["parameters"] > blind["parameters"]


LEAKS = [
    (["fusion.causal=false"], "--set fusion.causal=true"),
    (["encoder.text.causal=false"], "--set encoder.text.causal=true"),
    (["fusion.kind=merged"], "--set fusion.causal=true"),
    (["fusion.kind=concat"], "--set fusion.kind=cross --set fusion.causal=true"),
]


@pytest.mark.parametrize(("sets", "hint"), LEAKS)
def test_a_leak_is_named_before_the_first_step(
    asked: Path, invoke: Callable[..., Any], tmp_path: Path, sets: list[str], hint: str
) -> None:
    options = [word for one in sets for word in ("--set", one)]
    args = ["train", asked / "shapes", "--recipe", "caption", "--limit", 32, "--steps", 1, "--batch-size", 16]
    outcome = invoke(*args, *options, cwd=tmp_path)
    assert outcome.code == 1 and not (tmp_path / "runs").exists()
    assert outcome.stderr.splitlines()[-1] == f"hint: {hint}"
    fixed = [word for word in hint.split()]
    outcome = invoke(*args, *options, *fixed, "--dry-run", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
