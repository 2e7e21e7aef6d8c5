"""Late fusions: of the pooled vectors of all inputs.

B rows, D width
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkit.layers import Encoded

WIDTHS = {"tiny": 64, "small": 256, "base": 768, "large": 1024}


class Late(nn.Module):
    """Pooled vectors to one vector, which is also the only token.

    Args:
        dim: width of the result.
        widths: input -> width of its pooled vector.
    """

    reads = "pooled"

    def __init__(self, dim: int = 64, *, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.dim = dim
        self.adapt = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in widths.items()})

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return {"dim": WIDTHS[dial]}

    def forward(self, parts: Mapping[str, Encoded]) -> Encoded:
        pooled = self.together([self.adapt[name](part.pooled) for name, part in parts.items()])
        mask = torch.ones(pooled.size(0), 1, dtype=torch.bool, device=pooled.device)
        return Encoded(pooled[:, None], mask, pooled)

    def spans(self, parts: Mapping[str, Encoded]) -> dict[str, slice]:
        return {}

    def together(self, vectors: list[Tensor]) -> Tensor:
        """The vectors (B, D) of all inputs as one."""
        raise NotImplementedError


class Sum(Late):
    """The sum, normalised: what every input adds is kept apart from what the others add."""

    def __init__(self, dim: int = 64, *, widths: Mapping[str, int]) -> None:
        super().__init__(dim, widths=widths)
        self.norm = nn.LayerNorm(dim)

    def together(self, vectors: list[Tensor]) -> Tensor:
        return self.norm(torch.stack(vectors).sum(0))


class Product(Sum):
    """The product of all, normalised: a bilinear fusion of rank `dim` (MUTAN's, arXiv:1705.06676, at rank 1)."""

    def together(self, vectors: list[Tensor]) -> Tensor:
        return self.norm(torch.stack(vectors).prod(0))


class Gate(Sum):
    """A weight for each value of each input, from all of them: the gated multimodal unit (arXiv:1702.01992, section 3.1)."""

    def __init__(self, dim: int = 64, *, widths: Mapping[str, int]) -> None:
        super().__init__(dim, widths=widths)
        self.gate = nn.Linear(dim * len(widths), dim * len(widths))

    def together(self, vectors: list[Tensor]) -> Tensor:
        weights = self.gate(torch.cat(vectors, -1)).unflatten(-1, (len(vectors), -1)).softmax(-2)  # (B, inputs, D)
        return self.norm((weights * torch.stack(vectors, -2).tanh()).sum(-2))


class Concat(Late):
    """A perceptron over the vectors side by side."""

    def __init__(self, dim: int = 64, *, widths: Mapping[str, int]) -> None:
        super().__init__(dim, widths=widths)
        self.mix = nn.Sequential(nn.Linear(dim * len(widths), dim), nn.GELU(), nn.Linear(dim, dim), nn.LayerNorm(dim))

    def together(self, vectors: list[Tensor]) -> Tensor:
        return self.mix(torch.cat(vectors, -1))


class Logits(Late):
    """The vectors side by side and nothing between them: the head over it, which is linear, is the mean of one head an input.

    Args:
        dim: width of each input's part.
    """

    def __init__(self, dim: int = 64, *, widths: Mapping[str, int]) -> None:
        super().__init__(dim, widths=widths)
        self.dim, self.inputs = dim * len(widths), len(widths)

    def together(self, vectors: list[Tensor]) -> Tensor:
        return torch.cat(vectors, -1) / self.inputs
