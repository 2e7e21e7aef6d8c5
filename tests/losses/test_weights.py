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


def test_of_the_inputs_that_are_named_alone() -> None:
    assert build("infonce", between=["series", "text"]).pairs == [("series", "text")]
    assert build("infonce", between=list(NAMES)).pairs == [("image", "text"), ("image", "series"), ("text", "series")]
    assert build("infonce", between=list(NAMES), anchor="series").pairs == [("image", "series"), ("text", "series")]


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


@pytest.mark.parametrize("kind", ["infonce", "filip"])
def test_a_scale_of_each_pair_begins_as_one_scale_of_all(kind: str, got: dict[Want, Tensor]) -> None:
    batch = Batch([""] * B, {}, {"series": torch.arange(B) % 3 != 0}, {})
    shared, own = build(kind, anchor="all"), build(kind, anchor="all", scales="pair")
    assert own.score(got, batch).item() == shared.score(got, batch).item()
    own.score(got, batch).backward()
    assert sorted(name for name, _ in own.named_parameters()) == [f"logit_scales.{a}-{b}" for a, b in sorted(own.pairs)]
    assert all(scale.grad is not None and scale.grad != 0 for scale in own.parameters())


def test_a_pair_with_a_temperature_has_a_scale_of_its_own(got: dict[Want, Tensor]) -> None:
    batch = Batch([""] * B, {}, {}, {})
    one = build("infonce", anchor="image", temperatures={"series-image": 0.05})
    parts = [build("infonce", between=["image", "text"]), build("infonce", between=["image", "series"], temperature=0.05)]
    assert one.score(got, batch).item() == pytest.approx(sum(part.score(got, batch).item() for part in parts))
    assert one.log() == pytest.approx({"logit_scale": 1 / 0.07, "logit_scale/image-series": 20.0})
    cosine = torch.tensor([0.5, 0.4])
    for pair, scale in ((("series", "image"), 20), (("image", "text"), 1 / 0.07), (("text", "series"), 1 / 0.07)):
        assert torch.allclose(one.probabilities(cosine, pair), (scale * cosine).softmax(0))
    with torch.no_grad():
        one.logit_scales["image-series"] += 5
    one.after_step()
    assert one.scale(("image", "series")).item() == pytest.approx(one.max_scale)


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({"temperatures": {"image-txt": 0.1}}, "no pair 'image-txt'"),
        ({"temperatures": {"image-text": 0}}, "the temperature of image-text is 0"),
        ({"scales": "each"}, "scales"),
    ],
)
def test_a_scale_that_cannot_be_is_one_line(table: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        build("infonce", anchor="text", **table)


def test_rows_with_fewer_than_two_inputs_change_nothing(got: dict[Want, Tensor]) -> None:
    one = build("infonce", anchor="image")
    there = {"image": torch.arange(B) >= 4, "text": torch.arange(B) % 2 == 0, "series": torch.arange(B) % 3 == 0}
    left = torch.stack([there["image"] & there[name] for name in ("text", "series")]).any(0)
    some = one.score(
        {want: x[left] for want, x in got.items()}, Batch([""] * int(left.sum()), {}, {n: x[left] for n, x in there.items()}, {})
    )
    assert 0 < left.sum() < B - 4
    assert one.score(got, Batch([""] * B, {}, there, {})).item() == pytest.approx(some.item(), rel=1e-6)
