"""Contrastive losses: pure functions of L2-normalised vectors, and the modules that hold their learned scalars.

B pairs in the (global) batch, D width, T rows of a tile
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

TILE = 4096


def not_negatives(keys: Iterable[Tensor], start: int, end: int) -> Tensor | None:
    """Pairs (i, j), i != j, that are no negatives because they share a key (the same caption or the same picture).

    Args:
        keys: each (B,), int64.

    Returns:
        bool (end - start, B), or None without keys.
    """
    same = None
    for key in keys:
        equal = key[start:end, None] == key[None, :]
        same = equal if same is None else same | equal
    if same is not None:
        same[torch.arange(end - start), torch.arange(start, end)] = False
    return same


@torch.no_grad()
def candidates(batch: int, keys: Iterable[Tensor], tile: int = TILE) -> Tensor:
    """Of each of `batch` pairs the number that it is told from, itself included: float (batch,), all but `not_negatives`."""
    keys = list(keys)
    if not keys:
        return torch.full((batch,), float(batch))
    parts = [not_negatives(keys, start, min(start + tile, batch)) for start in range(0, batch, tile)]
    return batch - torch.cat([part.sum(1) for part in parts if part is not None]).float()


def infonce(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor,
    keys: Iterable[Tensor] = (),
    label_smoothing: float = 0.0,
    tile: int = TILE,
) -> Tensor:
    """Symmetric InfoNCE (CLIP, arXiv:2103.00020, figure 3), exact and in tiles of `tile` rows.

    Args:
        image, text: (B, D), L2-normalised; row i of both is a pair.
        logit_scale: scalar, the factor itself (not its log).
        keys: (B,) each; pairs that share a key are left out of the denominators.
        label_smoothing: share of the target spread evenly over all candidates (ALIGN, arXiv:2102.05918).

    Returns:
        The scalar mean of both directions.
    """
    B, keys = image.size(0), list(keys)

    def rows(start: int, end: int, image: Tensor, text: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        logits = scale * image[start:end] @ text.T  # (T, B)
        left_out = not_negatives(keys, start, end)
        positive = logits.diagonal(start)
        if left_out is None:
            return (
                logits.logsumexp(1),
                logits.logsumexp(0),
                positive,
                logits.mean(1),
                logits.sum(0),
                torch.full_like(text[:, 0], end - start),
            )
        filled = logits.masked_fill(left_out, -torch.inf)
        zeroed = logits.masked_fill(left_out, 0.0)
        kept = ~left_out
        return filled.logsumexp(1), filled.logsumexp(0), positive, zeroed.sum(1) / kept.sum(1), zeroed.sum(0), kept.sum(0)

    by_row, by_column, positives, row_mean, column_sum, column_kept = [], None, [], [], None, None
    for start in range(0, B, tile):
        end = min(start + tile, B)
        whole = tile >= B
        row, column, positive, mean, total, kept = (
            rows(start, end, image, text, logit_scale)
            if whole
            else checkpoint(rows, start, end, image, text, logit_scale, use_reentrant=False)
        )
        by_row.append(row)
        positives.append(positive)
        row_mean.append(mean)
        by_column = column if by_column is None else torch.logaddexp(by_column, column)
        column_sum = total if column_sum is None else column_sum + total
        column_kept = kept if column_kept is None else column_kept + kept
    assert by_column is not None and column_sum is not None and column_kept is not None
    positive = torch.cat(positives)
    target_row = (1 - label_smoothing) * positive + label_smoothing * torch.cat(row_mean)
    target_column = (1 - label_smoothing) * positive + label_smoothing * column_sum / column_kept
    return 0.5 * ((torch.cat(by_row) - target_row).mean() + (by_column - target_column).mean())


def sigmoid(
    image: Tensor, text: Tensor, logit_scale: Tensor, logit_bias: Tensor, keys: Iterable[Tensor] = (), tile: int = TILE
) -> Tensor:
    """Pairwise sigmoid loss (SigLIP, arXiv:2303.15343, algorithm 1), in tiles: the sum over all pairs, divided by B.

    Args:
        image, text: (B, D), L2-normalised.
        logit_scale, logit_bias: scalars; logits = logit_scale * image @ text.T + logit_bias.
        keys: as in `infonce`.
    """
    B, keys = image.size(0), list(keys)

    def rows(start: int, end: int, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        logits = scale * image[start:end] @ text.T + bias  # (T, B)
        labels = -torch.ones_like(logits)
        labels[torch.arange(end - start), torch.arange(start, end)] = 1
        loss = -F.logsigmoid(labels * logits)
        left_out = not_negatives(keys, start, end)
        return (loss if left_out is None else loss.masked_fill(left_out, 0.0)).sum()

    if tile >= B:
        return rows(0, B, image, text, logit_scale, logit_bias) / B
    parts = [
        checkpoint(rows, s, min(s + tile, B), image, text, logit_scale, logit_bias, use_reentrant=False)
        for s in range(0, B, tile)
    ]
    return torch.stack(parts).sum() / B


class InfoNCE(nn.Module):
    """InfoNCE between two modalities with a learned logit_scale, clamped after each step.

    Args:
        between: two modalities.
        weight: factor in the sum of losses.
        temperature: the initial one; logit_scale = 1 / temperature.
        label_smoothing: see `infonce`.
        max_scale: logit_scale never exceeds it.
    """

    def __init__(
        self,
        between: list[str],
        weight: float = 1.0,
        temperature: float = 0.07,
        label_smoothing: float = 0.0,
        max_scale: float = 100.0,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing {label_smoothing} is not a share below 1")
        self.between, self.weight, self.label_smoothing, self.max_scale = between, weight, label_smoothing, max_scale
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    def wants(self) -> set[str]:
        return {f"{m}.vector" for m in self.between}

    def forward(self, outputs: dict[str, Tensor], keys: Iterable[Tensor]) -> Tensor:
        a, b = (outputs[f"{m}.vector"] for m in self.between)
        return infonce(a, b, self.logit_scale.exp(), keys, self.label_smoothing)

    def at_chance(self, candidates: Tensor) -> float:
        """The loss of a model that cannot tell pairs apart, of the `candidates` (B,) of a batch: ln(B) where none is left out."""
        return candidates.log().mean().item()

    @torch.no_grad()
    def clamp(self) -> None:
        self.logit_scale.clamp_(0, math.log(self.max_scale))

    def probabilities(self, cosine: Tensor) -> Tensor:
        """Softmax over the candidates on the last axis."""
        return (cosine * self.logit_scale.exp()).softmax(-1)


class Sigmoid(nn.Module):
    """The sigmoid loss between two modalities with a learned logit_scale and logit_bias.

    Args:
        between, weight: see `InfoNCE`.
        scale, bias: initial values; 10 and -10 are the paper's, for batches of thousands: bias = -ln(batch) suits small ones.
        lr_factor: scale and bias learn at `train.lr` times this.
    """

    def __init__(
        self,
        between: list[str],
        weight: float = 1.0,
        scale: float = 10.0,
        bias: float = -10.0,
        lr_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.between, self.weight = between, weight
        self.lr_factor = lr_factor
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.logit_bias = nn.Parameter(torch.tensor(float(bias)))

    def wants(self) -> set[str]:
        return {f"{m}.vector" for m in self.between}

    def forward(self, outputs: dict[str, Tensor], keys: Iterable[Tensor]) -> Tensor:
        a, b = (outputs[f"{m}.vector"] for m in self.between)
        return sigmoid(a, b, self.logit_scale.exp(), self.logit_bias, keys)

    def at_chance(self, candidates: Tensor) -> float:
        """The loss of a model that gives every pair the same probability, the best of them: 1 of the `candidates` (B,)."""
        n = candidates.mean().item()
        return math.log(n) + (n - 1) * math.log(n / (n - 1)) if n > 1 else 0.0

    def clamp(self) -> None:
        """Nothing: the paper bounds neither scalar, and trained checkpoints have scales beyond CLIP's 100."""

    def probabilities(self, cosine: Tensor) -> Tensor:
        """Independent probability of each candidate."""
        return (cosine * self.logit_scale.exp() + self.logit_bias).sigmoid()
