"""What `mmkit eval` can measure: the table of metrics, a request, a result and its files. No torch, no numpy here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.errors import UsageError, nearest

KS = (1, 5, 10)

# metric -> module with `of_model(model, data, request) -> [Result]`; where files of its own stand for a dataset, `of_files(model,
# path, request) -> [Result]`; where a file of embeddings is enough, `of_embeddings(path, request) -> [Result]`; FIGURE, what its
# results may be drawn as; WRITTEN, where it also measures a checkpoint that writes by itself; and where a run can be measured by
# it, `names(model)`, what it measures on val, that which weights are chosen by first, and `during(model, val)`, which prepares
# val once and gives a function of the model
METRICS = {
    "recall@k": "mmkit.metrics.recall",
    "zero-shot": "mmkit.metrics.zero_shot",
    "classify": "mmkit.metrics.classify",
    "regress": "mmkit.metrics.regress",
    "vqa": "mmkit.metrics.vqa",
    "loss": "mmkit.metrics.loss",
    "match": "mmkit.metrics.match",
    "pairs": "mmkit.metrics.pairs",
    "caption": "mmkit.metrics.caption",
    "hallucination": "mmkit.metrics.hallucination",
    "reconstruction": "mmkit.metrics.reconstruction",
    "linear-probe": "mmkit.metrics.linear_probe",
    "cost": "mmkit.metrics.cost",
}


def metric(name: str) -> Any:
    """The module of a row of METRICS."""
    return importlib.import_module(METRICS[name])


def metrics_of(model: Any) -> list[str]:
    """The rows of METRICS that measure the losses of a model, that of the first loss first; the losses themselves where none
    does."""
    measured = dict.fromkeys(metric for loss in model.loss.values() for metric in loss.measured())
    return [metric for metric in measured if metric in METRICS] or ["loss"]


def of_inputs(inputs: Iterable[str]) -> str:
    """What stands before the metrics of some inputs, where others have metrics of the same names.

    >>> of_inputs(["left", "right"])
    'left-right/'
    """
    return f"{'-'.join(inputs)}/"


@dataclass(frozen=True)
class Val:
    """What a run is measured on.

    Args:
        limit: only the first rows.
        features: input -> what its still encoder gives of these rows.
        pace: how they are read.
    """

    data: Any
    split: str
    limit: int | None
    features: dict[str, Any]
    pace: Any


@dataclass(frozen=True)
class Request:
    """What was asked for; `progress(title)` gives a callable of (done, total).

    Args:
        intervals: a record says of each metric how far it would move with other samples, `interval`.
        classes, templates: of `zero-shot`, as typed; see `mmkit.metrics.prompts`.
        rerank: of `recall@k`: how many of the nearest a matching head puts in a new order.
        by: of `pairs`: `match` or `contrast`, what scores a pair; image_root: the folder of their pictures, or of POPE's.
        beams, sampling: of what is written; see `mmkit.decoding`.
        shots, seed: examples that stand before it, and of which they are; see `mmkit.metrics.shots`.
        synonyms: of `hallucination`, a file; see `mmkit.metrics.objects`.
    """

    metric: str = "recall@k"
    ks: tuple[int, ...] = KS
    split: str | None = None
    limit: int | None = None
    intervals: bool = True
    batch_size: int = 64
    workers: int | None = None
    progress: Callable[[str], Callable[[int, int], None]] = lambda title: lambda done, total: None
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    rerank: int | None = None
    by: str | None = None
    image_root: Path | None = None
    beams: int = 1
    sampling: Any = None
    shots: int = 0
    seed: int = 0
    synonyms: Path | None = None

    @property
    def module(self) -> Any:
        """The module that measures it."""
        return metric(self.metric)


@dataclass
class Result:
    """One model on one split.

    Args:
        record: the JSON object that is printed.
        rows: column -> what was found of each query or row, which a paired comparison reads; they are saved as
            `<stem>.<table>.parquet`, where there are any.
        stem: of the files that it is saved as.
        anonymous: what was measured does not say which model made it.
        confusion: counts (C, C), rows the true class, and the names of the classes.
        scatter: numbers (N,), as they are and as they were predicted.
        note: what its reader must know, in one line.
    """

    record: dict[str, Any]
    rows: dict[str, Any]
    table: str
    stem: str
    anonymous: bool = False
    confusion: tuple[Any, list[str]] | None = None
    scatter: tuple[Any, Any] | None = None
    note: str = ""

    def save(self, folder: Path) -> None:
        """Write its files, each whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from mmkit.files import write_json, writing

        write_json(folder / f"{self.stem}.json", self.record)
        if self.rows:
            with writing(folder / f"{self.stem}.{self.table}.parquet") as temporary:
                pq.write_table(pa.table(self.rows), temporary)


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
    if not known.endswith("@k"):
        raise UsageError(f"cannot read {word!r}", hint=f"known: {known}")
    if numbers[0] < 1:
        raise UsageError("k is a whole number, 1 or more", word, f"known: {known}, {name}@10")
    return known, tuple(numbers)
