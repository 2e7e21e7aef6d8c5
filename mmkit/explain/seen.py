"""One pass through a model with its attention kept, and the gradient of the score in each layer.

H heads, N tokens, D width
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmkit.batch import Want
from mmkit.explain.asked import Asked
from mmkit.layers import capture
from mmkit.model import Model


@dataclass
class Layer:
    """The attention (H, N, M) of one layer, and the gradient of the score in it; None where the score does not depend on it."""

    weights: Tensor
    gradient: Tensor | None


@dataclass
class Within:
    """What an encoder kept that reads parts of an item on their own, such as the frames of a video.

    Args:
        layers: of F parts: attention (F, H, P, P) and its gradient.
        tokens, gradients: of the parts (F, P, D).
    """

    layers: list[Layer]
    tokens: Tensor
    gradients: Tensor


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
        inputs: input -> its tensors, of one row, of those that are no whole numbers, with the gradient of the score.
        within: input -> what its encoder kept of the parts of the item.
    """

    score: float
    layers: dict[str, list[Layer]] = field(default_factory=dict)
    tokens: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    mask: dict[str, Tensor] = field(default_factory=dict)
    fusion: dict[str, Layer] = field(default_factory=dict)
    inputs: dict[str, dict[str, tuple[Tensor, Tensor]]] = field(default_factory=dict)
    within: dict[str, Within] = field(default_factory=dict)


def look(asked: Asked) -> Pass:
    """Put the question to the model and keep what it looks at. Changes no weight and no output."""
    model, names = asked.model, list(asked.items)
    early = asked.joined is not None and asked.fusion.reads == "embedded"
    outputs = {name: Want(name, "embedded" if early else "tokens") for name in names}
    masks = [Want(name, "mask") for name in names]
    batch = asked.batch()
    inputs = [x for of in batch.inputs.values() for x in of.values() if x.is_floating_point()]
    for x in inputs:
        x.requires_grad_()
    with torch.enable_grad(), capture(model) as maps, _parts(asked) as parts:
        got = model(batch, [*asked.wants, *outputs.values(), *masks])
    score = asked.score(got)[0]
    captured = [weights for calls in maps.values() for weights in calls]
    tokens = [got[want] for want in outputs.values()]
    all_parts = [x for calls in parts.values() for x in calls]
    kept = [*captured, *tokens, *all_parts, *inputs]
    gradients = _gradients(score, kept)
    of = dict(zip(map(id, kept), gradients, strict=True))
    found = Pass(float(asked.told(got)[0].detach()))
    for i, name in enumerate(names):
        found.tokens[name] = tokens[i][0].detach()
        gradient = gradients[len(captured) + i]
        found.gradients[name] = _or_zeros(gradient, tokens[i])[0]
        found.mask[name] = got[masks[i]][0]
        call, encoder = _call(asked, name), model.encoder_of(name)
        calls = {path: one[call] for path, one in maps.items() if path.startswith(f"encoder.{encoder}.") and len(one) > call}
        inner = f"{parts_of(model, encoder)}."
        found.layers[name] = [_layer(x, of) for path, x in calls.items() if len(x) == 1 and not path.startswith(inner)]
        if len(parts.get(encoder, [])) > call:
            x = parts[encoder][call]
            layers = [Layer(w.detach(), of.get(id(w))) for path, w in calls.items() if path.startswith(inner)]
            found.within[name] = Within(layers, x.detach(), _or_zeros(of.get(id(x)), x))
        given = batch.inputs.get(name, {})
        found.inputs[name] = {key: (x.detach(), _or_zeros(of.get(id(x)), x)) for key, x in given.items()}
    found.vectors = {want.part: got[want][0].detach() for want in asked.wants if want.what == "vectors"}
    prefix = f"fusion.{asked.joined}."
    for path, each in maps.items():
        if path.startswith(prefix) and each:
            found.fusion[path.removeprefix(prefix)] = _layer(each[-1], of)
    return found


def _gradients(score: Tensor, tensors: Sequence[Tensor]) -> list[Tensor | None]:
    used = [tensor for tensor in tensors if tensor.requires_grad]
    if not score.requires_grad or not used:
        return [None] * len(tensors)
    found = dict(zip(map(id, used), torch.autograd.grad(score, used, allow_unused=True), strict=True))
    return [found.get(id(tensor)) for tensor in tensors]


def _call(asked: Asked, name: str) -> int:
    """Which call of its encoder is that of an input, where it read several."""
    model = asked.model
    encoder = model.encoder_of(name)
    sharing = [other for other in asked.items if model.encoder_of(other) == encoder and asked.items[other] is not None]
    return sharing.index(name) if name in sharing else 0


def parts_of(model: Model, encoder: str) -> str | None:
    """The module by which an encoder reads parts of an item on their own, by name; None where it reads the whole."""
    part = getattr(model.encoder[encoder], "within", None)
    return next((path for path, module in model.named_modules() if module is part), None) if part is not None else None


@contextmanager
def _parts(asked: Asked) -> Iterator[dict[str, list[Tensor]]]:
    """While open, keep the tokens (F, P, D) of the parts that encoders read: encoder -> one of each of its calls."""
    found: dict[str, list[Tensor]] = {}
    with ExitStack() as stack:
        for encoder in dict.fromkeys(map(asked.model.encoder_of, asked.items)):
            part = getattr(asked.model.encoder[encoder], "within", None)
            if part is not None:
                calls = found[encoder] = []
                hook = part.register_forward_hook(lambda module, given, out, calls=calls: calls.append(out.tokens))
                stack.callback(hook.remove)
        yield found


def _or_zeros(gradient: Tensor | None, x: Tensor) -> Tensor:
    return torch.zeros_like(x) if gradient is None else gradient


def _layer(weights: Tensor, of: dict[int, Tensor | None]) -> Layer:
    gradient = of.get(id(weights))
    return Layer(weights[0].detach(), None if gradient is None else gradient[0])
