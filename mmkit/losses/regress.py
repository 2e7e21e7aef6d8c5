"""Regression: a head over one input or a fusion that predicts a number of a column, such as a sentiment from -3 to 3.

B rows
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit.batch import Batch
from mmkit.errors import UserError
from mmkit.losses.classify import Headed
from mmkit.losses.objective import Got

LOSSES: dict[str, Callable[..., Tensor]] = {"l1": F.l1_loss, "mse": F.mse_loss, "huber": F.huber_loss}


class Regress(Headed):
    """How far the number that the head predicts is from the target, in standard deviations of the training targets.

    What the head gives is scaled by their mean and deviation, so that a prediction is in the units of the data whatever these
    are, and a new head predicts about their mean.

    Args:
        column: of the dataset, numbers.
        of: the input, or `fused`, that the head reads.
        loss: "l1", the absolute difference (as of MulT, arXiv:1906.00295), "mse", its square, or "huber", the square below one
            deviation and the difference above.
        dropout: before the head.
    """

    metric = "regress"
    said = "closeness to the target, in deviations"
    width = 1

    def __init__(
        self,
        column: str = "target",
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        loss: str = "l1",
        dropout: float = 0.0,
        *,
        targets: dict[str, Any],
        name: str = "",
    ) -> None:
        super().__init__(of, weight, share, dropout, targets=targets, name=name)
        if loss not in LOSSES:
            raise ValueError(f"loss is {', '.join(LOSSES)}, not {loss!r}")
        self.column, self.loss = column, loss
        self.mean, self.std = float(targets["mean"]), float(targets["std"])

    @classmethod
    def learn(cls, table: dict[str, Any], data: Any, config: Any) -> dict[str, Any]:
        """{"mean", "std", "min", "max", "rows"} of the targets of the training rows.

        Raises:
            UserError: there is no such column, it holds no numbers, or but one of them.
        """
        column = table.get("column", "target")
        if column not in data.columns:
            there = ", ".join(data.columns)
            hint = f"its columns: {there}; mmkit prep table --column target=NAME   makes one of numbers"
            raise UserError(f"the dataset has no column {column!r} to predict", data.path, hint)
        values = []
        for row in data.rows("train", ["id", column], config.data.limit):
            if row[column] is None:
                continue
            if not _is_number(row[column]):
                what = f"{column} is no number: {row[column]!r}"
                raise UserError(what, f"{data.path} row {row['id']}", "the loss classify tells classes apart")
            values.append(float(row[column]))
        if len(set(values)) < 2:
            found = f"one number, {values[0]:g}" if values else "no number"
            raise UserError(f"column {column!r} of the training rows holds {found}", data.path, "two or more can be learnt")
        mean = math.fsum(values) / len(values)
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
        return {"mean": mean, "std": std, "min": min(values), "max": max(values), "rows": len(values)}

    def is_target(self, value: Any) -> bool:
        return value is not None and _is_number(value)

    def truth(self, values: Iterable[Any]) -> Tensor:
        """The targets as the head is to give them: (B, 1), standardised."""
        return (torch.tensor([float(value) for value in values]).view(-1, 1) - self.mean) / self.std

    def score(self, got: Got, batch: Batch) -> Tensor:
        rows = self.rows(batch)
        given = got[self.wants()[0]].float()[rows]
        return self._summed(given, self._targets(batch, rows).to(given))

    def at_chance(self, batch: Batch) -> float | None:
        """Of a model that predicts the mean of the training targets for every row."""
        rows = self.rows(batch)
        truth = self._targets(batch, rows)
        return float(self._summed(torch.zeros_like(truth), truth)) / len(rows) if rows else None

    def probabilities(self, logits: Tensor) -> Tensor:
        """The numbers that are predicted, in the units of the data: (B, 1)."""
        return self.mean + self.std * logits

    def support(self, logits: Tensor, truth: Tensor) -> Tensor:
        return -(logits - truth).abs()[:, 0]

    slope = support

    def _targets(self, batch: Batch, rows: list[int]) -> Tensor:
        return self.truth(batch.targets[self.column or ""][i] for i in rows)

    def _summed(self, given: Tensor, truth: Tensor) -> Tensor:
        return LOSSES[self.loss](given, truth, reduction="sum")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
