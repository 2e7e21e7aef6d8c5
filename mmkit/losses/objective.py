"""What every loss is: an objective, which says what it wants of the model and what that is worth."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkit.batch import Batch, Take, Want
from mmkit.layers import Encoded

Got = Mapping[Want, Tensor]


class Objective(nn.Module):
    """A loss; a new one states only what it has. Its parameters are scalars, for a head lives in the model.

    Attributes:
        whole: scored over all rows of the global batch, and so without a head or a fusion; else it is a sum over rows.
        metric: the row of METRICS that says how good a model trained with it is; None where only its loss does.
        name: of its `[loss.NAME]` table.
        weight: factor in the sum of losses.
        share: where several losses have one, one of them is drawn a step in proportion.
        of: what its head reads: an input, a fusion, or the tokens of an input as fused, `FUSION.INPUT`.
        reads: of that, `pooled` (B, D) or `tokens` (B, N, D), of which `pick` may take some.
        column: the dataset column that holds its targets.
        listed: its cells are lists of targets, of which a sample has one.
        group: rows of the global batch within which it takes others; parts and processes are cut at the borders.
    """

    whole = True
    metric: str | None = "recall@k"
    reads = "pooled"
    column: str | None = None
    listed = False
    group = 1

    def __init__(self, weight: float = 1.0, share: float | None = None, of: str | None = None, name: str = "") -> None:
        super().__init__()
        self.weight, self.share, self.of, self.name = weight, share, of, name

    @classmethod
    def learn(cls, table: dict[str, Any], data: Any, config: Any) -> dict[str, Any] | None:
        """What it must know of the training rows before a model can be built, JSON: kept in RUN/targets.json.

        Args:
            config: of the run, resolved; of the rows only `data.limit` count.

        Raises:
            UserError: the dataset has not what the loss needs.
        """
        return None

    @staticmethod
    def defaults(batch_size: int) -> dict[str, tuple[Any, str]]:
        """Keys that hang on the batch: key -> value and reason."""
        return {}

    @classmethod
    def names(cls, table: Mapping[str, Any]) -> list[str]:
        """The inputs that a `[loss.NAME]` table names, beside those of a fusion."""
        return [str(table["of"])] if table.get("of") else []

    def needs(self, model: Any) -> None:
        """Check before the first step that the model has what it takes.

        Raises:
            UserError: it has not.
        """

    def begins(self, model: Any, fresh: Collection[str]) -> None:
        """Check that what must have been trained before was.

        Args:
            fresh: the names of the model's tensors that neither --init nor a checkpoint gave.

        Raises:
            UserError: it was not.
        """

    def head(self, width: int) -> nn.Module | None:
        """What reads `of`, whose vectors have `width` values: the model's `head.NAME`."""
        return None

    def pick(self, read: Tensor, version: Batch | Take) -> Tensor:
        """What of it the head is shown, by the version of the batch that was read: such as the hidden tokens (R, D) alone."""
        return read

    def measured(self) -> tuple[str | None, ...]:
        """The rows of METRICS that say how good a model trained with it is, where there may be several; else `metric`."""
        return (self.metric,)

    def wants(self) -> tuple[Want, ...]:
        """What `score` reads."""
        return ()

    def sees(self) -> tuple[Want, ...]:
        """What `corrupt` is given of the clean batch, detached."""
        return ()

    def corrupt(self, batch: Batch, draw: str, clean: Got) -> dict[str, Batch | Take]:
        """Versions of a batch, by the names that `wants` use.

        Args:
            draw: the seed of what concerns the batch as a whole; what concerns a row is seeded by `rng`.
            clean: what it `sees`; where that is something, it gives Takes only.
        """
        return {}

    def alters(self) -> tuple[str, ...]:
        """The inputs that its versions hold others of, so that an encoder runs on them too and none of it can be kept."""
        return ()

    def rng(self, draw: str, id: str) -> random.Random:
        """The chance of one row in one step: the same whatever part or process it is in."""
        from mmkit.files import stable_hash

        return random.Random(stable_hash(f"{draw} {self.name} {id}"))

    def count(self, batch: Batch) -> Tensor:
        """Where it is no whole: what the sum over these rows is divided by, after it is summed over all parts and processes."""
        return torch.tensor(float(batch.rows))

    def score(self, got: Got, batch: Batch) -> Tensor:
        """The loss of the global batch, or the sum over these rows: a scalar."""
        raise NotImplementedError

    def at_chance(self, batch: Batch) -> float | None:
        """The loss of a model that cannot tell the rows apart; None where that is not known."""
        return None

    def after_step(self) -> None:
        """Called after each optimisation step."""

    def log(self) -> dict[str, float]:
        """What to write to metrics.jsonl, `train/NAME`."""
        return {}


def early_versions(objectives: Iterable[Objective], batch: Batch, draw: str) -> dict[str, Batch | Take]:
    """What objectives make of a batch without seeing what was encoded."""
    return {name: made for one in objectives if not one.sees() for name, made in one.corrupt(batch, draw, {}).items()}


def late_versions(objectives: Iterable[Objective], batch: Batch, draw: str, clean: Got) -> dict[str, Batch | Take]:
    """What the others make of it.

    Args:
        clean: all that they see, and maybe more.
    """
    made: dict[str, Batch | Take] = {}
    for one in objectives:
        if seen := one.sees():
            made |= one.corrupt(batch, draw, {want: clean[want].detach() for want in seen})
    return made


def places_of(model: Any, fusion: str) -> dict[str, slice]:
    """The inputs whose tokens a fusion gives, and where they stand if each has one."""
    one = Encoded(torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1))
    return dict(model.fusion[fusion].spans(dict.fromkeys(model.config.fusions[fusion]["inputs"], one)))
