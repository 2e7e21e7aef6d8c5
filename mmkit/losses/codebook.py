"""Codebooks: each patch of a picture to the number of a code, which a masked patch is told by.

k codes, n = g * g patches of a picture, s side of a patch as codes see it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmkit.errors import UserError

SIDE = 4  # of a patch as the codes of k-means see it, pixels
PICTURES, EACH = 1024, 16  # training pictures that k-means reads, patches of each
FEW = 4  # patches of a code, at least
ROUNDS = 25
STRIDE, EDGE = 8, 0.1  # of the dVAE: pixels of a code, and what is left free at both ends of 0..1 (arXiv:2102.12092, A.3)


class Centres:
    """The nearest of k centres, as k-means found them of patches of the training pictures.

    Args:
        values: (k, 3 * SIDE * SIDE), colours in 0..1.
    """

    side = SIDE

    def __init__(self, values: list[list[float]]) -> None:
        self.values = torch.tensor(values)
        self.size = len(values)

    def __call__(self, patches: Tensor) -> Tensor:
        """Patches (B, n, 3, s, s), in 0..1, to codes (B, n)."""
        return torch.cdist(patches.flatten(2), self.values.to(patches.device)[None]).argmin(-1)


class Dvae:
    """The code that a discrete VAE gives each patch (BEiT, arXiv:2106.08254; FLAVA, arXiv:2112.04482): the picture is sized so
    that its grid is that of the patches, half of the encoder's size for patches of 16 pixels.

    Args:
        path: folder of a `FlavaImageCodebook`.

    Raises:
        UserError: it is none.
    """

    side = STRIDE

    def __init__(self, path: str) -> None:
        from transformers import FlavaImageCodebook, logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            if not Path(path).is_dir():
                raise OSError("no such folder")
            self.body = FlavaImageCodebook.from_pretrained(path, local_files_only=True, dtype=torch.float32).eval()
        except (OSError, ValueError, RuntimeError) as e:
            what = f"the codebook cannot be read ({str(e).splitlines()[0]})"
            raise UserError(what, path, "a folder with the weights of a FlavaImageCodebook, or leave `codebook` out") from e
        self.size = self.body.vocab_size

    @torch.no_grad()
    def __call__(self, patches: Tensor) -> Tensor:
        """Patches (B, n, 3, s, s), in 0..1, to codes (B, n)."""
        B, n = patches.shape[:2]
        g = round(n**0.5)
        pixels = patches.view(B, g, g, 3, STRIDE, STRIDE).permute(0, 3, 1, 4, 2, 5).reshape(B, 3, g * STRIDE, g * STRIDE)
        return self.body.to(patches.device).get_codebook_indices((1 - 2 * EDGE) * pixels + EDGE).flatten(1)


def fitted(reader: Any, items: Any, n: int, codes: int, path: str, side: int = SIDE) -> list[list[float]]:
    """The centres of k-means (Lloyd's, begun by k-means++) over patches of some pictures, rounded; fewer than `codes` where
    there are fewer different patches.

    Args:
        items: pictures, of which the first are read.
        n: patches of a picture.
        path: of the key of `codes`, for messages.
        side: of a patch as it is compared, pixels.

    Raises:
        UserError: the patches are too few for so many codes.
    """
    rng = np.random.default_rng(0)
    found = []
    for item, _ in zip(items, range(PICTURES), strict=False):
        (patches,) = reader.patches(reader.collate([reader.prepare(item)]), n, side).flatten(2).numpy()
        found.append(patches[rng.permutation(n)[:EACH]])
    x = np.concatenate(found).astype(np.float64) if found else np.empty((0, 0))
    if len(x) < FEW * codes:
        what = f"{codes} codes cannot be told from {len(x):,} patches of the training pictures"
        hint = f"--set {path}={max(2, len(x) // FEW)}, or {path.removesuffix('codes')}codebook, a folder of FLAVA's codebook"
        raise UserError(what, f"{path} = {codes}", hint)
    return k_means(x, codes, rng).round(3).tolist()


def k_means(x: np.ndarray, codes: int, rng: np.random.Generator) -> np.ndarray:
    """At most `codes` centres of the rows of x (m, p)."""
    centres = x[rng.integers(len(x))][None]
    far = _squares(x, centres)[:, 0]
    while len(centres) < codes and far.max() > 1e-9:  # k-means++: far rows are likely
        centres = np.vstack([centres, x[rng.choice(len(x), p=far / far.sum())]])
        far = np.minimum(far, _squares(x, centres[-1:])[:, 0])
    for _ in range(ROUNDS):
        nearest = _squares(x, centres).argmin(1)
        counts = np.bincount(nearest, minlength=len(centres))
        sums = np.stack([np.bincount(nearest, column, len(centres)) for column in x.T], 1)
        # what nothing is nearest to stays where it is
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    return centres


def _squares(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances (m, k), 0 or more."""
    return np.maximum((x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1), 0)
