"""The hints of train, each followed as tests/following.py says: what it names is typed, and the error is gone."""

import shutil
import tomllib

import pytest

from mmkit.workflows import fit, plan
from tests.conftest import COLOURS, coloured_row, write_dataset
from tests.following import follow, said

DRY = "train --dry-run --force -o dry.png"


@pytest.fixture(scope="module")
def trained(invoke, tmp_path_factory):
    """A folder with ./data, 18 rows of three colours, and the run ./runs/colours; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [coloured_row(f"{colour}{n}", colour, [f"a {colour} picture {n}"]) for n in range(6) for colour in COLOURS]
    write_dataset(folder / "data", {"train": rows, "val": rows[:3], "test": rows[:6]})
    assert invoke("train", "--steps", 2, "--name", "colours", cwd=folder).code == 0
    return folder


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    for module in (fit, plan):
        monkeypatch.setattr(module, "check_packages", lambda names: None)
    (tmp_path / "data").symlink_to(trained / "data")
    shutil.copytree(trained / "runs", tmp_path / "runs", symlinks=True)
    return tmp_path


@pytest.mark.parametrize(
    "typed",
    [
        # a value of another form
        "--set train.betas=0.9",
        "--set train.betas=0.9,0.99",
        "--set train.betas=[0.9]",
        "--set train.betas=2",
        "--set data.image.mean=0.5",
        "--set data.image.crop_scale=0.5",
        "--set data.image.augment=crop,flip",
        "--set train.report_to=tensorboard",
        "--set train.amp=False",
        "--set train.grad_checkpoint=yes",
        "--set train.lr=.001",
        "--set train.batch_size=8.0",
        "--set train.steps=1e2",
        "--steps 1e2",
        "--set project=linear",
        "--set loss.itc=sigmoid",
        "--set encoder.image=cnn",
        "--set stage=3",
        # a table that lacks something
        "--set loss.new.weight=0.5",
        """--set 'loss.new.between=["image", "text"]'""",
        """--set 'loss.itc.between=["image"]'""",
        # what does not fit together
        "--batch-size 5000",
        "--set project.kind=none --set project.dim=32",
        "--set project.kind=none --set encoder.image.dim=32",
        """--set 'project.kind={image = "none"}' --set project.dim=32""",
        # fine-tuning
        "--interpolate 0.5",
        """--tune lora --set 'stage=[{train=["project.*"]}]'""",
        "--tune lora --image-encoder cnn --lock-text",
        # stages
        "--set 'stage=[{train=[]}]'",
        """--set 'stage=[{train=["*"], until="10%"}, {train=["!project.*"], lr=0.1}]'""",
        """--set 'stage=[{train=["project.*"]}, {}]'""",
        """--steps 20 --set 'stage=[{until=12}, {until=4}, {}]'""",
        """--steps 20 --set 'stage=[{until="50%"}, {until=40}, {}, {}]'""",
        """--steps 2 --set 'stage=[{until=1}, {until=2}, {}]'""",
    ],
)
def test_what_a_hint_says_to_type(invoke, folder, typed):
    follow(invoke, folder, f"{DRY} {typed}")


def test_a_loss_of_pairs_has_an_anchor_where_it_names_no_pair(invoke, folder):
    outcome = invoke(*f"{DRY} --set loss.new.kind=infonce".split(), cwd=folder)
    assert outcome.code == 0, outcome.stderr
    assert tomllib.loads(outcome.stdout)["loss"]["new"] == {"kind": "infonce", "anchor": "text"}


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ("--set train.warmpu=3", "warmpu"),
        ("--set trian.lr=0.1", "trian"),
        ("--set data.image.sise=32", "sise"),
        ("--set encoder.image.layesr=1", "layesr"),
        ("--set encoder.imag.dim=32", "imag"),
        ("--set encoder.image.kind=cnnn", "cnnn"),
        ("--set loss.itcc.weight=2", "itcc"),
        ("--set loss.itc.wieght=2", "wieght"),
        ("--set loss.new.kind=infonse", "infonse"),
        ("""--set 'loss.itc.between=["image", "txt"]'""", "txt"),
        ("""--set 'project.kind={imag = "linear"}'""", "imag"),
        ("""--set 'data.image.augment=["corp"]'""", "corp"),
        ("""--set 'stage=[{train=["projection.*"]}]'""", "projection.*"),
        ("""--set 'stage=[{train=["*", "!encoder.imag.*"]}]'""", "!encoder.imag.*"),
        ("""--set 'stage=[{train=["heads"]}]'""", "heads"),
        ("--tune gradul", "gradul"),
        ("""--tune lora --set 'train.lora_targets=["valeu"]'""", "valeu"),
        ("--size tny", "tny"),
        ("--recipe clpi", "clpi"),
        ("--report-to tensorbord", "tensorbord"),
        ("--set train.steps=soon", "soon"),
        ("--set train.steps='3 bananas'", "3 bananas"),
        ("--steps 10%", "10%"),
        ("--set train.warmup=soon", "soon"),
        ("--set train.eval_every='3 bananas'", "3 bananas"),
        ("""--steps 1000000 --set 'stage=[{until="soon"}, {}]'""", "soon"),
        ("--device cuda:9", "cuda:9"),
        ("--set train.lr", "--set train.lr"),
    ],
)
def test_each_word_that_a_hint_names_for_a_wrong_one(invoke, folder, typed, wrong):
    follow(invoke, folder, f"{DRY} {typed}", wrong)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [("betas = 0.9", "betas"), ("amp = 'yes'", "amp"), ("batch_size = 8.0", "batch_size"), ("report_to = 'wandb'", "report_to")],
)
def test_the_hint_for_a_file_is_its_line(invoke, folder, wrong, key):
    """What a file says wrongly stays wrong whatever is typed beside it."""
    (folder / "c.toml").write_text(f"[train]\n{wrong}\nseed = 3\n")
    error, hint = said(invoke("train", "--dry-run", "--config", "c.toml", cwd=folder))
    assert error.endswith(", c.toml") and hint.startswith(f"{key} = ")
    (folder / "c.toml").write_text(f"[train]\n{hint}\nseed = 3\n")
    assert invoke("train", "--dry-run", "--config", "c.toml", cwd=folder).code == 0


def test_a_stage_of_a_file_is_mended_by_what_is_typed(invoke, folder):
    (folder / "c.toml").write_text('[[stage]]\ntrain = ["project.*"]\nuntil = 5\n[[stage]]\ntrain = []\n')
    (typed,) = follow(invoke, folder, f"{DRY} --steps 20 --config c.toml")
    assert "until = 5" in typed


def test_widths_that_differ_are_no_width_of_the_shared_space(invoke, folder):
    _, hint = said(invoke("train", "--set", "project.kind=none", "--set", "encoder.image.dim=32", cwd=folder))
    assert "project.dim" not in hint
