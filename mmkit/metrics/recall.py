"""recall@k of a model on a dataset, or of an embeddings file alone: vectors in, the JSON of one result out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.errors import UserError
from mmkit.metrics.evaluation import Request, Result
from mmkit.metrics.ranking import caption_ceiling, retrieval
from mmkit.vectors import Embeddings, read_embeddings

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model


def of_model(model: Model, data: Dataset, request: Request) -> Result:
    """Embed the split (or reuse its embeddings) and rank."""
    from mmkit.data.shards import default_split
    from mmkit.embedding import Pace, embed_dataset, model_name

    split = data.split_name(request.split) if request.split else default_split(data)
    pace = Pace(request.batch_size, request.workers, request.progress("embedded"))
    path = embed_dataset(model, data, split, limit=request.limit, pace=pace)
    result = of_embeddings(path, request, every_row=True)
    result.record |= {"model": model_name(model), "split": split or "all", "language": data.manifest.get("language", "en")}
    return result


def of_embeddings(path: Path, request: Request, every_row: bool = False) -> Result:
    """Rank the rows of an embeddings file: one split of it, by default test, else val, else all.

    Raises:
        UserError: the file lacks images, texts or the split.
    """
    found = read_embeddings(path)
    split = None if every_row else _split(found, request.split)
    # the embeddings of a model are limited already
    rows = _rows(found, split, None if every_row else request.limit)
    for modality, chosen in rows.items():
        if not len(chosen):
            raise UserError(
                f"no {modality} rows to rank", str(path), f"recall needs images and texts; modalities: {_names(found.modality)}"
            )
    images, texts = rows["image"], rows["text"]
    metrics, chance, ranks = retrieval(
        found.take(images), found.ids[images], found.take(texts), found.ids[texts], request.ks, request.progress("ranked")
    )
    queries = {"image_retrieval": found.ids[texts], "text_retrieval": found.ids[images]}
    captions = found.text[texts]
    meta = found.meta or {}
    record: dict[str, Any] = {
        "dataset": meta.get("data_name") or Path(meta.get("data") or path).stem,
        "model": meta.get("model", ""),
        "pretrained": "",
        "task": "zeroshot_retrieval",
        "language": "en",
        "split": split or "all",
        "n": {"image": len(images), "text": len(texts)},
        "metrics": metrics,
        "chance": chance,
        "cost": ({"parameters": meta["parameters"]} if "parameters" in meta else {}) | meta.get("cost", {}),
        "counts": {"queries_without_positive": {name: int(np.isnan(r).sum()) for name, r in ranks.items()}},
        "resolution": meta.get("resolution"),
        "precision": meta.get("precision") or str(found.vectors.dtype),
        "model_hash": meta.get("model_hash"),
        "data_hash": meta.get("data_hash"),
        "caption_ceiling": None
        if None in captions
        else caption_ceiling(captions, found.ids[texts], found.ids[images], request.ks),
    }
    return Result(record, queries, ranks, path.stem, not meta.get("model_hash"))


def _rows(found: Embeddings, split: str | None, limit: int | None) -> dict[str, np.ndarray]:
    """The rows of each modality: all, or those of the first `limit` images, which keep all of their texts."""
    rows = {modality: found.rows(modality, split) for modality in ("image", "text")}
    if limit is None:
        return rows
    kept = set(list(dict.fromkeys(found.ids[rows["image"]]))[:limit])
    return {modality: chosen[[id in kept for id in found.ids[chosen]]] for modality, chosen in rows.items()}


def _split(found: Embeddings, wanted: str | None) -> str | None:
    there = {name for name in found.split if name is not None}
    if wanted is None:
        return next((name for name in ("test", "val") if name in there), None) if len(there) > 1 else next(iter(there), None)
    from mmkit.data.splits import find_split

    split = find_split(wanted, there)
    if split is None:
        raise UserError(f"no split {wanted!r}", str(found.path), f"splits: {_names(found.split)}")
    return split


def _names(values: np.ndarray) -> str:
    return ", ".join(sorted({value for value in values if value is not None})) or "none"
