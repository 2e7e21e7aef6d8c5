"""`mmkit train` as a user types it."""

import json
import os
import shutil
import subprocess
import sys
import tomllib

import pytest
from PIL import Image

from tests.encoders.test_pretrained import checkpoint


@pytest.fixture
def folder(run, tmp_path):
    """A folder of its own that sees the shared dataset."""
    (tmp_path / "data").symlink_to(run / "data")
    return tmp_path


@pytest.fixture
def trained(run, folder):
    """A folder of its own that also has the shared run, ./runs/clip-data-1 of 5 steps."""
    shutil.copytree(run / "runs", folder / "runs", symlinks=True)
    return folder


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


def test_metrics_have_the_contract_keys(run):
    lines = rows(run / "runs/latest")
    train = [line for line in lines if "train/loss" in line]
    expected = {"step", "epoch", "train/loss", "train/loss/itc", "train/lr", "train/logit_scale", "train/samples_per_second"}
    assert expected <= set(train[-1])
    assert train[-1]["step"] == 5
    assert any("val/image_retrieval_recall@1" in line for line in lines)


def test_a_run_that_is_finished_resumes_to_nothing(invoke, trained):
    before = (trained / "runs/latest/model.safetensors").read_bytes()
    outcome = invoke("train", "--resume", "latest", cwd=trained)
    assert outcome.code == 0
    assert "finished" in outcome.stderr
    assert (trained / "runs/latest/model.safetensors").read_bytes() == before


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
        (["--recipe", "clpi"], 2, "hint: did you mean clip?"),
        (["--set", "train.warmpu=3"], 2, "hint: did you mean warmup?"),
        (["--set", "encoder.image.kind=vti"], 2, "hint: did you mean vit?"),
        (["--set", "encoder.image.dpeth=3"], 2, "error: unknown key encoder.image.dpeth"),
        (["--set", "loss.itc.kind=infonse"], 2, "hint: did you mean infonce?"),
        (["--set", 'data.image.augment=["corp"]'], 2, "hint: did you mean crop?"),
        (["--batch-size", "5000"], 1, "error: the batch of 5000 is larger than the data, 180 training rows"),
        (["--device", "cuda:9"], 1, "error: no device 'cuda:9' here"),
        (["--stpes", "3"], 2, "error: No such option"),
        (["--name", "a/b"], 2, "error: --name 'a/b' is no folder name"),
        (["--resume", "runs/none"], 1, "error: nothing to resume, runs/none"),
        (["--steps", "0"], 2, "error: train.steps = 0 is not at least 1, --steps"),
        (["--steps", "3 bananas"], 2, "error: train.steps = '3 bananas' has an unknown unit, --steps\nhint: e.g. 500"),
        (["--epochs", "0"], 2, "error: train.epochs = 0.0 is not above 0, --epochs"),
        (["--lr", "-1"], 2, "error: train.lr = -1.0 is not at least 0, --lr"),
        (["--lr", "nan"], 2, "error: train.lr = nan is not at least 0, --lr"),
        (["--report-to", "tensorboard,foo"], 2, "error: cannot report to 'foo', --report-to"),
        (["--device", "foo"], 2, "error: no such device 'foo', --device"),
        (["--config", "wrong.toml"], 1, "error: train.steps = 0 is not at least 1, wrong.toml"),
        (["--size", "huge"], 2, "error: size = 'huge' is none of tiny, small, base, large, --size"),
    ],
)
def test_bad_input_is_one_line(invoke, folder, args, code, message):
    (folder / "wrong.toml").write_text("[train]\nsteps = 0\n")
    outcome = invoke("train", *args, cwd=folder)
    assert outcome.code == code
    assert message in outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    assert not list(folder.glob("runs/*"))


def test_errors_are_json_with_json(invoke, folder):
    outcome = invoke("train", "nowhere", "--json", cwd=folder)
    assert json.loads(outcome.stderr)["error"] == "no such dataset folder"


def test_without_val_the_last_weights_are_the_model(invoke, run, tmp_path):
    table = tmp_path / "rows.jsonl"
    from mmkit.data.shards import open_dataset

    lines = []
    for row in open_dataset(run / "data").rows("train", ["id", "image", "captions"]):
        (tmp_path / f"{row['id']}.png").write_bytes(row["image"]["bytes"])
        lines.append(json.dumps({"image": f"{row['id']}.png", "captions": row["captions"]}))
    table.write_text("\n".join(lines))
    made = invoke("prep", "table", "data", "--source", table, "--splits", "train:0.8,test:0.2", "--quiet", cwd=tmp_path)
    assert made.code == 0, made.stderr
    outcome = invoke("train", "--steps", 4, "--name", "m", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert config(tmp_path / "runs/m")["run"]["weights"] == "step 4, the last"
    last = tmp_path / "runs/m/checkpoints/step-00000004/model.safetensors"
    assert (tmp_path / "runs/m/model.safetensors").read_bytes() == last.read_bytes()
    assert invoke("eval", "recall@k", cwd=tmp_path).lines[0]["split"] == "test"


def test_a_dataset_without_captions_is_said(invoke, colours, tmp_path):
    manifest = colours / "dataset.json"
    value = json.loads(manifest.read_text())
    value["columns"] = {"image": "image", "label": "label"}
    manifest.write_text(json.dumps(value))
    outcome = invoke("train", cwd=tmp_path)
    assert outcome.code == 1
    assert "error: the dataset has no text column" in outcome.stderr
    assert "hint: it has: image, label" in outcome.stderr


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed_names_its_extra(invoke, folder, monkeypatch, tracker):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    outcome = invoke("train", "--steps", 2, "--report-to", tracker, cwd=folder)
    assert outcome.code == 1
    assert f"hint: pip install 'mmkit[{tracker}]'" in outcome.stderr


def test_an_unknown_tracker_names_the_nearest(invoke, folder):
    assert "did you mean tensorboard?" in invoke("train", "--report-to", "tensorbord", cwd=folder).stderr


def torchrun(folder, *args):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "mmkit"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=240)


def test_two_processes_train_as_one(invoke, folder):
    """torchrun splits the batch; the losses are those of one process, each after the updates before it.

    At a low rate: Adam's first step is the gradient's sign, which rounding decides where the gradient is nearly zero.
    """
    args = ["train", "--steps", "4", "--quiet", "--lr", "1e-5", "--set", "train.log_every=1"]
    assert invoke(*args, "--name", "one", cwd=folder).code == 0
    both = torchrun(folder, *args, "--name", "two")
    assert both.returncode == 0, both.stderr
    assert both.stdout == "runs/two\n"
    one, two = ([r["train/loss"] for r in rows(folder / "runs" / n) if "train/loss" in r] for n in ("one", "two"))
    assert two == pytest.approx(one, abs=1e-5)


def test_two_processes_lose_patience_together(folder):
    still = ["--lr", "1e-12", "--set", "train.eval_every=1", "--patience", "2"]
    both = torchrun(folder, "train", "--steps", "50", "--quiet", *still)
    assert both.returncode == 0, both.stderr
    assert config(folder / "runs/latest")["run"]["finished"] == 3


def test_a_recipe_of_ones_own_names_the_run(invoke, folder):
    (folder / "recipes").mkdir()
    (folder / "recipes/mine.toml").write_text('base = "clip"\n')
    outcome = invoke("train", "--recipe", "recipes/mine.toml", "--steps", 2, cwd=folder)
    assert (outcome.code, outcome.stdout) == (0, "runs/mine-data-1\n")


def test_steps_and_epochs_together_are_refused(invoke, folder):
    assert invoke("train", "--steps", 5, "--epochs", 3, cwd=folder).code == 2


def test_dry_run_of_a_frozen_encoder_draws_and_caches_nothing(invoke, folder, monkeypatch):
    monkeypatch.setenv("MMKIT_CACHE", str(folder / "cache"))
    outcome = invoke("train", "--steps", 7, "--lock-image", "--lock-text", "--dry-run", "-o", "sheet.png", cwd=folder)
    assert outcome.code == 0, outcome.stderr
    assert (folder / "sheet.png").stat().st_size > 10_000
    assert "estimate  7 steps" in outcome.stderr
    assert not (folder / "cache").exists()


def test_dry_run_shows_and_trains_nothing(invoke, folder):
    outcome = invoke("train", "--steps", 7, "--dry-run", "-o", "sheet.png", cwd=folder)
    assert outcome.code == 0, outcome.stderr
    assert tomllib.loads(outcome.stdout)["train"]["steps"] == 7
    assert "estimate  7 steps" in outcome.stderr
    assert "memory    about" in outcome.stderr
    assert (folder / "sheet.png").stat().st_size > 10_000
    assert not (folder / "runs").exists()


def test_dry_run_draws_over_its_own_picture_only(invoke, folder):
    for _ in range(2):
        outcome = invoke("train", "--steps", 7, "--dry-run", cwd=folder)
        assert outcome.code == 0, outcome.stderr
    Image.new("RGB", (4, 4)).save(folder / "dry-run.png")
    refused = invoke("train", "nowhere", "--dry-run", cwd=folder)
    assert refused.code == 1
    assert "error: the file exists and is not one that mmkit wrote, dry-run.png" in refused.stderr
    assert invoke("train", "--steps", 7, "--dry-run", "--force", cwd=folder).code == 0
    assert Image.open(folder / "dry-run.png.old-1").size == (4, 4)


def test_recomputed_activations_of_a_checkpoint_raise_no_warning(invoke, folder, recwarn):
    checkpoint("vit", folder / "vit")
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "vit/preprocessor_config.json").write_text(json.dumps(settings))
    outcome = invoke("train", "--steps", 2, "--image-encoder", "./vit", "--grad-checkpoint", cwd=folder)
    assert outcome.code == 0, outcome.stderr
    assert not [str(w.message) for w in recwarn if w.category is FutureWarning]


def test_a_printed_recipe_lists_every_key_and_trains(invoke, folder):
    shown = invoke("recipes", "show", "siglip", cwd=folder)
    assert '# train.warmup = "5%"  # linear warm-up, a duration' in shown.stdout
    assert "# stage.N.until = …" in shown.stdout
    (folder / "mine.toml").write_text(shown.stdout)
    assert invoke("train", "--recipe", "mine.toml", "--dry-run", cwd=folder).code == 0
    assert tomllib.loads(shown.stdout)["loss"]["itc"]["kind"] == "sigmoid"


def test_a_finished_run_has_a_model_card(run):
    card = (run / "runs/latest/README.md").read_text()
    measured = [row for row in rows(run / "runs/latest") if "val/mean_recall" in row]
    val = max(measured, key=lambda row: (row["val/mean_recall"], row["step"]))
    assert card.startswith("---\nlibrary_name: mmkit\n")
    assert f"| image_retrieval_recall@1 | {val['val/image_retrieval_recall@1']:.3f} |" in card
    assert "5 steps of" in card and f"step {val['step']}, best on val" in card


@pytest.mark.parametrize(
    ("name", "chosen", "tags", "uses"),
    [
        ("classes", "acc1", "classify, image, classification", ["predict picture.jpg", "eval classify --data ./data"]),
        (
            "answers",
            "vqa_accuracy",
            "fusion-mid, image-text, visual-question-answering",
            ['answer picture.jpg "what is it?"', "eval vqa --data ./data"],
        ),
        (
            "both",
            "mean_recall",
            "clip, image-text, retrieval, classification",
            [
                'retrieve "a sentence" --in ./pictures',
                "predict picture.jpg",
                "eval recall@k --data ./data",
                "eval classify --data ./data",
            ],
        ),
    ],
)
def test_a_card_says_what_the_model_is_for(asked, name, chosen, tags, uses):
    card = (asked / f"runs/{name}/README.md").read_text()
    assert f"\ntags: [{tags}, mmkit]\n" in card
    use = card.partition("```sh\n")[2].partition("```")[0]
    assert use.splitlines() == [f"mmkit {line} --model {name}" for line in uses]
    assert ("shared space" in card) == (name == "both")
    best = max((r for r in rows(asked / f"runs/{name}") if f"val/{chosen}" in r), key=lambda r: (r[f"val/{chosen}"], r["step"]))
    assert f" on val at step {best['step']}" in card
    shown = "image_retrieval_recall@1" if name == "both" else chosen
    assert f"| {shown} | {best[f'val/{shown}']:.3f} |" in card


@pytest.mark.parametrize(("name", "chosen"), [("classes", "acc1"), ("answers", "vqa_accuracy"), ("both", "mean_recall")])
def test_what_weights_are_chosen_by_stands_first_among_what_val_gives(asked, name, chosen):
    measured = [[key for key in row if key.startswith("val/")] for row in rows(asked / f"runs/{name}")]
    assert {keys[0] for keys in measured if keys} == {f"val/{chosen}"}
