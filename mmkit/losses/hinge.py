"""The triplet loss with hardest negatives (VSE++, arXiv:1707.05612, sections 3.2 and 3.3).

B pairs in the (global) batch, D width, T rows of a tile
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmkit.losses.contrastive import TILE, Pair, Paired, not_negatives


def hinge(a: Tensor, b: Tensor, margin: float, keys: Iterable[Tensor] = (), hardest: bool = True, tile: int = TILE) -> Tensor:
    """How far each pair fails to be `margin` more alike than its negatives of the batch, in both directions and in tiles.

    Args:
        a, b: (B, D), L2-normalised; row i of both is a pair.
        keys: (B,) each; pairs that share a key are no negatives.
        hardest: of each pair's negatives only the most alike counts (equation 6), else their sum (equation 5).

    Returns:
        The sum of both directions, its mean over the pairs: a scalar. What has no negative adds 0.
    """
    B, keys = a.size(0), list(keys)
    least = (a * b).sum(1) - margin  # (B,): what a negative may be at most

    def rows(start: int, end: int, a: Tensor, b: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        cosine = a[start:end] @ b.T  # (T, B)
        positive = torch.zeros_like(cosine, dtype=torch.bool)
        positive[torch.arange(end - start), torch.arange(start, end)] = True
        left_out = not_negatives(keys, start, end)
        cosine = cosine.masked_fill(positive if left_out is None else positive | left_out, -torch.inf)
        if hardest:
            return cosine.amax(1), cosine.amax(0)
        return F.relu(cosine - least[start:end, None]).sum(1), F.relu(cosine - least).sum(0)

    spans = [(start, min(start + tile, B)) for start in range(0, B, tile)]
    found = (
        [rows(*spans[0], a, b, least)]
        if len(spans) == 1
        else [checkpoint(rows, *span, a, b, least, use_reentrant=False) for span in spans]
    )
    by_row, by_column = torch.cat([row for row, _ in found]), torch.stack([column for _, column in found])
    if hardest:
        return (F.relu(by_row - least) + F.relu(by_column.amax(0) - least)).mean()
    return (by_row + by_column.sum(0)).mean()


class Hinge(Paired):
    """Pairs ahead of their negatives by a margin. Nothing of it is learned.

    Encoders that know nothing yet collapse under the hardest negatives: they begin with all of them, or with another loss.

    Args:
        between, anchor, weights: see `Paired`; weight, share: see `Objective`.
        margin, hardest: see `hinge`; 0.2 is the paper's.
    """

    def __init__(
        self,
        between: list[str] | None = None,
        anchor: str | None = None,
        weights: dict[str, float] | None = None,
        weight: float = 1.0,
        share: float | None = None,
        margin: float = 0.2,
        hardest: bool = True,
        *,
        names: Sequence[str] = (),
        name: str = "",
    ) -> None:
        super().__init__(between, anchor, weights, weight, share, names=names, name=name)
        if not 0 < margin <= 2:
            raise ValueError(f"margin {margin} is no difference of two cosines above 0")
        self.margin, self.hardest = margin, hardest

    def of_pair(self, a: list[Tensor], b: list[Tensor], keys: list[Tensor], pair: Pair) -> Tensor:
        return hinge(a[0], b[0], self.margin, keys, self.hardest)

    def pair_at_chance(self, candidates: Tensor) -> float:
        """Of a model whose cosines are all the same, so that every negative it counts falls short by the margin."""
        negatives = candidates - 1
        return 2 * self.margin * (negatives.clamp(max=1) if self.hardest else negatives).mean().item()

    def probabilities(self, cosine: Tensor, pair: Pair | None = None) -> Tensor:
        """The loss has no temperature: the margin is taken for one, so that a candidate ahead by it is e times as likely. They
        keep the order of the cosines, and are not calibrated."""
        return (cosine / self.margin).softmax(-1)
