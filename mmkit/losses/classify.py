"""Classification: a head over one input or a fusion, its classes taken from a column of the training rows.

B rows, C classes, D width
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.batch import Batch, Want
from mmkit.errors import UserError
from mmkit.losses.objective import Got, Objective


class Headed(Objective):
    """A loss over the logits of its own head, a sum over the rows that have a target.

    Attributes:
        classes: what the head tells apart, in order; none where it gives a number.
        many: any number of them may be true of a row, each on its own.
        said: what `support` is, for people.
    """

    whole = False
    many = False
    said = "probability of what is true"

    def __init__(
        self,
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        dropout: float = 0.0,
        *,
        targets: dict[str, Any],
        name: str = "",
    ) -> None:
        super().__init__(weight, share, of, name)
        self.targets, self.dropout = targets, dropout
        self.classes: list[str] = targets.get("classes", [])
        self.number = {text: i for i, text in enumerate(self.classes)}

    def head(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Dropout(self.dropout), nn.Linear(width, self.width))

    @property
    def width(self) -> int:
        """Values that the head gives of a row."""
        return len(self.classes)

    def wants(self) -> tuple[Want, ...]:
        return (Want(self.name, "logits"),)

    def rows(self, batch: Batch) -> list[int]:
        """The rows that have a target and what the head reads."""
        there = batch.has(self.of or "")
        known = [True] * batch.rows if there is None else there.tolist()
        values = batch.targets[self.column or ""]
        return [i for i, value in enumerate(values) if known[i] and self.is_target(value)]

    def is_target(self, value: Any) -> bool:
        """Whether a cell says something that the head can learn."""
        raise NotImplementedError

    def count(self, batch: Batch) -> Tensor:
        return torch.tensor(float(len(self.rows(batch))))

    def truth(self, values: Iterable[Any]) -> Tensor:
        """What is true of some cells that are targets: (B, C), of each class from 0, wrong, to 1."""
        raise NotImplementedError

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of each class: (B, C)."""
        return logits.softmax(-1)

    def support(self, logits: Tensor, truth: Tensor) -> Tensor:
        """How probable what is true is: (B,); where many classes may be true, the mean over all of the probability that it is
        told rightly."""
        p = self.probabilities(logits)
        return (truth * p + (1 - truth) * (1 - p)).mean(1) if self.many else (truth * p).sum(1)

    def slope(self, logits: Tensor, truth: Tensor) -> Tensor:
        """The log odds of what is true, of which gradients are taken, for a probability near 1 has none: (B,)."""
        if self.many:
            return ((2 * truth - 1) * logits).mean(1)
        right = truth > 0
        true, false = (logits.masked_fill(where, -torch.inf).logsumexp(1) for where in (~right, right))
        return true - false


class Classify(Headed):
    """One class a row (cross-entropy), or any number of them (binary cross-entropy, summed over the classes), as the column has
    it: a text, or a list of texts.

    Args:
        column: of the dataset.
        of: the input, or `fused`, that the head reads.
        label_smoothing: share of the target spread evenly over all classes (arXiv:1512.00567, section 7).
        dropout: before the head.
    """

    metric = "classify"

    def __init__(
        self,
        column: str = "label",
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        *,
        targets: dict[str, Any],
        name: str = "",
    ) -> None:
        super().__init__(of, weight, share, dropout, targets=targets, name=name)
        self.column, self.label_smoothing, self.many = column, label_smoothing, targets["many"]
        if self.many and label_smoothing:
            raise ValueError("label_smoothing is of one class a row, and the column holds several")

    @classmethod
    def learn(cls, table: dict[str, Any], data: Any, config: Any) -> dict[str, Any]:
        """{"classes": sorted texts, "many": bool} of the training rows.

        Raises:
            UserError: there is no such column, or it holds no texts; or there are fewer than two classes.
        """
        column = table.get("column", "label")
        if column not in data.columns:
            there = ", ".join(data.columns)
            raise UserError(f"the dataset has no column {column!r} to classify by", data.path, f"its columns: {there}")
        seen: Counter[str] = Counter()
        many = False
        for row in data.rows("train", ["id", column], config.data.limit):
            many = many or isinstance(row[column], list)
            labels = labels_of(row[column])
            if not all(isinstance(label, str) for label in labels):
                raise UserError(f"{column} is no text: {labels[0]!r}", f"{data.path} row {row['id']}", "prepare it as texts")
            seen.update(labels)
        if len(seen) < 2:
            found = f"one class, {next(iter(seen))!r}" if seen else "no class"
            raise UserError(f"column {column!r} of the training rows holds {found}", data.path, "two or more can be told apart")
        return {"classes": sorted(seen), "many": many}

    def is_target(self, value: Any) -> bool:
        # an empty list says that none of the classes is there, a null says nothing
        return (value is not None) if self.many else value in self.number

    def score(self, got: Got, batch: Batch) -> Tensor:
        rows = self.rows(batch)
        logits = got[self.wants()[0]].float()[rows]
        values = [batch.targets[self.column or ""][i] for i in rows]
        if self.many:
            return F.binary_cross_entropy_with_logits(logits, self.truth(values).to(logits), reduction="sum")
        target = torch.tensor([self.number[value] for value in values], dtype=torch.long, device=logits.device)
        return F.cross_entropy(logits, target, reduction="sum", label_smoothing=self.label_smoothing)

    def truth(self, values: Iterable[Any]) -> Tensor:
        hot = torch.tensor([[float(name in labels_of(value)) for name in self.classes] for value in values])
        return hot.view(-1, len(self.classes))

    def at_chance(self, batch: Batch) -> float | None:
        """Of a model that gives every row the shares of the classes among these."""
        rows = self.rows(batch)
        values = [batch.targets[self.column or ""][i] for i in rows]
        if not rows:
            return None
        if self.many:
            share = self.truth(values).mean(0).clamp(1e-6, 1 - 1e-6)
            return float(-(share * share.log() + (1 - share) * (1 - share).log()).sum())
        seen = Counter(values)
        share = torch.tensor([seen[name] / len(values) for name in self.classes])
        share = (1 - self.label_smoothing) * share + self.label_smoothing / len(self.classes)
        return float(torch.special.entr(share).sum())

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.many else logits.softmax(-1)


def labels_of(value: Any) -> list[Any]:
    """The classes of a cell: one, several, or none."""
    return [] if value is None else value if isinstance(value, list) else [value]
