"""What the inputs of a model are, on data that has not all that a recipe speaks of."""

from __future__ import annotations

import pytest

from mmkit.config import resolve
from mmkit.data.shards import open_dataset
from mmkit.errors import ConfigError
from mmkit.training.inputs import resolve_inputs
from tests.conftest import coloured_row, write_dataset


@pytest.fixture
def colours(tmp_path):
    return open_dataset(write_dataset(tmp_path / "data", {"train": [coloured_row("a", "red"), coloured_row("b", "green")]}))


@pytest.mark.parametrize("kind", ["early", "mid", "late", "hybrid"])
def test_a_fusion_classifies_where_there_are_no_questions(colours, kind):
    config, _ = resolve_inputs(resolve(f"fusion-{kind}", None, []), colours)
    assert list(config.input) == config.fusion["inputs"] == ["image", "text"]
    assert config.loss["task"]["kind"] == "classify"


def test_another_kind_of_fusion_needs_no_questions_either(colours):
    config, _ = resolve_inputs(resolve("fusion-mid", None, [{"fusion": {"kind": "merged"}}]), colours)
    assert list(config.input) == config.fusion["inputs"] == ["image", "text"]


@pytest.mark.parametrize("kind", ["merged", "hybrid", "concat"])
def test_another_kind_of_fusion_still_reads_the_questions(colours, kind):
    colours.columns["questions"] = "questions"
    config, _ = resolve_inputs(resolve("vqa", None, [{"fusion": {"kind": kind}}]), colours)
    assert config.fusion["inputs"] == ["image", "question"]
    assert list(config.input) == ["image", "text", "question"]


def test_a_loss_that_is_false_where_the_data_lacks_a_column_is_left_out(colours):
    config, _ = resolve_inputs(resolve("vqa", None, []), colours)
    assert list(config.loss) == ["task", "itc"] and config.loss["task"]["kind"] == "classify"
    colours.columns.pop("captions")
    alone = {"loss": {"task": {"of": "image"}}, "without": {"questions": {"fusion": {"inputs": ["image"]}}}}
    config, reasons = resolve_inputs(resolve("vqa", None, [alone]), colours)
    assert list(config.loss) == ["task"] and "text" not in config.input
    assert reasons["without.text"] == "applies (the data has none)"


def test_an_input_of_the_user_is_never_dropped_in_silence(colours):
    asked = resolve("fusion-mid", None, [{"input": {"more": {"column": "absent"}}}])
    with pytest.raises(ConfigError, match="the dataset has no column 'absent'"):
        resolve_inputs(asked, colours)
