"""A space brought to two dimensions: UMAP, PCA or t-SNE, the same points for the same seed. No torch here.

Measured, 10,000 x 256 in 40 clusters, one core: most of what `umap.UMAP(metric="cosine").fit_transform` takes is compiling, and
an approximate search. Exact neighbours take 2 s, and three functions of umap-learn are compiled once for a machine.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field

import numpy as np

from mmkit.files import cache_folder
from mmkit.space.neighbours import PRODUCTS, Progress, nearest, straightened
from mmkit.space.place import place

METHODS = {"umap": "UMAP", "pca": "PCA", "tsne": "t-SNE"}
FEWEST = 15  # of fewer points there is no neighbourhood to speak of
# more would take minutes: some are drawn and laid out, the others placed among them
MOST = {"umap": 100_000, "tsne": 10_000}
PERPLEXITY = 30.0


@dataclass(frozen=True)
class Layout:
    """Points (n, 2) as float32, the method that made them, and what of the settings could not be kept to."""

    points: np.ndarray
    method: str
    notes: list[str] = field(default_factory=list)


def lay_out(
    vectors: np.ndarray,
    method: str = "umap",
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    metric: str = "cosine",
    seed: int = 0,
    progress: Progress | None = None,
) -> Layout:
    """Vectors (n, d) as points (n, 2).

    Args:
        method: `umap` (arXiv:1802.03426), `pca` or `tsne`.
        n_neighbors, min_dist, metric: as in umap-learn; the others heed the metric alone, PCA whether it is one of
            directions.
        progress: of the neighbours that are found.

    Raises:
        UserError: a vector is not finite.
    """
    n = len(vectors)
    if n < FEWEST and method != "pca":
        note = f"too few points for {METHODS[method]} ({n}, and it takes {FEWEST}): this is PCA"
        return Layout(_pca(straightened(vectors, metric)), "pca", [note])
    if method == "pca":
        return Layout(_pca(straightened(vectors, metric)), method)
    if n > MOST[method]:
        return _of_some(vectors, method, n_neighbors, min_dist, metric, seed, progress)
    if method == "tsne":
        return _tsne(vectors, metric, seed)
    notes = []
    if n_neighbors >= n:
        notes.append(f"--n-neighbors is {n - 1}: there are {n} points")
        n_neighbors = n - 1
    return Layout(_umap(vectors, n_neighbors, min_dist, metric, seed, progress), method, notes)


def _of_some(
    vectors: np.ndarray, method: str, n_neighbors: int, min_dist: float, metric: str, seed: int, progress: Progress | None
) -> Layout:
    """A layout of as many points as the method can take, among which the others are placed."""
    most = MOST[method]
    drawn = np.sort(np.random.default_rng(seed).choice(len(vectors), most, replace=False))
    laid = lay_out(vectors[drawn], method, n_neighbors, min_dist, metric, seed, progress)
    others = np.setdiff1d(np.arange(len(vectors)), drawn)
    points = np.empty((len(vectors), 2), np.float32)
    points[drawn] = laid.points
    points[others] = place(vectors[others], vectors[drawn], laid.points, metric, progress)
    note = f"{METHODS[method]} of {most:,} points; the other {len(others):,} are placed among their nearest"
    return Layout(points, laid.method, [note, *laid.notes])


def _umap(
    vectors: np.ndarray, n_neighbors: int, min_dist: float, metric: str, seed: int, progress: Progress | None
) -> np.ndarray:
    rows, distances = nearest(vectors, n_neighbors, metric, progress=progress)
    with warnings.catch_warnings():
        # that a seed keeps it to one thread, that precomputed neighbours are meant for more points, that a map of them cannot
        # place others, and that the graph falls into parts, which are then laid side by side
        warnings.filterwarnings("ignore", category=UserWarning)
        reducer = _compiled_once().UMAP(
            n_neighbors=n_neighbors,
            min_dist=min_dist,
            metric=metric,
            random_state=seed,
            precomputed_knn=(rows, distances, None),
        )
        return np.asarray(reducer.fit_transform(straightened(vectors, metric)), np.float32)


def _compiled_once():  # type: ignore[no-untyped-def]
    """umap-learn, whose slowest functions to compile (15 s) are kept compiled beside mmkit's other caches."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder() / "numba"))
    import umap
    from umap import layouts, umap_

    step = layouts._get_optimize_layout_euclidean_single_epoch_fn()
    for function in (umap_.smooth_knn_dist, umap_.compute_membership_strengths, step):
        try:
            function.enable_caching()
        except (AttributeError, RuntimeError):  # another umap-learn, or nowhere to write: it is compiled again each time
            break
    return umap


def _pca(vectors: np.ndarray) -> np.ndarray:
    centred = vectors - vectors.mean(0)
    # of (d, d), so that many rows cost one product
    axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)[1]
    axes = axes[:, ::-1][:, :2]
    # an axis has no direction of its own; its largest share points up
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    points = (centred @ axes).astype(np.float32)
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))


def _tsne(vectors: np.ndarray, metric: str, seed: int) -> Layout:
    """Begun from PCA, as scikit-learn does it, which divides by a spread of 0 and takes no single dimension."""
    from sklearn.manifold import TSNE

    straight, known = metric in PRODUCTS, straightened(vectors, metric)
    first = _pca(known)
    spread = first[:, 0].std()
    if spread <= 1e-6 * np.abs(known).max():  # float32 holds no smaller difference
        return Layout(first, "pca", ["all points are the same, and t-SNE cannot tell them apart: this is PCA"])
    # points on one line could not pass each other
    beside = np.random.default_rng(seed).normal(scale=0.01, size=first.shape).astype(np.float32)
    reducer = TSNE(
        perplexity=min(PERPLEXITY, (len(vectors) - 1) / 3),
        metric="euclidean" if straight else metric,
        init=1e-4 * (first / spread + beside),
        random_state=seed,
    )
    return Layout(np.asarray(reducer.fit_transform(known), np.float32), "tsne")
