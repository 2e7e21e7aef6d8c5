"""Every recipe at the smallest size, on a dataset that holds what any of them needs, with gaps or without."""

from __future__ import annotations

import functools
import io
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mmkit.config import Config, recipe, recipes, resolve
from mmkit.encoders import encoder_class
from mmkit.fusion import fusion_class
from mmkit.kinds import keys_of
from mmkit.talk import Talk
from mmkit.workflows import fit
from mmkit.workflows import plan as planning

RECIPES = list(recipes())
ROWS = 48
# keys of losses: a batch of several groups, of which each of two processes has whole ones; codes for few patches
SMALL: dict[str, dict[str, Any]] = {
    "itm": {"group": 8, "hard_from": 0.0},
    "wra": {"group": 8},
    "mim": {"codes": 8},
    "mmm": {"codes": 8},
}
# of each modality the encoder that is usual
KINDS = {
    "image": "vit",
    "text": "transformer",
    "audio": "audio",
    "series": "series",
    "regions": "regions",
    "video": "video",
}
# which rows lack what; each of them keeps two things, and no batch is without pairs
GAPS = {"captions": 3, "series": 4, "questions": 5, "regions": 6, "image": 7, "target": 8, "video": 9, "audio": 10}


def whole_dataset(source: Path, folder: Path, gaps: bool = False) -> Path:
    """`shapes` with a sound, a series and a video a row, features of its regions and a number to predict; with `gaps` a third of
    the rows lack a caption, and others something else."""
    folder.mkdir(parents=True)
    manifest = json.loads((source / "dataset.json").read_text())
    for split in ("train", "val", "test"):
        (shard,) = manifest["splits"][split]["shards"]
        table = pq.read_table(source / shard["file"]).slice(0, ROWS if split == "train" else 12)
        ids = table.column("id").to_pylist()
        table = table.append_column("audio", pa.array(list(map(_sound, ids)), FILES))
        table = table.append_column("series", pa.array(list(map(_series, ids)), LISTS))
        table = table.append_column("video", pa.array(list(map(_video, ids)), FILES))
        table = table.append_column("target", pa.array([sum(id.encode()) % 7 / 2 - 1.5 for id in ids], pa.float32()))
        at = table.column_names.index("regions")
        cells = [_with_features(cell) for cell in table.column("regions").to_pylist()]
        table = table.set_column(at, "regions", pa.array(cells, table.schema.field("regions").type))
        for column, each in GAPS.items() if gaps else ():
            cells = table.column(column).to_pylist()
            cells = [None if i % each == each - 1 else cell for i, cell in enumerate(cells)]
            at = table.column_names.index(column)
            table = table.set_column(at, column, pa.array(cells, table.schema.field(column).type))
        pq.write_table(table, folder / shard["file"], row_group_size=16)
        manifest["splits"][split] = {"rows": table.num_rows, "shards": [{"file": shard["file"], "sha256": f"{split}{gaps}"}]}
    manifest["columns"] |= {name: name for name in ("audio", "series", "video", "regions", "target")}
    (folder / "dataset.json").write_text(json.dumps(manifest))
    return folder


LISTS = pa.list_(pa.list_(pa.float32()))
FILES = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def _sound(id: str) -> dict[str, Any]:
    """A tone of its own pitch and length."""
    n = sum(id.encode())
    return {"bytes": wav(np.sin(np.arange(800 + n % 500) * (0.05 + n % 17 / 20))), "path": None}


def wav(values: np.ndarray, rate: int = 8000) -> bytes:
    """Samples (T,) or (T, channels) in -1..1 as a WAV of 16 bits."""
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setparams((1 if values.ndim == 1 else values.shape[1], 2, rate, 0, "NONE", ""))
        file.writeframes((values * 32767).astype("<i2").tobytes())
    return sink.getvalue()


def _series(id: str) -> list[list[float]]:
    rng = np.random.default_rng(sum(id.encode()))
    length = 16 + len(id) + int(rng.integers(12))
    return np.stack([np.sin(np.arange(length) / rng.uniform(1, 4)), rng.normal(size=length)]).tolist()


def _video(id: str) -> dict[str, Any]:
    """A GIF of two or three frames."""
    rng, sink = np.random.default_rng(sum(id.encode())), io.BytesIO()
    first, *others = [Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(2 + len(id) % 2)]
    first.save(sink, "GIF", save_all=True, append_images=others, duration=100)
    return {"bytes": sink.getvalue(), "path": None}


def _with_features(cell: dict[str, Any]) -> dict[str, Any]:
    """Regions with six values and the probabilities of three classes, which their phrases decide."""
    rng = [np.random.default_rng(sum(phrase.encode())) for phrase in cell["phrases"]]
    return cell | {
        "features": [r.normal(size=6).tolist() for r in rng],
        "soft_labels": [r.dirichlet(np.ones(3)).tolist() for r in rng],
    }


def smallest(name: str, data: Path, *levels: dict[str, Any]) -> Config:
    """A recipe's configuration at 16 values and one block, 16 rows a batch and 4 steps."""
    tables = recipe(name)
    small = {"dim": 16, "layers": 1, "heads": 2}
    encoders = tables.get("encoder") or {m: {} for m in KINDS}
    if name == "classify":
        encoders = {"image": {}}
    if "fusion" in tables and "kind" in tables["fusion"] and "inputs" not in tables["fusion"]:  # it fuses what the data has
        encoders = {m: {} for m in KINDS} | encoders
    of_kind = {m: encoders[m].get("kind", KINDS[m]) for m in encoders}
    keys = {m: keys_of(encoder_class(m, m, kind)) for m, kind in of_kind.items()}
    projections = tables.get("project", {}).get("kind")
    # without a projection the shared space is as wide as an encoder
    bare = "none" in (projections.values() if isinstance(projections, dict) else [projections])
    level: dict[str, Any] = {
        "size": "tiny",
        "encoder": {m: {"kind": kind, **{k: v for k, v in small.items() if k in keys[m]}} for m, kind in of_kind.items()},
        "project": {} if bare else {"dim": 8},
        "data": {"path": str(data), "workers": 1, "image": {"size": 16}, "video": {"size": 16, "frames": 3}},
        "train": {"steps": 4, "batch_size": 16, "lr": 1e-3, "eval_every": 2, "checkpoint_every": 2, "log_every": 1},
    }
    if "fusion" in tables:
        named = tables["fusion"] if "kind" not in tables["fusion"] else {"": tables["fusion"]}
        taken = {own: keys_of(fusion_class(table)) for own, table in named.items()}
        sizes = {own: {key: value for key, value in small.items() if key in keys} for own, keys in taken.items()}
        level["fusion"] = sizes.get("", sizes)
    level["loss"] = small_losses(name)
    if any(table["kind"] == "prior" for table in tables["loss"].values()):
        level["train"]["init"] = str(trained_codes(data))
    return resolve(name, None, [level, *levels])


@functools.cache
def trained_codes(data: Path) -> Path:
    """A run of a discrete VAE, beside the dataset, for what learns to foretell codes."""
    return fit.start(smallest("dvae", data), data.parent / "codes", "dvae", True, "cpu", Talk())


def small_losses(name: str) -> dict[str, dict[str, Any]]:
    """The tables of the losses of a recipe that little data must tell otherwise."""
    return {loss: SMALL[table["kind"]] for loss, table in recipe(name)["loss"].items() if table["kind"] in SMALL}


def dropped_out(config: Config) -> dict[str, Any]:
    """The level that gives every encoder dropout."""
    return {"encoder": {name: {"dropout": 0.3} for name in config.encoder}}


def plan(config: Config) -> planning.Plan:
    return planning.plan(config, "cpu", Talk())
