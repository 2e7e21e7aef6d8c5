"""Which queries, rows or questions two models see differently, as a list and as a file. No torch here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmkit.files import write_json, write_text, writing
from mmkit.metrics.items import Items
from mmkit.tabular import is_less

COLUMNS = ("id", "item", "figure", "a", "b", "difference")
FORMATS = (".csv", ".json", ".parquet")


class Change(NamedTuple):
    """One item and its figure in A and in B: its rank, called by the direction, or the metric.

    Args:
        gain: above 0 where B is better: how many times the rank is halved, the difference of the metric, or how much less an
            error is.
    """

    id: str
    item: str
    figure: str
    a: float
    b: float
    gain: float

    def record(self) -> dict[str, Any]:
        """As it is written; the difference is b - a."""
        return dict(zip(COLUMNS, (self.id, self.item, self.figure, self.a, self.b, self.b - self.a), strict=True))


def changes(a: Items, b: Items) -> list[Change]:
    """Every item, those that changed most first: of ranks, those whose ratio did.

    Args:
        b: aligned with a.
    """
    found = []
    ranked = bool(a.medians)
    other = b.medians if ranked else b.values
    # metrics of a type of items are of the same items again
    whole = {name: each for name, each in a.values.items() if not any(name.startswith(f"{other}/") for other in a.values)}
    for name, own in (a.medians or whole).items():
        if name not in other:
            continue
        gains = np.log2(own / other[name]) if ranked else (other[name] - own) * (-1 if is_less(name) else 1)
        figure = name.removesuffix("_median_rank") + " rank" if ranked else name
        for i in np.flatnonzero(~np.isnan(gains)):
            found.append(Change(str(a.ids[i]), str(a.shown[i]), figure, float(own[i]), float(other[name][i]), float(gains[i])))
    return sorted(found, key=lambda change: -abs(change.gain))


def of_all(pairs: Iterable[tuple[Items, Items]]) -> list[Change]:
    """The changes of several tables: ranks first, for how often one is halved is no difference of a metric."""
    found = [change for pair in pairs for change in changes(*pair)]
    return sorted(found, key=lambda change: (not change.figure.endswith(" rank"), -abs(change.gain)))


def most_changed(found: Sequence[Change], top: int) -> list[Change]:
    """Those that changed most: as many that got better as worse, where there are."""
    better, worse = ([change for change in found if sign * change.gain > 0] for sign in (1, -1))
    losses = min(len(worse), max(top // 2, top - len(better)))
    return better[: top - losses] + worse[:losses]


def write(found: Sequence[Change], path: Path) -> None:
    """All of them as CSV, JSON or Parquet, by suffix; a pipe takes CSV."""
    rows = [one.record() for one in found]
    if path.suffix.lower() == ".json":
        write_json(path, rows)
    elif path.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        with writing(path) as temporary:
            pq.write_table(pa.table({name: [row[name] for row in rows] for name in COLUMNS}), temporary)
    else:
        sink = io.StringIO()
        lines = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
        lines.writeheader()
        lines.writerows(rows)
        write_text(path, sink.getvalue())


def is_ours(path: Path) -> bool:
    """Whether a file is one that `write` wrote."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".parquet":
            return tuple(pq.read_schema(path).names) == COLUMNS
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            rows = json.loads(text)
            return isinstance(rows, list) and bool(rows) and tuple(rows[0]) == COLUMNS
        return text.partition("\n")[0] == ",".join(COLUMNS)
    except (OSError, ValueError, TypeError, pa.ArrowException):
        return False
