"""Training that is killed, stopped, or goes wrong."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

ARGS = ["train", "--steps", "30", "--batch-size", "32", "--set", "train.checkpoint_every=4", "--quiet"]


@pytest.fixture
def folder(run, tmp_path):
    (tmp_path / "data").symlink_to(run / "data")
    return tmp_path


@pytest.fixture(scope="module")
def reference(run, mmkit, tmp_path_factory):
    """The weights of the run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "data").symlink_to(run / "data")
    done = mmkit([*ARGS, "--name", "whole"], folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs/whole"


def start(folder):
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "mmkit", *ARGS, "--name", "r"],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(folder, step):
    log, deadline = folder / "runs/r/metrics.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline:
        if step == 0 and log.exists():
            return
        if any(int(p.name[5:]) >= step for p in folder.glob("runs/r/checkpoints/step-*") if p.name[5:].isdigit()):
            return
        time.sleep(0.005)
    raise AssertionError("training did not get there")


@pytest.mark.parametrize("step", [0, random.Random().choice([4, 8, 12, 16, 20])])
def test_killed_and_resumed_ends_with_the_same_weights(folder, mmkit, reference, step):
    process = start(folder)
    wait_for_step(folder, step)
    time.sleep(random.random() * 0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if step:
        assert mmkit(["eval", "recall@k", "--json"], folder).returncode == 0, "runs/latest loads at any time"
    resumed = mmkit(["train", "--resume", "auto", "--quiet"], folder)
    assert resumed.returncode == 0, resumed.stderr
    for name in ("model.safetensors", "tokenizer.json"):
        assert (folder / "runs/r" / name).read_bytes() == (reference / name).read_bytes(), f"killed about step {step}"
    last = "checkpoints/step-00000030/optimizer.safetensors"
    assert (folder / "runs/r" / last).read_bytes() == (reference / last).read_bytes()
    assert [r["step"] for r in rows(folder / "runs/r")] == [r["step"] for r in rows(reference)]


def rows(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_prints_the_line_that_resumes(folder, mmkit, reference, number):
    process = start(folder)
    wait_for_step(folder, 4)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    line = next(line for line in err.splitlines() if "--resume" in line)
    assert line == "warning: stopped; go on with: mmkit train --resume runs/r"
    assert mmkit([*line.partition("mmkit ")[2].split(), "--quiet"], folder).returncode == 0
    assert (folder / "runs/r/model.safetensors").read_bytes() == (reference / "model.safetensors").read_bytes()


def test_a_loss_that_is_not_finite_stops_with_step_samples_and_checkpoint(invoke, folder):
    args = ["train", "--steps", 12, "--batch-size", 16, "--set", "train.checkpoint_every=2", "--set", "train.clip=0"]
    outcome = invoke(*args, "--lr", "1e30", "--name", "r", "--set", "train.warmup=1", cwd=folder)
    assert outcome.code == 1
    error = next(line for line in outcome.stderr.splitlines() if line.startswith("error:"))
    assert "the loss is not finite at step" in error
    assert "samples train-" in error
    assert "checkpoint" in outcome.stderr


def test_resuming_on_another_dataset_is_refused(invoke, folder, run):
    invoke("train", "--steps", 2, "--name", "r", cwd=folder)
    config = folder / "runs/r/config.toml"
    config.write_text(config.read_text().replace("finished = 2", "started = 0"))
    (folder / "data").unlink()
    assert invoke("prep", "shapes", "data", "--limit", 60, cwd=folder).code == 0
    outcome = invoke("train", "--resume", "runs/r", cwd=folder)
    assert outcome.code == 1
    assert "error: the dataset is not the one this run was trained on, ./data" in outcome.stderr


def test_a_full_disk_is_said_and_what_was_written_stays(run, tmp_path):
    """A limit on the size of files stands in for a full disk: writes beyond it fail with an OSError."""
    shutil.copytree(run / "data", tmp_path / "data")
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000));"
        "from mmkit.cli.app import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "train", "--steps", "2", "--name", "r", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs/r").glob("**/*.partial"))
    assert (tmp_path / "runs/r/config.toml").exists()
