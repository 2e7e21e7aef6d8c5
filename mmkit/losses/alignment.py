"""Word-region alignment by optimal transport (UNITER, arXiv:1909.11740, section 3.2), of any two inputs.

B rows, M and N tokens of the two, D width
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.batch import Batch, Want
from mmkit.config import Config
from mmkit.errors import UserError, setting
from mmkit.losses.matching import Matching
from mmkit.losses.objective import Got, places_of


class Alignment(Matching):
    """Word-region alignment: what it costs to carry the words to the regions is low in a row, and high where one of the two is
    of another row.

    The cost is the optimal transport distance of the fused tokens, 1 - cosine being the distance of two; the sum over rows less
    that over rows with the second input of another (`NAME-INPUT`), over the number of rows.

    Args:
        of: the fusion, of two inputs.
        group: the consecutive rows within which others are drawn.
        config: of the model.
    """

    metric = None  # type: ignore[assignment]

    def __init__(
        self,
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        group: int = 32,
        *,
        config: Config,
        name: str = "",
    ) -> None:
        super().__init__(of, weight, share, group=group, config=config, name=name)

    def needs(self, model: Any) -> None:
        """As of matching, and the fusion must give the tokens of both inputs.

        Raises:
            UserError: it does not.
        """
        super().needs(model)
        if lacking := [name for name in self.pair if name not in places_of(model, str(self.of))]:
            what = f"{model.config.fusions[self.of]['kind']} fusion gives no tokens of {lacking[0]}"
            hint = setting(f"{model.config.fusion_path(str(self.of))}.kind", "merged")
            raise UserError(what, f"loss.{self.name}.of = {self.of}", hint)

    def head(self, width: int) -> nn.Module | None:  # type: ignore[override]
        return None

    def _versions(self) -> dict[str, str]:
        return {self.pair[1]: f"{self.name}-{self.pair[1]}"}

    def wants(self) -> tuple[Want, ...]:
        return tuple(
            Want(f"{self.of}.{name}", what, of)
            for of in ("", *self._versions().values())
            for name in self.pair
            for what in ("tokens", "mask")
        )

    def count(self, batch: Batch) -> Tensor:
        _, rows, _ = next(self._pairs(batch))
        return rows.sum().float()

    def score(self, got: Got, batch: Batch) -> Tensor:
        total = torch.zeros((), device=got[self.wants()[0]].device)
        for want, rows, true in self._pairs(batch):
            sides = [got[Want(f"{self.of}.{name}", what, want.of)][rows] for name in self.pair for what in ("tokens", "mask")]
            cost = transport_distance(*sides).sum()
            total = total + (cost if true else -cost)
        return total

    def at_chance(self, batch: Batch) -> float | None:
        return 0.0


def transport_distance(x: Tensor, x_mask: Tensor, y: Tensor, y_mask: Tensor) -> Tensor:
    """The optimal transport distance (B,) of two sets of tokens (B, M, D) and (B, N, D) with masks, by 1 - cosine.

    The plan is taken as given: the gradient is of the distances alone.
    """
    cost = 1 - F.normalize(x.float(), dim=-1) @ F.normalize(y.float(), dim=-1).transpose(1, 2)  # (B, M, N)
    plan = transport_plan(cost.detach(), x_mask, y_mask)
    return (plan * cost).sum((1, 2))


@torch.no_grad()
def transport_plan(cost: Tensor, x_mask: Tensor, y_mask: Tensor, beta: float = 0.5, iterations: int = 50) -> Tensor:
    """The cheapest way to carry as much from each of M places as to each of N (B, M, N), by IPOT (arXiv:1802.04307, algorithm 1).

    Args:
        cost: (B, M, N); x_mask (B, M), y_mask (B, N): which places are there.
        beta: the smaller, the closer each iteration comes, and the less exact are its sums.

    Returns:
        The plan, whose sums over a row are 1 / places of x and over a column 1 / places of y.
    """
    there = (x_mask[:, :, None] & y_mask[:, None]).to(cost.dtype)  # (B, M, N)
    near = (-cost / beta).exp() * there
    given, taken = (1 / mask.sum(1, keepdim=True).clamp(min=1) for mask in (x_mask, y_mask))  # (B, 1), of a place
    plan, right = there, taken.expand(y_mask.shape)  # (B, N)
    for _ in range(iterations):
        kernel = near * plan
        left = given / (kernel @ right[..., None])[..., 0].clamp(min=1e-30)  # (B, M)
        right = taken / (left[:, None] @ kernel)[:, 0].clamp(min=1e-30)
        plan = left[..., None] * kernel * right[:, None]
    return plan
