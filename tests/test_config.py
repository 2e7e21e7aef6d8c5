"""Levels, kinds, durations and the messages of the configuration."""

import pytest

from mmkit.config import build, merge, one_level, parse_set, recipe, recipes, resolve, to_dict, write_toml
from mmkit.durations import duration
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


EVERYTHING = {key: 1 for key in ("between", "of", "weight", "share", "anchor", "dim", "pool", "layers", "lr_factor", "from")}


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        (("encoder", "text"), []),
        (("loss", "itc"), ["between", "of", "weight", "share", "anchor"]),
        (("project",), ["dim"]),
        (("fusion",), ["dim"]),
    ],
)
def test_another_kind_keeps_what_the_contract_lists_and_nothing_else(path, kept):
    def at(table):
        for part in reversed(path):
            table = {part: table}
        return table

    found = merge(at(EVERYTHING | {"kind": "one"}), at({"kind": "another", "new": 2}))
    assert found == at({"kind": "another", "new": 2, **dict.fromkeys(kept, 1)})
    assert merge(at(EVERYTHING | {"kind": "one"}), at({"kind": "one", "new": 2})) == at(EVERYTHING | {"kind": "one", "new": 2})


def test_another_checkpoint_of_the_same_kind_keeps_the_pool():
    lower = {"encoder": {"text": {"kind": "pretrained", "from": "a", "pool": "mean", "architecture": {"model_type": "bert"}}}}
    assert merge(lower, {"encoder": {"text": {"from": "b"}}})["encoder"]["text"] == {
        "kind": "pretrained",
        "from": "b",
        "pool": "mean",
    }


def test_several_sets_are_one_level_in_any_order():
    texts = ["encoder.text.kind=pretrained", "encoder.text.from=./a", "encoder.text.pool=mean"]
    for order in (texts, texts[::-1]):
        table = merge(recipe("clip"), one_level(map(parse_set, order)))["encoder"]["text"]
        assert table == {"kind": "pretrained", "from": "./a", "pool": "mean"}
    assert one_level(map(parse_set, ["train.steps=5", "train.lr=1", "train.epochs=2"]))["train"] == {"lr": 1, "epochs": 2}
    assert one_level(map(parse_set, ["train.lr=1", "train.lr=2"])) == {"train": {"lr": 2}}


@pytest.mark.parametrize("path", ["stage", "loss", "encoder", "run"])
def test_steps_and_epochs_stand_beside_each_other_outside_train(path):
    assert merge({path: {"steps": 100}}, {path: {"epochs": 2}}) == {path: {"steps": 100, "epochs": 2}}
    assert merge({path: {"a": {"epochs": 2}}}, {path: {"a": {"steps": 1}}}) == {path: {"a": {"epochs": 2, "steps": 1}}}


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
        (["loss=3"], "loss is a table, not 3", ""),
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


def test_what_a_recipe_says_of_a_size_lies_over_the_recipe_and_below_the_rest(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('base = "clip"\n[train]\nlr = 1e-3\n[at.base.train]\nlr = 5e-4\nbatch_size = 32768\n')
    plain, based, typed = (
        resolve(str(file), None, [{"size": size}, *above])
        for size, above in (("tiny", []), ("base", []), ("base", [{"train": {"lr": 1.0}}]))
    )
    assert (plain.train.lr, plain.train.batch_size) == (1e-3, None)
    assert (based.train.lr, based.train.batch_size) == (5e-4, 32768)
    assert (typed.train.lr, typed.train.batch_size) == (1.0, 32768)
    assert not based.at
    unsaid = resolve(str(file), None, [{"train": {"batch_size": 16}}])
    assert unsaid.train.lr == 1e-3
    # what a GPU or a CPU decides later, below what was typed
    later = build(unsaid.at["base"])
    assert (later.train.lr, later.train.batch_size, later.at) == (5e-4, 16, {})


def test_a_fusion_stands_alone_or_has_a_name():
    alone = build({"fusion": {"kind": "sum"}})
    assert alone.fusions == {"fused": {"kind": "sum"}}
    several = build({"fusion": {"match": {"kind": "sum"}, "caption": {"kind": "cross"}}})
    assert several.fusions == {"match": {"kind": "sum"}, "caption": {"kind": "cross"}}
    assert build({}).fusions == {}
