from __future__ import annotations

import json
import math
import re

import pytest
from PIL import Image

from tests.conftest import COLOURS


@pytest.fixture
def red(tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8), COLOURS["red"]).save(path)
    return path


def test_a_line_a_text(red, colour_model, invoke):
    outcome = invoke("predict", red, "a blue thing", "a red thing")
    assert outcome.code == 0, outcome.stderr
    assert [list(answer) for answer in outcome.lines] == [["image", "text", "probability", "score"]] * 2
    blue, match = outcome.lines
    assert match["text"] == "a red thing"
    assert match["probability"] > 0.9 > blue["probability"]
    assert match["score"] == pytest.approx(1, abs=1e-5)
    assert blue["probability"] + match["probability"] == pytest.approx(1)


def test_a_text_that_is_cut_off_is_said(red, run, invoke):
    outcome = invoke("predict", red, "red", "red " * 60, "--model", run / "runs/latest")
    assert outcome.code == 0
    assert re.search(r"the model reads \d+ tokens of a text; cut off: 'red red", outcome.stderr)
    assert "cut off" not in invoke("predict", red, "red", "green", "--model", run / "runs/latest").stderr
    searched = invoke("retrieve", "red " * 60, "--model", run / "runs/latest", "--in", red.parent)
    assert "cut off: 'red red" in searched.stderr, searched.stderr


def test_lines_on_stdin(red, colour_model, invoke):
    lines = [{"id": 7, "image": str(red), "texts": ["red", "green"]}, {"image": str(red)}]
    stdin = "".join(json.dumps(line) + "\n" for line in lines)
    answers = invoke("predict", "-", "blue", stdin=stdin).lines
    assert [(a.get("id"), a["text"]) for a in answers] == [(7, "red"), (7, "green"), (None, "blue")]


def test_a_table_for_people(red, colour_model, invoke, monkeypatch):
    monkeypatch.setattr("mmkit.cli.console.Console.json", False)
    stdout = invoke("predict", red, "a blue thing", "a red thing").stdout
    assert stdout.index("a red thing") < stdout.index("a blue thing"), "the most probable comes first"


def test_a_trained_run(run, red, invoke):
    outcome = invoke("predict", red, "a red circle", "a blue square", "--model", run / "runs/latest")
    assert outcome.code == 0, outcome.stderr
    assert sum(answer["probability"] for answer in outcome.lines) == pytest.approx(1)
    assert all(-1 <= answer["score"] <= 1 for answer in outcome.lines)


def test_the_classes_of_a_classifier_best_first(asked, invoke):
    outcome = invoke("predict", "red.png", "--model", "runs/classes", cwd=asked)
    assert outcome.code == 0, outcome.stderr
    assert [list(answer) for answer in outcome.lines] == [["image", "text", "probability", "score"]] * 3
    assert {answer["text"] for answer in outcome.lines} == set(COLOURS)
    assert outcome.lines[0]["text"] == "red"
    scores = [answer["score"] for answer in outcome.lines]
    assert scores == sorted(scores, reverse=True)
    softmax = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
    assert [answer["probability"] for answer in outcome.lines] == pytest.approx(softmax, abs=1e-5)


def test_labels_of_a_row_that_may_have_several_have_each_their_own_probability(asked, invoke, tmp_path):
    (tmp_path / "data").symlink_to(asked / "shapes")
    trained = invoke("train", "--recipe", "classify", "--steps", 2, "--limit", 32, "--batch-size", 16, cwd=tmp_path)
    assert trained.code == 0, trained.stderr
    answers = invoke("predict", asked / "red.png", cwd=tmp_path).lines
    for answer in answers:
        assert answer["probability"] == pytest.approx(1 / (1 + math.exp(-answer["score"])), abs=1e-5)


def test_lines_without_texts_ask_a_classifier(asked, invoke):
    stdin = '{"id": 7, "image": "red.png"}\n{"image": "red.png", "texts": ["red"]}\n'
    outcome = invoke("predict", "-", "--model", "runs/classes", cwd=asked, stdin=stdin)
    assert [(answer["id"], answer["text"]) for answer in outcome.lines][:1] == [(7, "red")]
    assert len(outcome.lines) == 3
    assert "error: the model has classes of its own and compares no texts, runs/classes, stdin line 2" in outcome.stderr


def test_a_model_that_compares_and_classifies_does_both(asked, invoke):
    named = invoke("predict", "red.png", "a red picture", "a cat", "--model", "runs/both", cwd=asked).lines
    assert [answer["text"] for answer in named] == ["a red picture", "a cat"]
    assert {answer["text"] for answer in invoke("predict", "red.png", "--model", "runs/both", cwd=asked).lines} == set(COLOURS)


@pytest.mark.parametrize(
    ("args", "code", "message", "hint"),
    [
        (["red.png", "a cat", "--model", "runs/classes"], 2, "compares no texts, runs/classes", "mmkit predict red.png"),
        (["red.png", "--model", "runs/answers"], 1, "neither to compare texts nor to classify", "its losses: answers"),
        (["red.png", "a cat", "--model", "runs/answers"], 1, "the model compares nothing", "its losses: answers"),
    ],
)
def test_what_a_model_cannot_say_is_one_line(asked, invoke, args, code, message, hint):
    outcome = invoke("predict", *args, cwd=asked)
    error, told = outcome.stderr.splitlines()
    assert (outcome.code, outcome.stdout) == (code, "")
    assert error.startswith("error: ") and message in error
    assert told.startswith("hint: ") and hint in told
