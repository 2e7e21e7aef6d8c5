"""What stands for an input that is removed."""

import numpy as np
import pytest
import torch

from mmkit.explain.held import hold, partners


@pytest.fixture
def texts():
    """Three items of 2, 3 and 1 tokens, shown by four samples."""
    torch.manual_seed(0)
    tokens = [torch.randn(n, 4) for n in (2, 3, 1)]
    items = {"tokens": tokens, "mask": [torch.ones(len(x), dtype=torch.bool) for x in tokens], "pooled": [x[0] for x in tokens]}
    return items, [0, 1, 2, 1]


def test_samples_have_their_items_padded(texts):
    items, index = texts
    held = hold(items, index, None)
    found = held.of(torch.tensor([3, 0]))
    assert torch.equal(found["tokens"][0], items["tokens"][1])
    assert torch.equal(found["tokens"][1, :2], items["tokens"][0]) and not found["tokens"][1, 2].any()
    assert found["mask"].tolist() == [[True] * 3, [True, True, False]]


def test_the_mean_and_spread_are_over_the_samples_that_have_a_token_there(texts):
    items, index = texts
    usual = hold(items, index, None).usual
    shown = [items["tokens"][i] for i in index]
    for place in range(3):
        there = torch.stack([x[place] for x in shown if len(x) > place])
        assert torch.allclose(usual.mean["tokens"][0, place], there.mean(0), atol=1e-6)
        assert torch.allclose(usual.spread["tokens"][0, place], there.std(0, correction=0), atol=1e-6)
    assert torch.allclose(usual.mean["pooled"][0], torch.stack([x[0] for x in shown]).mean(0), atol=1e-6)
    # two of four have a third token, which is half
    assert usual.mean["mask"].tolist() == [[True, True, True]]


def test_removed_is_nothing_or_a_blank_or_the_mean_or_anothers(texts):
    items, index = texts
    held, rows, others = hold(items, index, None), torch.tensor([0, 2]), torch.tensor([1, 2, 3, 0])
    gone = held.without(rows, "zero", others)
    assert not gone["tokens"].any() and not gone["mask"].any() and not gone["pooled"].any()
    assert gone["tokens"].shape == held.of(rows)["tokens"].shape
    assert torch.equal(held.without(rows, "mean", others)["pooled"][1], held.usual.mean["pooled"][0])
    assert torch.equal(held.without(rows, "shuffle", others)["tokens"], held.of(torch.tensor([1, 3]))["tokens"])
    blank = {"tokens": torch.ones(5, 4), "mask": torch.ones(5, dtype=torch.bool), "pooled": torch.ones(4)}
    longer = hold(items, index, blank)
    assert longer.without(rows, "zero", others)["tokens"].tolist() == torch.ones(2, 5, 4).tolist()
    assert longer.of(rows)["mask"].sum(1).tolist() == [2, 1]


def test_partners_are_of_other_rows_and_each_sample_is_one_once():
    groups = [0, 0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 7]
    found = partners(groups, 2, 20, seed=3)
    assert found.shape == (20, 2, 12)
    of = torch.tensor(groups)
    for draw in found:
        assert all(sorted(own.tolist()) == list(range(12)) for own in draw)
        assert (of[draw[0]] != of).all() and (of[draw[1]] != of).all()
        assert (of[draw[0]] != of[draw[1]]).all(), "what is removed together would still match"
    assert torch.equal(found, partners(groups, 2, 20, seed=3))
    assert len({tuple(draw.flatten().tolist()) for draw in found}) > 10


@pytest.mark.parametrize("sizes", [(3, 3), (5, 4, 3), (9, 1), (1, 1), (8, 1, 1, 2), (4, 4, 4)])
@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_partners_of_few_groups_are_never_of_the_own_one(sizes, inputs):
    of = torch.tensor(np.random.default_rng(0).permutation(np.repeat(range(len(sizes)), sizes)))
    found = partners(of.tolist(), inputs, 10, seed=1)
    assert (of[found] != of).all()
    if len(sizes) > inputs:
        assert all(len(set(column)) == inputs for draw in of[found] for column in draw.T.tolist())
    # every sample of another group may be one
    several = partners(of.tolist(), inputs, 300, seed=1)[:, 0]
    for sample in range(len(of)):
        assert set(several[:, sample].tolist()) == set(torch.nonzero(of != of[sample]).flatten().tolist())
    assert torch.equal(found, partners(of.tolist(), inputs, 10, seed=1))
