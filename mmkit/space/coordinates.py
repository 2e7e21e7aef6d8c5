"""Files of coordinates: a table of the points, and the map that new points can be placed on. No torch here."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmkit.errors import UsageError, UserError
from mmkit.files import MAKER, check_output, writing
from mmkit.vectors import STRINGS, Embeddings, read_embeddings, read_meta

FORMATS = (".csv", ".arrow", ".parquet")
AXES = ("projection_x", "projection_y")  # as embedding-atlas names them
CLUSTER, VECTOR = "cluster", "vector"
KEY = b"mmkit"
MAP = "map"  # what in the metadata tells a table of coordinates from any other embeddings


@dataclass(frozen=True)
class OldMap:
    """A map that was kept: its rows, the points (n, 2) of each, and the settings they were made with."""

    found: Embeddings
    points: np.ndarray
    settings: dict[str, Any]


def check_target(path: str | Path, formats: tuple[str, ...] = FORMATS, force: bool = False) -> None:
    """Refuse a path that no coordinates can be written to, before any work is done.

    Raises:
        UsageError: another suffix.
        UserError: it is a folder, or without `force` a file that is no table of coordinates.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in formats:
        found = suffix or "a file without suffix"
        raise UsageError(f"cannot write coordinates as {found}", str(path), f"one of {' '.join(formats)}")
    check_output(path, _is_ours, force)


def _is_ours(path: Path) -> bool:
    if path.suffix.lower() == ".csv":
        with open(path, encoding="utf-8", errors="replace") as f:
            return set(AXES) <= set(f.readline().strip().replace('"', "").split(","))
    return MAP in (read_meta(path) or {})


def write_coordinates(path: str | Path, table: pa.Table) -> None:
    """Write a table as CSV, Arrow IPC or Parquet by suffix, whole or not at all; `-` is CSV on stdout."""
    import pyarrow.csv

    if str(path) == "-":
        pyarrow.csv.write_csv(table, sys.stdout.buffer)
        return
    suffix = Path(path).suffix.lower()
    with writing(path) as temporary:
        if suffix == ".csv":
            pyarrow.csv.write_csv(table, temporary)
        elif suffix == ".parquet":
            import pyarrow.parquet

            pyarrow.parquet.write_table(table, temporary)
        else:
            with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
                out.write_table(table.combine_chunks())


def table_of(
    found: Embeddings, points: np.ndarray, clusters: np.ndarray | None, settings: dict[str, Any], vectors: bool = False
) -> pa.Table:
    """The columns id, modality, split, text, label, projection_x, projection_y and, where there are clusters, cluster.

    Args:
        points: (n, 2); clusters: (n,) their names.
        settings: what made the points; they and what made the vectors stand in the metadata of the schema.
        vectors: the vectors, too: new points can then be placed among these.
    """
    columns = [found.ids, found.modality, found.split, found.text, found.label]
    arrays = {name: pa.array(column, pa.string()) for name, column in zip(STRINGS, columns, strict=True)}
    arrays |= {axis: pa.array(points[:, i], pa.float32()) for i, axis in enumerate(AXES)}
    if clusters is not None:
        arrays[CLUSTER] = pa.array(clusters, pa.string())
    if vectors:
        flat = pa.array(np.ascontiguousarray(found.vectors).reshape(-1))
        arrays[VECTOR] = pa.FixedSizeListArray.from_arrays(flat, found.vectors.shape[1])
    meta = {"version": 1, **(found.meta or {}), "maker": MAKER, MAP: settings}
    return pa.table(arrays).replace_schema_metadata({KEY: json.dumps(meta).encode()})


def read_map(path: str | Path) -> OldMap | None:
    """A map that `--fit` wrote; None for any other file, also for coordinates without the vectors that others are placed by.

    Raises:
        UserError: the file is broken.
    """
    settings = (read_meta(path) or {}).get(MAP) if Path(path).suffix.lower() == ".arrow" else None
    if settings is None:
        return None
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        if VECTOR not in table.column_names:
            return None
        points = np.stack([table.column(axis).to_numpy() for axis in AXES], axis=1)
    return OldMap(read_embeddings(path), points, settings)


def require_map(path: str | Path, found: Embeddings) -> OldMap:
    """The map at `path`, onto which the vectors of `found` may be brought.

    Raises:
        UserError: there is none, or another model made its vectors.
    """
    if not Path(path).is_file():
        raise UserError("no such map", str(path), f"mmkit umap --fit {path}   makes one")
    old = read_map(path)
    if old is None:
        raise UserError("this is no map to place on", str(path), "mmkit umap --fit map.arrow   makes one")
    here, there = found.meta or {}, old.found.meta or {}
    if here.get("model_hash") and there.get("model_hash") and here["model_hash"] != there["model_hash"]:
        names = (there.get("model") or "another model", here.get("model") or "another")
        raise UserError(f"the map is of {names[0]}, these vectors are of {names[1]}", str(path), f"--model {names[0]}")
    if found.vectors.shape[1] != old.found.vectors.shape[1]:
        dims = f"{old.found.vectors.shape[1]} dimensions, these vectors {found.vectors.shape[1]}"
        raise UserError(f"the map has {dims}", str(path), "they come from different models")
    return old
