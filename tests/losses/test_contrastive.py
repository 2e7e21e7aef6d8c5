"""Tiles, left-out pairs and label smoothing of the contrastive losses, against naive forms."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmkit.losses.contrastive import infonce, not_negatives, sigmoid

B, D = 24, 8


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return [F.normalize(torch.randn(B, D), dim=-1).requires_grad_() for _ in range(2)]


def naive_infonce(image, text, scale, same=None, smoothing=0.0):
    logits = scale * image @ text.T
    total = 0.0
    for matrix, left_out in ((logits, same), (logits.T, None if same is None else same.T)):
        for i in range(B):
            kept = [j for j in range(B) if left_out is None or not left_out[i, j]]
            row = matrix[i, kept]
            target = (1 - smoothing) * matrix[i, i] + smoothing * row.mean()
            total = total + (row.logsumexp(0) - target) / (2 * B)
    return total


@pytest.mark.parametrize("tile", [5, 8, 4096])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("with_keys", [False, True])
def test_tiled_infonce_equals_the_naive_loop_with_its_gradient(pair, tile, smoothing, with_keys):
    image, text = pair
    scale = torch.tensor(14.3, requires_grad=True)
    keys = [torch.arange(B) % 9, torch.arange(B) % 7] if with_keys else []
    same = not_negatives(keys, 0, B)
    ours = infonce(image, text, scale, keys, smoothing, tile)
    naive = naive_infonce(image, text, scale, same, smoothing)
    assert ours.item() == pytest.approx(naive.item(), abs=1e-6)
    for a, b in zip(torch.autograd.grad(ours, [*pair, scale]), torch.autograd.grad(naive, [*pair, scale]), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_label_smoothing_equals_cross_entropy(pair):
    logits = 10 * pair[0] @ pair[1].T
    y = torch.arange(B)
    expected = (F.cross_entropy(logits, y, label_smoothing=0.1) + F.cross_entropy(logits.T, y, label_smoothing=0.1)) / 2
    assert infonce(*pair, torch.tensor(10.0), label_smoothing=0.1).item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_duplicate_caption_is_no_negative():
    image, text = torch.eye(4), torch.eye(4)
    text[1] = text[0]
    keys = [torch.tensor([0, 0, 2, 3])]
    assert infonce(image, text, torch.tensor(100.0), keys) < infonce(image, text, torch.tensor(100.0))
    assert sigmoid(image, text, torch.tensor(10.0), torch.tensor(0.0), keys) < sigmoid(
        image, text, torch.tensor(10.0), torch.tensor(0.0)
    )


@pytest.mark.parametrize("tile", [5, 4096])
def test_sigmoid_equals_the_naive_loop(pair, tile):
    total = 0.0
    for i in range(B):
        for j in range(B):
            logit = 10 * float(pair[0][i].detach() @ pair[1][j].detach()) - 3
            total += math.log1p(math.exp(-logit if i == j else logit))
    assert sigmoid(*pair, torch.tensor(10.0), torch.tensor(-3.0), tile=tile).item() == pytest.approx(total / B, abs=1e-5)


def test_collapsed_vectors_give_ln_batch():
    ones = F.normalize(torch.ones(B, D), dim=-1)
    assert infonce(ones, ones, torch.tensor(50.0)).item() == pytest.approx(math.log(B), abs=1e-5)
