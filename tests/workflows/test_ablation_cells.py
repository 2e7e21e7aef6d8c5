"""What a cell of an ablation is trained with: its values, what is pinned, and a model without a part."""

from __future__ import annotations

import json

import pytest

from mmkit.config import build, resolve, to_dict
from mmkit.data.shards import open_dataset
from mmkit.errors import ConfigError, UsageError, UserError
from mmkit.training.inputs import resolve_inputs
from mmkit.workflows import fit
from mmkit.workflows import plan as planning
from mmkit.workflows.ablation_cells import Cell, Grid, drop, parse_vary, parts_of, pinned, reopened, varied
from tests.core import plan, smallest, whole_dataset


@pytest.fixture(scope="module")
def data(run, tmp_path_factory):
    folder = whole_dataset(run / "data", tmp_path_factory.mktemp("whole") / "data")
    manifest = json.loads((folder / "dataset.json").read_text())
    manifest["columns"] |= {"regions": "boxes", "audio": "tones", "video": "clips"}  # three modalities, of which two are left
    (folder / "dataset.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def fused(data):
    """Mid fusion over pictures and questions; its plan."""
    return plan(smallest("fusion-mid", data))


def test_every_combination_and_then_the_first_without_each_part():
    grid = Grid(parse_vary(["a.b=1,2", "c=x,y"]), ["image", "loss.itc"], [0, 1])
    cells = grid.cells()
    assert [dict(cell.values) for cell in cells[:4]] == [{"a.b": a, "c": c} for a in (1, 2) for c in ("x", "y")]
    assert [(dict(cell.values), cell.drop) for cell in cells[4:]] == [
        ({"a.b": 1, "c": "x"}, ("image",)),
        ({"a.b": 1, "c": "x"}, ("loss.itc",)),
    ]
    assert len(list(grid.jobs())) == 12
    assert len({cell.name for cell in cells}) == 6


@pytest.mark.parametrize("word", ["", "a", "=1", "a=", "train.seed=1,2", "data.path=a,b"])
def test_what_is_no_list_of_values(word):
    with pytest.raises(UsageError):
        parse_vary([word])


def test_names_of_folders_are_plain_and_differ():
    cells = [Cell({"data.image.augment": value}) for value in ([], ["crop"], ["crop", "flip"])] + [
        Cell({"k": "a/b"}),
        Cell({"k": "a b"}),
    ]
    names = [cell.name for cell in cells]
    assert len(set(names)) == 5
    assert not any(set(name) & set("/ \"'[]") for name in names)
    assert Cell({"loss.itc.kind": "sigmoid"}).name == "loss.itc.kind=sigmoid"
    assert len(Cell({"k": "x" * 500}).name) < 120


@pytest.mark.parametrize(("part", "left"), [("image", "question"), ("text", "image"), ("question", "image")])
def test_without_an_input_a_head_reads_the_other_and_there_is_no_fusion(data, part, left):
    config = drop(smallest("fusion-mid", data), open_dataset(data), [part])
    assert (list(config.input), config.fusion, config.loss["task"]["of"]) == ([left], {}, left)
    model = plan(config).model
    assert list(model.inputs) == [left]
    assert len(model.encoder) == 1
    assert not model.fusion


def test_of_three_inputs_a_fusion_keeps_two(data):
    config = smallest(
        "fusion-late", data, {"fusion": {"inputs": ["image", "text", "series"]}, "encoder": {"series": {"kind": "series"}}}
    )
    config = drop(config, open_dataset(data), ["series"])
    assert config.fusion["inputs"] == ["image", "text"]
    assert config.loss["task"]["of"] == "fused"


def test_a_loss_of_pairs_goes_with_either_input_and_around_an_anchor_the_others_are_left(data):
    both = smallest("clip", data, {"loss": {"task": {"kind": "classify", "of": "image"}}})
    opened = open_dataset(data)
    assert list(drop(both, opened, ["text"]).loss) == ["task"]
    assert list(drop(both, opened, ["loss.task"]).loss) == ["itc"]
    weights = {"loss": {"itc": {"weights": {"text-image": 0.5, "text-series": 2.0}}}}
    around = drop(smallest("nmodal", data, weights), opened, ["series"])
    assert around.loss["itc"]["between"] == ["image", "text"]
    assert around.loss["itc"]["weights"] == {"text-image": 0.5}
    assert parts_of(both, opened) == ["text", "loss.itc", "loss.task"]
    with pytest.raises(UsageError, match="without text nothing is left that the loss compares the others with") as e:
        drop(smallest("nmodal", data), opened, ["text"])
    assert "--set loss.itc.anchor=image" in e.value.hint
    assert parts_of(smallest("clip", data), opened) == []


def test_a_loss_of_more_than_three_inputs_goes_on_with_the_others(run, tmp_path):
    opened = open_dataset(whole_dataset(run / "data", tmp_path / "whole"))
    over = {"anchor": "audio", "weights": {"image-audio": 0.5, "series-audio": 2.0}, "temperatures": {"audio-series": 0.1}}
    whole = smallest("nmodal", tmp_path / "whole", {"loss": {"itc": over}})
    names = list(resolve_inputs(whole, opened)[0].input)
    assert len(names) > 4
    itc = drop(whole, opened, ["series"]).loss["itc"]
    assert itc["between"] == [name for name in names if name != "series"] and itc["anchor"] == "audio"
    assert itc["weights"] == {"image-audio": 0.5} and itc["temperatures"] == {}
    assert set(parts_of(whole, opened)) == {*names} - {"audio"}
    with pytest.raises(UsageError, match="without audio nothing is left"):
        drop(whole, opened, ["audio"])
    config = resolve_inputs(drop(whole, opened, ["series"]), opened)[0]
    assert list(config.input) == itc["between"] and "series" not in config.encoder


def test_a_frozen_encoder_goes_with_the_patterns_of_its_stage(data):
    stages = {"stage": [{"until": 2, "train": ["fusion.*", "head.*"]}, {"train": ["*", "!encoder.image.*"]}]}
    config = drop(smallest("fusion-mid", data, stages), open_dataset(data), ["image"])
    assert [stage.train for stage in config.stage] == [["head.*"], ["*"]]


@pytest.mark.parametrize(
    ("recipe", "part", "said"),
    [
        ("clip", "image", "recall compares two modalities"),
        ("classify", "image", "nothing is left to learn from"),
        ("clip", "loss.itc", "is all that is learnt"),
        ("clip", "loss.itd", "there is no loss"),
        ("clip", "imag", "there is no input"),
    ],
)
def test_what_cannot_be_dropped_is_told_why(data, recipe, part, said):
    with pytest.raises(UserError, match=said) as failure:
        drop(smallest(recipe, data), open_dataset(data), [part])
    assert failure.value.hint
    if part == "image" and recipe == "clip":
        assert "fusion-mid" in failure.value.hint


def test_what_follows_from_the_size_follows_and_what_is_learnt_or_measured_does_not(data):
    config = resolve(
        "clip", None, [{"data": {"path": str(data), "workers": 1, "image": {"size": 16}}, "train": {"batch_size": 16}}]
    )
    made = plan(config)
    tables = to_dict(build(to_dict(resolve("clip", None, [{"data": {"path": str(data), "image": {"size": 16}}}]))))
    small = build(pinned(tables, made.config, Cell({"size": "small"})))
    assert small.train.lr is None
    assert small.encoder["text"] == {"kind": "transformer", "causal": True, "pool": "eos"}
    assert (small.size, small.data.workers, small.train.steps) == ("small", 1, made.config.train.steps)
    assert small.data["text"].vocab_size == made.config.data["text"].vocab_size
    assert small.data["text"].context == made.config.data["text"].context
    # what is said in words that no clock measures is worked out for each cell
    by_epochs = {**tables, "train": {**tables["train"], "epochs": 2.0}}
    assert build(pinned(by_epochs, made.config, Cell())).train.steps is None
    longer = build(pinned(tables, made.config, Cell({"train.steps": 7})))
    assert longer.train.steps == 7
    minutes = {**tables, "train": {**tables["train"], "steps": "15 min"}}
    assert build(pinned(minutes, made.config, Cell())).train.steps == made.config.train.steps


def test_a_pretrained_text_encoder_brings_its_own_tokens(data, fused):
    tables = to_dict(smallest("fusion-mid", data))
    cell = Cell({"encoder.text.kind": "pretrained", "encoder.text.from": "somewhere"})
    assert build(pinned(tables, fused.config, cell)).data["text"].context is None


def test_the_tokenizer_of_another_run_is_taken_where_it_reads_alike(data, fused, tmp_path):
    from mmkit.config import write_toml
    from mmkit.loading import CONFIG, made_readers, save_made

    save_made(fused.model, tmp_path)
    write_toml(tmp_path / CONFIG, fused.config)
    tables = to_dict(smallest("fusion-mid", data))
    fewer = build(pinned(tables, fused.config, Cell({"data.limit": 20})))
    made = planning.plan(fewer, "cpu", fit.Talk(), readers_of=tmp_path)
    assert made.model.readers["text"].made_of() == fused.model.readers["text"].made_of()
    other = build(pinned(tables, fused.config, Cell({"data.text.lowercase": False})))
    own = planning.plan(other, "cpu", fit.Talk(), readers_of=tmp_path)
    assert own.model.readers["text"].made_of() != fused.model.readers["text"].made_of()
    assert "text" not in made_readers(tmp_path, own.config)


def test_a_run_that_is_the_base_resolves_to_itself(data, fused):
    again = plan(build(pinned(reopened(fused.config), fused.config, Cell())))
    one, other = to_dict(fused.config), to_dict(again.config)
    assert {k: v for k, v in one.items() if k != "run"} == {k: v for k, v in other.items() if k != "run"}
    wider = plan(build(pinned(reopened(fused.config), fused.config, Cell({"train.batch_size": 8}))))
    assert wider.config.train.batch_size == 8
    assert wider.config.train.lr == fused.config.train.lr  # it was given


def test_an_unknown_key_is_named():
    with pytest.raises(ConfigError, match="train"):
        varied(to_dict(resolve("clip", None, [])), Cell({"train.lrr": 1}))
