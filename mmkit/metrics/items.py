"""What `mmkit eval` saved of each query, row or question, as figures that two models can be compared by. No torch here.

A table of `eval/` has the sample (`query`, `id`, or `sample` where an id is that of a question) and numbers: the columns that are
called like metrics, or the `rank` of queries, from which recall and the median rank follow.

Shapes: n items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.errors import UserError
from mmkit.files import read_json
from mmkit.metrics.evaluation import KS

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = ("reference", "caption", "question", "target")  # columns by which a person knows an item, the first that is there
LABELS = "target"  # of which many items have the same
# numbers that are no metric
NO_FIGURES = ("query", "id", "sample", "probability", "log_probability", "target", "predicted")


@dataclass(frozen=True)
class Items:
    """The figures of n items.

    Args:
        keys: (n,) what tells an item from all others, the same for every model: direction, id, and which of that id it is.
        ids: (n,) the sample, such as the image, that an item belongs to.
        values: metric -> (n,), whose mean is the metric; nan where an item is none of its.
        medians: metric -> (n,), whose median is the metric; nan as above.
        shown: (n,) what a person knows the item by: its text where it has one, its id and its label, else its id and a text of
            the same sample.
        record: the JSON object of the result, {} where there is none beside the table.
        of: what stands before the names of metrics where they are told apart by their inputs.
    """

    keys: np.ndarray
    ids: np.ndarray
    values: dict[str, np.ndarray]
    medians: dict[str, np.ndarray] = field(default_factory=dict)
    shown: np.ndarray = field(default_factory=lambda: np.empty(0, object))
    record: dict[str, Any] = field(default_factory=dict)
    of: str = ""

    def named(self, of: str) -> Items:
        """With that before the names of its metrics."""
        values, medians = ({f"{of}{name}": each for name, each in own.items()} for own in (self.values, self.medians))
        return replace(self, values=values, medians=medians, of=of)


def read_items(path: str | Path, ks: Sequence[int] = KS) -> Items:
    """Read `<stem>.ranks.parquet` or `<stem>.rows.parquet`, and the `<stem>.json` beside it.

    Args:
        path: any Parquet table with a column `id` or `query` and at least one of numbers will do.
        ks: the k of recall@k.

    Raises:
        UserError: the file is missing or no Parquet, or lacks such columns or rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise UserError("no such table of items", str(path), "mmkit eval   writes one into the eval/ of a run") from None
    except (pa.ArrowException, OSError) as e:
        raise UserError(f"truncated, or no Parquet file ({str(e).splitlines()[0]})", str(path)) from e
    items = of_table(table, str(path), ks)
    beside = path.with_suffix("").with_suffix(".json")
    items.record.update(read_json(beside) if beside.is_file() else {})
    return items


def of_table(table: pa.Table, where: str, ks: Sequence[int] = KS) -> Items:
    """The items of a table in memory; see `read_items`.

    Args:
        where: what an error names.
    """
    name = next((name for name in ("query", "id") if name in table.column_names), None)
    if name is None or not table.num_rows:
        what = "no item is in the table" if name else "the table has no column query and no column id"
        raise UserError(what, where, "mmkit compare takes tables as mmkit eval writes them")
    own = _strings(table, name)
    samples = _strings(table, "sample") if "sample" in table.column_names else own
    direction = _strings(table, "direction") if "direction" in table.column_names else np.full(len(own), "", object)
    values, medians = _of_ranks(table, direction, ks) if "rank" in table.column_names else (_of_numbers(table), {})
    if not values:
        raise UserError("the table has no column of numbers to compare", where, f"its columns: {', '.join(table.column_names)}")
    return Items(_keys(direction, samples, own), samples, values, medians, _shown(table, own))


def _keys(direction: np.ndarray, samples: np.ndarray, own: np.ndarray) -> np.ndarray:
    """An id may be that of several items, such as the captions of an image: they are counted in their order."""
    seen: Counter[str] = Counter()
    keys = []
    for parts in zip(direction, samples, own, strict=True):
        key = "/".join(dict.fromkeys(part for part in parts if part))
        keys.append(f"{key}#{seen[key]}")
        seen[key] += 1
    return np.array(keys, object)


def _shown(table: pa.Table, own: np.ndarray) -> np.ndarray:
    """The text of each item; of one with a label its id and that; of one without, its id and a text that has the same."""
    column = next((column for column in SHOWN if column in table.column_names), None)
    texts = _strings(table, column) if column else np.full(len(own), "", object)
    if column == LABELS:
        return np.array([f"{id}: {text}" if text else id for id, text in zip(own, texts, strict=True)], object)
    first: dict[str, str] = {}
    for id, text in zip(own, texts, strict=True):
        if text:
            first.setdefault(id, text)
    named = (text or (f"{id}: {first[id]}" if id in first else id) for id, text in zip(own, texts, strict=True))
    return np.array(list(named), object)


def _of_ranks(table: pa.Table, direction: np.ndarray, ks: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    rank = _numbers(table, "rank")
    values: dict[str, np.ndarray] = {}
    medians: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(direction.tolist()):
        own = np.where(direction == name, rank, np.nan)
        prefix = f"{name}_" if name else ""
        values |= {f"{prefix}recall@{k}": np.where(np.isnan(own), np.nan, own <= k) for k in ks}
        medians[f"{prefix}median_rank"] = own
    return values, medians


def _of_numbers(table: pa.Table) -> dict[str, np.ndarray]:
    """The columns of numbers; a table with types of items, such as questions, gives each metric of each type, too."""
    import pyarrow as pa

    number = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)
    names = [column.name for column in table.schema if any(is_number(column.type) for is_number in number)]
    values = {name: _numbers(table, name) for name in names if name not in NO_FIGURES}
    if "type" in table.column_names:
        kinds = _strings(table, "type")
        for name in list(values):
            each = [kind for kind in dict.fromkeys(kinds.tolist()) if kind]
            values |= {f"{name}/{kind}": np.where(kinds == kind, values[name], np.nan) for kind in each}
    return values


def _strings(table: pa.Table, name: str) -> np.ndarray:
    return np.array(["" if value is None else str(value) for value in table[name].to_pylist()], object)


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    import pyarrow as pa

    return np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
