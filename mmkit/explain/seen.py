"""One pass through a model with its attention kept, and the gradient of the score in each layer.

H heads, N tokens, D width
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmkit.batch import Want
from mmkit.explain.asked import Asked
from mmkit.layers import Maps, capture


@dataclass
class Layer:
    """The attention (H, N, M) of one layer, and the gradient of the score in it; None where the score does not depend on it."""

    weights: Tensor
    gradient: Tensor | None


@dataclass
class Pass:
    """What one pass kept.

    Args:
        score: of the one row.
        layers: input -> the self-attention of its encoder, layer by layer; fewer than there are, where one attends within
            windows only.
        tokens, gradients: input -> what its encoder gives, (N, D), and the gradient of the score there.
        vectors: input -> of a model that compares token by token, those in the shared space (N, d).
        mask: input -> which of them are real, (N,).
        fusion: module name within the fusion -> its layer.
    """

    score: float
    layers: dict[str, list[Layer]] = field(default_factory=dict)
    tokens: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    mask: dict[str, Tensor] = field(default_factory=dict)
    fusion: dict[str, Layer] = field(default_factory=dict)


def look(asked: Asked) -> Pass:
    """Put the question to the model and keep what it looks at. Changes no weight and no output."""
    model, names = asked.model, list(asked.items)
    early = asked.joined is not None and asked.fusion.reads == "embedded"
    outputs = {name: Want(name, "embedded" if early else "tokens") for name in names}
    masks = [Want(name, "mask") for name in names]
    with torch.enable_grad(), capture(model) as maps:
        got = model(asked.batch(), [*asked.wants, *outputs.values(), *masks])
    score = asked.score(got)[0]
    captured = [weights for calls in maps.values() for weights in calls]
    tokens = [got[want] for want in outputs.values()]
    gradients = _gradients(score, [*captured, *tokens])
    of = {id(weights): gradient for weights, gradient in zip(captured, gradients, strict=False)}
    found = Pass(float(score.detach()))
    for i, name in enumerate(names):
        found.tokens[name] = tokens[i][0].detach()
        gradient = gradients[len(captured) + i]
        found.gradients[name] = torch.zeros_like(found.tokens[name]) if gradient is None else gradient[0]
        found.mask[name] = got[masks[i]][0]
        found.layers[name] = _layers(maps, of, asked, name)
    found.vectors = {want.part: got[want][0].detach() for want in asked.wants if want.what == "vectors"}
    prefix = f"fusion.{asked.joined}."
    for path, calls in maps.items():
        if path.startswith(prefix) and calls:
            found.fusion[path.removeprefix(prefix)] = _layer(calls[-1], of)
    return found


def _gradients(score: Tensor, tensors: Sequence[Tensor]) -> list[Tensor | None]:
    used = [tensor for tensor in tensors if tensor.requires_grad]
    if not score.requires_grad or not used:
        return [None] * len(tensors)
    found = dict(zip(map(id, used), torch.autograd.grad(score, used, allow_unused=True), strict=True))
    return [found.get(id(tensor)) for tensor in tensors]


def _layers(maps: Maps, of: dict[int, Tensor | None], asked: Asked, name: str) -> list[Layer]:
    """Of the encoder of an input; where it read several, those of its own call."""
    model = asked.model
    encoder = model.encoder_of(name)
    sharing = [other for other in asked.items if model.encoder_of(other) == encoder and asked.items[other] is not None]
    call = sharing.index(name) if name in sharing else 0
    calls = [found for path, found in maps.items() if path.startswith(f"encoder.{encoder}.") and len(found) > call]
    return [_layer(found[call], of) for found in calls if len(found[call]) == 1]


def _layer(weights: Tensor, of: dict[int, Tensor | None]) -> Layer:
    gradient = of.get(id(weights))
    return Layer(weights[0].detach(), None if gradient is None else gradient[0])
