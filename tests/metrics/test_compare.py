"""The paired bootstrap against a loop over drawn samples, what is refused, and what changed most."""

import json

import numpy as np
import pytest

from mmkit import bootstrap
from mmkit.errors import UserError
from mmkit.metrics.changes import Change, changes, is_ours, most_changed, of_all, write
from mmkit.metrics.compare import aligned, compared, two_sided
from mmkit.metrics.items import Items

NAMES = ("A", "B")


def items(ranks, captions=3, record=None):
    """Ranks of texts, so many of each picture."""
    ranks = np.asarray(ranks, float)
    keys = np.array([f"q{i}" for i in range(len(ranks))], object)
    ids = np.array([f"p{i // captions}" for i in range(len(ranks))], object)
    hits = np.where(np.isnan(ranks), np.nan, ranks <= 1)
    return Items(keys, ids, {"recall@1": hits}, {"median_rank": ranks}, keys, record or {})


def shuffled(one, seed=0):
    order = np.random.default_rng(seed).permutation(len(one.keys))
    values, medians = ({name: each[order] for name, each in own.items()} for own in (one.values, one.medians))
    return Items(one.keys[order], one.ids[order], values, medians, one.shown[order], one.record)


def test_differences_equal_drawing_the_pictures():
    random = np.random.default_rng(0)
    ranks = random.integers(1, 6, (2, 60)).astype(float)
    ranks[:, 7] = np.nan
    a, b = map(items, ranks)
    share, median = compared(a, aligned(a, shuffled(b), NAMES), draws=80, seed=5)
    assert list(share) == ["metric", "a", "b", "difference", "interval", "p", "n"]
    assert (share["metric"], share["n"], median["metric"]) == ("recall@1", 59, "median_rank")
    assert share["difference"] == pytest.approx(share["b"] - share["a"]) == np.nanmean(ranks[1] <= 1) * 60 / 59 - share["a"]

    def measured(rows):
        drawn = ranks[:, rows][:, ~np.isnan(ranks[0, rows])]
        return {"share": np.diff((drawn <= 1).mean(1))[0], "median": np.diff(np.median(drawn, 1))[0]}

    expected = bootstrap.statistics(measured, bootstrap.numbers(a.ids), 80, 5)
    assert share["interval"] == pytest.approx(bootstrap.interval(expected["share"]))
    assert median["interval"] == pytest.approx(bootstrap.interval(expected["median"]))
    assert share["p"] == pytest.approx(two_sided(expected["share"]))


def test_a_run_and_itself():
    one = items(np.random.default_rng(0).integers(1, 5, 90))
    for row in compared(one, aligned(one, shuffled(one), NAMES), draws=50):
        assert (row["difference"], row["interval"], row["p"]) == (0, [0, 0], 1)


def test_p_is_twice_the_rarer_side():
    assert two_sided(np.array([1.0] * 99)) == pytest.approx(2 / 100)
    assert two_sided(np.array([-1.0] * 9 + [1.0] * 90)) == pytest.approx(20 / 100)
    assert two_sided(np.array([0.0] * 50 + [1.0] * 49)) == 1


def test_two_equal_models_differ_in_one_of_twenty_draws():
    """Hard pictures are hard for both, and their captions are right together."""
    held = false = 0
    for trial in range(200):
        random = np.random.default_rng(trial)
        easy = np.repeat(random.beta(1, 1, 60), 3)
        a, b = (items(np.where(random.random(180) < easy, 1, 2)) for _ in NAMES)
        row = compared(a, b, draws=300, seed=trial)[0]
        held += row["interval"][0] <= 0 <= row["interval"][1]
        false += row["p"] < 0.05
    assert 0.9 <= held / 200 <= 0.99
    assert false <= 20


def test_other_data_and_other_items_are_refused():
    one = items([1, 2, 3], record={"data_hash": "x", "dataset": "coco", "split": "test"})
    other = items([1, 2, 3], record={"data_hash": "y", "dataset": "data", "split": "val"})
    with pytest.raises(UserError) as refused:
        aligned(one, other, NAMES)
    assert str(refused.value) == "they were measured on different data, A on coco test and B on data val"
    val = items([1, 2, 3], record=one.record | {"split": "val"})
    with pytest.raises(UserError) as refused:  # ids of two splits may be the same
        aligned(one, val, NAMES)
    assert str(refused.value) == "they were measured on different splits, A on coco test and B on coco val"
    assert refused.value.hint == "of runs, --split NAME measures both on one split"
    assert aligned(one, items([1, 2, 3]), NAMES).record == {}
    for ranks in ([1, 2], [1, 2, 3, 4]):
        with pytest.raises(UserError, match="different items"):
            aligned(one, items(ranks), NAMES)
    renamed = Items(np.array(["q0", "q1", "else"], object), one.ids, one.values)
    with pytest.raises(UserError) as refused:
        aligned(one, renamed, NAMES)
    assert str(refused.value).endswith("only one has q2")


def test_what_changed_most_shows_gains_and_losses():
    a, b = items([1, 100, 8, 3, 2, 1]), items([1, 50, 1, 3, 4, 16])
    found = changes(a, b)
    assert [(one.item, one.gain) for one in found] == [("q5", -4), ("q2", 3), ("q1", 1), ("q4", -1), ("q0", 0), ("q3", 0)]
    assert [one.item for one in most_changed(found, 2)] == ["q2", "q5"]
    assert [one.item for one in most_changed(found, 3)] == ["q2", "q1", "q5"]
    assert [one.item for one in most_changed(found, 10)] == ["q2", "q1", "q5", "q4"]
    better = [one for one in found if one.gain > 0]
    assert [one.item for one in most_changed(better, 2)] == ["q2", "q1"]


def test_a_table_of_types_lists_each_item_once():
    values = {"vqa_accuracy": np.array([0.3, 1.0]), "vqa_accuracy/colour": np.array([0.3, np.nan])}
    one = Items(np.array(["a", "b"], object), np.array(["a", "b"], object), values, {}, np.array(["a", "b"], object))
    other = Items(one.keys, one.ids, {name: 1 - each for name, each in values.items()}, {}, one.shown)
    assert [(one.item, one.figure) for one in changes(one, other)] == [("b", "vqa_accuracy"), ("a", "vqa_accuracy")]


def test_what_changed_most_is_of_all_pairs_of_inputs():
    near, far = (
        [items(ranks).named(f"{of}/") for ranks in both] for of, both in (("x", ([8, 1], [4, 1])), ("y", ([1, 2], [16, 2])))
    )
    classes = Items(near[0].keys, near[0].ids, {"x/acc1": np.array([0.0, 1.0])}, {}, near[0].keys)
    found = of_all([(classes, classes), near, far])
    assert [(one.figure, one.gain) for one in found[:2]] == [("y/median_rank rank", -4), ("x/median_rank rank", 1)]
    assert [one.figure for one in found[-2:]] == ["x/acc1"] * 2, "not one of a type of items"


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_items_are_written_and_known_again(tmp_path, suffix):
    path = tmp_path / f"q{suffix}"
    write([Change("p1", '猫, "a cat"', "text_retrieval rank", 8.0, 2.0, 2.0)], path)
    assert is_ours(path)
    expected = {"id": "p1", "item": '猫, "a cat"', "figure": "text_retrieval rank", "a": 8.0, "b": 2.0, "difference": -6.0}
    if suffix == ".json":
        assert json.loads(path.read_text()) == [expected]
    elif suffix == ".csv":
        assert path.read_text().splitlines()[1] == 'p1,"猫, ""a cat""",text_retrieval rank,8.0,2.0,-6.0'
    path.write_text("id,item\n")
    assert not is_ours(path)
