"""Optimizer groups and the learning rate at a step."""

from __future__ import annotations

import math

import torch
from torch import nn

from mmkit.config import Train


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up, then a cosine to zero (CLIP, arXiv:2103.00020, section 2.5).

    Args:
        step: counted from 0.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def make_optimizer(model: nn.Module, config: Train) -> torch.optim.AdamW:
    """AdamW over what learns; gains, biases, positions and the losses' scalars are not decayed."""
    decayed, other = [], []
    for name, p in model.named_parameters():
        if p.requires_grad:
            plain = p.ndim < 2 or name.startswith("loss.") or name.endswith(("positions", "cls"))
            (other if plain else decayed).append(p)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": other, "weight_decay": 0.0}]
    assert config.lr is not None
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=(config.betas[0], config.betas[1]), eps=1e-8)
