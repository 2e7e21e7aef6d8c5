"""The results that `mmkit eval` saved: where they are, and what of. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from mmkit.errors import UserError
from mmkit.files import read_json
from mmkit.metrics.evaluation import KS, METRICS, of_inputs
from mmkit.metrics.items import Items, read_items

TABLES = ("ranks", "rows")
SPLITS = ("test", "val", "all")  # as `eval` prefers them


class Scope(NamedTuple):
    """What a result is of."""

    data_hash: str | None
    split: str
    limit: int | None


@dataclass(frozen=True)
class Saved:
    """One result: its table of items and its JSON object, {} of a table of others."""

    path: Path
    record: dict[str, Any]

    @property
    def scope(self) -> Scope:
        limit = re.search(r"-first(\d+)\b", self.path.name)
        return Scope(self.record.get("data_hash"), self.record.get("split", ""), int(limit[1]) if limit else None)

    @property
    def measure(self) -> tuple[str, ...]:
        """The row of METRICS; that of ranks with the inputs that were ranked for each other, and how many were ranked again; that
        of one of several inputs with it."""
        if self.path.name.endswith(".ranks.parquet"):
            return ("recall@k", *self.record.get("n", ()), *([f"rerank {n}"] if (n := self.record.get("rerank")) else []))
        return (next((name for name in METRICS if self._stem.endswith(f"-{name}")), ""), *self.inputs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those that the file is called by, for the same was measured of others of the model; () where there are no others."""
        found = tuple(self.record.get("n", ()))
        stem = re.sub(r"-rerank\d+$", "", self._stem)
        stem = next((stem.removesuffix(f"-{name}") for name in METRICS if stem.endswith(f"-{name}")), stem)
        return found if found and stem.endswith("-" + "-".join(found)) else ()

    @property
    def _stem(self) -> str:
        return re.sub(r"(\.(ranks|rows))?\.parquet$", "", self.path.name)

    def items(self, ks: Sequence[int] = KS) -> Items:
        """Its figures, which say which inputs they are of where there are others."""
        return replace(read_items(self.path, ks), of=of_inputs(self.inputs) if self.inputs else "")


def of_run(run: Path, model_hash: str) -> list[Saved]:
    """The results in a run's `eval/` that these weights gave; others are of a checkpoint, or of before a resumed training."""
    found = []
    for path in sorted((run / "eval").glob("*.json")):
        table = _table_of(path)
        record = read_json(path) if table else None
        if table and isinstance(record, dict) and record.get("model_hash") == model_hash:
            found.append(Saved(table, record))
    return found


def of_file(path: Path) -> Saved:
    """The result in a `.json` of `eval`, whose table lies beside it, or in a table.

    Raises:
        UserError: there is no table beside it, or it is no result.
    """
    if path.suffix == ".parquet":
        beside = path.with_suffix("").with_suffix(".json")
        return Saved(path, read_json(beside) if beside.is_file() else {})
    record, table = read_json(path), _table_of(path)
    if table is None or not isinstance(record, dict):
        what = "there is no table of items beside the result"
        raise UserError(what, str(path), "name the run, or the .json or .parquet in its eval/")
    return Saved(table, record)


def _table_of(path: Path) -> Path | None:
    return next((table for kind in TABLES if (table := path.with_suffix(f".{kind}.parquet")).is_file()), None)


def preferred(scopes: Iterable[Scope], data_hash: str | None) -> list[Scope]:
    """One scope for each dataset, whole and of the split that `eval` takes; only that of `data_hash` where it is among them."""
    found = list(scopes)
    found = [one for one in found if one.data_hash == data_hash] or found
    datasets = dict.fromkeys(one.data_hash for one in found)
    return [min((one for one in found if one.data_hash == data), key=_order) for data in datasets]


def _order(one: Scope) -> tuple[bool, int, str, int]:
    place = SPLITS.index(one.split) if one.split in SPLITS else len(SPLITS)
    return one.limit is not None, place, one.split, -(one.limit or 0)
