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

from mmkit.data.images import look, size_of
from mmkit.data.pictures import is_picture
from mmkit.data.plan import Choices, failed, reason_of, stored
from mmkit.data.schema import Picture, Reject, Row, leaves, modality_of
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
    # text compresses well; files are compressed already and are stored as they are, so that a reader can slice them
    form: dict[str, Any] = {"compression": {}, "use_dictionary": [], "write_statistics": ["id"]}
    for leaf, kind in leaves(schema).items():
        form["compression"][leaf] = "NONE" if pa.types.is_binary(kind) else "ZSTD"
        if pa.types.is_string(kind) and leaf != "id" and not leaf.endswith(".path"):
            form["use_dictionary"].append(leaf)
    with writing(path) as temporary, pq.ParquetWriter(temporary, schema, **form) as writer:
        treated = in_order(sample_of, _counted(rows, progress), choices.workers)
        for group in _groups(treated, rejected, choices.fail):
            writer.write_table(pa.Table.from_pylist([_listed(row) for row in group], schema=schema), row_group_size=len(group))
            counts["rows"] += len(group)
            counts["captions"] += sum(len(row.get("captions") or ()) for row in group)
    # a row is a sample, part of one, or rejected
    merged = sum(1 + len(row.merged) for row in rows) - counts["rows"] - len(rejected)
    return {
        "rows": counts["rows"],
        "captions": counts["captions"],
        "merged": merged,
        "sha256": sha256(path),
        "rejected": [asdict(r) for r in rejected],
    }


def sample(row: Row, choices: Choices, origin: str | None) -> Stored:
    """What is stored of a row, or what is rejected with it.

    Args:
        origin: what the paths of pictures start from, so that a shard is the same on every machine.
    """
    try:
        found = stored(row, choices)
        for name, value in row.values.items():
            if isinstance(value, Picture):
                if is_picture(modality_of(name)) and (regions := found.get("regions")):
                    found["regions"] = _placed(regions, value, size_of(found[name]["bytes"]), choices)
                # a linked picture stays as it is: the reader treats it when it opens it
                linked = {"bytes": None, "path": value.path}
                found[name] = linked if choices.link else found[name] | {"path": _below(value.path, origin)}
    except (UserError, OSError) as e:
        return row.rejects(reason_of(e))
    return {"id": row.id} | found


def _placed(regions: dict[str, Any], picture: Picture, after: tuple[int, int], choices: Choices) -> dict[str, Any]:
    """The regions in the pixels of a picture as it is stored, and its size; where they say of which size it was, from there."""
    before: Any = regions.get("width"), regions.get("height")
    if None in before:
        before = look(picture.read()).size if choices.resize else after
    x, y = (new / old for new, old in zip(after, before, strict=True))
    boxes = regions["boxes"] if before == after else [[a * x, b * y, c * x, d * y] for a, b, c, d in regions["boxes"]]
    return regions | {"boxes": boxes, "width": after[0], "height": after[1]}


def _listed(found: dict[str, Any]) -> dict[str, Any]:
    # Arrow takes lists of arrays, but no array of two axes
    return {name: list(value) if hasattr(value, "nbytes") else value for name, value in found.items()}


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


def _size(value: Any) -> int:
    if isinstance(value, dict | list):
        return sum(map(_size, value.values() if isinstance(value, dict) else value))
    return len(value) if isinstance(value, bytes) else getattr(value, "nbytes", 0)


def _groups(samples: Iterable[Stored], rejected: list[Reject], fail: bool) -> Iterator[list[dict[str, Any]]]:
    """Samples in row groups of about 8 MB; rejects are set apart."""
    group: list[dict[str, Any]] = []
    size = 0
    for found in samples:
        if isinstance(found, list):
            if fail:
                raise failed(found[0])
            rejected += found
            continue
        group.append(found)
        size += sum(map(_size, found.values()))
        if size >= GROUP_BYTES or len(group) == GROUP_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group
