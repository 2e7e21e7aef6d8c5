"""recall@k of a model on a dataset, or of an embeddings file alone: vectors in, the JSON of one result a pair of inputs out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.errors import UserError
from mmkit.metrics import intervals
from mmkit.metrics.evaluation import KS, Request, Result, Val, of_inputs
from mmkit.metrics.ranking import caption_ceiling, retrieval
from mmkit.talk import Measured
from mmkit.vectors import Embeddings, read_embeddings

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

SELECT = "mean_recall"


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Embed the split (or reuse its embeddings) and rank.

    Raises:
        UserError: there are no two inputs to rank for each other.
    """
    from mmkit.data.shards import default_split
    from mmkit.embedding import embed_dataset, model_name
    from mmkit.encode import Pace, columns_of

    there = columns_of(model, data, model.embedded)
    lacking = [name for name in model.embedded if name not in there]
    if len(there) < 2 and lacking:
        has = ", ".join(sorted(set(data.columns.values())))
        raise UserError(f"the dataset has no {' and no '.join(lacking)} column", data.path, f"it has: {has}")
    split = data.split_name(request.split) if request.split else default_split(data)
    pace = Pace(request.batch_size, request.workers, request.progress("embedded"))
    path = embed_dataset(model, data, split, limit=request.limit, pace=pace)
    rankers = None
    if request.rerank:
        from mmkit.metrics import rerank

        rankers = rerank.rankers(model, data, split, request)
    results = of_embeddings(path, request, every_row=True, rankers=rankers)
    for result in results:
        result.record |= {"model": model_name(model), "split": split or "all", "language": data.manifest.get("language", "en")}
    return results


def of_embeddings(path: Path, request: Request, every_row: bool = False, rankers: Any = None) -> list[Result]:
    """Rank the rows of an embeddings file: one split of it, by default test, else val, else all.

    Args:
        every_row: the file is of one split.
        rankers: as of `retrieval`; the pair that they rank is measured alone.

    Raises:
        UserError: the file lacks rows of two inputs, or the split.
    """
    found = read_embeddings(path)
    split = None if every_row else _split(found, request.split)
    there = [name for name in dict.fromkeys(found.modality.tolist()) if name is not None and len(found.rows(name, split))]
    if len(there) < 2:
        what = f"nothing to rank {there[0]}s for" if there else "no rows to rank"
        raise UserError(what, str(path), f"recall needs rows of two modalities; there are: {_names(found.modality)}")
    # the embeddings of a model are limited already
    rows = _rows(found, there, split, None if every_row else request.limit)
    pairs = list(itertools.combinations(_in_order(found, there), 2))
    shown = [pair for pair in pairs if not rankers or set(pair) <= set(rankers)]
    return [_result(found, rows, pair, split, path, request, len(pairs) == 1, rankers) for pair in shown]


def _in_order(found: Embeddings, names: list[str]) -> list[str]:
    """What has texts comes last: an image is found for a text."""
    return sorted(names, key=lambda name: any(text is not None for text in found.text[found.rows(name)[:1]]))


def _result(
    found: Embeddings,
    rows: dict[str, np.ndarray],
    pair: tuple[str, str],
    split: str | None,
    path: Path,
    request: Request,
    alone: bool,
    rankers: Any = None,
) -> Result:
    a, b = (rows[name] for name in pair)
    metrics, chance, ranks = retrieval(
        found.take(a),
        found.ids[a],
        found.take(b),
        found.ids[b],
        request.ks,
        request.progress("ranked"),
        names=pair,
        rankers=rankers,
    )
    queries = {f"{pair[0]}_retrieval": found.ids[b], f"{pair[1]}_retrieval": found.ids[a]}
    captions = found.text[b]
    meta = found.meta or {}
    ceiling = None
    if None not in captions:
        ceiling = caption_ceiling(captions, found.ids[b], found.ids[a], request.ks, names=pair)
    record: dict[str, Any] = {
        "dataset": meta.get("data_name") or Path(meta.get("data") or path).stem,
        "model": meta.get("model", ""),
        "pretrained": "",
        "task": "zeroshot_retrieval",
        "language": "en",
        "split": split or "all",
        "n": {pair[0]: len(a), pair[1]: len(b)},
        "metrics": metrics,
        **({"interval": intervals.of_ranks(ranks, queries, request.ks)} if request.intervals else {}),
        "chance": chance,
        "cost": ({"parameters": meta["parameters"]} if "parameters" in meta else {}) | meta.get("cost", {}),
        "counts": {"queries_without_positive": {name: int(np.isnan(r).sum()) for name, r in ranks.items()}},
        "resolution": meta.get("resolution"),
        "precision": meta.get("precision") or str(found.vectors.dtype),
        "model_hash": meta.get("model_hash"),
        "data_hash": meta.get("data_hash"),
        "caption_ceiling": ceiling,
        **({"rerank": request.rerank} if rankers else {}),
    }
    table = {
        "query": np.concatenate(list(queries.values())).tolist(),
        "caption": np.concatenate([found.text[b], found.text[a]]).tolist(),
        "direction": [name for name in ranks for _ in range(len(ranks[name]))],
        "rank": np.concatenate(list(ranks.values())),
    }
    stem = path.stem if alone else f"{path.stem}-{pair[0]}-{pair[1]}"
    stem += f"-rerank{request.rerank}" if rankers else ""
    return Result(record, table, "ranks", stem, not meta.get("model_hash"))


def names(model: Model) -> list[str]:
    """What is measured on val: the mean of all recalls, and each of them."""
    pairs = list(itertools.combinations(model.embedded, 2))
    return [SELECT, *(f"{_prefix(pair, pairs)}{name}_retrieval_recall@{k}" for pair in pairs for name in pair for k in KS)]


def during(model: Model, val: Val) -> Callable[[Model], Measured]:
    """Prepare the items of val once; the function embeds and ranks them."""
    from mmkit.encode import chunks, columns_of, vectors

    columns = columns_of(model, val.data, model.embedded)
    read = {name: column for name, column in columns.items() if name not in val.features}
    items: dict[str, list[Any]] = {name: [] for name in columns}
    ids: dict[str, list[str]] = {name: [] for name in columns}
    wanted = list(dict.fromkeys(["id", *read.values()]))
    done, total = 0, min(val.data.splits[val.split], val.limit or val.data.splits[val.split])
    order: list[str] = []
    for rows, found in chunks(model, read, val.data.rows(val.split, wanted, val.limit), val.pace):
        order += [row["id"] for row in rows]
        for name in read:
            items[name] += [item.value for item in found[name]]
            ids[name] += [rows[item.row]["id"] for item in found[name]]
        done += len(rows)
        val.pace.progress(done, total)
    for name, features in val.features.items():
        if name in columns:
            items[name] = list(features.items())
            ids[name] = np.repeat(np.array(order, object), np.diff(features.starts)).tolist()
    pairs = [pair for pair in itertools.combinations(columns, 2) if set(ids[pair[0]]) & set(ids[pair[1]])]

    def measure(model: Model) -> Measured:
        try:
            found = {n: vectors(model, n, items[n], 256, features=val.features.get(n)) for n in columns}
        except UserError as e:
            raise FloatingPointError(e.what) from e
        values: dict[str, float] = {}
        for a, b in pairs:
            metrics, chance, _ = retrieval(found[a], ids[a], found[b], ids[b], names=(a, b))
            values |= {f"{_prefix((a, b), pairs)}{name}": value for name, value in metrics.items()}
            values.setdefault("chance@1", chance[f"{a}_retrieval_recall@1"])
        mean = _mean(value for name, value in values.items() if "_recall@" in name)
        return Measured(SELECT, mean, {SELECT: mean, **values})

    return measure


def _prefix(pair: tuple[str, str], pairs: list[tuple[str, str]]) -> str:
    """What tells the recalls of one pair from those of others."""
    return "" if len(pairs) == 1 else of_inputs(pair)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _rows(found: Embeddings, names: list[str], split: str | None, limit: int | None) -> dict[str, np.ndarray]:
    """The rows of each input: all, or those of the first `limit` ids, which keep all of their texts."""
    rows = {name: found.rows(name, split) for name in names}
    if limit is None:
        return rows
    kept = set(list(dict.fromkeys(found.ids[rows[_in_order(found, names)[0]]]))[:limit])
    return {name: chosen[[id in kept for id in found.ids[chosen]]] for name, chosen in rows.items()}


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
