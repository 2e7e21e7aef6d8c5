from __future__ import annotations

import numpy as np
import pytest

from mmkit.data.shards import open_dataset
from mmkit.errors import UserError
from mmkit.metrics import intervals, scores, zero_shot
from mmkit.metrics.evaluation import Request
from mmkit.metrics.zero_shot import chance, metrics, nearest, of_model, score
from mmkit.ragged import Ragged, unit
from tests.conftest import coloured_row, write_dataset
from tests.small import small


def measured(cosine, among):
    target = nearest(cosine, among)
    return metrics(scores.each(cosine, target), target)


def test_metrics_that_a_person_can_check():
    cosine = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1], [0.1, 0.7, 0.2], [0.3, 0.2, 0.1]])
    assert measured(cosine, [[0], [1], [1], [2]]) == {"acc1": 0.5, "mean_per_class_recall": pytest.approx((1 + 0.5 + 0) / 3)}


def test_a_row_of_several_labels_is_right_where_the_nearest_is_among_them():
    cosine = np.linspace(1, 0, 7)[None].repeat(3, 0)
    found = measured(cosine, [[0, 3], [3, 4], [5, 6]])
    assert (found["acc1"], found["acc5"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert list(nearest(cosine, [[3, 0], [4, 3], []])) == [0, 3, -1]


def test_a_label_that_is_no_class_counts_as_wrong():
    cosine = np.eye(6)
    found = measured(cosine, [[0], [1], [], [], [4], [5]])
    assert found["acc1"] == found["acc5"] == pytest.approx(4 / 6)
    assert found["mean_per_class_recall"] == pytest.approx(4 / 5)


@pytest.mark.parametrize("classes", [3, 8])
def test_chance_is_what_random_orders_reach(classes):
    random = np.random.default_rng(0)
    among = [random.permutation(classes)[: random.integers(0, 3)].tolist() for _ in range(40)]
    drawn = [measured(random.random((40, classes)), among) for _ in range(3000)]
    expected = chance(among, classes)
    assert expected.keys() == drawn[0].keys()
    assert expected["acc1"] == pytest.approx(np.mean([one["acc1"] for one in drawn]), abs=0.01)
    if classes > 5:
        assert expected["acc5"] == pytest.approx(np.mean([one["acc5"] for one in drawn]), abs=0.01)
    # a mean of ratios is not quite the ratio of means
    assert expected["mean_per_class_recall"] == pytest.approx(np.mean([one["mean_per_class_recall"] for one in drawn]), abs=0.02)


def test_chance_of_one_label_a_row_is_one_of_the_classes():
    assert chance([[0], [1], [1], [1]], 4) == {"acc1": 0.25, "mean_per_class_recall": 0.25}


def test_intervals_lie_around_their_metrics():
    random = np.random.default_rng(0)
    among = [[int(c)] for c in random.integers(0, 8, 200)]
    cosine = random.random((200, 8)) + 0.25 * np.eye(8)[[own[0] for own in among]]
    target = nearest(cosine, among)
    values = metrics(scores.each(cosine, target), target)
    found = intervals.of_classes(values, cosine, target, np.arange(200).astype(str))
    assert values.keys() == found.keys()
    for name, value in values.items():
        low, high = found[name]
        assert low < value < high
        assert 0.04 < high - low < 0.2


def test_late_interaction_is_the_mean_over_the_sentences():
    """As a plain loop over items, classes, sentences and tokens has it."""
    random = np.random.default_rng(0)
    items = [unit(random.normal(size=(n, 4))) for n in (3, 1, 5)]
    prompts = [unit(random.normal(size=(n, 4))) for n in (2, 4, 1, 3)]  # two classes of two sentences
    found = score(Ragged.of(items, 4), Ragged.of(prompts, 4), 2)
    for i, item in enumerate(items):
        for c in range(2):
            each = [np.mean([max(a @ b for b in prompt) for a in item]) for prompt in prompts[2 * c : 2 * c + 2]]
            assert found[i, c] == pytest.approx(np.mean(each), abs=1e-6)


def several(folder):
    """Rows of a picture, a series or both; the fourth has no label."""
    labels = ["red", "blue", "red", None]
    rows = [coloured_row(str(i), "red") | {"label": label} for i, label in enumerate(labels)]
    waves = [[[float(i + t) for t in range(12)] for _ in range(2)] for i in range(4)]
    rows = [row | {"series": wave} for row, wave in zip(rows, waves, strict=True)]
    rows[2]["image"] = None
    columns = {"image": "image", "captions": "text", "series": "series", "label": "label"}
    return open_dataset(write_dataset(folder / "data", {"test": rows}, columns))


def test_every_input_that_is_compared_with_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = of_model(small(("image", "series", "text")), several(tmp_path), Request("zero-shot"))
    assert [result.record["n"] for result in results] == [{"image": 2}, {"series": 3}]
    assert [result.stem for result in results] == ["data-test-image-zero-shot", "data-test-series-zero-shot"]
    assert [result.record["counts"]["rows_without_label"] for result in results] == [1, 1]
    assert results[1].rows["id"] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("splits", "measured"),
    [
        ({"test": ["red", None, "blue"], "train": ["green", "green", "green"]}, {"0": ["red"], "2": ["blue"]}),
        ({"train": ["red", None, "blue"], "more": ["green"]}, {"0": ["red", "green"], "2": ["blue"]}),
    ],
    ids=["one split", "all"],
)
def test_an_id_in_two_splits_is_of_two_rows(tmp_path, monkeypatch, splits, measured):
    monkeypatch.chdir(tmp_path)
    rows = {
        split: [coloured_row(str(i), label or "red") | {"label": label} for i, label in enumerate(labels)]
        for split, labels in splits.items()
    }
    data = open_dataset(write_dataset(tmp_path / "data", rows))
    (result,) = of_model(small(), data, Request("zero-shot"))
    assert result.record["prompt"]["classes"] == ["blue", "green", "red"]
    found = {}
    for id, target in zip(result.rows["id"], result.rows["target"], strict=True):
        found.setdefault(id, []).append(target)
    assert found == measured
    assert result.record["counts"]["rows_without_label"] == 1


@pytest.mark.parametrize("loss", ["infonce", "filip"])
def test_prompts_are_averaged_in_the_way_of_the_loss(tmp_path, monkeypatch, loss):
    """Of one vector a sentence the vectors, of several the scores; one template twice changes nothing."""
    monkeypatch.chdir(tmp_path)
    model, data = small(loss={"itc": {"kind": loss, "anchor": "all"}}), several(tmp_path)
    found = []
    monkeypatch.setattr(zero_shot, "score", lambda *args: found.append(score(*args)) or found[-1])
    for templates in (["see {}"], ["{} all of it"], ["see {}", "see {c}"], ["see {}", "{} all of it"]):
        of_model(model, data, Request("zero-shot", templates=tuple(templates)))
    one, other, twice, both = found
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - twice).max() < 1e-6
    assert (np.abs(both - (one + other) / 2).max() < 1e-6) == (loss == "filip")


def test_a_model_of_words_alone_has_nothing_to_classify(tmp_path):
    model = small(("image", "text"))
    model.embedded = ("text",)
    with pytest.raises(UserError, match="the model compares words alone"):
        of_model(model, several(tmp_path), Request("zero-shot"))
