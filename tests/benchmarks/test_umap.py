"""`mmkit umap` against umap-learn alone, each a whole process, numba's caches warm: the machine should be idle.

Run it: python -m pytest tests/benchmarks/test_umap.py -s
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mmkit.space.quality import trustworthiness
from mmkit.vectors_writer import EmbeddingsWriter
from tests.benchmarks.busy import busy

POINTS, DIM, CLUSTERS = 10_000, 256, 40
LEAST, CLOSE = 2.5, 0.01
THEIRS = """
import numpy, umap
points = umap.UMAP(metric="cosine", random_state=0).fit_transform(numpy.load("vectors.npy"))
numpy.save("points.npy", points)
"""


def vectors() -> np.ndarray:
    """Clusters that overlap, and directions in which all of them spread, as in a trained space."""
    rng = np.random.default_rng(0)
    centres, label = rng.normal(size=(CLUSTERS, DIM)), rng.integers(CLUSTERS, size=POINTS)
    found = centres[label] + 0.9 * rng.normal(size=(POINTS, DIM)) + 0.5 * rng.normal(size=(POINTS, 8)) @ rng.normal(size=(8, DIM))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def seconds(command: list[str], folder: Path) -> tuple[float, float]:
    """By the clock, and of processors."""
    before, begun = busy(), time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return time.perf_counter() - begun, busy() - before


def test_exact_neighbours_and_functions_compiled_once_are_faster(tmp_path: Path) -> None:
    rows = vectors()
    np.save(tmp_path / "vectors.npy", rows)
    with EmbeddingsWriter(tmp_path / "vectors.arrow", DIM) as writer:
        writer.write([str(i) for i in range(POINTS)], "image", rows)
    ours = [sys.executable, "-m", "mmkit", "umap", "vectors.arrow", "-o", "points.parquet"]
    theirs = [sys.executable, "-c", THEIRS]
    for command in (ours, theirs):
        seconds(command, tmp_path)
    (own, own_used), (other, other_used) = seconds(ours, tmp_path), seconds(theirs, tmp_path)
    table = pq.read_table(tmp_path / "points.parquet")
    points = np.stack([table.column(name).to_numpy() for name in ("projection_x", "projection_y")], 1)
    found, peer = trustworthiness(rows, points), trustworthiness(rows, np.load(tmp_path / "points.npy"))
    assert found
    assert peer
    print(f"\nmmkit {own:.1f} s ({own_used:.1f} of processors), umap-learn {other:.1f} s ({other_used:.1f}): ", end="")
    print(f"{other / own:.2f} times; trustworthiness {found.trustworthiness:.4f} and {peer.trustworthiness:.4f}")
    assert other / own >= LEAST
    assert found.trustworthiness >= peer.trustworthiness - CLOSE
