"""Texts of several samples one after the other, each behind its own picture: what few-shot prompts are, and what they are learnt
from (Flamingo, arXiv:2204.14198, sections 2.3 and 2.4).

B rows, N tokens
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmkit.batch import Interleaved


@dataclass(frozen=True)
class Part:
    """One sample of a text.

    Args:
        row: of what is encoded of its other inputs.
        ids: its tokens, those of its ends included; before: how many of them are not foretold.
    """

    row: int
    ids: Sequence[int]
    before: int = 1


def chosen(row: int, kinds: Sequence[Any], parts: Sequence[Part], group: int, most: int, rng: random.Random) -> list[Part]:
    """The samples of a text: the others of a row's group that are of its kind, in any order, and then its own; no more than
    `most` tokens hold.

    Args:
        kinds: of each row; None of one that has no text.
    """
    start = row - row % group
    others = [i for i in range(start, min(start + group, len(parts))) if i != row and kinds[i] == kinds[row] is not None]
    rng.shuffle(others)
    found, room = [parts[row]], most - len(parts[row].ids)
    for part in (parts[i] for i in others):
        if len(part.ids) > room:
            break
        found.insert(0, part)
        room -= len(part.ids)
    return found


def packed(texts: Sequence[Sequence[Part]], tokenizer: Any) -> tuple[dict[str, Tensor], Tensor, Interleaved]:
    """Texts as their encoder reads them, which of their tokens are foretold (B, N), and how they are interleaved."""
    inputs: dict[str, Tensor] = tokenizer.padded([[id for part in parts for id in part.ids] for parts in texts])
    mask = inputs["mask"]
    told, place = torch.zeros_like(mask), torch.full(mask.shape, -1)
    told[mask] = torch.tensor([i >= part.before for parts in texts for part in parts for i in range(len(part.ids))])
    place[mask] = torch.tensor([n for parts in texts for n, part in enumerate(parts) for _ in part.ids])
    rows = torch.tensor([[part.row for part in parts] for parts in filled(texts)])
    return inputs, told, Interleaved(rows, place)


def filled(texts: Sequence[Sequence[Part]]) -> list[list[Part]]:
    """As many samples of each, its last again where it has fewer: no token is of these."""
    most = max(map(len, texts))
    return [[*parts, *[parts[-1]] * (most - len(parts))] for parts in texts]
