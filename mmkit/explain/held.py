"""Inputs of samples as their encoders gave them, and what stands for one that is removed.

u different items, n samples, N tokens, D width
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

REMOVALS = ("zero", "mean", "shuffle")
SLICE = 256  # items whose squares are held at a time

Encodings = dict[str, Tensor]


class Usual(NamedTuple):
    """Of each place and value, over the samples: what stands there on average, and how far it strays (standard deviation)."""

    mean: Encodings
    spread: Encodings


@dataclass(frozen=True)
class Held:
    """One input of n samples.

    Args:
        items: pooled (u, D), tokens and embedded (u, N, D), mask (u, N), as far as the model reads them.
        index: (n,) the item of each sample: several, such as questions about one picture, may show the same.
        gone: the same as of one item, for an input that is not there.
        usual: over the samples.
    """

    items: Encodings
    index: Tensor
    gone: Encodings
    usual: Usual

    def of(self, samples: Tensor) -> Encodings:
        """As the samples (B,) have it."""
        return {what: x[self.index[samples]] for what, x in self.items.items()}

    def without(self, samples: Tensor, removal: str, partners: Tensor) -> Encodings:
        """What stands for it where it is removed from the samples (B,).

        Args:
            removal: zero, it is not there; mean, the average over all samples, where half of them have a token; shuffle, that of
                another sample: of `partners` (n,).
        """
        if removal == "shuffle":
            return self.of(partners[samples])
        found = self.gone if removal == "zero" else self.usual.mean
        return {what: x.expand(len(samples), *x.shape[1:]) for what, x in found.items()}


def hold(items: dict[str, list[Tensor]], index: Sequence[int], blank: dict[str, Tensor] | None) -> Held:
    """What an encoder gave of u items, padded.

    Args:
        items: pooled, tokens, embedded or mask -> one tensor an item.
        blank: what it gave of a blank item, which then stands for an input that is not there; else zeros, and a mask that shows
            nothing.
    """
    places = torch.tensor(list(index))
    longest = max((len(x) for what, found in items.items() if what != "pooled" for x in found), default=1)
    if blank is not None:
        longest = max([longest, *(len(x) for what, x in blank.items() if what != "pooled")])
    padded = {what: torch.stack([_padded(x, what, longest) for x in found]) for what, found in items.items()}
    if blank is not None:
        gone = {what: _padded(x, what, longest)[None] for what, x in blank.items()}
    else:
        gone = {what: torch.zeros_like(x[:1]) for what, x in padded.items()}
    return Held(padded, places, gone, _usual(padded, places.bincount(minlength=len(padded[next(iter(padded))]))))


def _padded(x: Tensor, what: str, longest: int) -> Tensor:
    if what == "pooled":
        return x
    return torch.nn.functional.pad(x, (0, 0) * (x.ndim - 1) + (0, longest - len(x)))


def _usual(items: Encodings, counts: Tensor) -> Usual:
    """Over samples of which `counts` (u,) show each item; of tokens over those that have one at the place."""
    mask = items.get("mask")
    mean, spread = {}, {}
    for what, x in items.items():
        weight = counts.float() if what == "pooled" or mask is None else counts[:, None] * mask
        if what == "mask":
            mean[what] = 2 * weight.sum(0, keepdim=True) >= counts.sum()
            continue
        weight = weight[..., None] if what == "pooled" or mask is not None else weight[:, None, None]
        total = weight.sum(0, keepdim=True).clamp(min=1)
        middle = sum((part * w).sum(0, keepdim=True) for part, w in _slices(x, weight)) / total
        square = sum(((part - middle).square() * w).sum(0, keepdim=True) for part, w in _slices(x, weight)) / total
        mean[what], spread[what] = middle, square.sqrt()
    return Usual(mean, spread)


def _slices(x: Tensor, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(x.split(SLICE), weight.expand(len(x), *weight.shape[1:]).split(SLICE), strict=True))


def partners(groups: Sequence[int], inputs: int, draws: int, seed: int = 0) -> Tensor:
    """For each of k inputs of each sample another sample whose input stands for it: (draws, k, n).

    A partner is never of the sample's own group. Where there are more groups than inputs, the partners of a sample are of k
    different groups: were they the same, inputs that are removed together would still match. Where no group has more than
    n / (k + 1) samples, every sample is the partner of one for each input; else another group, the next in a random order,
    stands for a whole group, and its samples are drawn independently.

    Args:
        groups: of n samples, numbered from 0; at least two.
    """
    generator = torch.Generator().manual_seed(seed)
    of = torch.tensor(list(groups))
    sizes = of.bincount()
    n, largest, count = len(of), int(sizes.max()), len(sizes)
    found = torch.empty(draws, inputs, n, dtype=torch.long)
    for draw in range(draws):
        laid = torch.randperm(count, generator=generator)
        place = laid.argsort()[of]
        mixed = torch.randperm(n, generator=generator)
        order = mixed[place[mixed].argsort(stable=True)]
        for i in range(inputs):
            if largest * (inputs + 1) <= n:  # the samples, group by group, moved on beyond the largest
                found[draw, i, order] = order.roll(-largest * (i + 1))
                continue
            other = laid[(place + 1 + i % (count - 1)) % count]
            first = (sizes[laid].cumsum(0) - sizes[laid])[laid.argsort()]
            drawn = torch.rand(n, generator=generator, dtype=torch.float64) * sizes[other]
            found[draw, i] = order[first[other] + drawn.long()]
    return found
