"""Levels, kinds, durations and the messages of the configuration."""

import pytest

from mmkit.config import build, duration, merge, parse_set, recipe, recipes, resolve, to_dict, write_toml
from mmkit.errors import UserError


def test_set_takes_toml_values_and_falls_back_to_a_string():
    assert parse_set("train.steps=200") == {"train": {"steps": 200}}
    assert parse_set("train.warmup=10%") == {"train": {"warmup": "10%"}}
    assert parse_set('data.image.augment=["crop"]') == {"data": {"image": {"augment": ["crop"]}}}
    assert parse_set("encoder.image.kind=pretrained") == {"encoder": {"image": {"kind": "pretrained"}}}


def test_another_kind_replaces_the_table_and_the_same_kind_merges():
    lower = {"encoder": {"image": {"kind": "vit", "layers": 3}}}
    assert merge(lower, {"encoder": {"image": {"kind": "cnn"}}}) == {"encoder": {"image": {"kind": "cnn"}}}
    assert merge(lower, {"encoder": {"image": {"kind": "vit", "dim": 32}}})["encoder"]["image"] == {
        "kind": "vit",
        "layers": 3,
        "dim": 32,
    }
    assert merge(lower, {"encoder": {"image": {"layers": 1}}})["encoder"]["image"] == {"kind": "vit", "layers": 1}


@pytest.mark.parametrize(("upper", "left"), [({"steps": 5}, {"steps": 5}), ({"epochs": 2.0}, {"epochs": 2.0})])
def test_steps_and_epochs_drop_each_other(upper, left):
    assert merge({"train": {"steps": 100}}, {"train": upper})["train"] == left
    assert merge({"train": {"epochs": 9.0}}, {"train": upper})["train"] == left


def test_later_levels_win(tmp_path):
    (tmp_path / "c.toml").write_text("[train]\nlr = 0.1\nseed = 3\n")
    config = resolve("clip", tmp_path / "c.toml", [parse_set("train.lr=0.2")])
    assert (config.train.lr, config.train.seed, config.recipe) == (0.2, 3, "clip")


@pytest.mark.parametrize(
    ("sets", "message", "hint"),
    [
        (["train.warmpu=1"], "unknown key train.warmpu", "did you mean warmup?"),
        (["trian.lr=1"], "unknown key trian", "did you mean train?"),
        (["data.image.sise=32"], "unknown key data.image.sise", "did you mean size?"),
        (["train.lr=fast"], "train.lr = 'fast' is not a number", ""),
        (["train.batch_size=true"], "train.batch_size = True is not a whole number", ""),
        (["train=3"], "train is a table, not 3", ""),
    ],
)
def test_wrong_keys_and_values_are_named(sets, message, hint):
    with pytest.raises(UserError) as e:
        resolve("clip", None, [parse_set(s) for s in sets])
    assert (e.value.what, e.value.hint) == (message, hint)


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError) as e:
        recipe("clpi")
    assert e.value.hint == "did you mean clip?"


def test_every_recipe_builds_and_survives_its_own_toml(tmp_path):
    assert "clip" in recipes()
    for name in recipes():
        config = resolve(name, None, [])
        write_toml(tmp_path / "config.toml", config)
        import tomllib

        again = build(tomllib.loads((tmp_path / "config.toml").read_text()))
        assert to_dict(again) == to_dict(config)


@pytest.mark.parametrize(
    ("value", "steps"),
    [(500, 500), ("2 epochs", 20), ("1 epoch", 10), ("1000 samples", 10), ("1 min", 120), ("10%", 30), ("2.5 %", 8), ("7", 7)],
)
def test_durations(value, steps):
    assert duration(value, batch_size=100, rows=1000, total=300, seconds_per_step=0.5) == steps


@pytest.mark.parametrize(
    ("value", "message"), [("soon", "d = 'soon' is not a duration"), ("3 weeks", "d = '3 weeks' has an unknown unit")]
)
def test_bad_durations(value, message):
    with pytest.raises(UserError) as e:
        duration(value, 1, 1, key="d")
    assert e.value.what == message


@pytest.mark.parametrize("base", ['"mine.toml"', "3", '"clpi"'])
def test_a_base_that_is_no_other_recipe(tmp_path, monkeypatch, base):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(f"base = {base}\n")
    with pytest.raises(UserError) as e:
        recipe("mine.toml")
    assert "recipe" in str(e.value)
