"""Fusions by attention: over the tokens of all inputs together, or of one input over the others.

B rows, N tokens of an input, D width
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mmkit.layers import Encoded, Stack, masked_mean

SIZES = {
    "tiny": dict(dim=64, layers=2, heads=4),
    "small": dict(dim=256, layers=4, heads=4),
    "base": dict(dim=768, layers=6, heads=12),
    "large": dict(dim=1024, layers=6, heads=16),
}


class Merged(nn.Module):
    """One transformer over the tokens of all inputs, each with a learned type, behind a class token (FLAVA, arXiv:2112.04482,
    section 3.1; mid fusion).

    Args:
        dim, layers, heads, mlp_ratio, dropout: of the blocks.
        widths: input -> width of its tokens.
    """

    reads = "tokens"

    def __init__(
        self,
        dim: int = 64,
        layers: int = 2,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        *,
        widths: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.dim = dim
        self.adapt = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in widths.items()})
        self.kind = nn.ParameterDict({name: nn.Parameter(torch.randn(dim) * 0.02) for name in widths})
        self.cls = nn.Parameter(torch.randn(dim) * 0.02)
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout)
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return dict(SIZES[dial])

    def forward(self, parts: Mapping[str, Encoded]) -> Encoded:
        tokens = [self.adapt[name](part.tokens) + self.kind[name] for name, part in parts.items()]
        x = torch.cat([self.cls.expand(tokens[0].size(0), 1, -1), *tokens], 1)  # (B, 1 + N + …, D)
        shown = torch.cat([part.mask for part in parts.values()], 1)
        mask = nn.functional.pad(shown, (1, 0), value=True)
        x = self.norm(self.blocks(x, mask[:, None]))
        return Encoded(x, mask, x[:, 0])


class Early(Merged):
    """As `Merged`, over what the encoders' blocks would begin with: patches and words (ViLT, arXiv:2102.03334; early fusion)."""

    reads = "embedded"


class Cross(nn.Module):
    """The tokens of one input look at those of all others in every block (ALBEF, arXiv:2107.07651, section 3.1).

    Args:
        query: the input whose tokens look; default: the first of words, else the last.
        dim, layers, heads, mlp_ratio, dropout: of the blocks.
        widths: input -> width of its tokens; language: the inputs of words.
    """

    reads = "tokens"
    cross = "plain"

    def __init__(
        self,
        query: str | None = None,
        dim: int = 64,
        layers: int = 2,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        *,
        widths: Mapping[str, int],
        language: Sequence[str] = (),
    ) -> None:
        super().__init__()
        names = list(widths)
        self.query = query or next((name for name in names if name in language), names[-1])
        if self.query not in widths or len(names) < 2:
            raise ValueError(f"query {self.query!r} among {', '.join(names)}: it needs one of two inputs or more")
        self.dim = dim
        self.adapt = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in widths.items()})
        self.kind = nn.ParameterDict({name: nn.Parameter(torch.randn(dim) * 0.02) for name in widths if name != self.query})
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout, cross=self.cross)
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return dict(SIZES[dial])

    def forward(self, parts: Mapping[str, Encoded]) -> Encoded:
        own = parts[self.query]
        others = [
            (self.adapt[name](part.tokens) + self.kind[name], part.mask) for name, part in parts.items() if name in self.kind
        ]
        kv, shown = torch.cat([x for x, _ in others], 1), torch.cat([mask for _, mask in others], 1)
        x = self.adapt[self.query](own.tokens)
        x = self.norm(self.blocks(x, own.mask[:, None], False, kv, shown[:, None]))
        return Encoded(x, own.mask, masked_mean(x, own.mask))


class GatedCross(Cross):
    """As `Cross`, what cross-attention adds being scaled by tanh of a gate that starts at 0 (Flamingo, arXiv:2204.14198,
    section 2.2): a new fusion changes nothing of the query."""

    cross = "gated"
