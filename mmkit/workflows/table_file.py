"""A table of facts as a file: CSV, JSON lines or Parquet, by suffix."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit.errors import UsageError
from mmkit.files import check_output, writing

FORMATS = (".csv", ".jsonl", ".parquet")


def check_table(path: Path, columns: Sequence[str], force: bool = False) -> None:
    """Refuse a path that no table can be written to, before any work is done.

    Args:
        columns: those that a table of ours begins with.

    Raises:
        UsageError: its suffix is none of `FORMATS`.
        UserError: it is a folder, or without `force` a file that mmkit did not write.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"cannot write a table as {path.suffix or 'a file without suffix'}", str(path), f"one of {' '.join(FORMATS)}"
        )
    check_output(path, lambda there: _begins(there)[: len(columns)] == list(columns), force)


def _begins(path: Path) -> list[str]:
    """The columns of a file; none where it is no table."""
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_schema(path).names)
        with open(path, encoding="utf-8") as f:
            line = f.readline()
        return next(csv.reader([line]), []) if path.suffix.lower() == ".csv" else list(json.loads(line))
    except (ValueError, TypeError, OSError, csv.Error):
        return []


def write_table(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of one length, whole or not at all; None is an empty cell, or null."""
    with writing(path) as temporary:
        if path.suffix.lower() == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table(dict(columns)), temporary)
            return
        rows = zip(*columns.values(), strict=True)
        with open(temporary, "w", encoding="utf-8", newline="") as f:
            if path.suffix.lower() == ".csv":
                writer = csv.writer(f)
                writer.writerow(columns)
                writer.writerows(rows)
            else:
                f.writelines(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
