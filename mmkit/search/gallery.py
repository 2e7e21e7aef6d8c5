"""What is searched: a dataset, an embeddings file or a folder of images, opened for one model; and the answers to a query."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.data.shards import MANIFEST, open_dataset
from mmkit.data.splits import find_split
from mmkit.embedding import Pace, embed_dataset, embed_folder, embed_image, embed_texts, images_in
from mmkit.errors import UserError
from mmkit.search.index import top
from mmkit.vectors import SUFFIXES, Embeddings, read_embeddings

if TYPE_CHECKING:
    from mmkit.model import Model


@dataclass
class Gallery:
    """Embeddings that a model's queries are compared with."""

    model: Model
    found: Embeddings
    split: str | None = None
    note: str = field(default="")

    def answer(self, query: dict[str, Any], find: str | None = None, k: int = 10) -> list[dict[str, Any]]:
        """The k nearest rows to a query, best first.

        Args:
            query: `{"text": sentence}` or `{"image": path}`.
            find: the modality to look for; by default the other one, where the gallery has it.

        Returns:
            Objects with query, rank (from 1), score (cosine), id, modality, text, path.

        Raises:
            UserError: the query's image cannot be read, a vector is not finite, or nothing of that modality is there.
        """
        vector = embed_texts(self.model, [query["text"]])[0] if "text" in query else embed_image(self.model, query["image"])
        modality = find or self._other("text" if "text" in query else "image")
        rows = self.found.rows(modality, self.split)
        if not len(rows):
            there = ", ".join(sorted({str(m) for m in self.found.modality}))
            raise UserError(f"no {modality} rows to find", str(self.found.path), f"it has: {there}")
        try:
            best = top(vector.numpy(), self.found.vectors, k, rows)
        except UserError as e:
            e.where = str(self.found.path)
            raise
        return [self._object(query, n, row, score) for n, (row, score) in enumerate(best, 1)]

    def caption(self, id: str) -> str | None:
        """The first text of an id, for people to recognise an image by."""
        rows = np.flatnonzero((self.found.ids == id) & (self.found.modality == "text"))
        return self.found.text[rows[0]] if len(rows) else None

    def _other(self, modality: str) -> str:
        wanted = "image" if modality == "text" else "text"
        return wanted if (self.found.modality == wanted).any() else modality

    def _object(self, query: dict[str, Any], n: int, row: int, score: float) -> dict[str, Any]:
        modality, id = self.found.modality[row], self.found.ids[row]
        return {
            "query": query["text"] if "text" in query else query["image"],
            "rank": n,
            "score": round(score, 6),
            "id": id,
            "modality": modality,
            "text": self.found.text[row],
            "path": self._path(id) if modality == "image" else None,
        }

    def _path(self, id: str) -> str | None:
        source = Path((self.found.meta or {}).get("data", ""))
        if (self.found.meta or {}).get("folder"):
            return str(source / id) if (source / id).is_file() else None
        return self._paths.get(id)

    @cached_property
    def _paths(self) -> dict[str, str]:
        """id -> the image's file, for a dataset that links to files which are still there."""
        source = (self.found.meta or {}).get("data")
        if not source or not (Path(source) / MANIFEST).is_file():
            return {}
        data = open_dataset(source)
        image = data.column("image")
        paths = {}
        for row in data.rows(self.split, ["id", f"{image}.path"]):
            path = (row[image] or {}).get("path") if image in row else None
            # beside bytes a bare name is kept, which says nothing of where a file is
            if path and Path(path).is_absolute():
                paths[row["id"]] = path
        return {id: path for id, path in paths.items() if Path(path).is_file()}


def open_gallery(where: str, model: Model, split: str | None = None, pace: Pace | None = None) -> Gallery:
    """Open a dataset folder, an embeddings file or a folder of images; what is not embedded yet is embedded first.

    Raises:
        UserError: it is none of these, or the embeddings were made by another model.
    """
    path = Path(where)
    if path.is_file() or path.suffix in SUFFIXES:
        return _of_file(path, model, split)
    if path.is_dir() and not (path / MANIFEST).exists() and images_in(path):
        if split:
            raise UserError("a plain folder of images has no splits", where, "leave --split out")
        found = read_embeddings(embed_folder(model, path, pace=pace))
        unreadable = (found.meta or {}).get("unreadable", 0)
        return Gallery(model, found, note=f"{unreadable} files could not be read as images" if unreadable else "")
    if "://" not in where and not path.exists():
        raise UserError("nothing to search there", where, "name a dataset folder, an embeddings file or a folder of pictures")
    data = open_dataset(where)
    return Gallery(model, read_embeddings(embed_dataset(model, data, split, pace=pace)))


def _of_file(path: Path, model: Model, split: str | None) -> Gallery:
    found = read_embeddings(path)
    there = {name for name in found.split if name is not None}
    if split:
        typed, split = split, find_split(split, there)
        if split is None:
            raise UserError(f"no split {typed!r}", str(path), f"splits: {', '.join(sorted(there)) or 'none'}")
    maker = found.meta or {}
    if not maker.get("model_hash"):
        return Gallery(model, found, split, f"{path} does not say which model made it; taken as it is")
    if maker["model_hash"] != model.hash:
        name = maker.get("model") or "another model"
        raise UserError(f"these embeddings were made by {name}, the query by {model.name}", str(path), f"--model {name}")
    if maker.get("preprocessing_hash", model.made_of_hash) != model.made_of_hash:
        raise UserError(
            f"{model.name} prepared pictures or texts otherwise when it made these embeddings", str(path), "`mmkit embed` again"
        )
    return Gallery(model, found, split)
