"""The shared space brought to two dimensions, and facts about where the modalities lie in it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

FEWEST_FOR_UMAP = 15  # UMAP's default neighbourhood


def flat(vectors: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """Vectors (n, d) as points (n, 2), the same for the same seed.

    Returns:
        The points, and the method: "UMAP (cosine)", or "PCA" for fewer than 15 rows.
    """
    vectors = np.asarray(vectors, np.float32)
    if len(vectors) < FEWEST_FOR_UMAP:
        return _pca(vectors), "PCA"
    import umap

    with warnings.catch_warnings():
        # it says that a seed keeps it to one thread, which is what we want
        warnings.filterwarnings("ignore", message="n_jobs value")
        points = umap.UMAP(metric="cosine", random_state=seed).fit_transform(vectors)
    return np.asarray(points, np.float32), "UMAP (cosine)"


def _pca(vectors: np.ndarray) -> np.ndarray:
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    points = centred @ axes[:2].T
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))


@dataclass(frozen=True)
class Gap:
    """Where the pictures lie and where the sentences (arXiv:2203.02053).

    Args:
        distance: between the two mean vectors, of vectors of length 1; 0 is no gap.
        matching: mean cosine of a picture and a sentence of its id.
        other: mean cosine of a picture and a sentence of another id.
    """

    distance: float
    matching: float
    other: float


def modality_gap(vectors: np.ndarray, modality: np.ndarray, ids: np.ndarray) -> Gap:
    """Measure the gap on vectors of length 1, (n, d)."""
    vectors = np.asarray(vectors, np.float32)
    images, texts = modality == "image", modality == "text"
    distance = float(np.linalg.norm(vectors[images].mean(0) - vectors[texts].mean(0)))
    cosines = vectors[images] @ vectors[texts].T
    same = ids[images][:, None] == ids[texts][None, :]
    return Gap(distance, float(cosines[same].mean()), float(cosines[~same].mean()))
