"""What each input of a model contributes: its value with and without them, and the slope of its score along each.

B of n samples, k inputs, N tokens, D width
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from mmkit.batch import Batch, Want
from mmkit.explain.held import REMOVALS, Encodings, Held
from mmkit.explain.shares import ablation, shapley
from mmkit.explain.support import Support
from mmkit.model import Model

Parts = dict[tuple[str, str | None], np.ndarray]


def parts(
    model: Model,
    support: Support,
    held: Mapping[str, Held],
    partners: Tensor,
    batch_size: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Parts, dict[str, np.ndarray]]:
    """What each input is worth to each sample, by every method and removal: (method, removal) -> (n, k); and removal -> the
    values of all coalitions (n, 2^k). The encoders do not run: only what lies behind them is computed anew.

    Args:
        partners: (draws, k, n), the samples whose inputs stand for those that `shuffle` removes; the draws are averaged.
    """
    found: Parts = {("gradient", None): gradients(model, support, held, batch_size)}
    passes = [(removal, draw) for removal in REMOVALS for draw in (partners if removal == "shuffle" else partners[:1])]
    drawn: dict[str, list[np.ndarray]] = {}
    for done, (removal, draw) in enumerate(passes):
        progress(done, len(passes))
        drawn.setdefault(removal, []).append(values(model, support, held, removal, draw, batch_size))
    progress(len(passes), len(passes))
    worth = {removal: np.mean(each, 0) for removal, each in drawn.items()}
    for method, of in (("ablation", ablation), ("shapley", shapley)):
        found |= {(method, removal): of(each) for removal, each in worth.items()}
    return found, worth


@torch.no_grad()
def values(
    model: Model, support: Support, held: Mapping[str, Held], removal: str, partners: Tensor, batch_size: int = 64
) -> np.ndarray:
    """How much the model supports what is true of each sample with each coalition of its inputs: (n, 2^k).

    Args:
        partners: (k, n), of one draw.
    """
    n = partners.size(1)
    found = np.empty((n, 1 << len(held)))
    for samples in torch.arange(n).split(batch_size):
        there = {name: one.of(samples) for name, one in held.items()}
        gone = {name: held[name].without(samples, removal, own) for name, own in zip(held, partners, strict=True)}
        for c in range(found.shape[1]):
            seen = {name: (there if c >> i & 1 else gone)[name] for i, name in enumerate(held)}
            found[samples.numpy(), c] = support.value(_answers(model, support, seen), samples).cpu().double().numpy()
    return found


def gradients(model: Model, support: Support, held: Mapping[str, Held], batch_size: int = 64) -> np.ndarray:
    """How steeply the score of each sample rises along each input: (n, k).

    Of each token the norm of the gradient, each value times how far it strays over the samples, summed over the tokens. So the
    scale of an encoding plays no role, nor does a value that is always the same, nor the number of tokens: a token that is cut
    in two like ones has half the gradient twice.
    """
    n = len(next(iter(held.values())).index)
    found = np.empty((n, len(held)))
    for samples in torch.arange(n).split(batch_size):
        seen = {name: one.of(samples) for name, one in held.items()}
        leaves = [(name, what, x.requires_grad_()) for name, of in seen.items() for what, x in of.items() if what != "mask"]
        score = support.slope(_answers(model, support, seen), samples).sum()
        slopes = torch.autograd.grad(score, [x for _, _, x in leaves], allow_unused=True)
        total = {name: torch.zeros(len(samples)) for name in held}
        for (name, what, _), slope in zip(leaves, slopes, strict=True):
            if slope is not None:
                norms = (slope * held[name].usual.spread[what]).norm(dim=-1)
                total[name] += norms.flatten(1).sum(1) if norms.ndim > 1 else norms
        found[samples.numpy()] = torch.stack(list(total.values()), 1).numpy()
    return found


def _answers(model: Model, support: Support, seen: Mapping[str, Encodings]) -> dict[Want, Tensor]:
    have = {Want(name, what): x.to(model.device) for name, of in seen.items() for what, x in of.items()}
    rows = len(next(iter(have.values())))
    return model(Batch([""] * rows, {}), support.wants, have)
