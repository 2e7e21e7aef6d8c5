"""The hinge loss against a naive loop over pairs and their negatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit.batch import Batch, Want
from mmkit.losses.hinge import Hinge, hinge

B, D, MARGIN = 24, 8, 0.2


@pytest.fixture
def pair() -> list[Tensor]:
    torch.manual_seed(0)
    return [F.normalize(torch.randn(B, D), dim=-1).requires_grad_() for _ in range(2)]


def naive(a: Tensor, b: Tensor, keys: list[Tensor], hardest: bool) -> Tensor:
    total = torch.zeros(())
    for i in range(len(a)):
        others = [j for j in range(len(a)) if j != i and all(key[i] != key[j] for key in keys)]
        for negatives in ([a[i] @ b[j] for j in others], [a[j] @ b[i] for j in others]):
            costs = [(MARGIN + negative - a[i] @ b[i]).clamp(min=0) for negative in negatives]
            if costs:
                total = total + (torch.stack(costs).max() if hardest else torch.stack(costs).sum())
    return total / len(a)


@pytest.mark.parametrize("tile", [5, 8, 4096])
@pytest.mark.parametrize("hardest", [True, False])
@pytest.mark.parametrize("keys", [[], [torch.arange(B) % 9, torch.arange(B) % 7]], ids=["no keys", "keys"])
def test_tiles_equal_the_naive_loop_with_its_gradient(pair: list[Tensor], tile: int, hardest: bool, keys: list[Tensor]) -> None:
    ours, expected = hinge(*pair, MARGIN, keys, hardest, tile), naive(*pair, keys, hardest)
    assert expected > 0.5
    assert ours.item() == pytest.approx(expected.item(), abs=2e-6)
    for found, grad in zip(torch.autograd.grad(ours, pair), torch.autograd.grad(expected, pair), strict=True):
        assert torch.allclose(found, grad, atol=1e-6)


@pytest.mark.parametrize("hardest", [True, False])
def test_what_has_no_negative_adds_nothing(pair: list[Tensor], hardest: bool) -> None:
    loss = hinge(*pair, MARGIN, [torch.zeros(B, dtype=torch.int64)], hardest)
    assert loss == 0
    assert all(not grad.any() for grad in torch.autograd.grad(loss, pair))


@pytest.mark.parametrize("hardest", [True, False])
def test_rows_that_lack_an_input_are_no_pairs(pair: list[Tensor], hardest: bool) -> None:
    there = {"image": torch.arange(B) % 4 != 1, "text": torch.arange(B) % 5 != 2}
    keys = {"text": torch.arange(B) % 7}
    batch = Batch([""] * B, {}, there, keys)
    objective = Hinge(["image", "text"], margin=MARGIN, hardest=hardest, name="itc")
    got = dict(zip(objective.wants(), pair, strict=True))
    assert list(got) == [Want("image"), Want("text")]
    left = torch.stack(list(there.values())).all(0)
    expected = naive(pair[0][left], pair[1][left], [keys["text"][left]], hardest)
    assert objective.score(got, batch).item() == pytest.approx(expected.item(), abs=2e-6)
    # of collapsed vectors every negative that counts falls short by the margin
    same = dict.fromkeys(got, F.normalize(torch.ones(B, D), dim=-1))
    assert objective.score(same, batch).item() == pytest.approx(objective.at_chance(batch), abs=1e-5)


def test_probabilities_take_the_margin_for_a_temperature() -> None:
    found = Hinge(["image", "text"], margin=0.5).probabilities(torch.tensor([0.9, 0.4]))
    assert (found[0] / found[1]).item() == pytest.approx(torch.e, rel=1e-5)
    assert found.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("margin", [0.0, -0.2, 2.5])
def test_a_margin_that_no_cosines_have_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        Hinge(["image", "text"], margin=margin)
