"""What is told of hidden regions, and word-region alignment, against loops and a linear programme."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit.batch import Batch, Take, Want
from mmkit.errors import UserError
from mmkit.losses.alignment import transport_distance, transport_plan
from mmkit.model import Model
from mmkit.training.step import gradients
from tests.small import DATA, reader, small

NAMES = ("text", "regions")
FUSION = {"kind": "merged", "inputs": list(NAMES), "dim": 16, "layers": 1, "heads": 2}
COUNTS = (4, 2, 3, 5)


def model(kind: str, of: str = "fused.regions", **tables: Any) -> Model:
    return small(NAMES, loss={"x": {"kind": kind, "of": of}}, fusion=FUSION, **tables)


def batch(lacking: int | None = None) -> Batch:
    """Four rows of words and 2 to 5 regions."""
    rng = np.random.default_rng(0)
    items: list[Any] = []
    for n in COUNTS:
        corners = np.sort(rng.uniform(0, 50, (n, 2, 2)), 1).transpose(0, 1, 2).reshape(n, 4)
        soft = rng.dirichlet(np.ones(3), n)
        items.append(
            {"features": rng.normal(size=(n, 6)), "boxes": corners, "soft_labels": soft.tolist(), "width": 50, "height": 40}
        )
    read = reader("regions")
    prepared = [read.blank if i == lacking else read.prepare(item) for i, item in enumerate(items)]
    words = reader("text").collate(["a red picture", "all of it is green", "blue", "a blue picture"])
    there = torch.tensor([i != lacking for i in range(len(COUNTS))])
    keys = {name: torch.arange(4) + 10 * i for i, name in enumerate(NAMES)}
    present = {"text": torch.ones(4, dtype=torch.bool), "regions": there}
    return Batch(list("abcd"), {"text": words, "regions": read.collate(prepared)}, present, keys)


def told(one: Model, rows: Batch) -> tuple[Batch, Tensor, Tensor, float]:
    """The batch with its version, which regions are hidden, what the head says of them, and the loss."""
    objective = one.loss["x"]
    rows = Batch(rows.ids, rows.inputs, rows.present, rows.keys, versions=objective.corrupt(rows, "0", {}))
    found = one(rows, objective.wants())
    loss = objective.score(found, rows) / objective.count(rows)
    return rows, rows.versions["x"].hidden["regions"], found[objective.wants()[0]], float(loss)  # type: ignore[union-attr]


@pytest.mark.parametrize("lacking", [None, 1])
@torch.no_grad()
def test_hidden_features_are_a_loop_over_hidden_regions(lacking: int | None) -> None:
    one = model("mrfr")
    rows, hidden, heads, loss = told(one, batch(lacking))
    features = rows.inputs["regions"]["features"]
    version = rows.versions["x"].inputs["regions"]["features"]  # type: ignore[union-attr]
    assert torch.equal(version[hidden], torch.zeros_like(version[hidden])) and torch.equal(version[~hidden], features[~hidden])
    tokens = one(rows, [Want("fused.regions", "tokens", "x")])[Want("fused.regions", "tokens", "x")]
    head, weight = one.head["x"], one.encoder["regions"].what.weight  # (D, F)
    total, n = 0.0, 0
    for i in range(4):
        assert hidden[i].sum() >= (i != lacking), "one region of each row at least"
        assert not hidden[i, COUNTS[i] :].any() and (i != lacking or not hidden[i].any())
        for j in range(hidden.size(1)):
            if hidden[i, j]:
                guess = head.norm(F.gelu(head.layer(tokens[i, j]))) @ weight + head.bias
                assert torch.allclose(heads[n], guess, atol=1e-6)
                total, n = total + float((guess - features[i, j]).square().mean()), n + 1
    assert loss == pytest.approx(total / n, abs=1e-6)


def test_the_projection_is_the_encoders_own_and_saved_once() -> None:
    one = model("mrfr")
    shapes = [name for name, value in one.state_dict().items() if value.shape in ((16, 6), (6, 16))]
    assert shapes == ["encoder.regions.what.weight"]
    before = one.encoder["regions"].what.weight
    again = model("mrfr")
    again.load_state_dict(one.state_dict())
    assert again.head["x"].back[0].weight is again.encoder["regions"].what.weight is not before
    one.train()
    gradients(one, batch(), 1, "fp32", "0 1")
    (whole,) = [p.grad.clone() for p in [before] if p.grad is not None]
    one.zero_grad()
    gradients(one, batch(), 2, "fp32", "0 1")
    assert before.grad is not None and torch.allclose(before.grad, whole, atol=1e-6)


@torch.no_grad()
def test_hidden_classes_are_a_loop_over_hidden_regions() -> None:
    rows, hidden, heads, loss = told(model("mrc-kl"), batch())
    labels = rows.inputs["regions"]["labels"]
    total, n = 0.0, 0
    for i, j in hidden.nonzero().tolist():
        guess = heads[n].softmax(-1)
        total += sum(float(p * (p / q).log()) for p, q in zip(labels[i, j], guess, strict=True))
        n += 1
    assert loss == pytest.approx(total / n, abs=1e-5)


def test_what_is_no_region_or_has_no_classes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    one = model("mrfr", "fused.text")
    with pytest.raises(UserError, match="no features of regions to tell") as caught:
        one.loss["x"].needs(one)
    assert caught.value.hint == "--set loss.x.of=fused.regions"
    one = model("mrc-kl", "fused.text")
    with pytest.raises(UserError, match="no regions to classify") as caught:
        one.loss["x"].needs(one)
    assert caught.value.hint == "--set loss.x.of=fused.regions"
    monkeypatch.setitem(DATA["regions"], "labels", 0)
    one = model("mrc-kl")
    with pytest.raises(UserError, match="the regions have no probabilities of classes") as caught:
        one.loss["x"].needs(one)
    assert "--detector" in caught.value.hint


# word-region alignment

M, N = (3, 5, 7, 4), (6, 2, 5, 7)


def ragged() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    places = torch.arange(7)
    return torch.randn(4, 7, 8), places < torch.tensor(M)[:, None], torch.randn(4, 7, 8), places < torch.tensor(N)[:, None]


@pytest.mark.parametrize(("iterations", "closer"), [(50, 1e-3), (500, 1e-4)])
def test_the_plan_is_that_of_the_linear_programme(iterations: int, closer: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    x, x_mask, y, y_mask = ragged()
    cost = 1 - F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).transpose(1, 2)
    plan = transport_plan(cost, x_mask, y_mask, iterations=iterations)
    for b, (m, n) in enumerate(zip(M, N, strict=True)):
        sums = np.concatenate([np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))])
        wanted = np.concatenate([np.full(m, 1 / m), np.full(n, 1 / n)])
        best = optimize.linprog(cost[b, :m, :n].flatten().numpy(), A_eq=sums, b_eq=wanted).fun
        assert 0 <= float((plan[b] * cost[b]).sum()) - best + 1e-6 < closer
        assert torch.allclose(plan[b].sum(0)[:n], torch.full((n,), 1 / n), atol=1e-6)
        assert torch.allclose(plan[b].sum(1)[:m], torch.full((m,), 1 / m), atol=1e-3)
        assert not plan[b, m:].any() and not plan[b, :, n:].any()


def test_the_gradient_takes_the_plan_as_given() -> None:
    x, x_mask, y, y_mask = ragged()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(transport_distance(x, x_mask, y, y_mask).sum(), x)
    cost = 1 - F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).transpose(1, 2)
    (wanted,) = torch.autograd.grad((transport_plan(cost.detach(), x_mask, y_mask) * cost).sum(), x)
    assert torch.allclose(gradient, wanted, atol=1e-7) and not gradient[0, M[0] :].any()
    nothing = transport_distance(x, torch.zeros_like(x_mask), y, y_mask)
    assert torch.equal(nothing, torch.zeros(4))


def test_alignment_needs_the_tokens_of_both_inputs() -> None:
    late = {"kind": "concat", "inputs": list(NAMES), "dim": 16}
    one = small(NAMES, loss={"x": {"kind": "wra", "of": "fused"}}, fusion=late)
    with pytest.raises(UserError, match="concat fusion gives no tokens of text") as caught:
        one.loss["x"].needs(one)
    assert caught.value.hint == "--set fusion.kind=merged"
    model("wra", "fused").loss["x"].needs(model("wra", "fused"))


@torch.no_grad()
def test_alignment_is_what_rows_cost_less_what_mixed_ones_do() -> None:
    one, rows = model("wra", "fused"), batch(lacking=1)
    objective = one.loss["x"]
    rows = Batch(rows.ids, rows.inputs, rows.present, rows.keys, versions=objective.corrupt(rows, "0", {}))
    (version,) = rows.versions.values()
    assert isinstance(version, Take) and torch.equal(version.index["text"], torch.arange(4))
    others = version.index["regions"].tolist()
    assert all(other not in (i, 1) for i, other in enumerate(others) if i != 1) and others[1] == 1
    found = one(rows, objective.wants())
    assert float(objective.count(rows)) == 3
    total = 0.0
    for i in (0, 2, 3):
        for of, sign in (("", 1), ("x-regions", -1)):
            sides = [found[Want(f"fused.{name}", what, of)][i : i + 1] for name in NAMES for what in ("tokens", "mask")]
            total += sign * float(transport_distance(*sides))
    assert float(objective.score(found, rows)) == pytest.approx(total, abs=1e-5)
