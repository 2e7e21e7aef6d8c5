"""How much a model supports what is true of samples: the true target, or that their inputs belong together.

B of n samples, C classes, d width of the shared space
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit.batch import Want
from mmkit.layers import masked_mean
from mmkit.losses.filip import late_interaction
from mmkit.losses.matching import Matching
from mmkit.model import Model

# what of an encoder a vector of the shared space is made of
MADE_OF = {"vector": "pooled", "vectors": "tokens"}


def support(objective: Any, values: Sequence[Any]) -> Support:
    """What a loss is about: the true target or text, where it has one, else that pairs match or how similar they are.

    Args:
        values: of the n samples, what the column of the loss holds.
    """
    if writes(objective):
        return Text(objective, values)
    if isinstance(objective, Matching):
        return Match(objective)
    return Target(objective, values) if has_target(objective) else Pair(objective)


def has_target(objective: Any) -> bool:
    """Whether a loss knows what is true of a row, and does not compare its inputs."""
    return hasattr(objective, "truth") or writes(objective)


def writes(objective: Any) -> bool:
    """Whether what is true of a row is a text, each token of which is foretold."""
    return hasattr(objective, "following")


def roots(model: Model, objective: Any) -> dict[str, list[Want]]:
    """input -> what of its encoder the decision of a loss is made of."""
    found: dict[str, list[Want]] = {}
    for want in decision(objective):
        for root in model.roots(want):
            found.setdefault(root.part, []).append(root._replace(what=MADE_OF.get(root.what, root.what)))
    return found


def decision(objective: Any) -> tuple[Want, ...]:
    """What a loss wants of samples as they are, without the versions that it is trained by."""
    wants = objective.clean() if writes(objective) else objective.wants()
    return tuple(want for want in wants if not want.of)


class Target:
    """What the head of a loss makes of what is true: its probability, or how close a number is to it.

    The probability and not its logarithm: it lies between 0 and 1, so that no single sample that a removal makes confidently
    wrong outweighs a hundred others, and drops add up to about what the accuracy would lose.

    Args:
        objective: a loss over the logits of its head.
        values: of the n samples, what the column of the loss holds.
    """

    def __init__(self, objective: Any, values: Sequence[Any]) -> None:
        self.objective, self.truth = objective, objective.truth(values)
        self.said, self.wants = objective.said, decision(objective)

    def value(self, got: Mapping[Want, Tensor], samples: Tensor) -> Tensor:
        """(B,)."""
        return self.objective.support(got[self.wants[0]].float().cpu(), self.truth[samples])

    def slope(self, got: Mapping[Want, Tensor], samples: Tensor) -> Tensor:
        """(B,), what gradients are taken of."""
        logits = got[self.wants[0]].float()
        return self.objective.slope(logits, self.truth[samples].to(logits))


class Text:
    """The probability of the tokens of the true text, each after those before it: the geometric mean of a text's.

    Gradients are of the log odds, as of `Target`. A text that is removed is still the one to be foretold.

    Args:
        objective: a loss of language.
        values: the texts of the n samples.
    """

    said = "probability of the words of the true text"

    def __init__(self, objective: Any, values: Sequence[str]) -> None:
        self.objective, self.texts, self.wants = objective, list(values), objective.clean()

    def value(self, got: Mapping[Want, Tensor], samples: Tensor) -> Tensor:
        """(B,)."""
        odds, told = self._log_odds(got, samples)
        return masked_mean(F.logsigmoid(odds)[..., None], told)[:, 0].exp()

    def slope(self, got: Mapping[Want, Tensor], samples: Tensor) -> Tensor:
        """(B,), what gradients are taken of."""
        odds, told = self._log_odds(got, samples)
        return masked_mean(odds[..., None], told)[:, 0]

    def _log_odds(self, got: Mapping[Want, Tensor], samples: Tensor) -> tuple[Tensor, Tensor]:
        logits = got[self.wants[0]]
        said = [self.texts[i] for i in samples.tolist()]
        mask = self.objective.reader.collate(said)["mask"][:, : logits.size(1)]
        mask = F.pad(mask, (0, logits.size(1) - mask.size(1)))  # filled up as `held.hold` does
        return self.objective.log_odds(logits, mask.to(logits.device), said)


class Match:
    """The probability that the inputs of a row match, by the head of a matching loss; gradients are of its log odds.

    Args:
        objective: a loss of matching.
    """

    said = "probability of a match"

    def __init__(self, objective: Matching) -> None:
        self.objective, self.wants = objective, decision(objective)

    def value(self, got: Mapping[Want, Tensor], samples: Tensor) -> Tensor:
        """(B,)."""
        return self.objective.probabilities(got[self.wants[0]].float().cpu())[:, 1]

    def slope(self, got: Mapping[Want, Tensor], samples: Tensor) -> Tensor:
        """(B,), what gradients are taken of."""
        other, match = got[self.wants[0]].float().unbind(1)
        return match - other


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


Support = Target | Text | Match | Pair
