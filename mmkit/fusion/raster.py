"""The decoder of DALL-E (arXiv:2102.12092, appendix B): words, then the codes of a picture row by row, as one sequence.

B rows, M tokens of the text, T places for a text, N = g * g codes of a picture, K codes there are, D width
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.fusion.attention import SIZES
from mmkit.layers import Encoded, Stack, State

ROW, COLUMN, CONV = "row", "column", "conv"


def paper(layers: int) -> list[str]:
    """Which codes each block looks at in the paper: row, column, row, row over and over, the last one as a convolution."""
    return [CONV if i == layers - 1 else COLUMN if i % 4 == 1 else ROW for i in range(layers)]


def seen(pattern: str, texts: int, grid: int, kernel: int = 11) -> Tensor:
    """Where each place of texts and codes may look, bool (T + N, T + N): not beyond itself, a code at all of the text.

    Args:
        pattern: the codes that a code looks at: `row`, the grid codes before it and itself; `column`, those above it and itself;
            `conv`, those that a causal convolution of `kernel` would see, which goes on at the other edge as rows follow each
            other; `all` before it.

    Raises:
        ValueError: there is no such pattern.
    """
    place = torch.arange(grid * grid)
    back = place[:, None] - place[None]  # how many codes before
    if pattern == ROW:
        near = back <= grid
    elif pattern == COLUMN:
        near = back % grid == 0
    elif pattern == CONV:
        reach = kernel // 2
        aside = (back + reach) % grid - reach  # of the nearest code that far back
        near = (back <= reach * grid + reach) & ((aside.abs() <= reach) | (2 * reach + 1 >= grid))
    elif pattern == "all":
        near = torch.ones_like(back, dtype=torch.bool)
    else:
        raise ValueError(f"no pattern {pattern!r}: row, column, conv, all")
    may = torch.ones(texts + len(place), texts + len(place), dtype=torch.bool).tril()
    may[texts:, texts:] &= near
    return may


class Raster(nn.Module):
    """One causal transformer over a text and the codes of a picture. Of the picture its tokens are those that each code is
    foretold by: the first is the last place of the text. Behind a text stands at each place a learned pad of its own.

    Args:
        query: the input of codes; default: the only one whose encoder has any.
        dim, layers, heads, mlp_ratio, dropout: of the blocks.
        attend: what each block looks at, see `seen`, over and over; default: as the paper.
        kernel: of `conv`.
        widths: input -> width of its tokens, of the codes how many there are; contexts: input -> longest text in tokens;
            grids: input -> codes on a side.
    """

    reads = "tokens"
    causal = True

    def __init__(
        self,
        query: str | None = None,
        dim: int = 64,
        layers: int = 2,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        attend: list[str] | None = None,
        kernel: int = 11,
        *,
        widths: Mapping[str, int],
        contexts: Mapping[str, int],
        grids: Mapping[str, int],
    ) -> None:
        super().__init__()
        texts, coded = [n for n in widths if n in contexts], [n for n in widths if n in grids and query in (None, n)]
        if len(widths) != 2 or len(texts) != 1 or len(coded) != 1:
            raise ValueError(f"it takes a text and an input whose encoder is of kind dvae, not {', '.join(widths)}")
        (self.text,), (self.query,), self.dim = texts, coded, dim
        self.texts, grid = contexts[self.text], grids[self.query]
        self.adapt = nn.Linear(widths[self.text], dim)
        self.pads = nn.Parameter(torch.randn(self.texts, dim) * 0.02)
        self.codes = nn.Embedding(widths[self.query], dim)
        self.rows, self.columns = (nn.Parameter(torch.randn(grid, dim) * 0.02) for _ in range(2))
        nn.init.normal_(self.codes.weight, std=0.02)
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout)
        self.norm = nn.LayerNorm(dim)
        attend = attend or paper(layers)
        masks = [seen(attend[i % len(attend)], self.texts, grid, kernel) for i in range(layers)]
        self.register_buffer("may", torch.stack(masks), persistent=False)  # (layers, T + N, T + N)

    may: Tensor

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return dict(SIZES[dial])

    def forward(self, parts: Mapping[str, Encoded]) -> Encoded:
        codes = parts[self.query].tokens.argmax(-1)
        # the last code foretells nothing
        x = torch.cat([self._text(parts[self.text]), self._codes(codes[:, :-1], 0)], 1)  # (B, T + N - 1, D)
        x = self.norm(self._through(x, self.may[:, : x.size(1), : x.size(1)], None))
        real = F.pad(parts[self.text].mask, (0, self.texts - parts[self.text].mask.size(1)))
        shown = torch.cat([real[:, :-1], parts[self.query].mask], 1)
        return Encoded(x, shown, x[:, -1])

    def _text(self, part: Encoded) -> Tensor:
        """The places of the text, (B, T, D)."""
        x, M = self.adapt(part.tokens), part.tokens.size(1)
        x = torch.where(part.mask[..., None], x, self.pads[:M])
        return torch.cat([x, self.pads[M:].expand(x.size(0), -1, -1)], 1)

    def _codes(self, codes: Tensor, begin: int) -> Tensor:
        """Codes (B, n) from place `begin` of the picture on, (B, n, D)."""
        place = begin + torch.arange(codes.size(1), device=codes.device)
        return self.codes(codes) + self.rows[place // len(self.rows)] + self.columns[place % len(self.rows)]

    def _through(self, x: Tensor, may: Tensor, state: State | None) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = self.blocks.through(block, x, may[i][None], False, None, None, state.caches[i] if state else None)
        return x

    def first(self, parts: Mapping[str, Encoded]) -> tuple[Tensor, State]:
        """What the first code is foretold by, (B, 1, D), and where the blocks stand behind a text."""
        state = State(len(self.blocks))
        state.length = self.texts
        x = self._through(self._text(parts[self.text]), self.may[:, : self.texts, : self.texts], state)
        return self.norm(x[:, -1:]), state

    def after(self, codes: Tensor, state: State) -> Tensor:
        """What the code behind the codes (B,) is foretold by, (B, 1, D), as `forward` gives it."""
        place, state.length = state.length, state.length + 1
        may = self.may[:, place : place + 1, : place + 1]
        return self.norm(self._through(self._codes(codes[:, None], place - self.texts), may, state))

    def spans(self, parts: Mapping[str, Encoded]) -> dict[str, slice]:
        """Where the tokens of the text stand, and those that foretell the codes."""
        count = parts[self.query].tokens.size(1)
        return {self.text: slice(0, min(parts[self.text].tokens.size(1), self.texts)), self.query: slice(-count, None)}
