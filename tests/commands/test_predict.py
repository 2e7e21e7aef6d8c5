from __future__ import annotations

import json

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
