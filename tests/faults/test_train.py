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
import torch

ARGS = ["train", "--steps", "30", "--batch-size", "32", "--set", "train.checkpoint_every=4", "--quiet"]


@pytest.fixture
def folder(run, tmp_path):
    (tmp_path / "data").symlink_to(run / "data")
    return tmp_path


@pytest.fixture(scope="module")
def reference(run, invoke, tmp_path_factory):
    """The weights of the run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "data").symlink_to(run / "data")
    done = invoke(*ARGS, "--name", "whole", cwd=folder)
    assert done.code == 0, done.stderr
    return folder / "runs/whole"


@pytest.fixture(scope="module")
def brief(run, invoke, tmp_path_factory):
    """A folder with ./runs/r, finished after 2 steps."""
    folder = tmp_path_factory.mktemp("brief")
    (folder / "data").symlink_to(run / "data")
    done = invoke("train", "--steps", 2, "--name", "r", "--quiet", cwd=folder)
    assert done.code == 0, done.stderr
    return folder


@pytest.fixture
def finished(brief, folder):
    """A folder of its own with that run."""
    shutil.copytree(brief / "runs", folder / "runs", symlinks=True)
    return folder


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


@pytest.mark.parametrize("step", [0, 12])
def test_killed_and_resumed_ends_with_the_same_weights(folder, invoke, reference, step):
    process = start(folder)
    wait_for_step(folder, step)
    time.sleep(random.random() * 0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if step:
        assert invoke("eval", "recall@k", "--json", cwd=folder).code == 0, "runs/latest loads at any time"
    resumed = invoke("train", "--resume", "auto", "--quiet", cwd=folder)
    assert resumed.code == 0, resumed.stderr
    for name in ("model.safetensors", "tokenizer.json"):
        assert (folder / "runs/r" / name).read_bytes() == (reference / name).read_bytes(), f"killed about step {step}"
    last = "checkpoints/step-00000030/optimizer.safetensors"
    assert (folder / "runs/r" / last).read_bytes() == (reference / last).read_bytes()
    assert [r["step"] for r in rows(folder / "runs/r")] == [r["step"] for r in rows(reference)]


def rows(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_prints_the_line_that_resumes(folder, invoke, reference, number):
    process = start(folder)
    wait_for_step(folder, 4)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    line = next(line for line in err.splitlines() if "--resume" in line)
    assert line == "warning: stopped; go on with: mmkit train --resume runs/r"
    assert invoke(*line.partition("mmkit ")[2].split(), "--quiet", cwd=folder).code == 0
    assert (folder / "runs/r/model.safetensors").read_bytes() == (reference / "model.safetensors").read_bytes()


def test_a_loss_that_is_not_finite_stops_with_step_samples_and_checkpoint(invoke, folder):
    args = ["train", "--steps", 12, "--batch-size", 16, "--set", "train.checkpoint_every=2", "--set", "train.clip=0"]
    outcome = invoke(*args, "--lr", "1e30", "--name", "r", "--set", "train.warmup=1", cwd=folder)
    assert outcome.code == 1
    error = next(line for line in outcome.stderr.splitlines() if line.startswith("error:"))
    assert "the loss is not finite at step" in error
    assert "samples train-" in error
    assert "checkpoint" in outcome.stderr


def test_resuming_on_another_dataset_is_refused(invoke, finished):
    folder = finished
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
    # the limit stands for a full disk, with an error number of its own
    assert done.stderr.startswith("error: cannot write (File too large), runs/r/"), done.stderr
    assert "bug of mmkit" not in done.stderr
    assert not list((tmp_path / "runs/r").glob("**/*.partial"))
    assert (tmp_path / "runs/r/config.toml").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("train.steps=0", "train.steps = 0 is not at least 1"),
        ("train.steps=-1 epochs", "train.steps = '-1 epochs' is not a duration"),
        ("train.epochs=-1", "train.epochs = -1.0 is not above 0"),
        ("train.lr=nan", "train.lr = nan is not at least 0"),
        ("train.batch_size=0", "train.batch_size = 0 is not at least 2"),
        ("train.eval_every=0", "train.eval_every = 0 is not at least 1"),
        ("train.accumulate=0", "train.accumulate = 0 is not at least 1"),
        ("train.betas=[0.9]", "train.betas = [0.9] does not have 2 values"),
        ("data.image.size=0", "data.image.size = 0 is not at least 8"),
        ("data.image.resize=sqare", "data.image.resize = 'sqare' is none of crop, square"),
        ("data.image.crop_scale=[0.5]", "data.image.crop_scale = [0.5] does not have 2 values"),
        ("project.dim=0", "project.dim = 0 is not at least 1"),
        ("encoder.image.heads=0", "these values make no vit encoder"),
        ("encoder.image.dim=wide", "these values make no vit encoder"),
        ("encoder.image.stem=linaer", "these values make no vit encoder (stem is conv or linear, not 'linaer')"),
        ("encoder.text.pool=maen", "these values make no transformer encoder (pool is eos or mean or cls, not 'maen')"),
        ("loss.itc.temperature=0", "these values make no infonce loss"),
        ('loss.itc.between=["image", "txet"]', "there is no txet encoder, loss.itc.between"),
        ('loss.itc.between=["image", "smell"]', "there is no input 'smell', loss.itc.between"),
        ("loss.itc.anchor=smell", "there is no input 'smell', loss.itc.anchor"),
        ('loss.itc.between=["image"]', "['image'] are not two modalities or more, loss.itc.between"),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_there_is_a_run(invoke, folder, value, message):
    outcome = invoke("train", "--set", value, cwd=folder)
    assert outcome.code == 2
    assert f"error: {message}" in outcome.stderr
    assert "bug of mmkit" not in outcome.stderr
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("when", ["measured", "training"])
def test_out_of_memory_names_the_batch_that_fits(invoke, folder, monkeypatch, when):
    from mmkit.training import loop, measure, step

    def refuse(model, batch, parts, precision, *draw):
        if batch.rows // parts > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step.gradients(model, batch, parts, precision, *draw)

    monkeypatch.setattr(measure if when == "measured" else loop, "gradients", refuse)
    args = ["train", "--steps", 4, "--batch-size", 64, "--quiet"]
    outcome = invoke(*args, cwd=folder)
    assert outcome.code == 1
    assert "error: out of memory: 64 samples at once do not fit on the device" in outcome.stderr
    fits = "--accumulate 4 (the same result, slower) or --batch-size 16" if when == "measured" else "--accumulate 2"
    assert f"hint: {fits}" in outcome.stderr
    assert invoke(*args, "--accumulate", 4, cwd=folder).code == 0


@pytest.mark.parametrize("name", ["optimizer.safetensors", "state.json", "model.safetensors"])
def test_a_damaged_checkpoint_is_named(invoke, finished, name):
    folder = finished
    config = folder / "runs/r/config.toml"
    config.write_text(config.read_text().replace("steps = 2", "steps = 4").replace("finished = 2", "started = 0"))
    path = folder / "runs/r/checkpoints/step-00000002" / name
    path.write_bytes(path.read_bytes()[:9])
    outcome = invoke("train", "--resume", "runs/r", "--quiet", cwd=folder)
    assert outcome.code == 1
    assert "damaged" in outcome.stderr
    assert str(path.relative_to(folder)) in outcome.stderr
    assert "bug of mmkit" not in outcome.stderr


def unfinished(run):
    config = run / "config.toml"
    config.write_text(config.read_text().replace("finished = ", "started = "))


def test_latest_is_the_run_to_go_on_with(invoke, folder):
    """Killed before its first checkpoint, a run is not yet what runs/latest names, and is still the one to resume."""
    for name in ("first", "second"):
        assert invoke("train", "--steps", 2, "--name", name, "--quiet", cwd=folder).code == 0
    shutil.rmtree(folder / "runs/second/checkpoints")
    unfinished(folder / "runs/second")
    (folder / "runs/latest").unlink()
    (folder / "runs/latest").symlink_to("first")
    outcome = invoke("train", "--resume", "latest", "--quiet", "--lr", "0.5", cwd=folder)
    assert outcome.code == 0
    assert outcome.stdout == "runs/second\n"
    assert (folder / "runs/latest").resolve().name == "second"


def test_what_is_typed_beside_resume_and_differs_is_said(invoke, finished):
    folder = finished
    outcome = invoke("train", "--resume", "latest", "--steps", 2, "--lr", 0.5, "--batch-size", 8, cwd=folder)
    assert outcome.code == 0
    new = " (a new run from its weights: --init runs/r)\n"
    assert f"warning: runs/r goes on as it was configured; without effect: train.batch_size, train.lr{new}" in outcome.stderr
    outcome = invoke("train", "--resume", "latest", "--lock-image", "--recipe", "siglip", "--steps", 2, cwd=folder)
    assert outcome.code == 0
    assert f"without effect: --recipe, --lock-image{new}" in outcome.stderr
    outcome = invoke("train", "--resume", "latest", "--recipe", "clip", "--steps", 2, cwd=folder)
    assert "without effect" not in outcome.stderr


def test_a_run_moved_aside_is_still_the_latest(invoke, finished):
    folder = finished
    failed = invoke(
        "train", "--name", "r", "--force", "--lr", "1e30", "--set", "train.clip=0", "--set", "train.warmup=1", cwd=folder
    )
    assert failed.code == 1
    assert invoke("eval", "recall@k", "--quiet", cwd=folder).code == 0
    assert (folder / "runs/latest").resolve().name in ("r", "r.old-1")
