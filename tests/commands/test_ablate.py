"""`mmkit ablate` as a user types it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib

import pyarrow.parquet as pq
import pytest

from mmkit.workflows import ablation_jobs
from mmkit.workflows.ablation import CELLS, LOG
from tests.core import smallest, whole_dataset

STEPS = 4
KINDS = ("--vary", "loss.itc.kind=infonce,sigmoid")
KEYS = ["cell", "drop", "seed", "metrics", "parameters", "seconds", "run", "error"]


@pytest.fixture(scope="module")
def place(run, tmp_path_factory):
    """A folder with ./data, and small.toml and fused.toml, recipes of the smallest size; not to be changed."""
    import tomli_w

    from mmkit.config import to_dict

    folder = tmp_path_factory.mktemp("ablated")
    whole_dataset(run / "data", folder / "data")
    for name, recipe in (("small", "clip"), ("fused", "fusion-late")):
        tables = to_dict(smallest(recipe, folder / "data"))
        tables["data"]["path"] = "data"
        tables["train"] |= {"steps": STEPS, "checkpoint_every": 1}
        (folder / f"{name}.toml").write_text(tomli_w.dumps(tables))
    return folder


@pytest.fixture
def here(place, tmp_path):
    for name in ("data", "small.toml", "fused.toml"):
        (tmp_path / name).symlink_to(place / name)
    return tmp_path


@pytest.fixture(scope="module")
def kinds(place, invoke):
    """The two kinds of loss, with two seeds, in ./kinds; not to be changed."""
    outcome = invoke("ablate", "--recipe", "small.toml", *KINDS, "--seeds", 2, "-o", "kinds", cwd=place)
    assert outcome.code == 0, outcome.stderr
    return place, outcome


def told(rows):
    return [{key: value for key, value in row.items() if key not in ("seconds", "run")} for row in rows]


def weights(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("runs/*-seed*/model.safetensors")}


def test_a_row_a_cell_and_seed_and_the_files(kinds):
    place, outcome = kinds
    rows = outcome.lines
    assert [list(row) for row in rows] == [KEYS] * 4
    assert [(row["cell"]["loss.itc.kind"], row["seed"]) for row in rows] == [
        (k, s) for s in (0, 1) for k in ("infonce", "sigmoid")
    ]
    assert all(row["error"] is None and row["drop"] == [] and row["parameters"] > 0 for row in rows)
    assert all("image_retrieval_recall@1" in row["metrics"] for row in rows)
    assert rows == json.loads((place / "kinds/ablation.json").read_text())["rows"]
    table = list(csv.DictReader((place / "kinds/table.csv").open()))
    of_recall = [row for row in table if row["metric"] == "image_retrieval_recall@1"]
    means = [
        sum(r["metrics"]["image_retrieval_recall@1"] for r in rows if r["cell"]["loss.itc.kind"] == k) / 2
        for k in ("infonce", "sigmoid")
    ]
    assert [float(row["mean"]) for row in of_recall] == pytest.approx(means)
    assert float(of_recall[1]["difference"]) == pytest.approx(means[1] - means[0])
    assert float(of_recall[1]["low"]) <= float(of_recall[1]["difference"]) <= float(of_recall[1]["high"])
    assert (place / "kinds/table.md").read_text().startswith("| cell | seeds | image R@1 | difference |")
    assert (place / "kinds/ablation.png").stat().st_size > 1000
    # a latest of its own, and none beside
    assert (place / "kinds/runs/latest").exists()
    assert not (place / "runs").exists()
    # what differs is what is varied and what follows from it
    assert "loss.itc.kind=sigmoid also differs in loss.itc.bias" in outcome.stderr
    assert (place / "kinds/runs/loss.itc.kind=sigmoid-seed0/eval").is_dir()


def test_a_finished_cell_is_never_run_again_and_more_seeds_only_add(kinds, invoke):
    place, outcome = kinds
    before = weights(place / "kinds")
    again = invoke("ablate", "-o", "kinds", cwd=place)
    assert (again.code, again.stdout) == (0, outcome.stdout)
    more = invoke("ablate", "--recipe", "small.toml", *KINDS, "--seeds", "0,1,2", "-o", "kinds", cwd=place)
    assert len(more.lines) == 6
    assert more.lines[:4] == outcome.lines
    after = weights(place / "kinds")
    assert {path: after[path] for path in before} == before
    invoke("ablate", "-o", "kinds", "--seeds", 2, cwd=place)


def test_a_finished_folder_may_be_renamed_and_opened_from_elsewhere(kinds, invoke, here):
    place, outcome = kinds
    shutil.copytree(place / "kinds", here / "renamed", symlinks=True)
    again = invoke("ablate", "-o", "renamed", cwd=here)
    assert again.code == 0, again.stderr
    assert told(again.lines) == told(outcome.lines)
    assert all(row["run"].startswith("renamed/runs/") and (here / row["run"]).is_dir() for row in again.lines)
    assert (here / "renamed/table.csv").read_text() == (place / "kinds/table.csv").read_text()


def test_a_folder_with_another_base_or_of_others_is_refused(kinds, invoke, here):
    place, _ = kinds
    outcome = invoke("ablate", "--recipe", "small.toml", *KINDS, "--lr", "0.5", "-o", "kinds", cwd=place)
    assert outcome.code == 1
    assert "error: the cells here were trained with train.lr = 0.001, not 0.5, kinds" in outcome.stderr
    assert "hint: --force moves them aside" in outcome.stderr
    # another word for the same data is the same base
    (here / "other").symlink_to(here / "data")
    shutil.copytree(place / "kinds", here / "kinds", symlinks=True)
    same = ("ablate", "other", "--recipe", "small.toml", *KINDS, "--seeds", 2, "-o", "kinds", "--print-commands")
    assert (invoke(*same, cwd=here).stdout, (here / "kinds.old-1").exists()) == ("", False)
    outcome = invoke(*same, "--force", cwd=here)
    assert (len(outcome.stdout.splitlines()), (here / "kinds.old-1/ablation.json").exists()) == (4, True)
    outcome = invoke("ablate", "--recipe", "small.toml", *KINDS, "-o", "data", cwd=here)
    assert "holds no ablation, data" in outcome.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "error: nothing is varied"),
        (("--vary", "loss.itc.kind=infonce,sigmod"), "error: no loss of kind 'sigmod', --vary loss.itc.kind=sigmod"),
        (("--vary", "encoder.image.dimm=8,16"), "error: unknown key encoder.image.dimm, --vary encoder.image.dimm=8"),
        (("--vary", "train.seed=1,2"), "hint: --seeds"),
        (("--vary", "recipe=clip,siglip"), "error: --vary recipe= says the recipes, --recipe"),
        (("--from", "nowhere"), "error: --from says what the base is, --recipe"),
        (("--drop", "image"), "recall compares two modalities"),
        (("--drop", "loss.itx"), "hint: did you mean loss.itc?"),
        ((*KINDS, "--seeds", "0"), "error: --seeds takes how many"),
        ((*KINDS, "--steps", "3", "--epochs", "1"), "leave one out"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(invoke, here, words, said):
    outcome = invoke("ablate", "--recipe", "small.toml", *words, "-o", "out", cwd=here)
    assert outcome.code == 2
    assert said in outcome.stderr
    assert not (here / "out" / "runs").exists()


def test_a_run_that_is_not_there_is_no_base(invoke, here):
    outcome = invoke("ablate", "--from", "runs/nowhere", cwd=here)
    assert (outcome.code, outcome.stderr) == (1, "error: no such run, runs/nowhere\nhint: train one with `mmkit train`\n")


def test_the_unimodal_baselines_are_trained(invoke, here):
    outcome = invoke("ablate", "--recipe", "fused.toml", "--drop", "image,text", "-o", "abl", cwd=here)
    assert outcome.code == 0, outcome.stderr
    assert [row["drop"] for row in outcome.lines] == [[], ["image"], ["text"]]
    whole, *parts = outcome.lines
    assert all(
        row["parameters"] < whole["parameters"] and 0 <= row["metrics"]["vqa_accuracy"] <= 1
        for row in outcome.lines
        if row["drop"]
    )
    made = [tomllib.loads((here / row["run"] / "config.toml").read_text()) for row in outcome.lines]
    assert [list(config["input"]) for config in made] == [["image", "question"], ["question"], ["image"]]
    assert [bool(config["fusion"]) for config in made] == [True, False, False]
    # the questions that a model of the picture alone never sees are the ones that it is measured on
    (tables,) = {tuple(sorted(p.name for p in (here / row["run"]).glob("eval/*.parquet"))) for row in outcome.lines}
    questions = [pq.read_table(here / row["run"] / "eval" / tables[0])["question"].to_pylist() for row in outcome.lines]
    assert questions[0] == questions[1] == questions[2]
    tokenizers = {(here / row["run"] / "tokenizer.json").read_bytes() for row in (whole, parts[0])}
    assert len(tokenizers) == 1
    # --from a run: each part that can go, in turn
    outcome = invoke("ablate", "--from", whole["run"], "-o", "parts", "--print-commands", cwd=here)
    assert outcome.code == 0, outcome.stderr
    assert [line.split()[-3] for line in outcome.stdout.splitlines()] == [
        "whole-seed0",
        "without-image-seed0",
        "without-question-seed0",
    ]


def test_a_cell_that_fails_is_a_row_and_the_others_go_on(invoke, here):
    words = ("ablate", "--recipe", "small.toml", "--vary", "train.lr=1e-3,1e30,2e-3", "-o", "lr")
    outcome = invoke(*words, cwd=here)
    assert outcome.code == 1
    rows = outcome.lines
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert "not finite at step" in rows[1]["error"]
    assert (rows[1]["metrics"], rows[1]["parameters"]) == ({}, None)
    assert "1 failed; --retry runs them again" in outcome.stderr
    before = weights(here / "lr")
    again = invoke(*words, cwd=here)
    assert (again.code, again.stdout) == (1, outcome.stdout)
    again = invoke(*words, "--retry", cwd=here)
    assert told(again.lines) == told(rows)
    assert weights(here / "lr") == before


KILLED = """
import os, signal, sys
import mmkit.training.loop as loop
save = loop._save

def killing(folder, model, optimizer, state, has_val):
    save(folder, model, optimizer, state, has_val)
    if "sigmoid" in folder.name and state["step"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)

loop._save = killing
from mmkit.cli.app import main
main(sys.argv[1:])
"""


def test_killed_in_the_second_cell_it_runs_only_what_is_missing(kinds, here, invoke):
    """SIGKILL after a checkpoint of the second cell: the rows equal the uninterrupted ones to the bit."""
    _, whole = kinds
    words = ["ablate", "--recipe", "small.toml", *KINDS, "--seeds", "2", "-o", "kinds"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=here, env=env, capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL
    second = here / "kinds/runs/loss.itc.kind=sigmoid-seed0"
    cells = sorted(path.parent.name for path in here.glob("kinds/cells/*/cell.json"))
    assert cells == ["loss.itc.kind=infonce-seed0"]
    assert "finished" not in (second / "config.toml").read_text()
    before = weights(here / "kinds")
    outcome = invoke("ablate", "-o", "kinds", cwd=here)
    assert outcome.code == 0, outcome.stderr
    assert told(outcome.lines) == told(whole.lines[:4])
    assert weights(here / "kinds").items() >= {path: at for path, at in before.items() if "infonce" in str(path)}.items()


def test_several_at_once_and_elsewhere(kinds, here, invoke):
    """Commands for other machines, one of which is run, and the rest in two processes: the same rows."""
    _, whole = kinds
    commands = invoke("ablate", "--recipe", "small.toml", *KINDS, "-o", "kinds", "--print-commands", cwd=here).stdout.splitlines()
    assert [line.partition(" && ")[0] for line in commands] == [f"cd {here}"] * 2
    assert commands[1].endswith("mmkit ablate -o kinds --only loss.itc.kind=sigmoid-seed0 --device auto")
    one = invoke(*commands[1].partition("&& mmkit ")[2].split(), cwd=here)
    assert told(one.lines) == told(whole.lines[1:2])
    outcome = invoke("ablate", "-o", "kinds", "--seeds", 2, "--jobs", 2, cwd=here)
    assert outcome.code == 0, outcome.stderr
    assert told(outcome.lines) == told(whole.lines[:4])
    assert invoke("ablate", "-o", "kinds", "--only", "loss.itc.kind=sigmoid-seed7", cwd=here).code == 2


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(here, invoke, monkeypatch):
    import mmkit.training.loop as loop

    words = ("ablate", "--recipe", "small.toml", "--vary", "train.lr=1e-3,2e-3", "-o", "lr")
    log = loop._log

    def stopping(folder, talk, row):
        log(folder, talk, row)
        if folder.name.startswith("train.lr=0.002") and row["step"] == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_log", stopping)
        outcome = invoke(*words, cwd=here)
    assert (outcome.code, outcome.stdout) == (130, "")
    assert "the same command goes on" in outcome.stderr
    outcome = invoke(*words, cwd=here)
    assert outcome.code == 0
    assert len(outcome.lines) == 2


def test_data_that_were_moved_are_followed_by_a_cell_that_has_begun(run, here, invoke, monkeypatch):
    import mmkit.training.loop as loop

    log = loop._log

    def stopping(folder, talk, row):
        log(folder, talk, row)
        if folder.name.startswith("train.lr=0.002") and row["step"] == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_log", stopping)
        assert invoke("ablate", "--recipe", "small.toml", "--vary", "train.lr=1e-3,2e-3", "-o", "lr", cwd=here).code == 130
    # of one cell the run is finished and not measured, of the other it is not finished
    (here / "lr/cells/train.lr=0.001-seed0/cell.json").unlink()
    (here / "data").rename(here / "moved")
    whole_dataset(run / "data", here / "other", gaps=True)
    outcome = invoke("ablate", "-o", "lr", "--data", "other", cwd=here)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "error: the dataset is not the one that the cells here were trained on, other" in outcome.stderr
    one = invoke("ablate", "moved", "-o", "lr", "--only", "train.lr=0.001-seed0", cwd=here)
    outcome = invoke("ablate", "-o", "lr", "--data", "moved", "--workers", 1, cwd=here)
    assert (one.code, outcome.code) == (0, 0), one.stderr + outcome.stderr
    assert [row["error"] for row in outcome.lines] == [None, None]
    assert one.lines == outcome.lines[:1]
    assert {tomllib.loads((here / row["run"] / "config.toml").read_text())["data"]["path"] for row in outcome.lines} == {"moved"}
    # and are found the next time
    assert invoke("ablate", "-o", "lr", cwd=here).stdout == outcome.stdout


def test_recipes_are_varied_too(here, invoke):
    small = ["--set", "train.batch_size=16", "--set", "data.workers=1", "--set", "data.image.size=16", "--steps", 1]
    words = ["ablate", "--vary", "recipe=fusion-late,fusion-mid", *small, "-o", "recipes", "--limit", 32]
    outcome = invoke(*words, cwd=here)
    assert outcome.code == 0, outcome.stderr
    assert [row["cell"] for row in outcome.lines] == [{"recipe": "fusion-late"}, {"recipe": "fusion-mid"}]


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("error: no such device", "failed: its process ended with code 1: error: no such device"),
        (f"error: {ablation_jobs.BUSY}, kinds/cells\nhint: wait for it to end", "another process is at it"),
    ],
)
def test_a_job_that_does_not_begin_says_why(here, invoke, monkeypatch, last, said):
    def spawn(ablation, name, device, env):
        place = ablation.folder / CELLS / name
        place.mkdir(parents=True, exist_ok=True)
        with open(place / LOG, "ab") as log:
            return subprocess.Popen([sys.executable, "-c", f"import sys; sys.exit({last!r})"], stderr=log)

    monkeypatch.setattr(ablation_jobs, "_spawn", spawn)
    outcome = invoke("ablate", "--recipe", "small.toml", *KINDS, "-o", "kinds", "--jobs", 2, cwd=here)
    assert outcome.code == 1 and outcome.stderr.count(said) >= 2, outcome.stderr
    assert len(list(here.glob("kinds/cells/*/cell.json"))) == (2 if "failed" in said else 0)
