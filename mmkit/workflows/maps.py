"""A map of embeddings: laid out or taken from a file, measured, grouped by whatever it can be coloured by, and written."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import isnan
from typing import Any

import numpy as np

from mmkit.bootstrap import numbers
from mmkit.data.splits import find_split
from mmkit.errors import UserError
from mmkit.space import coordinates
from mmkit.space.clusters import clusters, typical
from mmkit.space.gap import Gap, modality_gaps
from mmkit.space.layout import METHODS, lay_out
from mmkit.space.neighbours import Progress
from mmkit.space.pairs import pairs, samples, similarity
from mmkit.space.place import place
from mmkit.space.quality import Quality, trustworthiness
from mmkit.vectors import Embeddings
from mmkit.views import groups
from mmkit.views.groups import Groups

COLOURINGS = ("label", "modality", "split", "similarity", "cluster", "none")
FEW = 30  # labels; of more of them most would be grey
LISTED_GAPS = 3  # of more pairs of modalities the nearest and the furthest are said


@dataclass
class Map:
    """Embeddings with their points (n, 2).

    Args:
        settings: what the points were made with: method, n_neighbors, min_dist, metric, seed.
        notes: what the user should know of how they were made.
        ground: (g, 2), the points of the old map that these were placed on.
    """

    found: Embeddings
    points: np.ndarray
    settings: dict[str, Any]
    quality: Quality | None
    notes: list[str] = field(default_factory=list)
    ground: np.ndarray | None = None
    clusters: int = groups.MOST

    @property
    def method(self) -> str:
        """`umap`, `pca` or `tsne`."""
        return self.settings["method"]

    @property
    def modality(self) -> np.ndarray:
        """(n,), "item" where the file does not say."""
        return np.array([name or "item" for name in self.found.modality], object)

    @cached_property
    def sample(self) -> np.ndarray:
        """The sample of each row, (n,)."""
        return samples(self.found)

    @cached_property
    def pairs(self) -> np.ndarray:
        """Row numbers (p, 2) of two that belong together."""
        return pairs(self.modality, self.sample)

    @cached_property
    def gaps(self) -> list[Gap]:
        """Between each two modalities."""
        return modality_gaps(self.found.vectors, self.modality, self.sample)

    @cached_property
    def captions(self) -> list[list[str]]:
        """The texts of each row: its own, else those of its sample."""
        said: dict[int, list[str]] = {}
        for sample, text in zip(self.sample.tolist(), self.found.text, strict=True):
            if text is not None:
                said.setdefault(sample, []).append(text)
        rows = zip(self.sample.tolist(), self.found.text, strict=True)
        return [[text] if text is not None else said.get(sample, []) for sample, text in rows]

    @cached_property
    def cluster(self) -> np.ndarray:
        """The name of each row's cluster, (n,)."""
        codes = clusters(self.found.vectors, self.modality, self.clusters, self.settings["seed"])
        return np.array(typical(codes, self.captions), object)[codes]

    def colouring(self, by: str | None = None) -> Groups:
        """The groups by one of `COLOURINGS`; by default the labels where there are some and not too many, else the modality.

        Raises:
            UserError: no row has a label or a partner.
        """
        if by is None:
            labels = set(self.found.label) - {None}
            by = "label" if 1 < len(labels) <= FEW else "modality"
        if by == "similarity":
            if not len(self.pairs):
                raise UserError("no two rows of different modalities share an id: there is no similarity", str(self.found.path))
            return groups.bands(by, similarity(self.found.vectors, self.pairs))
        if by == "none":
            return groups.largest("point", np.full(len(self.points), "points", object))
        values = {"label": self.found.label, "modality": self.modality, "split": self.found.split}.get(by)
        values = self.cluster if values is None else values
        if all(value is None for value in values):
            raise UserError(f"no row has a {by}", str(self.found.path), "--color modality")
        return groups.largest(by, values)

    def colourings(self) -> list[Groups]:
        """All that tell some points from others."""
        found = []
        for by in COLOURINGS[:-1]:
            try:
                one = self.colouring(by)
            except UserError:
                continue
            if len(one.names) > 1:
                found.append(one)
        return found or [self.colouring("none")]

    def record(self, out: str | None) -> dict[str, Any]:
        """The JSON object of `mmkit umap`; the gap is the widest of any two modalities."""
        return {
            "points": len(self.points),
            "method": self.method,
            "trustworthiness": round(self.quality.trustworthiness, 4) if self.quality else None,
            "modality_gap": round(max(gap.distance for gap in self.gaps), 4) if self.gaps else None,
            "out": out,
        }

    def facts(self) -> list[str]:
        """What was measured, in words, in lines of up to 80 characters."""
        lines = []
        if self.quality:
            drawn = f", {self.quality.points:,} points drawn" if self.quality.points < len(self.points) else ""
            lines.append(f"trustworthiness {self.quality.trustworthiness:.3f} (1 is best; 5 neighbours{drawn})")
        if len(self.gaps) > LISTED_GAPS:
            near, far = (pick(self.gaps, key=lambda gap: gap.distance) for pick in (min, max))
            (a, b), (c, d) = near.between, far.between
            lines.append(f"modality gaps from {near.distance:.2f} ({a}, {b}) to {far.distance:.2f} ({c}, {d}); 0 is none")
            alike = [gap.matching for gap in self.gaps if not isnan(gap.matching)]
            lines += [f"cosines of two of one id from {min(alike):z.2f} to {max(alike):z.2f}"] if alike else []
            return lines
        for gap in self.gaps:
            one, two = gap.between
            lines.append(f"modality gap {gap.distance:.2f} from {one} to {two} (0 is none, 2 the most)")
            if not isnan(gap.matching):
                others = "" if isnan(gap.other) else f", of others {gap.other:z.2f}"
                lines.append(f"cosine of {one} and {two} of one id {gap.matching:z.2f}{others}")
        return lines


def make(
    found: Embeddings,
    method: str = "umap",
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    metric: str = "cosine",
    seed: int = 0,
    clusters: int = groups.MOST,
    progress: Progress | None = None,
) -> Map:
    """Lay the rows of an embeddings file out on a map.

    Raises:
        UserError: a vector is not finite.
    """
    laid = lay_out(found.vectors, method, n_neighbors, min_dist, metric, seed, progress)
    settings = {"method": laid.method, "n_neighbors": n_neighbors, "min_dist": min_dist, "metric": metric, "seed": seed}
    quality = trustworthiness(found.vectors, laid.points, metric, seed)
    return Map(found, laid.points, settings, quality, laid.notes, clusters=clusters)


def kept(old: coordinates.OldMap, clusters: int = groups.MOST) -> Map:
    """A map as its file holds it."""
    quality = trustworthiness(old.found.vectors, old.points, old.settings["metric"], old.settings["seed"])
    return Map(old.found, old.points, old.settings, quality, clusters=clusters)


def onto(found: Embeddings, old: coordinates.OldMap, clusters: int = groups.MOST, progress: Progress | None = None) -> Map:
    """The rows of an embeddings file, placed on an old map."""
    metric, seed = old.settings["metric"], old.settings["seed"]
    points = place(found.vectors, old.found.vectors, old.points, metric, progress)
    both = np.concatenate([old.found.vectors, found.vectors])
    rows = np.arange(len(old.points), len(both))
    quality = trustworthiness(both, np.concatenate([old.points, points]), metric, seed, rows)
    note = f"placed on the {len(old.points):,} points of {old.found.path}, each among its nearest"
    return Map(found, points, old.settings, quality, [note], old.points, clusters)


def rows_of(found: Embeddings, split: str | None, limit: int | None = None) -> np.ndarray:
    """The row numbers of a split, typed in any usual word, or of all; of at most `limit` samples, the first ones.

    Raises:
        UserError: the file has no such split.
    """
    rows = np.arange(len(found)) if split is None else _rows_of_split(found, split)
    return rows if limit is None else rows[numbers(found.ids[rows]) < limit]


def _rows_of_split(found: Embeddings, split: str) -> np.ndarray:
    there = {name for name in found.split if name is not None}
    name = find_split(split, there)
    if name is None:
        raise UserError(f"no split {split!r}", str(found.path), f"splits: {', '.join(sorted(there)) or 'none'}")
    return found.rows(split=name)


def method_name(made: Map) -> str:
    """As people write it, with what it compared by: `UMAP (cosine)`."""
    return f"{METHODS[made.method]} ({made.settings['metric']})"
