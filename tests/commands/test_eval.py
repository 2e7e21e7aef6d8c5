from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmkit.vectors_writer import EmbeddingsWriter
from tests.conftest import coloured_row, write_dataset


@pytest.fixture
def vectors(tmp_path):
    """An embeddings file of unknown make: five test images and texts that match, and one train pair that does not."""
    path = tmp_path / "pairs.arrow"
    eye = np.eye(6, dtype=np.float32)
    with EmbeddingsWriter(path, 6) as writer:
        for modality, last in (("image", 0), ("text", 1)):
            text = None if modality == "image" else list("uvwxyz")
            writer.write(list("abcdef"), modality, eye[[0, 1, 2, 3, 4, 5 * last]], ["test"] * 5 + ["train"], text)
    return path


def test_json_in_the_layout_of_the_interface(colours, colour_model, invoke):
    outcome = invoke("eval", "recall@k", cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert record["dataset"] == "data"
    assert record["model"] == "runs/colours"
    assert record["task"] == "zeroshot_retrieval"
    assert (record["pretrained"], record["language"], record["split"]) == ("", "en", "test")
    assert record["n"] == {"image": 3, "text": 6}
    assert record["metrics"]["image_retrieval_recall@1"] == record["metrics"]["text_retrieval_recall@1"] == 1
    assert set(record["chance"]) == set(record["metrics"])
    assert record["chance"]["image_retrieval_recall@1"] == pytest.approx(1 / 3)
    assert {"parameters", "ms_per_image", "ms_per_text"} == set(record["cost"])
    assert (record["resolution"], record["precision"], record["model_hash"]) == (2, "fp32", "colours")
    assert record["data_hash"]
    assert record["counts"]["queries_without_positive"] == {"image_retrieval": 0, "text_retrieval": 0}


def test_the_result_and_the_ranks_stay_in_the_run(colours, colour_model, invoke):
    assert invoke("eval", "recall@k", cwd=colours.parent).code == 0
    folder = colour_model.folder / "eval"
    assert json.loads((folder / "data-test.json").read_text())["n"] == {"image": 3, "text": 6}
    ranks = pq.read_table(folder / "data-test.ranks.parquet")
    assert ranks.column_names == ["query", "caption", "direction", "rank"]
    assert ranks.num_rows == 9
    assert set(ranks["direction"].to_pylist()) == {"image_retrieval", "text_retrieval"}


@pytest.mark.parametrize(
    ("name", "data", "metric"), [("both", "colours", "recall@1,2"), ("both", "colours", "classify"), ("answers", "shapes", "vqa")]
)
def test_every_metric_has_its_interval(asked, invoke, tmp_path, name, data, metric):
    (tmp_path / "data").symlink_to(asked / data)
    shutil.copytree(asked / "runs" / name, tmp_path / "run")
    ask = ["eval", metric, "--model", "run", "--limit", 20]
    (record,) = invoke(*ask, cwd=tmp_path).lines
    assert set(record["interval"]) == set(record["metrics"])
    assert all(low <= record["metrics"][key] <= high for key, (low, high) in record["interval"].items())
    assert all(low < high for key, (low, high) in record["interval"].items() if "median" not in key)
    (bare,) = invoke(*ask, "--no-intervals", cwd=tmp_path).lines
    assert "interval" not in bare
    assert bare["metrics"] == record["metrics"]


def test_ks_split_and_limit(colours, colour_model, invoke):
    (record,) = invoke("eval", "recall@1,2", "--split", "train", cwd=colours.parent).lines
    assert (record["split"], record["n"]["image"]) == ("train", 1)
    assert "image_retrieval_recall@2" in record["metrics"]
    assert "image_retrieval_recall@5" not in record["metrics"]
    (record,) = invoke("eval", "recall@k", "--limit", "2", cwd=colours.parent).lines
    assert record["n"]["image"] == 2
    (record,) = invoke("eval", "recall@k", cwd=colours.parent).lines
    assert record["n"]["image"] == 3, "the limited run was taken for the whole"


def test_an_embeddings_file_alone(vectors, invoke):
    outcome = invoke("eval", "recall@1", "--embeddings", vectors)
    (record,) = outcome.lines
    assert (record["split"], record["n"]) == ("test", {"image": 5, "text": 5})
    assert record["metrics"]["image_retrieval_recall@1"] == 1
    assert "does not say which model made it" in outcome.stderr
    (record,) = invoke("eval", "recall@1", "--embeddings", vectors, "--split", "train").lines
    assert record["n"] == {"image": 1, "text": 1}


def test_an_embeddings_file_alone_needs_no_torch(vectors):
    code = (
        "import sys; from mmkit.cli.app import main; "
        f"code = main(['eval', 'recall@k', '--embeddings', {str(vectors)!r}]); "
        "sys.exit(code or 10 * any(name in sys.modules for name in ('torch', 'transformers', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_out_is_one_object_a_file(vectors, invoke, tmp_path):
    outcome = invoke("eval", "recall@k", "--embeddings", vectors, "-o", tmp_path / "r.json")
    assert outcome.stdout == ""
    assert json.loads((tmp_path / "r.json").read_text())["task"] == "zeroshot_retrieval"
    assert len(invoke("eval", "recall@1", "--embeddings", vectors, "-o", "-").lines) == 1


def test_several_models_are_numbered_files(colours, colour_model, invoke):
    folder = colours.parent
    outcome = invoke("eval", "recall@k", "--model", "a", "--model", "b", "-o", "r.json", "--json", cwd=folder)
    assert len(outcome.lines) == 2
    assert sorted(path.name for path in folder.glob("r*.json")) == ["r-1.json", "r-2.json"]
    assert json.loads((folder / "r-2.json").read_text()) == outcome.lines[1]


def test_each_pair_of_inputs_is_a_result_and_a_file_of_its_own(invoke, tmp_path):
    with EmbeddingsWriter(tmp_path / "three.arrow", 3) as writer:
        for name in ("image", "series", "text"):
            text = list("xyz") if name == "text" else None
            writer.write(list("abc"), name, np.eye(3, dtype=np.float32), ["test"] * 3, text)
    outcome = invoke("eval", "recall@1", "--embeddings", "three.arrow", "-o", "r.json", "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    pairs = [["image", "series"], ["image", "text"], ["series", "text"]]
    assert [list(record["n"]) for record in outcome.lines] == pairs
    assert [list(json.loads((tmp_path / f"r-{i}.json").read_text())["n"]) for i in (1, 2, 3)] == pairs
    assert outcome.lines[2]["metrics"]["series_retrieval_recall@1"] == 1


def test_a_result_of_ours_is_replaced_and_a_file_of_others_is_not(vectors, invoke, tmp_path):
    ask = ["eval", "recall@k", "--embeddings", vectors, "-o", "r.json"]
    for _ in range(2):
        assert invoke(*ask, cwd=tmp_path).code == 0
    assert sorted(path.name for path in tmp_path.glob("r*")) == ["r.json"]
    for text in ("{}", "[1]", "no json", '{"task": "mine", "metrics": {}}'):
        (tmp_path / "r.json").write_text(text)
        refused = invoke(*ask, cwd=tmp_path)
        assert refused.code == 1
        assert refused.stderr == (
            "error: the file exists and is not one that mmkit wrote, r.json\nhint: --force moves it aside\n"
        )
        assert (tmp_path / "r.json").read_text() == text
    assert invoke(*ask, "--force", cwd=tmp_path).code == 0
    assert (tmp_path / "r.json.old-1").read_text() == text
    assert json.loads((tmp_path / "r.json").read_text())["task"] == "zeroshot_retrieval"


def test_numbered_files_are_looked_at_before_any_model(invoke, tmp_path):
    (tmp_path / "r-2.json").write_text("mine")
    outcome = invoke("eval", "recall@k", "--model", "absent-a", "--model", "absent-b", "-o", "r.json", cwd=tmp_path)
    assert "error: the file exists and is not one that mmkit wrote, r-2.json" in outcome.stderr
    assert os.listdir(tmp_path) == ["r-2.json"]


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="no such device here")
def test_results_go_into_a_device(vectors):
    line = f"{sys.executable} -m mmkit eval recall@k --embeddings {vectors} -o /dev/stdout | cat"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["task"] == "zeroshot_retrieval"


def test_ks_asked_for_one_by_one_are_one_result(vectors, invoke):
    (record,) = invoke("eval", "recall@5", "recall@1", "--embeddings", vectors).lines
    assert [key for key in record["metrics"] if key.startswith("image_retrieval_recall")] == [
        "image_retrieval_recall@1",
        "image_retrieval_recall@5",
    ]


def test_a_limit_keeps_all_texts_of_the_first_images(colours, colour_model, invoke):
    whole = invoke("embed", "--split", "test", cwd=colours.parent).stdout.strip()
    for where in (["--data", "data"], ["--embeddings", whole]):
        (record,) = invoke("eval", "recall@1", "--limit", 2, *where, cwd=colours.parent).lines
        assert record["n"] == {"image": 2, "text": 4}, where
        assert record["chance"]["image_retrieval_recall@1"] == pytest.approx(1 / 2)
        assert record["counts"]["queries_without_positive"] == {"image_retrieval": 0, "text_retrieval": 0}


def test_the_ceiling_stands_beside_every_recall(colour_model, invoke, tmp_path):
    rows = [coloured_row(f"{c}{i}", c) for c in ("red", "green") for i in range(3)]
    write_dataset(tmp_path / "classes", {"test": rows})
    from mmkit.cli.eval_table import lines_of, one

    record = invoke("eval", "recall@1,3", "--data", "classes", "-o", "-", cwd=tmp_path).lines[0]
    _, columns, table, _ = one(lines_of([record])[0])
    assert columns[-1] == "ceiling"
    assert {row[0]: row[-1] for row in table if "recall" in row[0]} == {
        "image_retrieval_recall@1": "0.333",
        "image_retrieval_recall@3": "1.000",
        "text_retrieval_recall@1": "0.000",
        "text_retrieval_recall@3": "1.000",
    }


def test_tables_for_people(colours, colour_model, invoke):
    from mmkit.cli.eval_table import lines_of, one, several

    record = invoke("eval", "recall@k", cwd=colours.parent).lines[0] | {"interval": {}}
    title, columns, rows, _ = one(lines_of([record])[0])
    assert title == "runs/colours on data test: 3 images, 6 texts"
    assert columns == ["metric", "value", "chance"]
    assert ["image_retrieval_recall@1", "1.000", "0.333"] in rows
    _, wide, lines, _ = several(lines_of([record, record | {"model": "runs/other"}]), 200)
    assert wide[:2] == ["model", "image R@1"]
    assert [line[0] for line in lines] == ["runs/colours", "runs/other", "chance"]


def test_a_trained_run(run, invoke, tmp_path):
    folder = tmp_path / "trained"
    shutil.copytree(run, folder, symlinks=True)
    outcome = invoke("eval", "recall@k", cwd=folder)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert record["n"]["image"] == record["n"]["text"] == 300
    assert record["model"].startswith("runs/clip-data")
    assert record["caption_ceiling"]["image_retrieval_recall@1"] == 1
    assert (folder / "runs" / "latest" / "eval" / "data-test.json").exists()
    assert len(invoke("eval", "recall@k", "--model", "runs/latest", "--model", record["model"], cwd=folder).lines) == 2


@pytest.fixture
def classes(asked, tmp_path):
    """A folder of its own with ./data, one label a row, and the run ./runs/classes."""
    (tmp_path / "data").symlink_to(asked / "colours")
    shutil.copytree(asked / "runs/classes", tmp_path / "runs/classes")
    return tmp_path


def test_classes_with_their_confusion(classes, invoke):
    outcome = invoke("eval", "classify", "--model", "runs/classes", cwd=classes)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert (record["task"], record["n"], record["model"]) == ("classification", {"image": 6}, "runs/classes")
    assert record["metrics"]["acc1"] == 1
    assert record["chance"]["acc1"] == pytest.approx(1 / 3)
    folder = classes / "runs/classes/eval"
    names = ["colours-test-classify.confusion.png", "colours-test-classify.json", "colours-test-classify.rows.parquet"]
    assert sorted(os.listdir(folder)) == names
    assert pq.read_table(folder / names[2])["predicted"].to_pylist() == ["red", "green", "blue"] * 2


def test_labels_that_the_model_does_not_know(classes, invoke, tmp_path):
    ask = ["eval", "classify", "--model", "runs/classes", "--data"]
    known, *others = [coloured_row(f"r{i}", "red") for i in range(4)]
    for row, label in zip(others, ("cat", "dog", "cow"), strict=True):
        row["label"] = label
    write_dataset(tmp_path / "none", {"test": others})
    outcome = invoke(*ask, tmp_path / "none", cwd=classes)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "error: none of the labels of the split is a class of the model, " in outcome.stderr
    assert "hint: the labels: cat, cow, dog; the classes: blue, green, red\n" in outcome.stderr
    write_dataset(tmp_path / "most", {"test": [known, *others]})
    outcome = invoke(*ask, tmp_path / "most", cwd=classes)
    assert "warning: 3 of 4 labels are no class of the model, and count as wrong: cat, cow, dog" in outcome.stderr
    assert outcome.lines[0]["counts"]["labels_outside_vocabulary"] == 3
    write_dataset(tmp_path / "half", {"test": [known, known | {"id": "k"}, *others[:2]]})
    assert "warning" not in invoke(*ask, tmp_path / "half", cwd=classes).stderr


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".html"])
def test_a_figure_of_the_confusion(classes, invoke, suffix):
    ask = ["eval", "classify", "--model", "runs/classes", "--figure", f"f{suffix}"]
    for _ in range(2):  # what is ours is drawn over
        outcome = invoke(*ask, cwd=classes)
        assert outcome.code == 0, outcome.stderr
        assert f"wrote f{suffix}" in outcome.stderr
    (classes / f"f{suffix}").write_text("mine")
    refused = invoke(*ask, cwd=classes)
    assert refused.code == 1
    assert f"error: the file exists and is not one that mmkit wrote, f{suffix}" in refused.stderr
    assert (classes / f"f{suffix}").read_text() == "mine"
    assert invoke(*ask, "--force", cwd=classes).code == 0
    assert (classes / f"f{suffix}.old-1").read_text() == "mine"


def test_a_figure_of_each_of_several_models(classes, invoke):
    models = ["--model", "runs/classes", "--model", "runs/classes/checkpoints/step-00000030"]
    assert invoke("eval", "classify", *models, "--figure", "f.png", "--quiet", cwd=classes).code == 0
    assert sorted(path.name for path in classes.glob("f*")) == ["f-1.png", "f-2.png"]


def test_a_checkpoint_does_not_replace_what_the_run_reached(classes, invoke):
    for model in ("runs/classes", "runs/classes/checkpoints/step-00000030"):
        assert invoke("eval", "classify", "--model", model, "--quiet", cwd=classes).code == 0
    found = {path.name: json.loads(path.read_text())["model"] for path in (classes / "runs/classes/eval").glob("*.json")}
    assert found == {
        "colours-test-classify.json": "runs/classes",
        "colours-test-step-00000030-classify.json": "runs/classes/checkpoints/step-00000030",
    }


def test_what_cannot_be_drawn_is_said(classes, asked, vectors, invoke):
    outcome = invoke("eval", "recall@k", "--embeddings", vectors, "--figure", "f.png", cwd=classes)
    assert outcome.code == 2
    assert (
        "error: --figure draws the confusion of classes, or predicted numbers beside true ones, f.png\nhint: " in outcome.stderr
    )
    outcome = invoke("eval", "classify", "--figure", "f.csv", cwd=classes)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "error: cannot draw a .csv, f.csv" in outcome.stderr
    outcome = invoke("eval", "vqa", "--model", "runs/classes", cwd=classes)
    assert outcome.code == 1
    assert (
        "error: the model was not trained to answer questions (loss kind answers, or lm with answers), runs/classes"
        in outcome.stderr
    )


def test_answers_to_questions(asked, invoke, tmp_path):
    (tmp_path / "data").symlink_to(asked / "shapes")
    shutil.copytree(asked / "runs/answers", tmp_path / "runs/answers")
    outcome = invoke("eval", "vqa", "--limit", 10, "--model", "runs/answers", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert record["task"] == "vqa"
    assert 0 <= record["metrics"]["vqa_accuracy"] <= 1
    assert record["n"]["question"] == record["n"]["answers"] > 10
    assert (tmp_path / "runs/answers/eval/data-test-first10-vqa.json").exists()


def test_a_model_that_compares_nothing_has_no_recall(classes, invoke):
    outcome = invoke("eval", "recall@k", "--model", "runs/classes", cwd=classes)
    assert outcome.code == 1
    assert "error: the model compares nothing: it has no loss of pairs, runs/classes" in outcome.stderr
