"""How much a model supports what is true of samples: the true target, or that the parts of a pair belong together.

B of n samples, C classes, d width of the shared space
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmkit.batch import Want
from mmkit.losses.filip import late_interaction
from mmkit.model import Model

# what of an encoder a vector of the shared space is made of
MADE_OF = {"vector": "pooled", "vectors": "tokens"}


def support(objective: Any, values: Sequence[Any]) -> Target | Pair:
    """What a loss is about: the true target, where it has a head, else the similarity of pairs.

    Args:
        values: of the n samples, what the column of the loss holds.
    """
    return Target(objective, values) if has_target(objective) else Pair(objective)


def has_target(objective: Any) -> bool:
    """Whether a loss knows what is true of a row, and does not compare its inputs."""
    return hasattr(objective, "truth")


def roots(model: Model, objective: Any) -> dict[str, list[Want]]:
    """input -> what of its encoder the decision of a loss is made of."""
    found: dict[str, list[Want]] = {}
    for want in objective.wants():
        for root in model.roots(want):
            found.setdefault(root.part, []).append(root._replace(what=MADE_OF.get(root.what, root.what)))
    return found


class Target:
    """The probability of what is true, by the head of a loss.

    The probability and not its logarithm: it lies between 0 and 1, so that no single sample that a removal makes confidently
    wrong outweighs a hundred others, and drops add up to about what the accuracy would lose. Gradients are of the log odds, for
    a probability near 1 has none.

    Args:
        objective: a loss over the logits of its head.
        values: of the n samples, what the column of the loss holds.
    """

    said = "probability of what is true"

    def __init__(self, objective: Any, values: Sequence[Any]) -> None:
        self.objective, self.truth = objective, objective.truth(values)
        self.wants = objective.wants()

    def value(self, got: Mapping[Want, Tensor], samples: Tensor) -> Tensor:
        """(B,); where many classes may be true, the mean over all of the probability that it is told rightly."""
        truth, p = self.truth[samples], self.objective.probabilities(got[self.wants[0]].float().cpu())
        return (truth * p + (1 - truth) * (1 - p)).mean(1) if self.objective.many else (truth * p).sum(1)

    def slope(self, got: Mapping[Want, Tensor], samples: Tensor) -> Tensor:
        """(B,), what gradients are taken of."""
        logits = got[self.wants[0]].float()
        truth = self.truth[samples].to(logits)
        if self.objective.many:
            return ((2 * truth - 1) * logits).mean(1)
        right = truth > 0
        true, false = (logits.masked_fill(where, -torch.inf).logsumexp(1) for where in (~right, right))
        return true - false


class Pair:
    """The similarity of the items of a pair: their cosine, or where items are compared token by token the mean of both directions
    of late interaction (FILIP, arXiv:2111.07783, equations 4 and 5). Of several pairs the mean.

    Args:
        objective: a loss of pairs.
    """

    said = "similarity of the pairs"

    def __init__(self, objective: Any) -> None:
        self.pairs, self.what, self.wants = objective.pairs, objective.what, objective.wants()

    def value(self, got: Mapping[Want, Tensor], samples: Tensor) -> Tensor:
        """(B,)."""
        return torch.stack([self._of(*(tuple(got[Want(n, w)] for w in self.what) for n in pair)) for pair in self.pairs]).mean(0)

    slope = value

    def _of(self, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> Tensor:
        if len(a) == 1:
            return (a[0] * b[0]).sum(-1)
        both = torch.vmap(lambda *x: torch.stack(late_interaction(*(one[None] for one in x))).mean())
        return both(*a, *b)
