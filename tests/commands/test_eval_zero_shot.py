"""`mmkit eval zero-shot` and `mmkit eval cost` as a user types them."""

from __future__ import annotations

import json
import os
import shutil

import pyarrow.parquet as pq
import pytest

from tests.conftest import COLOURS, coloured_row, write_dataset


def test_classes_of_the_label_column(colours, colour_model, invoke):
    outcome = invoke("eval", "zero-shot", cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert (record["task"], record["n"], record["model"]) == ("zeroshot_classification", {"image": 3}, "runs/colours")
    # the only colour of the training rows, but all classes of all splits
    assert record["prompt"] == {
        "from": "the captions of the data",
        "templates": ["a {c} picture"],
        "classes": ["blue", "green", "red"],
        "classes_from": "column label",
    }
    assert record["metrics"] == {"acc1": 1, "mean_per_class_recall": 1}
    assert record["chance"] == {"acc1": pytest.approx(1 / 3), "mean_per_class_recall": pytest.approx(1 / 3)}
    assert record["interval"].keys() == record["metrics"].keys()
    assert record["majority"] == {"acc1": pytest.approx(1 / 3)}
    folder = colour_model.folder / "eval"
    assert sorted(os.listdir(folder)) == [f"data-test-zero-shot.{rest}" for rest in ("confusion.png", "json", "rows.parquet")]
    rows = pq.read_table(folder / "data-test-zero-shot.rows.parquet").to_pydict()
    assert (rows["id"], rows["target"], rows["predicted"]) == ([*COLOURS], [*COLOURS], [*COLOURS])
    assert all(0.34 < p < 1 for p in rows["probability"])
    assert rows["acc1"] == [True] * 3


def test_classes_and_templates_as_typed(colours, colour_model, invoke, tmp_path):
    (tmp_path / "names.json").write_text('{"red": "a thing of blue", "green": "green stuff", "blue": "red wine"}')
    outcome = invoke("eval", "zero-shot", "--classes", "names.json", "--templates", "see {}", "--figure", "f.png", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert record["metrics"]["acc1"] == pytest.approx(1 / 3), "the colour of the name is what is looked for"
    assert record["prompt"]["classes_from"] == "names.json"
    assert (tmp_path / "f.png").stat().st_size > 1000
    (record,) = invoke("eval", "zero-shot", "--classes", "red,green", "--templates", "openai", cwd=tmp_path).lines
    assert (len(record["prompt"]["templates"]), record["prompt"]["from"]) == (80, "openai")
    assert record["metrics"] == {"acc1": pytest.approx(2 / 3), "mean_per_class_recall": pytest.approx(2 / 3)}
    assert record["counts"] == {"classes": 2, "rows_without_label": 0, "labels_outside_classes": 1}


def test_rows_of_several_labels_or_none(colour_model, invoke, tmp_path):
    labels = [["blue", "red"], ["green"], ["red"], [], None]
    rows = [coloured_row(f"{i}", "red") | {"label": label} for i, label in enumerate(labels)]
    write_dataset(tmp_path / "data", {"test": rows})
    outcome = invoke("eval", "zero-shot", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert (record["n"], record["counts"]["rows_without_label"]) == ({"image": 3}, 2)
    assert record["metrics"]["acc1"] == pytest.approx(2 / 3)
    assert record["chance"]["acc1"] == pytest.approx((2 / 3 + 1 / 3 + 1 / 3) / 3)


@pytest.mark.parametrize(
    ("options", "code", "error"),
    [
        (["--classes", "cat,dog"], 1, "none of the labels is among the classes, --classes and data test\nhint: the classes: cat"),
        (["--classes", "cats.txt"], 1, "no such file, cats.txt"),
        (["--classes", "red"], 1, "there is one class alone, 'red', and nothing to tell it from, --classes"),
        (["--templates", "a photo"], 2, "no templates are called 'a photo', --templates"),
        (["--format", "mdx"], 2, "no such format 'mdx', --format\nhint: did you mean md?"),
        (["--format", "md", "-o", "f.csv"], 2, "--format md is not what this file is named for, f.csv\nhint: -o f.md"),
        (["-o", "f.xlsx"], 2, "results cannot be written as .xlsx, f.xlsx\nhint: -o f.json, .md, .csv or .tex"),
    ],
)
def test_what_cannot_be_is_said(colours, colour_model, invoke, options, code, error):
    outcome = invoke("eval", "zero-shot", *options, cwd=colours.parent)
    assert (outcome.code, outcome.stdout) == (code, "")
    assert f"error: {error}" in outcome.stderr


def test_classes_that_a_model_reads_alike_are_refused(colours, run, invoke):
    long = "red " * 60
    words = ["--model", run / "runs/latest", "--classes", f"{long}one,{long}two"]
    outcome = invoke("eval", "zero-shot", "--data", colours, *words)
    assert outcome.code == 1
    assert "the model reads the classes" in outcome.stderr and "alike" in outcome.stderr


def test_json_or_a_table(colours, colour_model, invoke):
    outcome = invoke("eval", "recall@k", "--format", "md", "--json", cwd=colours.parent)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert json.loads(outcome.stderr)["error"] == "--json or --format: which?"


def test_words_of_zero_shot_alone(colours, colour_model, invoke):
    outcome = invoke("eval", "recall@k", "--classes", "a,b", cwd=colours.parent)
    assert outcome.code == 2
    assert "error: --classes is of zero-shot, which is not measured\nhint: mmkit eval zero-shot --classes …" in outcome.stderr


def test_data_without_labels(colour_model, invoke, tmp_path):
    rows = [{key: value for key, value in coloured_row("a", "red").items() if key != "label"}]
    write_dataset(tmp_path / "data", {"test": rows}, {"image": "image", "captions": "text"})
    outcome = invoke("eval", "zero-shot", cwd=tmp_path)
    assert outcome.code == 1
    assert f"error: the dataset has no label column, {tmp_path / 'data'}\nhint: it has: image, text" in outcome.stderr


def test_a_classifier_compares_nothing(asked, invoke, tmp_path):
    outcome = invoke("eval", "zero-shot", "--data", asked / "colours", "--model", asked / "runs/classes", cwd=tmp_path)
    assert outcome.code == 1
    assert "error: the model compares nothing: it has no loss of pairs" in outcome.stderr


def test_a_figure_of_every_confusion(asked, invoke, tmp_path):
    (tmp_path / "f-2.png").write_text("mine")
    shutil.copytree(asked / "runs/both", tmp_path / "both")
    ask = ["eval", "classify", "zero-shot", "--data", asked / "colours", "--model", "./both", "--figure", "f.png"]
    assert "and is not one that mmkit wrote, f-2.png" in invoke(*ask, cwd=tmp_path).stderr
    (tmp_path / "f-2.png").unlink()
    outcome = invoke(*ask, "--classes", "red,green", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert sorted(path.name for path in tmp_path.glob("f*")) == ["f-1.png", "f-2.png"]
    assert outcome.lines[1]["counts"]["labels_outside_classes"] == 2


def test_names_that_no_font_here_can_draw_are_said(colours, colour_model, invoke, monkeypatch):
    monkeypatch.setattr("mmkit.views.fonts.CJK", ())
    ask = ["eval", "zero-shot", "--templates", "{} red", "--figure", "f.png", "--force"]
    assert "boxes" not in invoke(*ask, cwd=colours.parent).stderr
    (colours.parent / "n.json").write_text('{"red": "红色", "green": "绿色", "blue": "蓝色"}')
    outcome = invoke(*ask, "--classes", "n.json", cwd=colours.parent)
    assert outcome.stderr.count("no font here has Chinese or Japanese characters") == 1


def test_cost_beside_recall_in_one_table(run, invoke, tmp_path):
    (tmp_path / "data").symlink_to(run / "data")
    shutil.copytree(run / "runs/latest", tmp_path / "runs/a")
    name, step = "runs/a", "runs/a/checkpoints/step-00000005"
    ask = ["eval", "cost", "recall@1", "--model", name, "--model", step, "--limit", 20, "--batch-size", 4]
    outcome = invoke(*ask, "--format", "md", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    head, rule, *rows = [line for line in outcome.stdout.splitlines() if line.startswith("|")]
    assert head.startswith("| model | parameters | ms per image | ms per text |")
    assert "| image R@1 |" in head
    assert [row.split("|")[1].strip() for row in rows] == [name, step, "chance"]
    assert {line.count("|") for line in (head, rule, *rows)} == {12}
    records = invoke(*ask, "--json", cwd=tmp_path).lines
    assert [(record["model"], record["task"]) for record in records] == [
        (model, task) for model in (name, step) for task in ("cost", "zeroshot_retrieval")
    ]


def test_a_table_of_ours_is_replaced_and_a_file_of_others_is_not(colours, colour_model, invoke, tmp_path):
    for suffix in (".md", ".csv", ".tex"):
        ask = ["eval", "recall@1", "-o", f"t{suffix}"]
        for _ in range(2):
            outcome = invoke(*ask, cwd=tmp_path)
            assert (outcome.code, outcome.stdout) == (0, ""), outcome.stderr
        assert f"wrote t{suffix}" in outcome.stderr
        assert "image" in (tmp_path / f"t{suffix}").read_text()
        (tmp_path / f"t{suffix}").write_text("mine")
        assert invoke(*ask, cwd=tmp_path).code == 1
        assert (tmp_path / f"t{suffix}").read_text() == "mine"
        assert invoke(*ask, "--force", cwd=tmp_path).code == 0
        assert (tmp_path / f"t{suffix}.old-1").read_text() == "mine"


def test_results_as_clip_benchmark_builds_them(colours, colour_model, invoke, tmp_path):
    """Each file is one row: its metrics and the rest of the object, `model_fullname` the model, a space and `pretrained`, as
    clip_benchmark/cli.py `main_build` has it."""
    import csv

    assert invoke("eval", "recall@1", "zero-shot", "cost", "-o", "r.json", cwd=tmp_path).code == 0
    paths = [tmp_path / f"r-{i}.json" for i in (1, 2, 3)]
    rows, columns = [], set()
    for path in paths:
        data = json.loads(path.read_text())
        row = {**data["metrics"], **data}
        del row["metrics"]
        row["model_fullname"] = row["model"] + " " + row["pretrained"]
        columns |= row.keys()
        rows.append(row)
    with open(tmp_path / "benchmark.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, fieldnames=sorted(columns))
        writer.writeheader()
        writer.writerows(rows)
    with open(tmp_path / "benchmark.csv", newline="") as f:
        recall, zero_shot, cost = csv.DictReader(f)
    for row, task in ((recall, "zeroshot_retrieval"), (zero_shot, "zeroshot_classification"), (cost, "cost")):
        assert (row["task"], row["dataset"], row["language"]) == (task, "data", "en")
        assert (row["model"], row["pretrained"], row["model_fullname"]) == ("runs/colours", "", "runs/colours ")
    assert (float(recall["image_retrieval_recall@1"]), recall["acc1"]) == (1.0, "")
    assert (float(zero_shot["acc1"]), float(zero_shot["mean_per_class_recall"])) == (1.0, 1.0)
    assert float(cost["ms_per_image"]) > 0
