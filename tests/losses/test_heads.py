"""Losses over a head: sums over the rows that have a target, against torch and against loops."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from mmkit.batch import Batch, Want
from mmkit.config import Config, Data
from mmkit.data.answers import vqa_accuracy
from mmkit.errors import ConfigError, UserError
from mmkit.losses import build
from mmkit.losses.answers import Answers, worths
from mmkit.losses.classify import Classify

LOGITS = Want("kind", "logits")


def loss(table, classes, **targets):
    return build("kind", {"of": "image", **table}, {"targets": {"classes": classes, **targets}})


def batch(column, values, there=None):
    present = {} if there is None else {"image": torch.tensor(there)}
    return Batch([str(i) for i in range(len(values))], {}, present, targets={column: values})


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(6, 3, requires_grad=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_class_a_row(logits, smoothing):
    one = loss({"kind": "classify", "label_smoothing": smoothing}, ["cat", "dog", "owl"], many=False)
    # neither null, nor a class that training never saw, nor a row without a picture is counted
    rows = batch("label", ["dog", None, "cow", "cat", "owl", "dog"], [True] * 4 + [False, True])
    found = one.score({LOGITS: logits}, rows)
    picked, target = logits[[0, 3, 5]], torch.tensor([1, 0, 1])
    assert torch.allclose(found, F.cross_entropy(picked, target, reduction="sum", label_smoothing=smoothing))
    soft = (1 - smoothing) * F.one_hot(target, 3) + smoothing / 3
    assert torch.allclose(found, -(soft * picked.log_softmax(1)).sum(), atol=1e-6)
    assert one.count(rows).item() == 3
    gradient = torch.autograd.grad(found, logits)[0]
    assert gradient.any(1).tolist() == [True, False, False, True, False, True]


def test_any_number_of_classes_a_row(logits):
    many = loss({"kind": "classify"}, ["cat", "dog", "owl"], many=True)
    rows = batch("label", [["dog", "cat"], [], None, ["cow"], ["owl"], ["cat"]])
    hot = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]]).float()
    picked = logits[[0, 1, 3, 4, 5]]
    found = many.score({LOGITS: logits}, rows)
    assert torch.allclose(found, F.binary_cross_entropy_with_logits(picked, hot, reduction="sum"))
    p = picked.sigmoid()
    assert torch.allclose(found, -(hot * p.log() + (1 - hot) * (1 - p).log()).sum(), atol=1e-5)
    assert many.count(rows).item() == 5, "an empty list says that there is none, a null says nothing"
    assert torch.equal(many.probabilities(logits), logits.sigmoid())


@pytest.mark.parametrize(("table", "targets"), [({"label_smoothing": 0.1}, {"many": False}), ({}, {"many": True})])
def test_rows_without_a_target_give_zero_and_a_graph(logits, table, targets):
    one = loss({"kind": "classify", **table}, ["cat", "dog", "owl"], **targets)
    rows = batch("label", [None] * 6)
    found = one.score({LOGITS: logits}, rows)
    assert found.item() == 0 and one.count(rows).item() == 0 and one.at_chance(rows) is None
    assert not torch.autograd.grad(found, logits)[0].any()


def test_the_sum_of_parts_is_that_of_the_whole(logits):
    one = loss({"kind": "classify"}, ["cat", "dog", "owl"], many=False)
    rows = batch("label", ["dog", None, "cat", "cat", "owl", None])
    parts = [one.score({LOGITS: logits[i : i + 2]}, rows.take([i, i + 1])) for i in (0, 2, 4)]
    assert torch.allclose(torch.stack(parts).sum(), one.score({LOGITS: logits}, rows))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_chance_is_the_best_that_knows_only_how_frequent_classes_are(smoothing):
    one = loss({"kind": "classify", "label_smoothing": smoothing}, ["cat", "dog", "owl"], many=False)
    rows = batch("label", ["dog", "dog", "cat", "dog"])
    bias = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.LBFGS([bias], max_iter=200, line_search_fn="strong_wolfe")

    def mean():
        optimiser.zero_grad()
        found = one.score({LOGITS: bias.expand(4, 3)}, rows) / 4
        found.backward()
        return found

    optimiser.step(mean)
    assert one.at_chance(rows) == pytest.approx(mean().item(), abs=1e-3)
    many = loss({"kind": "classify"}, ["cat", "dog"], many=True)
    half = many.at_chance(batch("label", [["cat"], [], ["cat", "dog"], ["dog"]]))
    assert half == pytest.approx(2 * math.log(2))


def test_smoothing_of_several_classes_a_row_is_refused():
    with pytest.raises(ConfigError, match="label_smoothing"):
        loss({"kind": "classify", "label_smoothing": 0.1}, ["cat", "dog"], many=True)


def data(column, values, kind="label"):
    rows = [{"id": str(i), column: value} for i, value in enumerate(values)]
    return SimpleNamespace(path="data", columns={column: kind}, rows=lambda split, columns, limit=None: rows[:limit])


def test_what_classes_are_learnt():
    assert Classify.learn({}, data("label", ["b", None, "a", "b"]), Config()) == {"classes": ["a", "b"], "many": False}
    assert Classify.learn({}, data("label", [["b"], None, [], ["a", "c"]]), Config()) == {
        "classes": ["a", "b", "c"],
        "many": True,
    }
    assert Classify.learn({}, data("label", ["b", "a", "c"]), Config(data=Data(limit=2)))["classes"] == ["a", "b"]
    for values, message in (["a", "a"], "holds one class, 'a'"), ([None], "holds no class"), ([3.5], "label is no text: 3.5"):
        with pytest.raises(UserError, match=message):
            Classify.learn({}, data("label", values), Config())
    with pytest.raises(UserError, match="no column 'kind'"):
        Classify.learn({"column": "kind"}, data("label", ["a"]), Config())


def asked(*answers):
    return {"question": "?", "answers": list(answers), "type": "other"}


def test_what_answers_are_learnt():
    rows = [[asked("Two", "2", "red"), asked("red.")], None, [asked("blue", "red", ""), {**asked(), "answers": None}]]
    found = Answers.learn({}, data("questions", rows, "questions"), Config())
    # two and 2 are one answer, and of two spellings that are as frequent the first in the alphabet
    assert found == {"classes": ["red", "2", "blue"]}
    assert Answers.learn({"top": 2}, data("questions", rows, "questions"), Config()) == {"classes": ["red", "2"]}


@pytest.mark.parametrize(
    "answers", [["red"], ["red", "blue"], ["red"] * 3, ["red"] * 4 + ["blue"] * 3 + ["a red", "green", "2"]], ids=len
)
def test_worths_are_the_vqa_accuracy_of_each_answer(answers):
    expected = {a: vqa_accuracy(a, answers) for a in ("red", "blue", "green", "2")}
    assert {a: worth for a in expected if (worth := worths(answers).get(a, 0.0))} == pytest.approx(
        {a: worth for a, worth in expected.items() if worth}
    )
    if len(answers) > 3:
        means = [sum(other == "blue" for other in rest) / 3 for rest in itertools.combinations(answers, len(answers) - 1)]
        assert worths(answers).get("blue", 0.0) == pytest.approx(sum(min(m, 1) for m in means) / len(answers))


def test_answers_in_proportion_to_their_worth(logits):
    one = loss({"kind": "answers"}, ["red", "2", "blue"])
    values = [asked("red", "Red", "blue"), asked("green"), None, asked("two", "cow"), asked("blue"), {**asked(), "answers": None}]
    rows = batch("questions", values)
    found = one.score({LOGITS: logits}, rows)
    red, blue = worths(["red", "red", "blue"])["red"], worths(["red", "red", "blue"])["blue"]
    log = logits.log_softmax(1)
    expected = -(red * log[0, 0] + blue * log[0, 2]) / (red + blue) - log[3, 1] - log[4, 2]
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    assert one.count(rows).item() == 3
    assert torch.autograd.grad(found, logits)[0].any(1).tolist() == [True, False, False, True, True, False]


def test_each_answer_against_its_worth(logits):
    one = loss({"kind": "answers", "loss": "sigmoid"}, ["red", "2", "blue"])
    many = ["red"] * 2 + ["blue"] * 3 + ["green"] * 5
    rows = batch("questions", [asked(*many), asked("green"), None, asked("two"), asked("cow", "blue"), asked()])
    truth = {0: [0.6, 0.0, 0.9], 3: [0.0, 1.0, 0.0], 4: [0.0, 0.0, 0.5]}
    expected = 0.0
    for row, worth in truth.items():
        for c, t in enumerate(worth):
            p = 1 / (1 + math.exp(-logits[row, c].item()))
            expected -= t * math.log(p) + (1 - t) * math.log(1 - p)
    assert one.score({LOGITS: logits}, rows).item() == pytest.approx(expected, abs=1e-5)
    assert one.count(rows).item() == 3
    assert torch.equal(one.probabilities(logits), logits.sigmoid())


@pytest.mark.parametrize(("matching", "worth"), list(enumerate([0.0, 0.3, 0.6, 0.9, 1.0])))
def test_soft_targets_of_ten_annotators(matching, worth):
    one = loss({"kind": "answers"}, ["red", "blue"])
    answers = ["red"] * matching + [f"thing {i}" for i in range(10 - matching)]
    assert one.truth([asked(*answers)])[0].tolist() == pytest.approx([worth, 0.0], abs=1e-6)


def test_a_head_of_two_layers():
    head = loss({"kind": "answers", "hidden": 8}, ["red", "blue"]).head(4)
    assert head(torch.randn(3, 4)).shape == (3, 2)
    with pytest.raises(ConfigError, match="softmax or sigmoid"):
        loss({"kind": "answers", "loss": "bce"}, ["red", "blue"])
