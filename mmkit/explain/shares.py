"""How much of a decision each input carries, from what the decision is worth with some of them only. No torch here.

The inputs are the players of a cooperative game, and the value v(S) of a coalition S of them is how much the model supports what
is true when it sees S only (SHAPE, arXiv:2205.00302, section 3; MM-SHAP, arXiv:2212.08158, section 3).

Shapes: n samples, k inputs, 2^k coalitions; coalition c has input i where bit i of c is set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np

from mmkit import bootstrap

# below it a mean drop is rounding, and there is nothing to share
LEAST = 1e-6


@dataclass(frozen=True)
class Share:
    """What an input carries by one method; None where all of them together surely carry nothing.

    Args:
        method: gradient, ablation or shapley.
        removal: what stands for an input that is not seen; None of the gradient, which removes nothing.
        share: of 1, over the inputs.
        interval: of the share, 95 %, samples drawn again.
    """

    modality: str
    method: str
    removal: str | None
    share: float | None
    interval: list[float] | None


def ablation(values: np.ndarray) -> np.ndarray:
    """How much the value of all inputs, of values (n, 2^k), drops without each: (n, k). The perceptual score
    (arXiv:2110.14375, section 3) before it is divided by the accuracy."""
    whole = values.shape[1] - 1
    return np.stack([values[:, whole] - values[:, whole ^ 1 << i] for i in range(_players(values))], 1)


def shapley(values: np.ndarray) -> np.ndarray:
    """The Shapley value of each input, exact over all coalitions: values (n, 2^k) -> (n, k). Their sum is v(all) - v(none)."""
    k = _players(values)
    found = np.zeros((len(values), k))
    for i in range(k):
        for c in range(1 << k):
            if not c >> i & 1:
                size = c.bit_count()
                found[:, i] += factorial(size) * factorial(k - size - 1) / factorial(k) * (values[:, c | 1 << i] - values[:, c])
    return found


def _players(values: np.ndarray) -> int:
    return values.shape[1].bit_length() - 1


def normalised(parts: np.ndarray) -> np.ndarray:
    """Parts (…, k) as shares of their sum; a negative one, of an input that misleads, counts as 0; nan where none is left."""
    parts = np.maximum(parts, 0.0)
    total = parts.sum(-1, keepdims=True)
    return np.where(total > LEAST, parts / np.maximum(total, LEAST), np.nan)


def shares(
    names: Sequence[str], parts: dict[tuple[str, str | None], np.ndarray], groups: np.ndarray, draws: int = bootstrap.DRAWS
) -> list[Share]:
    """The shares of the mean parts, with their intervals.

    The mean is taken first, over the samples: what single ones carry by accident cancels, and no sample that nothing is carried
    in has a share. There is nothing to share where the sum of the means, which by Shapley is what all inputs gain over none, is
    not above 0 by its whole interval.

    Args:
        names: of the k inputs.
        parts: (method, removal) -> (n, k).
        groups: (n,) integers from 0: samples of one row, which are drawn together.
    """
    beside = np.concatenate(list(parts.values()), 1)
    drawn = bootstrap.means(beside, groups, draws)
    found = []
    for number, ((method, removal), part) in enumerate(parts.items()):
        own = drawn[:, number * len(names) : (number + 1) * len(names)]
        gains = bootstrap.interval(own.sum(1))[0] > LEAST
        point = normalised(part.mean(0)) if gains else np.full(len(names), np.nan)
        again = normalised(own)
        for i, name in enumerate(names):
            known = not np.isnan(point[i])
            ends = bootstrap.interval(again[:, i]) if known else None
            found.append(Share(name, method, removal, float(point[i]) if known else None, ends))
    return found
