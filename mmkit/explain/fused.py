"""Relevance through a fusion by attention: the rules of Chefer et al. (arXiv:2103.15679) for tokens of several inputs.

N tokens of an input, T of all that a fusion reads together
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mmkit.explain import flow
from mmkit.explain.asked import Asked
from mmkit.explain.seen import Layer, Pass
from mmkit.fusion.attention import Cross, Merged
from mmkit.fusion.hybrid import Hybrid


@dataclass(frozen=True)
class Joint:
    """What a fusion read out.

    Args:
        weights: input -> what the score has of each of its tokens (N,).
        between: what each token of the words has of each patch and its neighbours (M, N); None where there are no words.
    """

    weights: dict[str, Tensor]
    between: Tensor | None


def attends(asked: Asked) -> bool:
    """The score is made of a fusion by attention."""
    return asked.fused and isinstance(asked.model.fusion, Merged | Cross | Hybrid)


def joint(asked: Asked, seen: Pass) -> list[Layer]:
    """The layers in which the inputs meet: over all tokens together, or of the query's over the others'."""
    return _blocks(seen, "cross") or _blocks(seen, "attention") if attends(asked) else []


def relevance(asked: Asked, seen: Pass, flows: Mapping[str, Tensor]) -> Joint:
    """The relevance of every token for the score, and of every patch for every word.

    Args:
        flows: input -> what each of the encoder's outputs has of its inputs (N, N).
    """
    if isinstance(asked.model.fusion, Cross):
        return _crossed(asked, seen, flows)
    start = torch.block_diag(torch.ones(1, 1), *(flows[name].cpu() for name in _order(asked))).to(next(iter(flows.values())))
    found = start
    for layer in _blocks(seen, "attention"):
        (found,) = flow.self_attention([found], flow.positive(layer.weights, layer.gradient))
    return _read(asked, seen, found[0], found - torch.eye(len(found), device=found.device))


def rolled(asked: Asked, seen: Pass) -> Joint:
    """Rollout of the layers over all tokens together."""
    found = flow.rollout([layer.weights for layer in _blocks(seen, "attention")])
    return _read(asked, seen, found[0], found)


def attention(asked: Asked, seen: Pass, weights: Tensor) -> Joint:
    """One layer's attention (T, T) over all tokens together, or (N, M) of the query's over the others'."""
    if isinstance(asked.model.fusion, Cross):
        query = asked.model.fusion.query
        real = seen.mask[query].to(weights.dtype)
        others = real @ weights / real.sum()
        return _of_cross(asked, seen, real / real.sum(), others, weights)
    return _read(asked, seen, weights[0], weights)


def _crossed(asked: Asked, seen: Pass, flows: Mapping[str, Tensor]) -> Joint:
    """Self-attention of the query's tokens (equations 6 and 7), then theirs over the others' (equation 10), block by block."""
    query = asked.model.fusion.query
    own = flows[query]
    others = torch.block_diag(*(flows[name] for name in _others(asked)))
    across = torch.zeros(len(own), len(others), device=own.device)
    for within, between in zip(_blocks(seen, "attention"), _blocks(seen, "cross"), strict=True):
        own, across = flow.self_attention([own, across], flow.positive(within.weights, within.gradient))
        across = flow.cross_attention(own, across, others, flow.positive(between.weights, between.gradient))
    # the fused vector is the mean of the query's real tokens
    real = seen.mask[query].to(own.dtype)
    read = real / real.sum()
    return _of_cross(asked, seen, read @ (own - torch.eye(len(own), device=own.device)), read @ across, across)


def _of_cross(asked: Asked, seen: Pass, own: Tensor, others: Tensor, across: Tensor) -> Joint:
    spans = _spans(seen, _others(asked))
    weights = {asked.model.fusion.query: own} | {name: others[span] for name, span in spans.items()}
    between = None
    if asked.words in spans:  # the picture looks
        between = across[:, spans[asked.words]].T
    elif asked.words == asked.model.fusion.query and asked.picture in spans:
        between = across[:, spans[asked.picture]]
    return Joint(weights, between)


def _read(asked: Asked, seen: Pass, row: Tensor, rows: Tensor) -> Joint:
    """Of `Merged`: the class token's row (T,) is the score's, the words' rows (T, T) are their own."""
    spans = _spans(seen, _order(asked), 1)
    between = rows[spans[asked.words], spans[asked.picture]] if asked.words in spans else None
    return Joint({name: row[span] for name, span in spans.items()}, between)


def _spans(seen: Pass, names: Iterable[str], start: int = 0) -> dict[str, slice]:
    """Where the tokens of each input stand."""
    found = {}
    for name in names:
        found[name] = slice(start, start := start + len(seen.tokens[name]))
    return found


def _order(asked: Asked) -> list[str]:
    return list(asked.model.config.fusion["inputs"])


def _others(asked: Asked) -> list[str]:
    return [name for name in _order(asked) if name != asked.model.fusion.query]


def _blocks(seen: Pass, kind: str) -> list[Layer]:
    return [layer for path, layer in seen.fusion.items() if path.endswith(f".{kind}")]
