"""How the weights of an encoder's tokens lie in what it reads: in patches of a picture, along time, or in frames of a video.

N tokens, F frames, P patches of a frame; A rows and T steps of what is read over time; h and w patches
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmkit.data.modalities import MODALITIES
from mmkit.errors import UserError
from mmkit.explain import flow

if TYPE_CHECKING:
    from mmkit.explain.maps import Maps
    from mmkit.explain.seen import Pass

BY_GRADIENT = ("relevance", "gradcam")  # methods that say what the score hangs on


def modality_of(model: Any, name: str) -> Any:
    """The row of an input's modality."""
    return MODALITIES[str(model.inputs[name].modality)]


def in_patches(maps: Maps, name: str, weights: Tensor) -> Tensor:
    """(N,) -> (h, w), a square of patches row by row."""
    encoder = maps.asked.model.encoder_of(name)
    return _square(weights[maps.asked.model.encoder[encoder].prefix :], encoder, maps.asked.model.name)


def _square(patches: Tensor, encoder: str, where: str) -> Tensor:
    side = math.isqrt(patches.size(-1))
    if side * side != patches.size(-1):
        raise UserError(f"the {encoder} encoder gives {patches.size(-1)} tokens, which are no square of patches", where)
    return patches.unflatten(-1, (side, side))


def over_time(maps: Maps, name: str, weights: Tensor) -> Tensor:
    """(N,) -> (A, T): the weight of a token in all that it was made of.

    By gradient it lies in the rows in proportion to what they add to the score to first order over the steps of the token
    (gradient * input, where the sum is positive); else, and where an encoder tells no cell, in all of them alike.
    """
    model = maps.asked.model
    encoder = model.encoder[model.encoder_of(name)]
    given = maps.seen.inputs[name]
    lies: Callable[..., Tensor] | None = getattr(encoder, "laid", None)
    if lies is not None:  # of a checkpoint
        return lies(weights, given["sound"][0], given["mask"][0][0], maps.seen.mask[name])
    effect = model.reader(name).effect({k: x for k, (x, _) in given.items()}, {k: g for k, (_, g) in given.items()})
    rows, steps = effect.shape
    tokens = weights[encoder.prefix :]  # (N,)
    if maps.method in BY_GRADIENT:
        added = torch.nn.functional.pad(effect, (0, -steps % encoder.patch)).unflatten(1, (-1, encoder.patch)).sum(2).clamp(min=0)
        total = added.sum(0)  # (N,)
        shares = torch.where(total > 0, added / total.clamp(min=torch.finfo(added.dtype).tiny), 1 / rows)
        tokens = shares * tokens[: shares.size(1)]
    else:
        tokens = tokens.expand(rows, -1) / rows
    return tokens.repeat_interleave(encoder.patch, 1)[:, :steps]


def in_frames(maps: Maps, name: str, weights: Tensor) -> Tensor:
    """(F,) -> (F, h, w): of each frame's weight what its patches have of it; (F * P,), of all their tokens, as they stand."""
    seen, model = maps.seen, maps.asked.model
    encoder = model.encoder[model.encoder_of(name)]
    part = encoder.within
    if encoder.pool == "patches":
        of_frames = weights.unflatten(0, (len(seen.within[name].tokens), -1))
        return _square(of_frames[:, part.prefix :], model.encoder_of(name), model.name)
    inner = _within(maps, seen, name)[:, part.prefix :]  # (F, P)
    shares = inner / inner.sum(1, keepdim=True).clamp(min=torch.finfo(inner.dtype).tiny)
    return _square(shares * weights[:, None], model.encoder_of(name), model.name)


def _within(maps: Maps, seen: Pass, name: str) -> Tensor:
    """The weight of each token of each frame for that frame: (F, P)."""
    inside = seen.within[name]
    layers, count = inside.layers, inside.tokens.size(1)
    usable = bool(layers) and all(layer.weights.shape[2:] == (count, count) for layer in layers)
    if maps.method == "gradcam" or not usable:
        prefix = maps.asked.model.encoder[maps.asked.model.encoder_of(name)].within.prefix
        return (inside.tokens * inside.gradients[:, prefix:].mean(1, keepdim=True)).sum(2).clamp(min=0)
    length = inside.gradients.norm(dim=2)
    read = length / length.sum(1, keepdim=True).clamp(min=torch.finfo(length.dtype).tiny)
    found = []
    for frame in range(len(read)):
        attention = [layer.weights[frame] for layer in layers]
        if maps.method == "rollout":
            found.append(read[frame] @ flow.rollout(attention))
        elif maps.method == "relevance":
            eye = torch.eye(count, device=read.device)
            (passed,) = _flowed([eye], layers, frame)
            found.append(read[frame] @ (passed - eye))
        else:
            found.append(read[frame] @ attention[-1].mean(0))
    return torch.stack(found)


def _flowed(flows: list[Tensor], layers: list[Any], frame: int) -> list[Tensor]:
    for layer in layers:
        gradient = None if layer.gradient is None else layer.gradient[frame]
        flows = flow.self_attention(flows, flow.positive(layer.weights[frame], gradient))
    return flows


# what a modality states as LAID -> the function
LAID: dict[str, Callable[[Maps, str, Tensor], Tensor]] = {"patches": in_patches, "time": over_time, "frames": in_frames}
