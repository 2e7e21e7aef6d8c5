"""Contrastive losses: pure functions of L2-normalised vectors, and the modules that hold their learned scalars.

B pairs in the (global) batch, D width, T rows of a tile
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmkit.batch import Batch, Want
from mmkit.encoders import check_choice
from mmkit.errors import ConfigError, UserError, nearest
from mmkit.losses.objective import Got, Objective

TILE = 4096

Pair = tuple[str, str]  # of inputs


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


class Paired(Objective):
    """A loss of pairs: of the rows that have both inputs, over the global batch; of fewer than two rows it is 0.

    Args:
        between: two inputs or more; by default all of `names`.
        anchor: of these, this input with each other one, or `all` for every two, the default.
        weights: factors of the pairs by name, {"image-text": 0.5}; 1 where none is given (ImageBind, arXiv:2305.05665).
        names: the inputs that there are.
    """

    whole = True
    what: tuple[str, ...] = ("vector",)

    def __init__(
        self,
        between: list[str] | None = None,
        anchor: str | None = None,
        weights: dict[str, float] | None = None,
        weight: float = 1.0,
        share: float | None = None,
        *,
        names: Sequence[str] = (),
        name: str = "",
    ) -> None:
        super().__init__(weight, share, name=name)
        self.pairs = pairs_of(anchor or "all", between or names)
        self.weights = dict.fromkeys(self.pairs, 1.0) | by_pair(weights or {}, self.pairs, f"loss.{name}.weights", "weight")

    @classmethod
    def names(cls, table: Mapping[str, Any]) -> list[str]:
        return list(table.get("between") or ())

    def needs(self, model: Any) -> None:
        if not self.pairs:
            where, hint = f"loss.{self.name}", "train on data of two modalities"
            raise UserError("a loss of pairs, and there is one input alone", where, hint)

    def wants(self) -> tuple[Want, ...]:
        names = dict.fromkeys(name for pair in self.pairs for name in pair)
        return tuple(Want(name, what) for name in names for what in self.what)

    def score(self, got: Got, batch: Batch) -> Tensor:
        total = torch.zeros((), device=next(iter(got.values())).device)
        for pair in self.pairs:
            rows, keys = self._shared(pair, batch)
            # as every tensor of the pair is part of the sum, a batch without pairs has a graph, too
            a, b = ([got[Want(name, what)] for what in self.what] for name in pair)
            if rows is not None:
                if len(rows) < 2:
                    total = total + 0 * (a[0].sum() + b[0].sum())
                    continue
                a, b, keys = [x[rows] for x in a], [x[rows] for x in b], [key[rows] for key in keys]
            total = total + self.weights[pair] * self.of_pair(a, b, keys, pair)
        return total

    def of_pair(self, a: list[Tensor], b: list[Tensor], keys: list[Tensor], pair: Pair) -> Tensor:
        """The loss of two inputs, those of `pair`, row i of both being a pair; a and b hold what `what` names."""
        raise NotImplementedError

    def _shared(self, pair: tuple[str, str], batch: Batch) -> tuple[Tensor | None, list[Tensor]]:
        """The rows (R,) that have both, None where all have, and the keys of both inputs."""
        both = [found for name in pair if (found := batch.has(name)) is not None]
        rows = None if not both else torch.stack(both).all(0).nonzero().flatten()
        return rows, [batch.keys[name] for name in pair if name in batch.keys]

    def at_chance(self, batch: Batch) -> float | None:
        """The loss of a model that cannot tell pairs apart: it depends on how many of a batch are told from each other."""
        total = 0.0
        for pair in self.pairs:
            rows, keys = self._shared(pair, batch)
            count = batch.rows if rows is None else len(rows)
            if count > 1:
                told_from = candidates(count, keys if rows is None else [key[rows] for key in keys])
                total += self.weights[pair] * self.pair_at_chance(told_from)
        return total

    def pair_at_chance(self, candidates: Tensor) -> float:
        """The same of two inputs, each row being told from `candidates` (B,)."""
        raise NotImplementedError

    def probabilities(self, cosine: Tensor, pair: Pair | None = None) -> Tensor:
        """Of each of the candidates on the last axis, which are of the one input of `pair` for things of the other."""
        raise NotImplementedError


def pairs_of(anchor: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of an anchor with each other input, or of every two: `all`.

    >>> pairs_of("text", ["image", "text", "series"])
    [('image', 'text'), ('text', 'series')]
    """
    return [pair for pair in itertools.combinations(names, 2) if anchor == "all" or anchor in pair]


def by_pair(given: Mapping[str, float], pairs: Sequence[Pair], path: str, what: str, above: bool = False) -> dict[Pair, float]:
    """Numbers that are given for pairs; one is named by its inputs in either order.

    Args:
        above: they may not be 0.

    Raises:
        ConfigError: there is no such pair (the nearest is named), or it is no number from 0.
    """
    found: dict[Pair, float] = {}
    named = {f"{a}-{b}": pair for pair in pairs for a, b in (pair, pair[::-1])}
    for name, value in given.items():
        if name not in named:
            known = [f"{a}-{b}" for a, b in pairs]
            raise ConfigError(f"no pair {name!r}", path, where=path, hint=nearest(name, known))
        numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not numeric or not 0 <= value < math.inf or (above and not value):
            raise ConfigError(
                f"the {what} of {name} is {value!r}", path, where=path, hint=f"a number {'above' if above else 'from'} 0"
            )
        found[named[name]] = float(value)
    return found


class InfoNCE(Paired):
    """InfoNCE with a learned logit_scale, clamped after each step: one of all pairs, or of some or each its own.

    Args:
        between, anchor, weights: see `Paired`; weight, share: see `Objective`.
        temperature: the initial one; logit_scale = 1 / temperature.
        temperatures: by the names of pairs, {"image-audio": 0.05}: these have a logit_scale of their own, which starts there.
        scales: "shared", one logit_scale of all other pairs; "pair", one of each.
        label_smoothing: see `infonce`.
        max_scale: logit_scale never exceeds it.
    """

    def __init__(
        self,
        between: list[str] | None = None,
        anchor: str | None = None,
        weights: dict[str, float] | None = None,
        weight: float = 1.0,
        share: float | None = None,
        temperature: float = 0.07,
        label_smoothing: float = 0.0,
        max_scale: float = 100.0,
        temperatures: dict[str, float] | None = None,
        scales: str = "shared",
        *,
        names: Sequence[str] = (),
        name: str = "",
    ) -> None:
        super().__init__(between, anchor, weights, weight, share, names=names, name=name)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing {label_smoothing} is not a share below 1")
        self.label_smoothing, self.max_scale = label_smoothing, max_scale
        check_choice("scales", scales, ("shared", "pair"))
        own = by_pair(temperatures or {}, self.pairs, f"loss.{name}.temperatures", "temperature", above=True)
        own = {pair: own.get(pair, temperature) for pair in self.pairs if scales == "pair" or pair in own}
        if own.keys() != set(self.pairs):
            self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        scale_of = {_name(pair): nn.Parameter(torch.tensor(math.log(1 / value))) for pair, value in own.items()}
        self.logit_scales = nn.ParameterDict(scale_of)

    def scale(self, pair: Pair | None = None) -> Tensor:
        """The logit_scale of a pair: its own, else the shared one; of two that no term compares, where there is none that is
        shared, the mean of those there are, as powers."""
        names = [] if pair is None else [name for name in map(_name, (pair, pair[::-1])) if name in self.logit_scales]
        if names:
            return self.logit_scales[names[0]].exp()
        found = self.logit_scale if hasattr(self, "logit_scale") else torch.stack(list(self.logit_scales.values())).mean()
        return found.exp()

    def of_pair(self, a: list[Tensor], b: list[Tensor], keys: list[Tensor], pair: Pair) -> Tensor:
        return infonce(a[0], b[0], self.scale(pair), keys, self.label_smoothing)

    def pair_at_chance(self, candidates: Tensor) -> float:
        return candidates.log().mean().item()

    @torch.no_grad()
    def after_step(self) -> None:
        for scale in self.parameters():
            scale.clamp_(0, math.log(self.max_scale))

    def log(self) -> dict[str, float]:
        """`logit_scale` is the shared one, where every pair has its own the mean of them."""
        own = {f"logit_scale/{name}": scale.exp().item() for name, scale in self.logit_scales.items()}
        return {"logit_scale": self.scale().item()} | own

    def probabilities(self, cosine: Tensor, pair: Pair | None = None) -> Tensor:
        return (cosine * self.scale(pair)).softmax(-1)


def _name(pair: Pair) -> str:
    return "-".join(pair)


class Sigmoid(Paired):
    """The sigmoid loss with a learned logit_scale and logit_bias. The paper bounds neither, and trained checkpoints have scales
    beyond CLIP's 100.

    Args:
        between, anchor, weights, weight, share: see `InfoNCE`.
        scale, bias: initial values; 10 and -10 are the paper's, for batches of thousands: bias = -ln(batch) suits small ones.
    """

    def __init__(
        self,
        between: list[str] | None = None,
        anchor: str | None = None,
        weights: dict[str, float] | None = None,
        weight: float = 1.0,
        share: float | None = None,
        scale: float = 10.0,
        bias: float = -10.0,
        *,
        names: Sequence[str] = (),
        name: str = "",
    ) -> None:
        super().__init__(between, anchor, weights, weight, share, names=names, name=name)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.logit_bias = nn.Parameter(torch.tensor(float(bias)))

    @staticmethod
    def defaults(batch_size: int) -> dict[str, tuple[Any, str]]:
        # the log odds of a pair at chance; the paper's -10 stands for batches of 32,768
        return {"bias": (round(-math.log(batch_size), 4), f"-ln of the batch of {batch_size}")}

    def of_pair(self, a: list[Tensor], b: list[Tensor], keys: list[Tensor], pair: Pair) -> Tensor:
        return sigmoid(a[0], b[0], self.logit_scale.exp(), self.logit_bias, keys)

    def pair_at_chance(self, candidates: Tensor) -> float:
        """Of a model that gives every pair the same probability, the best of them: 1 of the candidates."""
        n = candidates.mean().item()
        return math.log(n) + (n - 1) * math.log(n / (n - 1)) if n > 1 else 0.0

    def log(self) -> dict[str, float]:
        return {"logit_scale": self.logit_scale.exp().item(), "logit_bias": self.logit_bias.item()}

    def probabilities(self, cosine: Tensor, pair: Pair | None = None) -> Tensor:
        return (cosine * self.logit_scale.exp() + self.logit_bias).sigmoid()
