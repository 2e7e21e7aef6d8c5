from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmkit.files import sha256

KEYS = ["metric", "a", "b", "difference", "interval", "p", "n"]


@pytest.fixture(scope="module")
def place(asked, invoke, tmp_path_factory):
    """./colours, ./shapes, the runs of `asked`, and ./runs/untrained, a classifier after one step; not to be changed."""
    folder = tmp_path_factory.mktemp("compared")
    for name in ("colours", "shapes"):
        (folder / name).symlink_to((asked / name).resolve())
    shutil.copytree(asked / "runs", folder / "runs", symlinks=True)
    ask = ["train", "colours", "--recipe", "classify", "--name", "untrained", "--steps", 1, "--lr", "1e-6"]
    assert invoke(*ask, cwd=folder).code == 0
    return folder


@pytest.fixture
def here(place, tmp_path):
    shutil.copytree(place, tmp_path / "here", symlinks=True)
    return tmp_path / "here"


def test_a_run_with_itself_gives_no_difference(here, invoke):
    outcome = invoke("compare", "runs/both", "runs/both", "--data", "colours", "--metric", "recall@1", cwd=here)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr.count("runs/both has no result on colours test yet: measured by recall@k") == 1
    assert [list(line) for line in outcome.lines] == [KEYS] * 4
    for line in outcome.lines:
        assert (line["difference"], line["interval"], line["p"]) == (0, [0, 0], 1)
        assert line["a"] == line["b"]


def test_a_trained_and_an_untrained_one_differ(here, invoke):
    """Both are measured first, kept, and not measured again."""
    ask = ["compare", "runs/untrained", "runs/classes", "--split", "train"]
    first = invoke(*ask, cwd=here)
    assert first.code == 0, first.stderr
    assert first.stderr.count("measured by classify") == 2
    assert "only 18 samples" in first.stderr
    (line,) = first.lines
    assert (line["metric"], line["b"], line["n"]) == ("acc1", 1, 18)
    assert line["difference"] == line["b"] - line["a"] > 0.3
    assert line["interval"][0] > 0
    assert line["p"] < 0.01
    again = invoke(*ask, cwd=here)
    assert "measured by" not in again.stderr
    assert again.lines == first.lines
    assert (here / "runs/untrained/eval/colours-train-classify.rows.parquet").exists()


def test_saved_results_need_no_torch(here, invoke):
    assert invoke("eval", "recall@k", "--model", "runs/both", "--data", "colours", cwd=here).code == 0
    code = (
        "import sys; from mmkit.cli.app import main; code = main(['compare', 'runs/both', 'runs/both']); "
        "sys.exit(code or 10 * any(name in sys.modules for name in ('torch', 'transformers', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True).returncode == 0


def test_what_one_was_measured_on_the_other_is_measured_on(here, invoke):
    assert invoke("eval", "classify", "--model", "runs/both", "--data", "colours", "--split", "val", cwd=here).code == 0
    outcome = invoke("compare", "runs/both", "runs/classes", cwd=here)
    assert outcome.code == 0, outcome.stderr
    assert "runs/classes has no result on colours val yet: measured by classify" in outcome.stderr
    assert [line["n"] for line in outcome.lines] == [3]


def test_other_weights_are_measured_again(here, invoke):
    """The result in the run is that of its checkpoint."""
    checkpoint = next(here.glob("runs/untrained/checkpoints/*"))
    shutil.copy(here / "runs/classes/model.safetensors", checkpoint / "model.safetensors")
    assert invoke("eval", "classify", "--model", checkpoint, "--data", "colours", cwd=here).lines[0]["metrics"]["acc1"] == 1
    outcome = invoke("compare", "runs/untrained", "runs/classes", "--split", "test", cwd=here)
    assert "runs/untrained has no result on colours test yet" in outcome.stderr
    assert outcome.lines[0]["a"] < 1


def test_different_data_is_refused_in_one_line(here, invoke):
    for run, data in (("both", "colours"), ("answers", "shapes")):
        metric = "recall@1" if run == "both" else "vqa"
        ask = ["eval", metric, "--model", f"runs/{run}", "--data", data, "--limit", 5]
        assert invoke(*ask, cwd=here).code == 0
    refused = invoke("compare", "runs/both", "runs/answers", cwd=here)
    assert (refused.code, refused.stdout) == (1, "")
    assert refused.stderr == (
        "error: they were measured on different data, runs/both on colours test (recall@k, the first 5), "
        "runs/answers on data test (vqa, the first 5)\nhint: --data FOLDER measures both on it\n"
    )
    tables = [next(here.glob(f"runs/{run}/eval/*.json")) for run in ("both", "answers")]
    refused = invoke("compare", *tables, cwd=here)
    assert refused.code == 1
    assert "error: they were measured on different data" in refused.stderr


def test_the_hint_names_a_metric_of_both_and_a_few_results(here, invoke):
    assert invoke("eval", "recall@k", "--model", "runs/both", "--data", "colours", cwd=here).code == 0
    assert invoke("eval", "classify", "--model", "runs/classes", "--data", "colours", cwd=here).code == 0
    refused = invoke("compare", "runs/both", "runs/classes", cwd=here)
    assert refused.code == 1
    assert refused.stderr.startswith("error: they were measured by different metrics, runs/both on colours test (recall@k), ")
    assert refused.stderr.endswith("hint: --metric classify measures both\n")
    for limit in (2, 3, 4, 5):
        ask = ["eval", "recall@k", "--model", "runs/both", "--data", "colours", "--limit", limit]
        assert invoke(*ask, cwd=here).code == 0
    told = invoke("compare", "runs/both", "runs/classes", cwd=here).stderr.partition(", runs/classes")[0]
    assert told.count("colours test") == 3 and told.endswith(" and 2 more")


def test_runs_of_different_data_are_not_measured_unasked(here, invoke):
    refused = invoke("compare", "runs/classes", "runs/answers", cwd=here)
    assert refused.code == 1
    assert refused.stderr.startswith("error: they were trained on different data, runs/classes on colours and runs/answers on ")


def test_splits_and_metrics_are_picked_by_options(here, invoke):
    for split in ("val", "test"):
        assert (
            invoke("eval", "recall@k", "classify", "--model", "runs/both", "--split", split, "--data", "colours", cwd=here).code
            == 0
        )
    ask = ["compare", "runs/both", "runs/both"]
    whole = invoke(*ask, cwd=here).lines
    assert {line["metric"] for line in whole} >= {"acc1", "image_retrieval_recall@10"}
    assert {line["n"] for line in whole} == {6}
    assert {line["n"] for line in invoke(*ask, "--split", "validation", cwd=here).lines} == {3}
    assert [line["metric"] for line in invoke(*ask, "--metric", "classify", cwd=here).lines] == ["acc1"]
    names = [line["metric"] for line in invoke(*ask, "--metric", "recall@2", cwd=here).lines]
    assert [name for name in names if "median" not in name] == ["image_retrieval_recall@2", "text_retrieval_recall@2"]


def test_checkpoints_of_transformers_are_measured_and_nothing_is_kept(colours, colour_model, invoke):
    colour_model.folder = None
    outcome = invoke("compare", "some/clip", "other/clip", "--metric", "recall@1", cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    assert "some/clip has no result on data test yet" in outcome.stderr
    assert "other/clip has no result on data test yet" in outcome.stderr
    assert {line["b"] for line in outcome.lines} == {1}
    assert not list(colours.parent.rglob("eval/*"))


def test_tables_of_any_metric(invoke, tmp_path):
    for name, values in (("a", [1.0, 2.0, 4.0]), ("b", [4.0, 2.0, 3.0])):
        ids = ["x", "y", "z"] if name == "a" else ["z", "y", "x"]
        pq.write_table(pa.table({"id": ids, "CIDEr": values}), tmp_path / f"{name}.parquet")
    outcome = invoke("compare", "a.parquet", "b.parquet", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    (line,) = outcome.lines
    assert (line["metric"], line["n"]) == ("CIDEr", 3)
    assert line["difference"] == pytest.approx(2 / 3)
    outcome = invoke("compare", "a.parquet", "b.parquet", "-o", "-", cwd=tmp_path)
    assert [(row["id"], row["difference"]) for row in outcome.lines] == [("x", 2), ("y", 0), ("z", 0)]


def test_files_with_every_query_and_a_figure(here, invoke):
    ask = ["compare", "runs/untrained", "runs/classes", "-o", "rows.csv", "--figure", "f.svg"]
    for _ in range(2):  # what is ours is written over
        outcome = invoke(*ask, cwd=here)
        assert outcome.code == 0, outcome.stderr
        assert "wrote rows.csv\nwrote f.svg\n" in outcome.stderr
    with open(here / "rows.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 6
    assert {row["item"] for row in rows} == {f"{colour}{n}: {colour}" for colour in ("red", "green", "blue") for n in range(2)}
    (here / "rows.csv").write_text("mine")
    refused = invoke(*ask, cwd=here)
    assert refused.code == 1
    assert "error: the file exists and is not one that mmkit wrote, rows.csv" in refused.stderr
    assert invoke("compare", "a", "b", "-o", "rows.txt", cwd=here).code == 2
    assert invoke("compare", "a", "b", "--figure", "f.csv", cwd=here).code == 2


def several(folder, better=0, zero_shot=()):
    """A run of which nothing is there but results: of three inputs, those of each two of them and of classes of some."""
    (folder / "eval").mkdir(parents=True)
    (folder / "config.toml").write_text("[data]\n")
    (folder / "model.safetensors").write_bytes(b"weights")
    scope = {"model_hash": sha256(folder / "model.safetensors")[:16], "data_hash": "d", "dataset": "data", "split": "test"}
    ids = [f"r{i}" for i in range(4)]
    for shift, pair in enumerate([("image", "audio"), ("image", "text"), ("audio", "text")]):
        directions = [f"{name}_retrieval" for name in pair for _ in ids]
        ranks = [1.0 + max(0, shift - better) + i for i in range(4)] * 2
        table = {"query": ids * 2, "caption": [""] * 8, "direction": directions, "rank": ranks}
        keep(folder / f"eval/data-test-{'-'.join(pair)}", "ranks", scope | {"n": dict.fromkeys(pair, 4)}, table)
    for name in zero_shot:
        keep(folder / f"eval/data-test-{name}-zero-shot", "rows", scope | {"n": {name: 4}}, {"id": ids, "acc1": [0.0, 1, 1, 1]})
    return folder


def keep(stem, kind, record, table):
    stem.with_name(f"{stem.name}.json").write_text(json.dumps(record))
    pq.write_table(pa.table(table), stem.with_name(f"{stem.name}.{kind}.parquet"))


def test_figures_of_several_pairs_say_of_which(invoke, tmp_path):
    several(tmp_path / "a"), several(tmp_path / "b", better=1)
    outcome = invoke("compare", "a", "b", "--metric", "recall@2", "-o", "q.csv", "--figure", "f.svg", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    found = {line["metric"]: (line["a"], line["b"]) for line in outcome.lines}
    assert len(found) == len(outcome.lines) == 3 * 2 * 2
    assert found["image-audio/image_retrieval_recall@2"] == (0.5, 0.5)
    assert found["image-text/image_retrieval_recall@2"] == (0.25, 0.5)
    assert found["audio-text/text_retrieval_median_rank"] == (4.5, 3.5)
    with open(tmp_path / "q.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len({row["figure"] for row in rows}) == 6
    assert {"audio-text/audio_retrieval rank", "image-audio/audio_retrieval rank"} <= {row["figure"] for row in rows}
    one = "eval/data-test-image-text.json"
    outcome = invoke("compare", f"a/{one}", f"b/{one}", cwd=tmp_path)
    assert all(line["metric"].startswith("image-text/") for line in outcome.lines)


def test_of_two_inputs_the_metrics_are_as_ever(invoke, tmp_path):
    for name in ("a", "b"):
        folder = several(tmp_path / name)
        for path in folder.glob("eval/*-audio*"):
            path.unlink()
        for path in folder.glob("eval/*-image-text.*"):
            path.rename(path.with_name(path.name.replace("-image-text", "")))
    names = [line["metric"] for line in invoke("compare", "a", "b", "--metric", "recall@1", cwd=tmp_path).lines]
    assert names == [f"{name}_retrieval_{what}" for what in ("recall@1", "median_rank") for name in ("image", "text")]
    # one of two inputs and one of three
    several(tmp_path / "c")
    names = [line["metric"] for line in invoke("compare", "a", "c", "--metric", "recall@1", cwd=tmp_path).lines]
    assert names == [f"image-text/{name}_retrieval_{what}" for what in ("recall@1", "median_rank") for name in ("image", "text")]


def test_classes_of_one_input_are_compared_with_those_of_the_same(invoke, tmp_path):
    several(tmp_path / "a", zero_shot=("audio", "image")), several(tmp_path / "b", zero_shot=("image",))
    lines = invoke("compare", "a", "b", "--metric", "zero-shot", cwd=tmp_path).lines
    assert [line["metric"] for line in lines] == ["image/acc1"]
    rows = invoke("compare", "a", "b", "--metric", "zero-shot", "-o", "-", cwd=tmp_path).lines
    assert [row["figure"] for row in rows] == ["image/acc1"] * 4


def test_a_table_for_people(here, invoke, monkeypatch):
    assert invoke("eval", "recall@k", "--model", "runs/both", "--data", "colours", cwd=here).code == 0
    shutil.copytree(here / "runs/both", here / "runs/other")
    path = here / "runs/other/eval/colours-test.ranks.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(3, "rank", pa.array([float(i) + 1 for i in range(len(table))])), path)
    monkeypatch.setattr("mmkit.cli.console.Console.json", False)
    monkeypatch.setenv("COLUMNS", "80")
    outcome = invoke("compare", "runs/both", "runs/other", cwd=here)
    assert outcome.code == 0, outcome.stderr
    assert all(len(line) <= 80 for line in outcome.stdout.splitlines())
    assert "A runs/both, B runs/other" in outcome.stdout
    assert "colours test: 6 queries of 6 samples" in outcome.stdout
    assert "of a median rank, less is better" in outcome.stderr
    assert "a red picture 0" in outcome.stdout.partition("what changed most")[2]


@pytest.mark.parametrize(
    ("sides", "error"),
    [
        (("runs/absent", "runs/classes"), "error: no such run or result, runs/absent\nhint: "),
        (("x.json", "runs/classes"), "error: no such run or result, x.json\nhint: "),
        (("empty.json", "runs/classes"), "error: there is no table of items beside the result, empty.json\nhint: name the run"),
    ],
)
def test_what_is_no_run_and_no_result_is_named(place, invoke, sides, error):
    (place / "empty.json").write_text(json.dumps({}))
    outcome = invoke("compare", *sides, cwd=place)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(error)
