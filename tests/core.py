"""Every recipe at the smallest size, on a dataset that holds what any of them needs, with gaps or without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmkit.config import Config, recipe, recipes, resolve
from mmkit.talk import Talk
from mmkit.workflows import fit

RECIPES = list(recipes())
ROWS = 48
# which rows lack what; each of them keeps two things, and no batch is without pairs
GAPS = {"captions": 3, "series": 4, "questions": 5, "image": 7}


def whole_dataset(source: Path, folder: Path, gaps: bool = False) -> Path:
    """`shapes` with a series a row, whose frequency tells its shape; with `gaps` a third of the rows lack a caption, and others
    something else."""
    folder.mkdir(parents=True)
    manifest = json.loads((source / "dataset.json").read_text())
    for split in ("train", "val", "test"):
        (shard,) = manifest["splits"][split]["shards"]
        table = pq.read_table(source / shard["file"]).slice(0, ROWS if split == "train" else 12)
        table = table.append_column("series", pa.array(list(map(_series, table.column("id").to_pylist())), LISTS))
        for column, each in GAPS.items() if gaps else ():
            cells = table.column(column).to_pylist()
            cells = [None if i % each == each - 1 else cell for i, cell in enumerate(cells)]
            at = table.column_names.index(column)
            table = table.set_column(at, column, pa.array(cells, table.schema.field(column).type))
        pq.write_table(table, folder / shard["file"], row_group_size=16)
        manifest["splits"][split] = {"rows": table.num_rows, "shards": [{"file": shard["file"], "sha256": f"{split}{gaps}"}]}
    manifest["columns"]["series"] = "series"
    (folder / "dataset.json").write_text(json.dumps(manifest))
    return folder


LISTS = pa.list_(pa.list_(pa.float32()))


def _series(id: str) -> list[list[float]]:
    rng = np.random.default_rng(sum(id.encode()))
    length = 16 + len(id) + int(rng.integers(12))
    return np.stack([np.sin(np.arange(length) / rng.uniform(1, 4)), rng.normal(size=length)]).tolist()


def smallest(name: str, data: Path, *levels: dict[str, Any]) -> Config:
    """A recipe's configuration at 16 values and one block, 16 rows a batch and 4 steps."""
    tables = recipe(name)
    small = {"dim": 16, "layers": 1, "heads": 2}
    encoders = tables.get("encoder") or {m: {} for m in ("image", "text", "series")}
    if name == "classify":
        encoders = {"image": {}}
    kinds = {"image": "vit", "text": "transformer", "series": "series"}
    level: dict[str, Any] = {
        "size": "tiny",
        "encoder": {m: {"kind": encoders[m].get("kind", kinds[m]), **small} for m in encoders},
        "project": {"dim": 8},
        "data": {"path": str(data), "workers": 1, "image": {"size": 16}},
        "train": {"steps": 4, "batch_size": 16, "lr": 1e-3, "eval_every": 2, "checkpoint_every": 2, "log_every": 1},
    }
    if "fusion" in tables:
        level["fusion"] = {"dim": 16} if tables["fusion"]["kind"] == "concat" else small
    return resolve(name, None, [level, *levels])


def dropped_out(config: Config) -> dict[str, Any]:
    """The level that gives every encoder dropout."""
    return {"encoder": {name: {"dropout": 0.3} for name in config.encoder}}


def plan(config: Config) -> fit.Plan:
    return fit.plan(config, "cpu", Talk())
