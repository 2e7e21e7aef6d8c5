"""`mmkit report` as a user types it: of a model that compares, of one that answers, and of what is no run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from mmkit.data.shards import open_dataset
from mmkit.vectors import read_embeddings
from mmkit.vectors_writer import EmbeddingsWriter
from mmkit.workflows.examples import of_retrieval
from tests.conftest import COLOURS, coloured_row, write_dataset
from tests.views.test_report import Page


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the small trained run and its data, to be changed."""
    shutil.copytree(run, tmp_path / "here", symlinks=True)
    return tmp_path / "here"


def test_the_page_of_a_model_that_compares(copied, invoke):
    outcome = invoke("report", "-o", "page.html", cwd=copied)
    assert (outcome.code, outcome.stdout) == (0, "page.html\n"), outcome.stderr
    page = Page((copied / "page.html").read_text(encoding="utf-8"))
    assert all(value.startswith("data:image/") for value in page.loads)
    for title in ("What the doctor says", "How often does it find the right one?", "See for yourself", "How it learned"):
        assert title in page.titles
    assert "[train]" in page.text  # the whole configuration
    assert "rows in train" in page.text  # the audit
    assert list((copied / "runs/latest/eval").glob("*.ranks.parquet"))


def test_the_page_of_models_with_heads(asked, invoke, tmp_path):
    for name, title in (("answers", "Answered wrongly"), ("classes", "What it takes for what")):
        outcome = invoke("report", f"runs/{name}", "-o", tmp_path / f"{name}.html", "--limit", 20, cwd=asked)
        assert outcome.code == 0, outcome.stderr
        page = Page((tmp_path / f"{name}.html").read_text(encoding="utf-8"))
        assert "How well does it answer?" in page.titles
        assert title in page.titles
        assert "How often does it find the right one?" not in page.titles


def test_it_lies_in_the_run_where_no_place_is_named_and_replaces_only_its_own(copied, invoke):
    assert invoke("report", "--limit", 10, cwd=copied).code == 0
    (page,) = (copied / "runs").glob("clip-*/report.html")
    assert invoke("report", "--limit", 10, "--json", cwd=copied).lines[0]["metrics"]["zeroshot_retrieval"]
    page.write_text("mine")
    outcome = invoke("report", "--limit", 10, cwd=copied)
    assert outcome.code == 1
    assert page.read_text() == "mine"


def test_the_pictures_are_those_of_the_split_where_ids_repeat(tmp_path):
    """Each id is red in training and blue in test."""
    rows = {"train": [coloured_row(f"{n}", "red", [f"picture {n}"]) for n in range(6)]}
    rows["test"] = [coloured_row(f"{n}", "blue", [f"picture {n}"]) for n in range(6)]
    data = open_dataset(write_dataset(tmp_path / "data", rows))
    with EmbeddingsWriter(tmp_path / "e.arrow", 6) as writer:
        for name in ("image", "text"):
            writer.write([str(n) for n in range(6)], name, np.eye(6, dtype=np.float32), ["test"] * 6)
    groups = of_retrieval(read_embeddings(tmp_path / "e.arrow"), ("image", "text"), data, "test")
    shown = [tile.picture for _, strips in groups for strip in strips for tile in strip.answers if tile.picture]
    assert shown
    assert {picture.getpixel((0, 0)) for picture in shown} == {COLOURS["blue"]}


def test_a_checkpoint_is_named_and_its_page_lies_in_the_run(copied, invoke):
    step = max((copied / "runs/latest/checkpoints").glob("step-*"))
    outcome = invoke("report", step, "--limit", 10, cwd=copied)
    assert outcome.code == 0, outcome.stderr
    page = Page(Path(copied, outcome.stdout.strip()).read_text(encoding="utf-8"))
    assert Path(outcome.stdout.strip()).name == f"report-{step.name}.html"
    assert page.titles[0].endswith(f" {step.name}")
    assert "trained for 5 steps" in page.text


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["runs/none"], "no such model"),
        (["-o", "page.pdf"], "a report is an HTML page"),
        (["--data", "none"], "none"),
    ],
)
def test_what_cannot_be(run, invoke, args, said):
    outcome = invoke("report", *args, cwd=run)
    assert outcome.code in (1, 2)
    assert said in outcome.stderr.splitlines()[0]
    assert outcome.stdout == ""
