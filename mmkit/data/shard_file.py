"""One shard of a dataset: rows become treated samples, and those a Parquet file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmkit.data.images import treat
from mmkit.data.plan import Choices, failed, reason_of
from mmkit.data.schema import Reject, Row, leaves
from mmkit.data.threads import in_order
from mmkit.errors import UserError
from mmkit.files import sha256, writing

GROUP_ROWS = 1_000
GROUP_BYTES = 8 << 20

Stored = dict[str, Any] | list[Reject]


def write_shard(
    path: Path,
    rows: Sequence[Row],
    schema: pa.Schema,
    sample_of: Callable[[Row], Stored],
    choices: Choices,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    """Write one shard and return its journal entry: rows, captions, sha256, merged and rejected."""
    rejected: list[Reject] = []
    counts = Counter[str]()
    # text compresses well; image bytes are compressed already and are stored as they are, so that a reader can slice them
    text = [leaf for leaf in leaves(schema) if leaf != "image.bytes"]
    form: dict[str, Any] = {"compression": {"image.bytes": "NONE"} | dict.fromkeys(text, "ZSTD")}
    form |= {"use_dictionary": [leaf for leaf in text if leaf not in ("id", "image.path")], "write_statistics": ["id"]}
    with writing(path) as temporary, pq.ParquetWriter(temporary, schema, **form) as writer:
        treated = in_order(sample_of, _counted(rows, progress), choices.workers)
        for group in _groups(treated, rejected, choices.fail):
            writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=len(group))
            counts["rows"] += len(group)
            counts["captions"] += sum(len(sample.get("captions") or ()) for sample in group)
    # a row is a sample, part of one, or rejected
    merged = sum(1 + len(row.merged) for row in rows) - counts["rows"] - len(rejected)
    return {
        "rows": counts["rows"],
        "captions": counts["captions"],
        "merged": merged,
        "sha256": sha256(path),
        "rejected": [asdict(r) for r in rejected],
    }


def stored(row: Row, columns: Sequence[str], choices: Choices, origin: str | None) -> Stored:
    """What is stored of a row, or what is rejected with it.

    Args:
        origin: what the paths of pictures start from, so that a shard is the same on every machine.
    """
    try:
        treated = treat(row.image.read(), choices.resize)
    except (UserError, OSError) as e:
        return row.rejects(reason_of(e))
    sample = {name: getattr(row, name) for name in columns if name != "image"}
    # a linked picture stays as it is: the reader treats it when it opens it
    sample["image"] = (
        {"bytes": None, "path": row.image.path}
        if choices.link
        else {"bytes": treated.data, "path": _below(row.image.path, origin)}
    )
    if row.regions and treated.scale != (1.0, 1.0):
        x, y = treated.scale
        sample["regions"] = row.regions | {"boxes": [[a * x, b * y, c * x, d * y] for a, b, c, d in row.regions["boxes"]]}
    return sample


def _below(path: str | None, origin: str | None) -> str | None:
    if path is None or origin is None:
        return None
    found = os.path.relpath(path, origin).replace(os.sep, "/")
    try:
        found.encode()
    except UnicodeEncodeError:  # a name that is not UTF-8 cannot be stored
        return None
    return found


def _counted(rows: Sequence[Row], progress: Callable[[int], None]) -> Iterator[Row]:
    for i, row in enumerate(rows):
        progress(i)
        yield row


def _groups(samples: Iterable[Stored], rejected: list[Reject], fail: bool) -> Iterator[list[dict[str, Any]]]:
    """Samples in row groups of about 8 MB; rejects are set apart."""
    group: list[dict[str, Any]] = []
    size = 0
    for sample in samples:
        if isinstance(sample, list):
            if fail:
                raise failed(sample[0])
            rejected += sample
            continue
        group.append(sample)
        size += len(sample["image"]["bytes"] or b"")
        if size >= GROUP_BYTES or len(group) == GROUP_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group
