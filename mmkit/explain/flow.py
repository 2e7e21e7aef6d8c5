"""How relevance flows through attention: rollout (arXiv:2005.00928) and the rules of Chefer et al. (arXiv:2103.15679).

H heads, N and M tokens. An attention is (H, N, M): what each of N tokens takes from each of M. A flow is (N, M), too: what each
token has by now of the tokens that the encoder began with.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def rollout(layers: Sequence[Tensor]) -> Tensor:
    """The product of 0.5 A + 0.5 I over the layers, A (N, N) being the mean over heads of each (H, N, N); rows sum to 1.

    (arXiv:2005.00928, section 3: the identity is the residual connection.)
    """
    flow = torch.eye(layers[0].size(-1), device=layers[0].device)
    for weights in layers:
        mixed = 0.5 * weights.mean(0) + 0.5 * torch.eye(weights.size(-1), device=weights.device)
        flow = _shares(mixed) @ flow
    return flow


def _shares(x: Tensor) -> Tensor:
    """Rows that sum to 1; a row of zeros stays one."""
    total = x.sum(-1, keepdim=True)
    return x / torch.where(total == 0, torch.ones_like(total), total)


def positive(weights: Tensor, gradient: Tensor | None) -> Tensor:
    """The mean over heads of (gradient * attention)+ (arXiv:2103.15679, equation 5): (H, N, M) -> (N, M).

    Args:
        gradient: of the score with respect to the attention; None where the score does not depend on it.
    """
    if gradient is None:
        return torch.zeros_like(weights[0])
    return (weights * gradient).clamp(min=0).mean(0)


def self_attention(flows: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """Each flow R of the same tokens after one more layer of them: R + A R (equations 6 and 7)."""
    return [flow + weights @ flow for flow in flows]


def cross_attention(own: Tensor, across: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    """What tokens have of others after a layer in which they look at them (equation 10).

    Args:
        own: flow (N, N) of the tokens that look; across: what they have of the others' beginnings by now (N, M).
        others: flow (M, M) of those that are looked at.
        weights: A (N, M).
    """
    return across + _normalised(own).T @ weights @ _normalised(others)


def _normalised(flow: Tensor) -> Tensor:
    """A flow whose part beside the identity has rows that sum to 1, and the identity (equations 8 and 9)."""
    eye = torch.eye(flow.size(-1), device=flow.device)
    return _shares(flow - eye) + eye
