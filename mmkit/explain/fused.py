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


def by_attention(asked: Asked) -> Merged | Cross | None:
    """The fusion by attention that the score is made of, also within a hybrid one; None where there is none."""
    found = asked.fusion.attention if isinstance(asked.fusion, Hybrid) else asked.fusion
    return found if isinstance(found, Merged | Cross) else None


def attends(asked: Asked) -> bool:
    """The score is made of a fusion by attention."""
    return by_attention(asked) is not None


def joint(asked: Asked, seen: Pass) -> list[Layer]:
    """The layers in which the inputs meet: over all tokens together, or of the query's over the others'."""
    return _blocks(seen, "cross") or _blocks(seen, "attention") if attends(asked) else []


def relevance(asked: Asked, seen: Pass, flows: Mapping[str, Tensor]) -> Joint:
    """The relevance of every token for the score, and of every patch for every word.

    Args:
        flows: input -> what each of the encoder's outputs has of its inputs (N, N).
    """
    if isinstance(fusion := by_attention(asked), Cross):
        return _crossed(asked, fusion, seen, flows)
    start = torch.block_diag(torch.ones(1, 1), *(flows[name].cpu() for name in _order(asked))).to(next(iter(flows.values())))
    found = start
    for layer in _blocks(seen, "attention"):
        (found,) = flow.self_attention([found], flow.positive(layer.weights, layer.gradient))
    return _read(asked, seen, found - torch.eye(len(found), device=found.device))


def rolled(asked: Asked, seen: Pass) -> Joint:
    """Rollout of the layers over all tokens together."""
    found = flow.rollout([layer.weights for layer in _blocks(seen, "attention")])
    return _read(asked, seen, found)


def attention(asked: Asked, seen: Pass, weights: Tensor) -> Joint:
    """One layer's attention (T, T) over all tokens together, or (N, M) of the query's over the others'."""
    if isinstance(fusion := by_attention(asked), Cross):
        read = _shares(asked, fusion, seen).to(weights.dtype)
        return _of_cross(asked, fusion, seen, read, read @ weights, weights)
    return _read(asked, seen, weights)


def _crossed(asked: Asked, fusion: Cross, seen: Pass, flows: Mapping[str, Tensor]) -> Joint:
    """Self-attention of the query's tokens (equations 6 and 7), then theirs over the others' (equation 10), block by block."""
    own = flows[fusion.query]
    others = torch.block_diag(*(flows[name] for name in _others(asked, fusion)))
    across = torch.zeros(len(own), len(others), device=own.device)
    for within, between in zip(_blocks(seen, "attention"), _blocks(seen, "cross"), strict=True):
        own, across = flow.self_attention([own, across], flow.positive(within.weights, within.gradient))
        across = flow.cross_attention(own, across, others, flow.positive(between.weights, between.gradient))
    read = _shares(asked, fusion, seen).to(own.dtype)
    return _of_cross(asked, fusion, seen, read @ (own - torch.eye(len(own), device=own.device)), read @ across, across)


def _of_cross(asked: Asked, fusion: Cross, seen: Pass, own: Tensor, others: Tensor, across: Tensor) -> Joint:
    spans = _spans(seen, _others(asked, fusion))
    weights = {fusion.query: own} | {name: others[span] for name, span in spans.items()}
    between = None
    if asked.words in spans:  # the picture looks
        between = across[:, spans[asked.words]].T
    elif asked.words == fusion.query and asked.looked in spans:
        between = across[:, spans[asked.looked]]
    return Joint(weights, between)


def _shares(asked: Asked, fusion: Merged | Cross, seen: Pass) -> Tensor:
    """How much of the score is read from each of the query's tokens (N,): all real ones alike where a text is foretold or the
    fused vector is their mean, else that which it is."""
    real = seen.mask[str(fusion.query)].float()
    pool = fusion.pool if isinstance(fusion, Cross) else "last"
    if asked.foretold is not None or pool == "mean":
        return real / real.sum()
    return torch.zeros_like(real).index_fill(0, real.nonzero()[0 if pool == "first" else -1], 1.0)


def _read(asked: Asked, seen: Pass, rows: Tensor) -> Joint:
    """Of `Merged`: the rows (T, T) of the words are their own; the score's is the class token's, or of a causal one those of the
    query together."""
    spans = _spans(seen, _order(asked), 1)
    row = rows[0]
    if (fusion := by_attention(asked)) is not None and fusion.causal:
        row = _shares(asked, fusion, seen).to(rows.dtype) @ rows[spans[str(fusion.query)]]
    between = rows[spans[asked.words], spans[asked.looked]] if asked.words in spans else None
    return Joint({name: row[span] for name, span in spans.items()}, between)


def _spans(seen: Pass, names: Iterable[str], start: int = 0) -> dict[str, slice]:
    """Where the tokens of each input stand."""
    found = {}
    for name in names:
        found[name] = slice(start, start := start + len(seen.tokens[name]))
    return found


def _order(asked: Asked) -> list[str]:
    return list(asked.model.config.fusions[str(asked.joined)]["inputs"])


def _others(asked: Asked, fusion: Cross) -> list[str]:
    return [name for name in _order(asked) if name != fusion.query]


def _blocks(seen: Pass, kind: str) -> list[Layer]:
    return [layer for path, layer in seen.fusion.items() if path.endswith(f".{kind}")]
