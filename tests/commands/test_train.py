"""`mmkit train` as a user types it."""

import json
import tomllib

import pytest


@pytest.fixture
def folder(run, tmp_path):
    """A folder of its own that sees the shared dataset."""
    (tmp_path / "data").symlink_to(run / "data")
    return tmp_path


def config(path):
    return tomllib.loads((path / "config.toml").read_text())


def rows(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_stdout_is_the_run_folder_and_latest_points_to_it(invoke, folder):
    outcome = invoke("train", "--steps", 3, cwd=folder)
    assert (outcome.code, outcome.stdout) == (0, "runs/clip-data-1\n")
    assert (folder / "runs/latest").resolve() == folder / "runs/clip-data-1"
    assert "estimate  3 steps" in outcome.stderr
    assert invoke("train", "--steps", 3, cwd=folder).stdout == "runs/clip-data-2\n"


def test_what_was_automatic_is_written_resolved(invoke, folder):
    invoke("train", "--steps", 4, "--lr", "1e-3", "--set", "train.warmup=50%", "--name", "mine", cwd=folder)
    written = config(folder / "runs/mine")
    assert written["train"]["steps"] == 4
    assert written["train"]["lr"] == 1e-3
    assert written["train"]["warmup"] == 2
    assert written["data"]["image"]["size"] == 48
    assert written["encoder"]["image"]["dim"] == 64
    assert written["run"]["finished"] == 4


def test_metrics_have_the_contract_keys(invoke, folder):
    invoke("train", "--steps", 4, "--name", "m", cwd=folder)
    lines = rows(folder / "runs/m")
    train = [line for line in lines if "train/loss" in line]
    expected = {"step", "epoch", "train/loss", "train/loss/itc", "train/lr", "train/logit_scale", "train/samples_per_second"}
    assert expected <= set(train[-1])
    assert train[-1]["step"] == 4
    assert any("val/image_retrieval_recall@1" in line for line in lines)


def test_a_run_that_is_finished_resumes_to_nothing(invoke, folder):
    invoke("train", "--steps", 2, "--name", "m", cwd=folder)
    before = (folder / "runs/m/model.safetensors").read_bytes()
    outcome = invoke("train", "--resume", "latest", cwd=folder)
    assert outcome.code == 0
    assert "finished" in outcome.stderr
    assert (folder / "runs/m/model.safetensors").read_bytes() == before


def test_resume_auto_starts_where_there_is_nothing(invoke, folder):
    assert invoke("train", "--steps", 2, "--resume", "auto", cwd=folder).stdout == "runs/clip-data-1\n"
    assert invoke("train", "--steps", 2, "--resume", "auto", cwd=folder).stdout.endswith("clip-data-1\n")


def test_force_moves_a_run_aside(invoke, folder):
    invoke("train", "--steps", 2, "--name", "m", cwd=folder)
    refused = invoke("train", "--steps", 2, "--name", "m", cwd=folder)
    assert refused.code == 1
    assert "error: the run exists, runs/m" in refused.stderr
    assert invoke("train", "--steps", 3, "--name", "m", "--force", cwd=folder).code == 0
    assert config(folder / "runs/m")["train"]["steps"] == 3
    assert config(folder / "runs/m.old-1")["train"]["steps"] == 2


def test_the_same_seed_gives_the_same_weights(invoke, folder):
    for name in ("a", "b"):
        invoke("train", "--steps", 3, "--name", name, "--quiet", cwd=folder)
    a, b = ((folder / "runs" / n / "model.safetensors").read_bytes() for n in ("a", "b"))
    assert a == b


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["nowhere"], 1, "error: no such dataset folder, nowhere"),
        (["--recipe", "clpi"], 1, "hint: did you mean clip?"),
        (["--set", "train.warmpu=3"], 1, "hint: did you mean warmup?"),
        (["--set", "encoder.image.kind=vti"], 1, "hint: did you mean vit?"),
        (["--set", "encoder.image.dpeth=3"], 1, "error: unknown key encoder.image.dpeth"),
        (["--set", "loss.itc.kind=infonse"], 1, "hint: did you mean infonce?"),
        (["--set", 'data.image.augment=["corp"]'], 1, "hint: did you mean crop?"),
        (["--batch-size", "5000"], 1, "error: the batch of 5000 is larger than the data, 180 training rows"),
        (["--device", "cuda:9"], 1, "error: no device 'cuda:9' here"),
        (["--stpes", "3"], 2, "error: No such option"),
        (["--name", "a/b"], 2, "error: --name 'a/b' is no folder name"),
        (["--resume", "runs/none"], 1, "error: nothing to resume, runs/none"),
        (["--size", "huge"], 1, "error: no size 'huge'"),
    ],
)
def test_bad_input_is_one_line(invoke, folder, args, code, message):
    outcome = invoke("train", *args, cwd=folder)
    assert outcome.code == code
    assert message in outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    assert not list(folder.glob("runs/*"))


def test_errors_are_json_with_json(invoke, folder):
    outcome = invoke("train", "nowhere", "--json", cwd=folder)
    assert json.loads(outcome.stderr)["error"] == "no such dataset folder"
