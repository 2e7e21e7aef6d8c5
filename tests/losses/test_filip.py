"""Late interaction and its loss against loops over single tokens."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmkit.batch import Batch, Want
from mmkit.losses import build, filip
from mmkit.losses.contrastive import infonce, not_negatives

B, N, D = 5, 6, 8
LENGTHS = [3, 7, 5, 4, 6]


@pytest.fixture
def pairs():
    """Pictures of 6 patches each, texts of 3 to 7 tokens."""
    torch.manual_seed(0)
    a, b = (F.normalize(torch.randn(B, n, D), dim=-1).requires_grad_() for n in (N, max(LENGTHS)))
    return a, torch.ones(B, N, dtype=torch.bool), b, torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


def naive(one, other):
    """Mean over the tokens of one of the best of the other, token by token."""
    total = 0.0
    for x in one:
        best = None
        for y in other:
            cosine = x @ y
            best = cosine if best is None or cosine > best else best
        total = total + best
    return total / len(one)


def naive_loss(a, a_mask, b, b_mask, scale, same=None, smoothing=0.0):
    total = 0.0
    for i in range(B):
        kept = [j for j in range(B) if same is None or not same[i, j]]
        for x, x_mask, y, y_mask in ((a, a_mask, b, b_mask), (b, b_mask, a, a_mask)):
            row = torch.stack([scale * naive(x[i][x_mask[i]], y[j][y_mask[j]]) for j in kept])
            target = (1 - smoothing) * row[kept.index(i)] + smoothing * row.mean()
            total = total + (row.logsumexp(0) - target) / (2 * B)
    return total


def test_late_interaction_equals_the_naive_loop(pairs):
    a, a_mask, b, b_mask = pairs
    of_a, of_b = filip.late_interaction(*pairs)
    for i in range(B):
        for j in range(B):
            x, y = a[i][a_mask[i]], b[j][b_mask[j]]
            assert of_a[i, j].item() == pytest.approx(naive(x, y).item(), abs=1e-6)
            assert of_b[i, j].item() == pytest.approx(naive(y, x).item(), abs=1e-6)
    assert not torch.allclose(of_a, of_b, atol=1e-2), "the two are different matrices"


@pytest.mark.parametrize("tile_bytes", [1, 64 << 20])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("with_keys", [False, True])
def test_the_loss_equals_the_naive_loop_with_its_gradient(pairs, monkeypatch, tile_bytes, smoothing, with_keys):
    monkeypatch.setattr(filip, "TILE_BYTES", tile_bytes)
    scale = torch.tensor(14.3, requires_grad=True)
    keys = [torch.tensor([0, 1, 0, 2, 3]), torch.tensor([0, 1, 2, 3, 1])] if with_keys else []
    ours = filip.filip(*pairs, scale, keys, smoothing)
    expected = naive_loss(*pairs, scale, not_negatives(keys, 0, B), smoothing)
    assert ours.item() == pytest.approx(expected.item(), abs=1e-5)
    wrt = [pairs[0], pairs[2], scale]
    for x, y in zip(torch.autograd.grad(ours, wrt), torch.autograd.grad(expected, wrt), strict=True):
        assert torch.allclose(x, y, atol=1e-5)


def test_padding_is_in_no_maximum_and_no_mean(pairs):
    a, a_mask, b, b_mask = pairs
    scale = torch.tensor(10.0)
    expected = filip.filip(*pairs, scale)
    # what stands in the padding is like every picture, and there is more of it
    bait = torch.where(b_mask[..., None], b, a[:, :1])
    longer = torch.cat([bait, a[:, :2]], 1), F.pad(b_mask, (0, 2))
    assert torch.allclose(filip.filip(a, a_mask, *longer, scale), expected, atol=1e-6)
    assert torch.allclose(filip.filip(*longer, a, a_mask, scale), expected, atol=1e-6)
    gradient = torch.autograd.grad(filip.filip(*pairs, scale), b)[0]
    assert gradient[b_mask].any(1).all()
    assert not gradient[~b_mask].any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("keys", [[], [torch.tensor([0, 1, 0, 2, 3])]], ids=["", "keys"])
def test_one_token_a_side_is_infonce(pairs, smoothing, keys):
    a, b = pairs[0][:, :1], pairs[2][:, :1]
    one, scale = torch.ones(B, 1, dtype=torch.bool), torch.tensor(9.0)
    expected = infonce(a[:, 0], b[:, 0], scale, keys, smoothing)
    assert filip.filip(a, one, b, one, scale, keys, smoothing).item() == pytest.approx(expected.item(), abs=1e-6)


def test_tokens_that_are_all_alike_give_ln_batch(pairs):
    _, a_mask, b, b_mask = pairs
    ones = F.normalize(torch.ones(B, N, D), dim=-1), a_mask, F.normalize(torch.ones_like(b), dim=-1), b_mask
    assert filip.filip(*ones, torch.tensor(50.0)).item() == pytest.approx(math.log(B), abs=1e-5)


def test_the_objective_scores_the_rows_that_have_both(pairs):
    a, a_mask, b, b_mask = pairs
    loss = build("itc", {"kind": "filip", "label_smoothing": 0.1}, {"names": ("image", "text")})
    assert set(loss.wants()) == {Want(name, what) for name in ("image", "text") for what in ("vectors", "mask")}
    there = torch.tensor([True, False, True, True, True])
    got = {Want("image", "vectors"): a, Want("image", "mask"): a_mask}
    got |= {Want("text", "vectors"): b, Want("text", "mask"): b_mask & there[:, None]}
    batch = Batch(list("abcde"), {}, {"text": there, "image": torch.ones(B, dtype=torch.bool)})
    rows = [x[there] for x in pairs]
    expected = filip.filip(*rows, loss.logit_scale.exp(), [], 0.1)
    assert loss.score(got, batch).item() == pytest.approx(expected.item(), abs=1e-6)
    assert loss.at_chance(batch) == pytest.approx(math.log(4))
    alone = Batch(list("abcde"), {}, {"text": torch.arange(B) == 0})
    nothing = loss.score(got, alone)
    assert nothing.item() == 0 and nothing.requires_grad
