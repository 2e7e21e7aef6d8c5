"""Vectors of items that have one each, or several. No torch here.

n items, N vectors of one of them, d dimensions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmkit.errors import UserError


@dataclass(frozen=True)
class Ragged:
    """Several vectors for each of n items: `flat` (all of them, d) and `starts` (n + 1,), where those of each item begin."""

    flat: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, items: Sequence[np.ndarray], dim: int) -> Ragged:
        """From one (N, dim) an item."""
        starts = np.cumsum([0, *map(len, items)])
        return cls(np.concatenate(items) if items else np.empty((0, dim), np.float32), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        """The vectors (N, d) of item i."""
        return self.flat[self.starts[i] : self.starts[i + 1]]

    def take(self, rows: np.ndarray) -> Ragged:
        """Some of the items."""
        return Ragged.of([self[i] for i in rows.tolist()], self.flat.shape[1])

    def means(self) -> np.ndarray:
        """The normalised mean of each item's vectors, (n, d)."""
        summed = np.add.reduceat(np.concatenate([self.flat, np.zeros_like(self.flat[:1])]), self.starts[:-1], axis=0)
        summed[self.starts[1:] == self.starts[:-1]] = 0
        return unit(summed)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1 as float32, (n, d): the array itself if it is so already, else a copy. Zero rows stay zero.

    Raises:
        UserError: a row is not finite.
    """
    vectors = vectors.astype(np.float32, copy=False)
    squares = np.einsum("nd,nd->n", vectors, vectors)
    if not np.isfinite(squares).all():
        raise UserError(
            f"vector {int(np.flatnonzero(~np.isfinite(squares))[0])} is not finite", hint="the model that made it has diverged"
        )
    if np.all(np.abs(squares - 1) < 1e-6):
        return vectors
    return vectors / np.sqrt(np.where(squares == 0, 1, squares))[:, None]
