"""The only attention of mmkit, and the transformer blocks made of it.

B batch, N tokens (queries), M tokens (keys), D width, H heads
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoded(NamedTuple):
    """What every encoder and fusion returns: tokens (B, N, D), their mask (B, N; True = may be looked at), pooled (B, D)."""

    tokens: Tensor
    mask: Tensor
    pooled: Tensor


class Cache:
    """What an attention has computed of its keys, so that a further query costs no more than its own.

    Args:
        grows: of self-attention, whose every call adds keys; else those of the first call are all there are.

    Attributes:
        held: keys and values (B, H, M, D/H), None before the first call.
    """

    def __init__(self, grows: bool = True) -> None:
        self.grows = grows
        self.held: tuple[Tensor, Tensor] | None = None

    def add(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, these behind those before."""
        if self.held is not None:
            k, v = torch.cat([self.held[0], k], 2), torch.cat([self.held[1], v], 2)
        self.held = k, v
        return self.held

    def take(self, rows: Tensor) -> None:
        """Keep some rows (R,), in this order; one may be taken more than once."""
        if self.held is not None:
            self.held = self.held[0][rows], self.held[1][rows]


class Attention(nn.Module):
    """Multi-head attention with separate q, k, v and out projections (arXiv:1706.03762, 3.2.2)."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"width {dim} is not a multiple of {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.captured: list[Tensor] | None = None

    def forward(
        self,
        x: Tensor,
        kv: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: Cache | None = None,
    ) -> Tensor:
        """Let x (B, N, D) look at kv (B, M, D), or at itself.

        Args:
            mask: bool (B, N or 1, M), True where a query may look; one that may look nowhere gets zeros.
            causal: a query sees the keys up to its own place only.
            cache: x looks at what earlier calls left there, too; not with `causal`, for all that is there came before.
        """
        q = self._heads(self.q(x))
        if cache is not None and cache.held is not None and not cache.grows:
            k, v = cache.held
        else:
            kv = x if kv is None else kv
            k, v = self._heads(self.k(kv)), self._heads(self.v(kv))
            if cache is not None:
                k, v = cache.add(k, v)
        allowed = None if mask is None else mask[:, None]  # (B, 1, N or 1, M)
        if causal and (allowed is not None or self.captured is not None):
            before = torch.ones(q.size(2), k.size(2), dtype=torch.bool, device=x.device).tril()
            allowed, causal = before if allowed is None else allowed & before, False
        dropout = self.dropout if self.training else 0.0
        if self.captured is not None:
            y = self._spelled_out(q, k, v, allowed, dropout)
        else:
            y = F.scaled_dot_product_attention(q, k, v, allowed, dropout, is_causal=causal)
        y = self.out(y.transpose(1, 2).flatten(2))
        # out has a bias, which would say something of what is not there
        return y if mask is None or allowed is None else y.masked_fill(~allowed.any(3).transpose(1, 2), 0.0)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, D/H)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def _spelled_out(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, dropout: float) -> Tensor:
        """The same with its weights (B, H, N, M) kept, gradient and all."""
        assert self.captured is not None
        logits = q @ k.transpose(-1, -2) / q.size(-1) ** 0.5
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        weights = logits.softmax(-1)
        if allowed is not None:
            weights = torch.where(allowed.any(-1, keepdim=True), weights, torch.zeros((), device=q.device))
        self.captured.append(weights)
        return F.dropout(weights, dropout) @ v

    @contextmanager
    def capturing(self, name: str, maps: Maps) -> Iterator[None]:
        """See `capture`."""
        self.captured = maps[name] = []
        try:
            yield
        finally:
            self.captured = None


Maps = dict[str, list[Tensor]]


@contextmanager
def capture(model: nn.Module) -> Iterator[Maps]:
    """While open, keep the attention weights of each forward pass, gradient and all: module name -> the (B, H, N, M) of each of
    its calls, in the order of the modules.

    A module that can give weights has `capturing(name, maps)`, a context in which it adds them: `Attention`, and the adapter to
    transformers for what is inside. One that cannot adds nothing.
    """
    maps: Maps = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            capturing: Callable[[str, Maps], AbstractContextManager[None]] | None = getattr(module, "capturing", None)
            if capturing is not None:
                stack.enter_context(capturing(name, maps))
        yield maps


class Block(nn.Module):
    """A pre-LayerNorm transformer block: x + attention(LN x), then with `cross` x + attention(LN x, kv), then x + MLP(LN x).

    Args:
        cross: None, "plain" (arXiv:1706.03762) or "gated": what it adds is scaled by tanh of a gate that starts at 0, so that a
            new block changes nothing (Flamingo, arXiv:2204.14198, section 2.2).
        kv_dim: width of what cross-attention looks at; default `dim`.
    """

    def __init__(
        self, dim: int, heads: int, mlp_ratio: float = 4.0, dropout: float = 0.0, cross: str | None = None, kv_dim: int = 0
    ) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, dropout)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim), nn.Dropout(dropout))
        self.cross = Attention(dim, heads, dropout) if cross else None
        if cross:
            self.norm_cross = nn.LayerNorm(dim)
            self.adapt = nn.Linear(kv_dim, dim) if kv_dim not in (0, dim) else nn.Identity()
            self.gate = nn.Parameter(torch.zeros(())) if cross == "gated" else None

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        kv: Tensor | None = None,
        kv_mask: Tensor | None = None,
        caches: tuple[Cache, Cache] | None = None,
    ) -> Tensor:
        """x (B, N, D) with mask (B, N or 1, N); kv (B, M, K) with kv_mask (B, 1, M) for the cross-attention.

        Args:
            caches: of the self-attention and of the cross-attention; then x are further tokens, and `mask` is of all.
        """
        own, others = caches or (None, None)
        x = x + self.attention(self.norm1(x), None, mask, causal, own)
        if self.cross is not None and kv is not None:
            seen = self.cross(self.norm_cross(x), self.adapt(kv), kv_mask, cache=others)
            x = x + (seen if self.gate is None else self.gate.tanh() * seen)
        return x + self.mlp(self.norm2(x))


class Stack(nn.ModuleList):
    """Blocks one after the other, recomputed in the backward pass where `checkpoint` is set."""

    checkpoint = False

    def __init__(
        self,
        layers: int,
        dim: int,
        heads: int,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        cross: str | None = None,
        kv_dim: int = 0,
    ) -> None:
        blocks = [Block(dim, heads, mlp_ratio, dropout, cross, kv_dim) for _ in range(layers)]
        super().__init__(blocks)
        for block in blocks:
            # residual branches start small so that depth does not change the scale (GPT-2, section 2.3)
            for weight in (block.attention.out.weight, block.mlp.get_parameter("2.weight")):
                nn.init.normal_(weight, std=0.02 / (2 * layers) ** 0.5)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        kv: Tensor | None = None,
        kv_mask: Tensor | None = None,
        state: State | None = None,
    ) -> Tensor:
        """As of each block; `state` holds their caches."""
        for i, block in enumerate(self):
            x = self.through(block, x, mask, causal, kv, kv_mask, state.caches[i] if state else None)
        return x

    def through(self, block: nn.Module, *given: Any) -> Tensor:
        """What one of the blocks gives."""
        if self.checkpoint and torch.is_grad_enabled():
            return torch.utils.checkpoint.checkpoint(block, *given, use_reentrant=False)
        return block(*given)


class State:
    """Where a stack of blocks stands that reads or writes token by token.

    Args:
        layers: blocks.

    Attributes:
        caches: of the self-attention and the cross-attention of each block.
        length: tokens so far, where an encoder counts them.
        fixed: name -> what else is needed, such as what is looked at: tensors of which each row is a sample's.
    """

    def __init__(self, layers: int, **fixed: Tensor) -> None:
        self.caches: list[Any] = [(Cache(), Cache(grows=False)) for _ in range(layers)]
        self.length, self.fixed = 0, fixed

    def take(self, rows: Tensor) -> None:
        """Keep some rows (R,), in this order; one may be taken more than once."""
        for cache in (cache for both in self.caches for cache in both):
            cache.take(rows)
        self.fixed = {name: x[rows] for name, x in self.fixed.items()}


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens that the mask (B, N) shows: tokens (B, N, D) -> (B, D); zeros where it shows none."""
    weight = mask[..., None].to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


def last_real(tokens: Tensor, mask: Tensor) -> Tensor:
    """The last of the tokens that the mask (B, N) shows: tokens (B, N, D) -> (B, D); zeros where it shows none."""
    rows, places = torch.arange(tokens.size(0), device=tokens.device), torch.arange(tokens.size(1), device=tokens.device)
    last = tokens[rows, (mask * places).amax(1)]
    return torch.where(mask.any(1, keepdim=True), last, torch.zeros((), dtype=last.dtype, device=last.device))


def everywhere(tokens: Tensor) -> Tensor:
    """The mask (B, N) of tokens (B, N, D) that are all real."""
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
