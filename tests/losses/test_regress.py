"""Regression against naive loops, what it learns of the training rows, and rows that have no number."""

import math
from types import SimpleNamespace

import pytest
import torch

from mmkit.batch import Batch, Want
from mmkit.config import Config, Data
from mmkit.errors import ConfigError, UserError
from mmkit.losses import build
from mmkit.losses.regress import Regress

LOGITS = Want("mood", "logits")
VALUES = [0.5, None, -2.0, 3.0, float("nan"), 1.25]


def loss(targets=None, **table):
    facts = {"mean": 0.4, "std": 1.7, "min": -3.0, "max": 3.0, "rows": 9} | (targets or {})
    return build("mood", {"kind": "regress", "of": "image", **table}, {"targets": facts})


def batch(values, there=None):
    present = {} if there is None else {"image": torch.tensor(there)}
    return Batch([str(i) for i in range(len(values))], {}, present, targets={"target": values})


@pytest.mark.parametrize("kind", ["l1", "mse", "huber"])
def test_it_is_the_sum_of_a_naive_loop(kind):
    one, logits = loss(loss=kind), torch.randn(6, 1, generator=torch.Generator().manual_seed(0), requires_grad=True)
    rows = batch(VALUES, [True, True, True, False, True, True])  # the fourth lacks what the head reads
    naive = 0.0
    for i in (0, 2, 5):
        away = abs(one.probabilities(logits)[i, 0].item() - VALUES[i]) / 1.7  # predicted in the units of the data
        naive += {"l1": away, "mse": away**2, "huber": away**2 / 2 if away < 1 else away - 0.5}[kind]
    found = one.score({LOGITS: logits}, rows)
    assert found.item() == pytest.approx(naive, rel=1e-5)
    assert one.count(rows).item() == 3
    gradient = torch.autograd.grad(found, logits)[0]
    assert gradient[:, 0].bool().tolist() == [True, False, True, False, False, True]


def test_the_sum_of_parts_is_that_of_the_whole():
    one, logits = loss(), torch.randn(6, 1)
    rows = batch(VALUES)
    parts = [one.score({LOGITS: logits[i : i + 2]}, rows.take([i, i + 1])) for i in (0, 2, 4)]
    assert torch.allclose(torch.stack(parts).sum(), one.score({LOGITS: logits}, rows))


@pytest.mark.parametrize("kind", ["l1", "mse", "huber"])
def test_chance_is_the_loss_of_predicting_the_mean(kind):
    one, rows = loss(loss=kind), batch(VALUES)
    assert one.at_chance(rows) == pytest.approx(one.score({LOGITS: torch.zeros(6, 1)}, rows).item() / 4)
    assert one.at_chance(batch([None, None])) is None


def test_rows_without_a_number_give_zero_and_a_graph():
    logits = torch.randn(2, 1, requires_grad=True)
    found = loss().score({LOGITS: logits}, batch([None, None]))
    assert found.item() == 0
    assert not torch.autograd.grad(found, logits)[0].any()


def test_how_close_it_is_supports_what_is_true():
    one = loss()
    truth = one.truth([0.4, 2.1])
    assert truth.tolist() == [[0.0], [pytest.approx(1.0)]]
    assert one.support(torch.tensor([[0.0], [0.5]]), truth).tolist() == [0.0, pytest.approx(-0.5)]


def data(values, column="target"):
    rows = [{"id": str(i), column: value} for i, value in enumerate(values)]
    return SimpleNamespace(path="data", columns={column: "target"}, rows=lambda split, columns, limit=None: rows[:limit])


def test_what_is_learnt_of_the_training_rows():
    found = Regress.learn({}, data([1.0, None, 2.0, 6, 100.0]), Config(data=Data(limit=4)))
    assert found == {"mean": 3.0, "std": math.sqrt(14 / 3), "min": 1.0, "max": 6.0, "rows": 3}
    with pytest.raises(UserError, match="no column 'mood' to predict") as e:
        Regress.learn({"column": "mood"}, data([1.0]), Config())
    assert "--column target=NAME" in e.value.hint
    for values, message in ([2.0, 2.0], "holds one number, 2"), ([None], "holds no number"), (["good"], "no number: 'good'"):
        with pytest.raises(UserError, match=message):
            Regress.learn({}, data(values), Config())


def test_another_loss_than_these_is_refused():
    with pytest.raises(ConfigError, match="loss is l1, mse, huber, not 'l2'"):
        loss(loss="l2")
