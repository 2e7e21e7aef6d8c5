"""Fusions by attention: over the tokens of all inputs together, or of one input over the others.

B rows, N tokens of an input, D width
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmkit.layers import Encoded, Stack, State, last_real, masked_mean

SIZES = {
    "tiny": dict(dim=64, layers=2, heads=4),
    "small": dict(dim=256, layers=4, heads=4),
    "base": dict(dim=768, layers=6, heads=12),
    "large": dict(dim=1024, layers=6, heads=16),
}


def first(tokens: Tensor, mask: Tensor) -> Tensor:
    """The first of the tokens (B, N, D) -> (B, D)."""
    return tokens[:, 0]


POOLS = {"first": first, "mean": masked_mean, "last": last_real}


def side_by_side(parts: Mapping[str, Encoded], start: int = 0) -> dict[str, slice]:
    """Where the tokens of each input stand that follow each other from place `start` on."""
    found = {}
    for name, part in parts.items():
        found[name] = slice(start, start := start + part.tokens.size(1))
    return found


def asking(query: str | None, names: Sequence[str], language: Sequence[str]) -> str:
    """The input whose tokens look at those of the others: `query`, by default the first of words, else the last.

    Raises:
        ValueError: it is not among them, or alone.
    """
    found = query or next((name for name in names if name in language), names[-1])
    if found not in names or len(names) < 2:
        raise ValueError(f"query {found!r} among {', '.join(names)}: it needs one of two inputs or more")
    return found


class Merged(nn.Module):
    """One transformer over the tokens of all inputs, each with a learned type, behind a class token (FLAVA, arXiv:2112.04482,
    section 3.1; mid fusion).

    With `causal` what stands before a text is its prefix (GIT, arXiv:2205.14100, section 3.1): a token of the query looks at all
    other inputs and at the query up to itself, the others never look at the query, and the pooled vector is its last token's.

    Args:
        dim, layers, heads, mlp_ratio, dropout: of the blocks.
        causal: see above; query: the input that is causal; default: the first of words, else the last.
        widths: input -> width of its tokens; language: the inputs of words.
    """

    reads = "tokens"

    def __init__(
        self,
        dim: int = 64,
        layers: int = 2,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        causal: bool = False,
        query: str | None = None,
        *,
        widths: Mapping[str, int],
        language: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.dim, self.causal = dim, causal
        self.query = asking(query, list(widths), language) if causal or query else None
        self.adapt = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in widths.items()})
        self.kind = nn.ParameterDict({name: nn.Parameter(torch.randn(dim) * 0.02) for name in widths})
        self.cls = nn.Parameter(torch.randn(dim) * 0.02)
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout)
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return dict(SIZES[dial])

    def forward(self, parts: Mapping[str, Encoded]) -> Encoded:
        x, mask = self._joined(parts)
        if self.causal:
            own = self.spans(parts)[str(self.query)]
            x = self.norm(self.blocks(x, mask[:, None] & self._before(mask.size(1), own, mask.device)))
            return Encoded(x, mask, last_real(x[:, own], mask[:, own]))
        x = self.norm(self.blocks(x, mask[:, None]))
        return Encoded(x, mask, x[:, 0])

    def _joined(self, parts: Mapping[str, Encoded]) -> tuple[Tensor, Tensor]:
        tokens = [self.adapt[name](part.tokens) + self.kind[name] for name, part in parts.items()]
        x = torch.cat([self.cls.expand(tokens[0].size(0), 1, -1), *tokens], 1)  # (B, 1 + N + …, D)
        shown = torch.cat([part.mask for part in parts.values()], 1)
        return x, nn.functional.pad(shown, (1, 0), value=True)

    @staticmethod
    def _before(length: int, own: slice, device: torch.device) -> Tensor:
        """Where a token may look, if the query stands at `own`: bool (T, T)."""
        may = torch.ones(length, length, dtype=torch.bool, device=device)
        may[:, own] = False
        may[own, own] = torch.ones_like(may[own, own]).tril()
        return may

    def start(self, parts: Mapping[str, Encoded]) -> State:
        """Before the first token of a causal query: what the others say to each other.

        Args:
            parts: all inputs but the query.
        """
        x, mask = self._joined(parts)
        state = State(len(self.blocks), mask=mask[:, None])
        self.blocks(x, mask[:, None], state=state)
        return state

    def step(self, token: Tensor, state: State) -> Tensor:
        """The next token of the query (B, 1, width) as fused (B, 1, D), as `forward` gives it."""
        state.fixed["mask"] = nn.functional.pad(state.fixed["mask"], (0, 1), value=True)
        x = self.adapt[str(self.query)](token) + self.kind[str(self.query)]
        return self.norm(self.blocks(x, state.fixed["mask"], state=state))

    def spans(self, parts: Mapping[str, Encoded]) -> dict[str, slice]:
        return side_by_side(parts, 1)


class Early(Merged):
    """As `Merged`, over what the encoders' blocks would begin with: patches and words (ViLT, arXiv:2102.03334; early fusion)."""

    reads = "embedded"


class Cross(nn.Module):
    """The tokens of one input look at those of all others in every block (ALBEF, arXiv:2107.07651, section 3.1).

    With `both` those of every input look at those of the others as these stand in the same block: co-attention (ViLBERT,
    arXiv:1908.02265, section 2.1; LXMERT, arXiv:1908.07490, section 3.1). Its tokens are those of all inputs, its pooled vector
    is the mean of theirs.
    With `causal` it writes: a token of the query sees the query up to itself and all of the others (BLIP, arXiv:2201.12086,
    section 3.1), and the pooled vector is the last token's.

    Args:
        query: the input whose tokens look; default: the first of words, else the last.
        both: see above.
        dim, layers, heads, mlp_ratio, dropout: of the blocks.
        causal: see above.
        pool: the pooled vector is the query's "first" token, as ALBEF's class token, the "mean" or the "last"; default: the mean,
            or of a causal query the last.
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
        both: bool = False,
        causal: bool = False,
        pool: str | None = None,
        *,
        widths: Mapping[str, int],
        language: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if both and causal:
            raise ValueError("a causal query does not let the others look at what it has yet to say: both or causal")
        if both and pool not in (None, "mean"):
            raise ValueError(f"with both the pooled vector is the mean of all inputs, not pool {pool!r}")
        self.query, self.dim, self.causal = asking(query, list(widths), language), dim, causal
        self.pool = pool or ("last" if causal else "mean")
        if self.pool not in POOLS or (causal and self.pool != "last"):
            known = "last, for it is causal" if causal else ", ".join(POOLS)
            raise ValueError(f"no pool {self.pool!r}: {known}")
        self.adapt = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in widths.items()})
        self.kind = nn.ParameterDict({name: nn.Parameter(torch.randn(dim) * 0.02) for name in widths if name != self.query})
        self.blocks = Stack(layers, dim, heads, mlp_ratio, dropout, cross=self.cross)
        others = [name for name in widths if name != self.query] if both else []
        self.opposite = nn.ModuleDict({n: Stack(layers, dim, heads, mlp_ratio, dropout, cross=self.cross) for n in others})
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return dict(SIZES[dial])

    def forward(self, parts: Mapping[str, Encoded]) -> Encoded:
        if self.opposite:
            return self._both(parts)
        own = parts[self.query]
        kv, shown = self._others(parts)
        x = self.adapt[self.query](own.tokens)
        x = self.norm(self.blocks(x, own.mask[:, None], self.causal, kv, shown))
        return Encoded(x, own.mask, POOLS[self.pool](x, own.mask))

    def _others(self, parts: Mapping[str, Encoded]) -> tuple[Tensor, Tensor]:
        """What the query looks at: tokens (B, M, D), and where it may (B, 1, M)."""
        others = [(self.adapt[n](part.tokens) + self.kind[n], part.mask) for n, part in parts.items() if n in self.kind]
        return torch.cat([x for x, _ in others], 1), torch.cat([mask for _, mask in others], 1)[:, None]

    def start(self, parts: Mapping[str, Encoded]) -> State:
        """Before the first token of a causal query.

        Args:
            parts: all inputs but the query.
        """
        kv, shown = self._others(parts)
        return State(len(self.blocks), kv=kv, shown=shown)

    def step(self, token: Tensor, state: State) -> Tensor:
        """The next token of the query (B, 1, width) as fused (B, 1, D), as `forward` gives it."""
        x = self.adapt[self.query](token)
        return self.norm(self.blocks(x, None, False, state.fixed["kv"], state.fixed["shown"], state))

    def _both(self, parts: Mapping[str, Encoded]) -> Encoded:
        """All inputs at once: in each block every input looks at what the block before has made of the others."""
        tokens = {n: self.adapt[n](part.tokens) + self.kind.get(n, 0) for n, part in parts.items()}
        others = {name: [other for other in parts if other != name] for name in parts}
        shown = {name: torch.cat([parts[other].mask for other in others[name]], 1)[:, None] for name in parts}
        stacks: dict[str, Any] = {self.query: self.blocks, **self.opposite}
        for i in range(len(self.blocks)):
            seen = {name: torch.cat([tokens[other] for other in others[name]], 1) for name in parts}
            for name, part in parts.items():
                given = tokens[name], part.mask[:, None], False, seen[name], shown[name]
                tokens[name] = stacks[name].through(stacks[name][i], *given)
        found = {name: self.norm(x) for name, x in tokens.items()}
        pooled = torch.stack([masked_mean(x, parts[name].mask) for name, x in found.items()]).sum(0)
        there = torch.stack([part.mask.any(1) for part in parts.values()]).sum(0).clamp(min=1)  # (B,)
        mask = torch.cat([part.mask for part in parts.values()], 1)
        return Encoded(torch.cat(list(found.values()), 1), mask, pooled / there[:, None])

    def spans(self, parts: Mapping[str, Encoded]) -> dict[str, slice]:
        return side_by_side(parts) if self.opposite else {self.query: slice(None)}


class GatedCross(Cross):
    """As `Cross`, what cross-attention adds being scaled by tanh of a gate that starts at 0 (Flamingo, arXiv:2204.14198,
    section 2.2): a new fusion changes nothing of the query."""

    cross = "gated"
