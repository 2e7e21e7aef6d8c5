"""Losses over several pairs are the weighted sum of one loss for each pair."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit import losses
from mmkit.batch import Batch, Want
from mmkit.errors import ConfigError
from mmkit.losses.contrastive import Paired

B, N, D = 12, 3, 8
NAMES = ("image", "text", "series")
WEIGHTS = {"image-text": 1.5, "series-text": 0.5}  # a pair may be named in either order
KINDS = ["infonce", "sigmoid", "filip", "hinge"]


def build(kind: str, **table: Any) -> Any:
    return losses.build("itc", {"kind": kind, **table}, {"names": NAMES})


@pytest.fixture
def got() -> dict[Want, Tensor]:
    torch.manual_seed(0)
    found: dict[Want, Tensor] = {}
    for name in NAMES:
        found[Want(name)] = F.normalize(torch.randn(B, D), dim=-1)
        found[Want(name, "vectors")] = F.normalize(torch.randn(B, N, D), dim=-1)
        found[Want(name, "mask")] = torch.ones(B, N, dtype=torch.bool)
    return found


@pytest.mark.parametrize("anchor", ["text", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_several_pairs_are_the_sum_of_separate_losses(kind: str, anchor: str, got: dict[Want, Tensor]) -> None:
    batch = Batch([""] * B, {}, {"series": torch.arange(B) % 3 != 0}, {"text": torch.arange(B) % 5})
    together = build(kind, anchor=anchor, weights=WEIGHTS)
    weights = {("image", "text"): 1.5, ("text", "series"): 0.5} | ({("image", "series"): 1.0} if anchor == "all" else {})
    each = {pair: build(kind, between=list(pair)) for pair in weights}
    assert set(together.pairs) == set(weights)
    expected = sum(weight * each[pair].score(got, batch) for pair, weight in weights.items())
    assert together.score(got, batch).item() == pytest.approx(expected.item(), rel=1e-6)
    assert together.at_chance(batch) == pytest.approx(sum(w * each[pair].at_chance(batch) for pair, w in weights.items()))
    assert build(kind, anchor=anchor).score(got, batch).item() != pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize(
    ("weights", "what", "hint"),
    [
        ({"image-txt": 1.0}, "no pair 'image-txt'", "did you mean image-text?"),
        ({"image-series": 1.0}, "no pair 'image-series'", "did you mean "),
        ({"image-text": -1.0}, "the weight of image-text is -1.0", "a number from 0"),
        ({"image-text": "much"}, "the weight of image-text is 'much'", "a number from 0"),
    ],
)
def test_a_pair_that_is_not_there_is_named(weights: dict[str, Any], what: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=what) as e:
        build("infonce", anchor="text", weights=weights)
    assert e.value.hint.startswith(hint)
    assert e.value.keys == ("loss.itc.weights",)


def test_every_loss_of_pairs_is_walked() -> None:
    paired = [kind for kind in losses.LOSSES if issubclass(losses.loss_class("itc", {"kind": kind}), Paired)]
    assert paired == KINDS
