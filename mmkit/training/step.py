"""One optimisation step's forward and backward: precision, accumulation in parts, and several processes, all exact.

The loss is a function of all vectors of the global batch. They are computed part by part, gathered, and their gradient is taken
once; then each part is run backward with its share of it (GradCache, arXiv:2101.06983). With one part there is one forward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmkit.losses.contrastive import candidates
from mmkit.model import Model
from mmkit.training.distributed import gather, own_rows, sum_gradients


def gradients(model: Model, batch: dict[str, Any], parts: int, precision: str) -> dict[str, Tensor]:
    """Fill `.grad` of every parameter that learns with the gradient of the loss of the global batch.

    No DDP wrapper: every process takes the loss of all vectors, so the gradient needs no differentiable all-gather.

    Args:
        batch: this process's share of the global batch, on the model's device.
        parts: computed one after the other; each needs 1/parts of the memory.
        precision: fp32 or bf16.

    Returns:
        "loss", each loss as "loss/NAME", "cosine/MODALITY": the mean cosine of two different samples, and "loss_at_chance": what
        "loss" is where this batch's pairs cannot be told apart; detached scalars.
    """
    wants = sorted(model.wants())  # the same order in every process: each is a collective
    device = model.device
    # where all encoders ran before, a batch needs no parts; in one part dropout draws as it does without --accumulate
    pieces = split(batch, 1 if all(_is_pooled(batch[m]) for m in model.modalities) else parts)
    states = []
    outputs = []
    for piece in pieces:
        states.append(_rng_state(device))
        with torch.set_grad_enabled(len(pieces) == 1), _autocast(device, precision):
            outputs.append(model(piece, wants))
    local = {w: torch.cat([o[w] for o in outputs]) for w in wants}
    leaves = {w: gather(v.detach()).requires_grad_() for w, v in local.items()}
    keys = [gather(k) for k in batch["keys"].values()]
    parts_of_loss = {name: loss(leaves, keys) for name, loss in model.loss.items()}
    total = sum((model.loss[name].weight * value for name, value in parts_of_loss.items()), torch.zeros((), device=device))
    total.backward()
    mine = {w: own_rows(leaf.grad, local[w].size(0)) for w, leaf in leaves.items() if leaf.grad is not None}
    start = 0
    for piece, state, output in zip(pieces, states, outputs, strict=True):
        size = next(iter(output.values())).size(0)
        if len(pieces) > 1:
            _set_rng_state(device, state)
            with _autocast(device, precision):
                output = model(piece, wants)
        learned = [w for w in mine if output[w].requires_grad]
        torch.autograd.backward([output[w] for w in learned], [mine[w][start : start + size] for w in learned])
        start += size
    # the losses' scalars have their whole gradient in every process already
    sum_gradients([p for n, p in model.named_parameters() if p.requires_grad and not n.startswith("loss.")])
    values = {"loss": total, **{f"loss/{name}": value for name, value in parts_of_loss.items()}}
    values |= {f"cosine/{w.removesuffix('.vector')}": mean_cosine(leaf) for w, leaf in leaves.items() if w.endswith(".vector")}
    told_from = candidates(len(next(iter(leaves.values()))), keys)
    values["loss_at_chance"] = torch.tensor(sum(loss.weight * loss.at_chance(told_from) for loss in model.loss.values()))
    return {name: value.detach() for name, value in values.items()}


@torch.no_grad()
def mean_cosine(vectors: Tensor) -> Tensor:
    """Mean cosine of two different rows of normalised vectors (B, d): 1 where they have collapsed."""
    B = vectors.size(0)
    return (vectors.sum(0).square().sum() - B) / max(1, B * (B - 1))


def split(batch: dict[str, Any], parts: int) -> list[dict[str, Any]]:
    """Cut a batch into nearly equal parts along its first axis."""
    if parts <= 1:
        return [batch]

    def cut(value: Any) -> list[Any]:
        if isinstance(value, Tensor):
            return list(value.chunk(parts))
        return [dict(zip(value, piece, strict=True)) for piece in zip(*(cut(v) for v in value.values()), strict=True)]

    return cut({modality: value for modality, value in batch.items() if modality != "keys" and isinstance(value, (Tensor, dict))})


def _is_pooled(value: Any) -> bool:
    return isinstance(value, dict) and "pooled" in value


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _rng_state(device: torch.device) -> Tensor:
    if device.type == "mps":
        return torch.mps.get_rng_state()
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_rng_state(device: torch.device, state: Tensor) -> None:
    if device.type == "mps":
        torch.mps.set_rng_state(state)
    elif device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
