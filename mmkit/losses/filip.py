"""Fine-grained contrastive learning by late interaction (FILIP, arXiv:2111.07783, section 3.1).

B pairs, n and m tokens, d width
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmkit.losses.contrastive import InfoNCE, Pair, not_negatives

TILE_BYTES = 64 << 20


def late_interaction(a: Tensor, a_mask: Tensor, b: Tensor, b_mask: Tensor) -> tuple[Tensor, Tensor]:
    """How alike each of A items is to each of B, token by token (equations 3 to 5).

    Args:
        a, b: (A, n, d) and (B, m, d), L2-normalised; masks (A, n) and (B, m): padding takes part in no maximum and no mean.

    Returns:
        (A, B) twice: the mean over a's tokens of the best of b's, and the mean over b's tokens of the best of a's. These are
        different matrices.
    """
    (A, n, d), (B, m) = a.shape, b_mask.shape
    cosine = (a.reshape(A * n, d) @ b.reshape(B * m, d).T).view(A, n, B, m)
    a_far, b_far = (torch.zeros_like(mask, dtype=a.dtype).masked_fill(~mask, -torch.inf) for mask in (a_mask, b_mask))
    # max and not amax, whose backward looks for ties; added and not filled in, whose backward copies: a third of the time
    best = (cosine + b_far).max(3).values  # (A, n, B)
    of_a = best.masked_fill(~a_mask[..., None], 0).sum(1) / a_mask.sum(1).clamp(min=1)[:, None]
    best = (cosine + a_far[..., None, None]).max(1).values  # (A, B, m)
    of_b = best.masked_fill(~b_mask, 0).sum(2) / b_mask.sum(1).clamp(min=1)
    return of_a, of_b


def filip(
    a: Tensor,
    a_mask: Tensor,
    b: Tensor,
    b_mask: Tensor,
    logit_scale: Tensor,
    keys: Iterable[Tensor] = (),
    label_smoothing: float = 0.0,
) -> Tensor:
    """Symmetric InfoNCE over late interaction, in tiles of rows (equation 2 with 3 to 5).

    Args:
        a, b, masks: as of `late_interaction`, A = B; row i of both is a pair.
        logit_scale: scalar, the factor itself.
        keys: (B,) each; pairs that share a key are left out of the denominators.
        label_smoothing: share of the target spread evenly over all candidates.
    """
    B = a.size(0)
    tile = max(1, TILE_BYTES // (4 * B * a.size(1) * b.size(1)))
    rows = [
        late_interaction(a[s : s + tile], a_mask[s : s + tile], b, b_mask)
        if tile >= B
        else checkpoint(late_interaction, a[s : s + tile], a_mask[s : s + tile], b, b_mask, use_reentrant=False)
        for s in range(0, B, tile)
    ]
    of_a, of_b = (logit_scale * torch.cat([row[i] for row in rows]) for i in (0, 1))
    left_out = not_negatives(keys, 0, B)
    return 0.5 * (_told_apart(of_a, left_out, label_smoothing) + _told_apart(of_b.T, left_out, label_smoothing))


def _told_apart(logits: Tensor, left_out: Tensor | None, label_smoothing: float) -> Tensor:
    """Cross-entropy of the diagonal of logits (B, B) among the candidates of each row, all but those left out (symmetric)."""
    target = torch.arange(len(logits), device=logits.device)
    if left_out is None:
        return F.cross_entropy(logits, target, label_smoothing=label_smoothing)
    even = logits.masked_fill(left_out, 0).sum(1) / (~left_out).sum(1)
    wanted = (1 - label_smoothing) * logits.diagonal() + label_smoothing * even
    return (logits.masked_fill(left_out, -torch.inf).logsumexp(1) - wanted).mean()


class Filip(InfoNCE):
    """FILIP with a learned logit_scale, clamped after each step; keys as of `InfoNCE`."""

    what = ("vectors", "mask")

    def of_pair(self, a: list[Tensor], b: list[Tensor], keys: list[Tensor], pair: Pair) -> Tensor:
        return filip(a[0], a[1], b[0], b[1], self.scale(pair), keys, self.label_smoothing)
