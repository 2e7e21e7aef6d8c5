"""Which rows belong together, an image and its captions, and how alike they are. No torch here."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from mmkit.bootstrap import numbers
from mmkit.ragged import unit
from mmkit.vectors import Embeddings


def samples(found: Embeddings) -> np.ndarray:
    """The sample of each row as an integer from 0, (n,): an id is one sample within its split."""
    return numbers([f"{split}\0{id}" for split, id in zip(found.split.tolist(), found.ids.tolist(), strict=True)])


def pairs(modality: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Row numbers (p, 2) of two that belong together: of a sample's first modality, each row with each of every other.

    The first is the one that fewest rows of the whole are of: an image, beside five captions.
    """
    names, counts = np.unique(modality.astype(str), return_counts=True)
    first = names[counts.argmin()]
    anchors: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(modality == first).tolist():
        anchors[int(sample[row])].append(row)
    others = np.flatnonzero(modality != first).tolist()
    found = [(anchor, row) for row in others for anchor in anchors.get(int(sample[row]), ())]
    return np.array(found, np.int64).reshape(-1, 2)


def similarity(vectors: np.ndarray, paired: np.ndarray) -> np.ndarray:
    """The mean cosine of each row with those it is paired with, (n,); nan for a row that is alone."""
    directions = unit(vectors)
    cosines = np.einsum("pd,pd->p", directions[paired[:, 0]], directions[paired[:, 1]])
    sums, counts = np.zeros(len(vectors)), np.zeros(len(vectors))
    for side in (0, 1):
        np.add.at(sums, paired[:, side], cosines)
        np.add.at(counts, paired[:, side], 1)
    with np.errstate(invalid="ignore"):
        return sums / counts
