"""The one attention against a loop over its definition, and what it keeps of its weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mmkit.layers import Attention, Block, Stack, capture, masked_mean

B, N, M, D, H = 2, 5, 7, 12, 3


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(D, H).eval()


def given(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(math.prod(shape)))


def naive(a: Attention, x: Tensor, kv: Tensor, allowed: Tensor) -> Tensor:
    """Query by query and head by head; allowed (B, N, M)."""
    found = torch.zeros(x.shape)
    for b in range(x.size(0)):
        for n in range(x.size(1)):
            keys = [m for m in range(kv.size(1)) if allowed[b, n, m]]
            if not keys:
                continue
            q, k, v = a.q(x[b, n]), a.k(kv[b, keys]), a.v(kv[b, keys])
            heads = []
            for h in range(H):
                own = slice(h * D // H, (h + 1) * D // H)
                weights = (k[:, own] @ q[own] / math.sqrt(D / H)).softmax(0)
                heads.append(weights @ v[:, own])
            found[b, n] = a.out(torch.cat(heads))
    return found


def padding(length: int) -> Tensor:
    """(B, 1, length): the second row has two keys less."""
    return torch.tensor([[True] * length, [True] * (length - 2) + [False] * 2])[:, None]


MASKS = {
    "none": lambda m: None,
    "of keys": padding,
    "of each query": lambda m: given(B, N, m) > -0.5,
    "nowhere for some": lambda m: padding(m) & (torch.arange(N) != 2)[:, None],
    "nowhere for a row": lambda m: torch.tensor([True, False])[:, None, None].expand(B, 1, m),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("other", [False, True], ids=["self", "kv"])
@pytest.mark.parametrize("causal", [False, True])
def test_it_is_attention(attention: Attention, mask: str, other: bool, causal: bool) -> None:
    x, kv = given(B, N, D), given(B, M, D) if other else None
    keys = M if other else N
    shown = MASKS[mask](keys)
    allowed = torch.ones(B, N, keys, dtype=torch.bool) if shown is None else shown.expand(B, N, keys)
    if causal:
        allowed = allowed & torch.ones(N, keys, dtype=torch.bool).tril()
    expected = naive(attention, x, x if kv is None else kv, allowed)
    found = attention(x, kv, shown, causal)
    assert torch.allclose(found, expected, atol=1e-6)
    assert not found[~allowed.any(2)].any()

    with capture(attention) as maps:
        again = attention(x, kv, shown, causal)
    assert torch.allclose(again, found, atol=1e-6)
    (weights,) = maps[""]
    assert weights.shape == (B, H, N, keys)
    assert not weights.masked_select(~allowed[:, None]).any()
    assert torch.allclose(weights.sum(3), allowed.any(2)[:, None].float().expand(B, H, N), atol=1e-6)


@pytest.mark.parametrize("kept", [False, True])
def test_the_gradient_of_what_sees_nothing_is_finite(attention: Attention, kept: bool) -> None:
    x = given(B, N, D).requires_grad_()
    nowhere = torch.zeros(B, 1, N, dtype=torch.bool)
    with capture(attention if kept else nn.Identity()):
        attention(x, None, nowhere).sum().backward()
    assert x.grad is not None and not x.grad.any()


def test_what_is_captured_by_name_and_call_and_has_a_gradient() -> None:
    torch.manual_seed(0)
    blocks = Stack(2, D, H, cross="plain").eval()
    x, kv = given(B, N, D).requires_grad_(), given(B, M, D)
    with capture(blocks) as maps:
        for _ in range(2):
            blocks(x, padding(N), False, kv, padding(M))
    assert {name: [tuple(w.shape) for w in found] for name, found in maps.items()} == {
        f"{i}.{part}": [(B, H, N, keys)] * 2 for i in (0, 1) for part, keys in (("attention", N), ("cross", M))
    }
    assert torch.autograd.grad(maps["1.attention"][0].square().sum(), x)[0].any()
    blocks(x, padding(N), False, kv, padding(M))
    assert [len(found) for found in maps.values()] == [2] * 4, "it goes on when it is closed"


def test_a_gate_of_zero_shuts_out_and_an_open_one_does_not() -> None:
    torch.manual_seed(0)
    block = Block(D, H, cross="gated", kv_dim=4).eval()
    x, kv = given(B, N, D), given(B, M, 4)
    assert torch.equal(block(x, kv=kv), block(x))
    assert block.gate is not None
    nn.init.ones_(block.gate)
    assert not torch.allclose(block(x, kv=kv), block(x))


def test_recomputing_changes_no_gradient() -> None:
    torch.manual_seed(0)
    blocks = Stack(2, D, H, cross="plain")
    gradients = []
    for blocks.checkpoint in (False, True):
        x = given(B, N, D).requires_grad_()
        blocks(x, padding(N), True, given(B, M, D), padding(M)).square().sum().backward()
        gradients.append(x.grad)
    assert gradients[0] is not None and gradients[1] is not None
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)


def test_a_mean_of_nothing_is_zero() -> None:
    tokens, mask = given(B, N, D), torch.tensor([[True] * 2 + [False] * 3, [False] * 5])
    found = masked_mean(tokens, mask)
    assert torch.allclose(found[0], tokens[0, :2].mean(0))
    assert not found[1].any()
