"""Rollout and the rules of relevance against loops over their definitions."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkit.explain import flow

L, H, N, M = 3, 2, 5, 4


def attention(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).softmax(-1)


def test_rollout_is_the_product_of_half_attention_and_half_identity() -> None:
    layers = [attention(H, N, N, seed=i) for i in range(L)]
    expected = torch.eye(N)
    for weights in layers:
        expected = (0.5 * weights.mean(0) + 0.5 * torch.eye(N)) @ expected
    found = flow.rollout(layers)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(N), atol=1e-6)


def test_rollout_of_a_causal_encoder_looks_at_nothing_behind() -> None:
    found = flow.rollout([attention(H, N, N).tril() for _ in range(L)])
    assert not found.triu(1).any()


def test_only_what_raises_the_score_counts() -> None:
    weights, gradient = attention(H, N, N), torch.ones(H, N, N)
    gradient[0] = -1
    assert torch.allclose(flow.positive(weights, gradient), weights[1] / H)
    assert not flow.positive(weights, None).any()


def test_relevance_through_self_attention() -> None:
    own, other, weights = torch.eye(N), torch.zeros(N, M), attention(N, N)
    found = flow.self_attention([own, other], weights)
    assert torch.allclose(found[0], torch.eye(N) + weights)
    assert not found[1].any()


def test_relevance_through_cross_attention() -> None:
    """Equation 10 entry by entry; the part beside the identity is brought to rows that sum to 1."""
    own, others, weights = torch.eye(N) + 3 * attention(N, N), torch.eye(M), attention(N, M, seed=1)
    found = flow.cross_attention(own, torch.zeros(N, M), others, weights)
    share = attention(N, N) + torch.eye(N)
    for i in range(N):
        for j in range(M):
            assert abs(found[i, j] - sum(share[k, i] * weights[k, j] for k in range(N))) < 1e-5
