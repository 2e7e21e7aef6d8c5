"""What `mmkit eval` can measure: the table of metrics, a request, a result and its files. No torch, no numpy here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.errors import UsageError, nearest

KS = (1, 5, 10)

# metric -> module with `of_model(model, data, request)` and, where a file of embeddings is enough, `of_embeddings(path, request)`
METRICS = {
    "recall@k": "mmkit.metrics.recall",
}


@dataclass(frozen=True)
class Request:
    """What was asked for; `progress(title)` gives a callable of (done, total)."""

    metric: str = "recall@k"
    ks: tuple[int, ...] = KS
    split: str | None = None
    limit: int | None = None
    batch_size: int = 64
    workers: int | None = None
    progress: Callable[[str], Callable[[int, int], None]] = lambda title: lambda done, total: None

    @property
    def module(self) -> Any:
        """The module that measures it."""
        return importlib.import_module(METRICS[self.metric])


@dataclass
class Result:
    """One model on one split: the JSON object that is printed, and the rank of each query (nan: it had no positive)."""

    record: dict[str, Any]
    queries: dict[str, Any]
    ranks: dict[str, Any]
    stem: str
    anonymous: bool = False

    def save(self, folder: Path) -> None:
        """Write `<stem>.json` and `<stem>.ranks.parquet` (query, direction, rank), which a paired comparison reads."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from mmkit.files import write_json, writing

        write_json(folder / f"{self.stem}.json", self.record)
        tables = [
            pa.table(
                {"query": pa.array(self.queries[name], pa.string()), "direction": [name] * len(ranks), "rank": pa.array(ranks)}
            )
            for name, ranks in self.ranks.items()
        ]
        with writing(folder / f"{self.stem}.ranks.parquet") as temporary:
            pq.write_table(pa.concat_tables(tables), temporary)


def parse_metrics(words: Iterable[str]) -> list[tuple[str, tuple[int, ...]]]:
    """Each metric once, with all the ks that were asked of it: one result for each model and split.

    Raises:
        UsageError: as of `parse_metric`.

    >>> parse_metrics(["recall@5", "recall@1,5"])
    [('recall@k', (1, 5))]
    """
    asked: dict[str, set[int]] = {}
    for word in words:
        name, ks = parse_metric(word)
        asked.setdefault(name, set()).update(ks)
    return [(name, tuple(sorted(ks))) for name, ks in asked.items()]


def parse_metric(word: str) -> tuple[str, tuple[int, ...]]:
    """`recall@k` or `recall@1,5,10` as (row of METRICS, ks).

    Raises:
        UsageError: an unknown metric (the nearest is named) or a k that is not a positive number.

    >>> parse_metric("recall@5,1")
    ('recall@k', (1, 5))
    """
    name, _, ks = word.partition("@")
    known = next((metric for metric in METRICS if metric.partition("@")[0] == name.lower()), None)
    if known is None:
        folder = Path(word).exists()
        raise UsageError(f"unknown metric {word!r}", hint=f"a dataset is --data {word}" if folder else nearest(word, METRICS))
    if ks in ("", "k"):
        return known, KS
    try:
        numbers = sorted({int(k) for k in ks.split(",")})
    except ValueError:
        numbers = [0]
    if numbers[0] < 1 or not known.endswith("@k"):
        raise UsageError(f"cannot read {word!r}", hint=f"known: {known}, {name}@10")
    return known, tuple(numbers)
