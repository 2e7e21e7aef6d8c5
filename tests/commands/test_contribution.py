from __future__ import annotations

import csv
import json
import shutil

import pyarrow.parquet as pq
import pytest

from tests.planted import STEPS, TRAINED, planted

REMOVED = [(method, removal) for method in ("ablation", "shapley") for removal in ("zero", "mean", "shuffle")]
METHODS = [("gradient", None), *REMOVED]


@pytest.fixture(scope="session")
def rules(tmp_path_factory, invoke):
    """A folder with a dataset and a trained run for each planted rule: ./xor and ./runs/xor …; not to be changed."""
    folder = tmp_path_factory.mktemp("planted")
    for rule, steps in STEPS.items():
        planted(folder / rule, rule)
        outcome = invoke("train", rule, *TRAINED, "--steps", steps, "--name", rule, "--quiet", cwd=folder)
        assert outcome.code == 0, outcome.stderr
    return folder


def shares(lines, method, removal):
    return {one["modality"]: one["share"] for one in lines if (one["method"], one["removal"]) == (method, removal)}


@pytest.mark.parametrize("rule", STEPS)
def test_planted_shares_are_found(rules, invoke, rule):
    (record,) = invoke("eval", "classify", "--data", rule, "--model", f"runs/{rule}", cwd=rules).lines
    assert record["metrics"]["acc1"] >= 0.95
    outcome = invoke("contribution", "--data", rule, "--model", f"runs/{rule}", cwd=rules)
    assert outcome.code == 0, outcome.stderr
    assert [list(one) for one in outcome.lines] == [["modality", "method", "removal", "share", "interval"]] * 14
    assert [(one["modality"], one["method"], one["removal"]) for one in outcome.lines] == [
        (modality, *method) for method in METHODS for modality in ("image", "text")
    ]
    for one in outcome.lines:
        assert one["interval"][0] <= one["share"] <= one["interval"][1]
    for method in METHODS:
        assert sum(shares(outcome.lines, *method).values()) == pytest.approx(1)
    for method in ("ablation", "shapley"):
        found = shares(outcome.lines, method, "shuffle")
        assert min(found.values()) > 0.3 if rule == "xor" else found[rule] >= 0.9
    assert 0 < shares(outcome.lines, "gradient", None)["image"] < 1
    ignored = {"image": "warning: text is ignored", "text": "warning: image is ignored", "xor": ""}[rule]
    assert ignored in outcome.stderr
    assert ("is ignored" in outcome.stderr) == ("align first" in outcome.stderr) == bool(ignored)
    assert "there are only" not in outcome.stderr


@pytest.fixture
def xor(rules, tmp_path):
    """A folder of its own with ./data and the run ./runs/latest."""
    (tmp_path / "data").symlink_to(rules / "xor")
    shutil.copytree(rules / "runs/xor", tmp_path / "runs/latest")
    return tmp_path


def test_the_result_stays_in_the_run(xor, invoke):
    outcome = invoke("contribution", "--limit", 40, cwd=xor)
    assert outcome.code == 0, outcome.stderr
    folder = xor / "runs/latest/eval"
    record = json.loads((folder / "xor-test-first40-contribution.json").read_text())
    assert record["shares"] == outcome.lines
    assert record["n"] == {"image": 40, "text": 40, "rows": 40}
    assert record["support"]["all"] > 0.9 > record["support"]["none, shuffle"]
    table = pq.read_table(folder / "xor-test-first40-contribution.samples.parquet")
    assert table.num_rows == 40
    assert table.column_names[:4] == ["id", "class", "support", "image.gradient"]
    for row in table.to_pylist():
        assert row["image.gradient"] + row["text.gradient"] == pytest.approx(1)
    assert "probability of what is true: 0.9" in outcome.stderr or "probability of what is true: 1.0" in outcome.stderr


def test_classes_and_samples(xor, invoke):
    outcome = invoke("contribution", "--limit", 60, "--by-class", "--samples", "s.csv", "--quiet", cwd=xor)
    of = [one for one in outcome.lines if "class" in one]
    assert len(outcome.lines) == 3 * 14
    assert {one["class"] for one in of} == {"yes", "no"}
    assert sum(one["n"] for one in of) == 60 * 14
    rows = list(csv.DictReader((xor / "s.csv").open()))
    assert len(rows) == 60
    assert {row["class"] for row in rows} == {"yes", "no"}
    for suffix in ("jsonl", "parquet"):
        assert invoke("contribution", "--limit", 60, "--samples", f"s.{suffix}", "--quiet", cwd=xor).code == 0
    lines = [json.loads(line) for line in (xor / "s.jsonl").open()]
    assert lines == pq.read_table(xor / "s.parquet").to_pylist()
    assert [str(line["id"]) for line in lines] == [row["id"] for row in rows]
    (xor / "s.csv").write_text("id,mine\n")
    refused = invoke("contribution", "--samples", "s.csv", cwd=xor)
    assert refused.code == 1 and "not one that mmkit wrote, s.csv" in refused.stderr


@pytest.mark.parametrize("suffix", [".png", ".html"])
def test_a_figure(xor, invoke, suffix):
    outcome = invoke("contribution", "--limit", 40, "--by-class", "-o", f"f{suffix}", "--removal", "mean", cwd=xor)
    assert outcome.code == 0, outcome.stderr
    assert f"wrote f{suffix}" in outcome.stderr
    assert (xor / f"f{suffix}").stat().st_size > 5000


def test_a_table_for_people(xor, invoke, monkeypatch):
    monkeypatch.setattr("mmkit.cli.console.Console.json", False)
    monkeypatch.setenv("COLUMNS", "80")
    outcome = invoke("contribution", "--limit", 40, "--by-class", "--removal", "zero", cwd=xor)
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith("runs/latest on xor test: 40 samples")
    named = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert named[:4] == ["gradient", "ablation, zero", "Shapley, zero", "ablation, mean"]
    assert set(named[7:]) == {"yes", "no"}
    assert max(map(len, lines)) <= 80


def test_pairs_of_a_model_that_compares(colours, colour_model, invoke):
    outcome = invoke("contribution", "--by-class", cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    assert {one["class"] for one in outcome.lines if "class" in one} == {"red", "green", "blue"}
    whole = [one for one in outcome.lines if "class" not in one]
    assert len(whole) == 14
    record = json.loads((colour_model.folder / "eval/data-test-contribution.json").read_text())
    # each of three pictures with its two captions
    assert record["n"] == {"image": 6, "text": 6, "rows": 3}
    assert record["of"] == "similarity of the pairs"
    assert record["support"]["all"] == pytest.approx(1, abs=1e-5)
    # shuffled away, either leaves pairs that do not match
    assert shares(whole, "ablation", "shuffle")["image"] == pytest.approx(0.5, abs=0.05)


def test_a_model_that_tells_no_pairs_apart_gains_nothing(colours, colour_model, invoke):
    """Every caption names another colour: pairs are less alike than what they are on average."""
    other = {"red": "green", "green": "blue", "blue": "red"}
    colour_model.readers["text"].prepare = lambda text: " ".join(other.get(word, word) for word in text.split())
    outcome = invoke("contribution", cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    for removal in ("mean", "shuffle"):
        assert shares(outcome.lines, "shapley", removal) == {"image": None, "text": None}
    assert "warning: nothing contributes" in outcome.stderr and "ignored" not in outcome.stderr
    assert "warning: there are only 3 samples: of fewer than 20, the intervals are too narrow" in outcome.stderr


def test_a_model_that_compares_is_not_told_to_align(colours, colour_model, invoke, monkeypatch):
    monkeypatch.setattr("mmkit.workflows.contribution.Contribution.ignored", lambda self, removal: ["text"])
    outcome = invoke("contribution", cwd=colours.parent)
    assert "warning: text is ignored (Shapley share below 5%): " in outcome.stderr
    assert "if it does, train longer\n" in outcome.stderr and "align" not in outcome.stderr


def test_questions_about_pictures(asked, invoke, tmp_path):
    shutil.copytree(asked / "runs/answers", tmp_path / "run")
    outcome = invoke("contribution", "--data", asked / "shapes", "--model", "run", "--limit", 10, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert {one["modality"] for one in outcome.lines} == {"image", "question"}


@pytest.mark.parametrize(
    ("args", "code", "message", "hint"),
    [
        (["--model", "runs/classes"], 1, "the model decides by its image alone: nothing to share, runs/classes", "fusion-mid"),
        (["--model", "runs/answers"], 1, "the dataset has no column for question, ", "it has: image, captions, label"),
        (["--model", "runs/both", "--limit", "1"], 1, "fewer than two rows have all that it takes, ", None),
        (["--data", "shapes", "--model", "runs/answers", "--limit", "1"], 1, "fewer than two rows have all that it takes", None),
        (["-o", "f.csv"], 2, "cannot draw a .csv, f.csv", "one of .png"),
        (["--samples", "f.xlsx"], 2, "cannot write a table as .xlsx, f.xlsx", "one of .csv"),
        (["--removal", "noise"], 2, "no such removal 'noise', --removal", "known: mean, shuffle, zero"),
    ],
)
def test_what_cannot_be_said_is_one_line(asked, invoke, args, code, message, hint):
    outcome = invoke("contribution", "--data", "colours", *args, cwd=asked)
    assert (outcome.code, outcome.stdout) == (code, ""), outcome.stderr
    error, *told = outcome.stderr.splitlines()
    assert error.startswith("error: ") and message in error
    assert not hint or hint in told[0]
