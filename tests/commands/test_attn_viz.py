"""`mmkit attn-viz` as it is typed."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

CAPTION = "a red circle left of a blue square"


@pytest.fixture
def picture(run, tmp_path):
    """A picture of 60 x 40 pixels, from which the crop leaves out both sides."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    path = tmp_path / "wide.png"
    Image.fromarray(pixels).save(path)
    return path


def test_the_raw_maps_are_those_of_the_contract(run, picture, invoke, tmp_path):
    outcome = invoke("attn-viz", picture, CAPTION, "-o", tmp_path / "maps.npz", cwd=run)
    assert (outcome.code, outcome.stdout) == (0, ""), outcome.stderr
    with np.load(tmp_path / "maps.npz") as maps:
        assert maps["image"].shape == (40, 60)
        assert maps["image"][:, 10:50].max() > 0 == maps["image"][:, :10].max() == maps["image"][:, 50:].max()
        assert len(maps["tokens"]) == len(maps["text"]) == maps["text_layers"].shape[-1]
        assert maps["image_layers"].shape[2:] == (36, 36) and maps["patches"].shape == (6, 6)
        for layers in (maps["image_layers"], maps["text_layers"]):
            assert layers.ndim == 4 and np.allclose(layers.sum(-1), 1, atol=1e-5)
        assert list(maps["words"]) == CAPTION.split()
    assert invoke("attn-viz", picture, "-o", tmp_path / "maps.npz", cwd=run).code == 0, "our own is replaced"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".html"])
def test_figures(run, picture, invoke, tmp_path, suffix):
    outcome = invoke("attn-viz", picture, CAPTION, "-o", tmp_path / f"map{suffix}", cwd=run)
    assert (outcome.code, outcome.stdout) == (0, ""), outcome.stderr
    assert outcome.stderr.splitlines()[-1] == f"wrote {tmp_path / f'map{suffix}'}"
    assert (tmp_path / f"map{suffix}").stat().st_size > 1000


def test_a_crop_that_leaves_most_out_is_said(run, invoke, tmp_path):
    Image.new("RGB", (400, 40)).save(tmp_path / "long.png")
    outcome = invoke("attn-viz", tmp_path / "long.png", CAPTION, "--json", cwd=run)
    assert "the model takes the middle 10% of the image" in outcome.lines[0]["notes"][-1]


def test_a_figure_of_every_head(run, picture, invoke, tmp_path):
    outcome = invoke("attn-viz", picture, CAPTION, "--each-head", "-o", tmp_path / "heads.png", cwd=run)
    assert (outcome.code, outcome.stdout) == (0, ""), outcome.stderr
    with Image.open(tmp_path / "heads.png") as drawn:
        assert min(drawn.size) > 300
    for wrong in (["--each-head"], ["--each-head", "--head", "0", "-o", "x.png"], ["--each-head", "-o", "x.npz"]):
        assert invoke("attn-viz", picture, *wrong, cwd=run).code == 2


def test_the_page_holds_a_map_for_each_word_and_loads_nothing(run, picture, invoke, tmp_path):
    assert invoke("attn-viz", picture, "红色 <b>circle</b>", "-o", tmp_path / "map.html", cwd=run).code == 0
    page = (tmp_path / "map.html").read_text()
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', page)[1])
    assert np.array(facts["grids"]).shape == (1, 6, 6) and np.array(facts["words"]).shape == (3, 1, 6, 6)
    assert facts["box"] == [10, 0, 40, 40] and facts["size"] == [60, 40]
    assert "&lt;b&gt;circle" in page and "<b>circle" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_json_of_a_row_with_its_own_caption(run, invoke):
    outcome = invoke("attn-viz", "--id", "test-000120", "--faithfulness", cwd=run)
    (found,) = outcome.lines
    assert (found["image"], found["method"], found["kind"]) == ("test-000120", "relevance", "cosine")
    assert " ".join(word["word"] for word in found["words"]) == found["text"]
    assert np.array(found["patches"]).shape == (6, 6) and found["size"] == [48, 48]
    assert -1 <= found["score"] <= 1
    measured = found["faithfulness"]
    assert measured["whole"] == pytest.approx(found["score"], abs=1e-5)
    low, high = sorted((measured["whole"], measured["empty"]))
    assert low - 0.5 <= measured["deletion"] <= high + 0.5
    typed = invoke("attn-viz", "a red circle", "--id", "test-000120", cwd=run).lines[0]
    assert typed["text"] == "a red circle"


def test_the_terminal(run, picture, invoke, monkeypatch):
    monkeypatch.setattr("mmkit.cli.console.Console.json", False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    outcome = invoke("attn-viz", picture, CAPTION, "--faithfulness", cwd=run)
    lines = outcome.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "wide.png" and "relevance, cosine" in outcome.stdout
    assert [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in CAPTION.split()] == CAPTION.split()
    assert "deletion" in outcome.stdout and "insertion" in outcome.stdout


def test_an_answer_is_said_and_explained(asked, invoke):
    (found,) = invoke("attn-viz", "red.png", "what colour is it?", "--model", "runs/answers", cwd=asked).lines
    assert found["kind"] == "logit" and found["answer"]
    assert [word["word"] for word in found["words"]] == ["what", "colour", "is", "it?"]
    (predicted,) = invoke("attn-viz", "red.png", "--model", "runs/classes", cwd=asked).lines
    assert predicted["answer"] == "red"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 2, "which file?"),
        (["nope.png"], 1, "no such file, nope.png"),
        (["red.png", " "], 2, "the text is empty"),
        (["red.png", "--method", "relevanse"], 2, "no method 'relevanse'"),
        (["red.png", "blu", "--model", "runs/classes"], 2, "no class 'blu'"),
        (["red.png", "x", "--model", "runs/both", "--layer", "7"], 2, "no layer 7"),
        (["red.png", "x", "--model", "runs/both", "--method", "align"], 1, "no word with a patch"),
        (["red.png", "x", "-o", "map.gif"], 2, "cannot draw a .gif"),
        (["red.png", "x", "-o", "red.png"], 1, "is not one that mmkit wrote"),
        (["red.png", "--model", "runs/answers", "--faithfulness"], 2, "--faithfulness follows a score"),
        (["--data", "colours", "--id", "nobody", "--model", "runs/both"], 1, "no row 'nobody'"),
        (["--data", "colours"], 2, "which row of the dataset?"),
        (["red.png", "x", "--data", "colours", "--id", "red0"], 2, "--id names what is looked at"),
    ],
)
def test_what_cannot_be_is_one_line(asked, invoke, args, code, message):
    outcome = invoke("attn-viz", *args, cwd=asked)
    error = outcome.stderr.splitlines()[0]
    assert (outcome.code, outcome.stdout) == (code, "")
    assert error.startswith("error: ") and message in error
