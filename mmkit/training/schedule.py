"""Optimizer groups and the learning rate at a step."""

from __future__ import annotations

import math

import torch
from torch import nn

from mmkit.config import Train
from mmkit.training.depth import depths


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up, then a cosine to zero (CLIP, arXiv:2103.00020, section 2.5).

    Args:
        step: counted from 0.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def make_optimizer(model: nn.Module, config: Train) -> torch.optim.AdamW:
    """AdamW over what learns; gains, biases, positions and the losses' scalars are not decayed.

    A module with an `lr_factor` (a pretrained encoder) learns at that multiple of the rate, but for its adapters, which
    are new; times `layer_decay` for each block above (arXiv:2106.08254, appendix): its groups' `factor`.
    """
    factors = {name: module.lr_factor for name, module in model.named_modules() if hasattr(module, "lr_factor")}
    below = _below(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            plain = p.ndim < 2 or name.startswith("loss.") or name.endswith(("positions", "cls"))
            own = next((f for prefix, f in factors.items() if name.startswith(f"{prefix}.")), 1.0)
            factor = (1.0 if ".lora_" in name else own) * config.layer_decay ** below.get(name, 0)
            groups.setdefault((0.0 if plain else config.weight_decay, factor), []).append(p)
    assert config.lr is not None
    made = [{"params": p, "weight_decay": decay, "factor": factor} for (decay, factor), p in groups.items()]
    return torch.optim.AdamW(made, lr=config.lr, betas=(config.betas[0], config.betas[1]), eps=1e-8, fused=True)


def _below(model: nn.Module) -> dict[str, int]:
    """Parameter of an encoder -> its depth, see `depths`."""
    found: dict[str, int] = {}
    for name, encoder in getattr(model, "encoder", nn.ModuleDict()).items():
        own = depths(key for key, _ in encoder.named_parameters())
        found |= {f"encoder.{name}.{key}": depth for key, depth in own.items()}
    return found


def next_optimizer(old: torch.optim.AdamW, model: nn.Module, config: Train) -> torch.optim.AdamW:
    """The optimizer of the next stage; what goes on learning keeps its moments, so that a resumed run is the same."""
    new = make_optimizer(model, config)
    new.state.update({p: old.state[p] for group in new.param_groups for p in group["params"] if p in old.state})
    return new
