"""Visual question answering as classification over the training answers (VQA, arXiv:1505.00468; UNITER, arXiv:1909.11740)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.batch import Batch
from mmkit.data.answers import ENOUGH, normalise
from mmkit.errors import UserError
from mmkit.losses.classify import Headed
from mmkit.losses.objective import Got

TOP = 3129  # answers, as of bottom-up attention (arXiv:1707.07998, section 4.3)


class Answers(Headed):
    """How far the scores of all classes are from what each answer to a question is worth (see `worths`).

    Args:
        column: of the questions, whose items hold `answers`.
        of: the input, or `fused`, that the head reads.
        top: the most frequent answers that are classes.
        loss: "softmax" (cross-entropy with the answers in proportion to their worth) or "sigmoid" (binary cross-entropy of each
            class with its worth, summed over the classes, as of bottom-up attention, arXiv:1707.07998, section 3.4, and UNITER).
        hidden: width of a layer of the head before its last (GELU, LayerNorm), as of UNITER; 0 for none.
        dropout: before the last layer of the head.
    """

    metric = "vqa"
    listed = True

    def __init__(
        self,
        column: str = "questions",
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        top: int = TOP,
        loss: str = "softmax",
        hidden: int = 0,
        dropout: float = 0.0,
        *,
        targets: dict[str, Any],
        name: str = "",
    ) -> None:
        super().__init__(of, weight, share, dropout, targets=targets, name=name)
        if loss not in ("softmax", "sigmoid"):
            raise ValueError(f"loss is softmax or sigmoid, not {loss!r}")
        self.column, self.top, self.sigmoid, self.hidden = column, top, loss == "sigmoid", hidden
        self.number = {normalise(text): i for i, text in enumerate(self.classes)}

    @classmethod
    def learn(cls, table: dict[str, Any], data: Any, config: Any) -> dict[str, Any]:
        """{"classes": answers, the most frequent first, each as it is most often written} of the training rows.

        Raises:
            UserError: there are no questions, or none has an answer.
        """
        column = table.get("column", "questions")
        if column not in data.columns:
            there = ", ".join(data.columns)
            raise UserError(f"the dataset has no column {column!r} of questions", data.path, f"its columns: {there}")
        written: dict[str, Counter[str]] = defaultdict(Counter)
        for row in data.rows("train", [column], config.data.limit):
            for question in row[column] or ():
                for answer in question["answers"] or ():
                    written[normalise(answer)][answer.strip()] += 1
        written.pop("", None)
        seen = {answer: spellings.total() for answer, spellings in written.items()}
        if len(seen) < 2:
            raise UserError("the questions of the training rows have fewer than two different answers", data.path)
        # of equally frequent ones the first in the alphabet
        frequent = sorted(seen, key=lambda answer: (-seen[answer], answer))[: table.get("top", TOP)]
        # the official evaluation compares answers that all annotators agree on as they are written
        return {"classes": [min(written[a], key=lambda spelling: (-written[a][spelling], spelling)) for a in frequent]}

    def head(self, width: int) -> nn.Module:
        if not self.hidden:
            return super().head(width)
        return nn.Sequential(nn.Linear(width, self.hidden), nn.GELU(), nn.LayerNorm(self.hidden), super().head(self.hidden))

    def is_target(self, value: Any) -> bool:
        return value is not None and any(normalise(answer) in self.number for answer in value["answers"] or ())

    def truth(self, values: Iterable[Any]) -> Tensor:
        values = list(values)
        found = torch.zeros(len(values), len(self.classes))
        for i, value in enumerate(values):
            for answer, worth in worths(value["answers"]).items():
                if answer in self.number:
                    found[i, self.number[answer]] = worth
        return found

    def score(self, got: Got, batch: Batch) -> Tensor:
        rows = self.rows(batch)
        logits = got[self.wants()[0]].float()[rows]
        soft = self.truth(batch.targets[self.column or ""][row] for row in rows).to(logits)
        if self.sigmoid:
            return F.binary_cross_entropy_with_logits(logits, soft, reduction="sum")
        return F.cross_entropy(logits, soft / soft.sum(1, keepdim=True), reduction="sum")

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.sigmoid else logits.softmax(-1)


def worths(answers: list[str]) -> dict[str, float]:
    """Each answer with its `vqa_accuracy`, the mean over all ways to leave one annotator out; of a single answer 1."""
    found = Counter(map(normalise, answers))
    n = len(answers)
    if n == 1:
        return dict.fromkeys(found, 1.0)
    enough = min(ENOUGH, n - 1)
    return {a: (c * min((c - 1) / enough, 1) + (n - c) * min(c / enough, 1)) / n for a, c in found.items()}
