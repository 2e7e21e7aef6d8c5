"""`mmkit embed`: the vectors of a dataset, in one file."""

from __future__ import annotations

from pathlib import Path

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import BatchSize, Data, Debug, Device, Force, Json, Limit, Model, Out, Quiet, Split, Workers

EPILOG = """\b
Examples:
  mmkit embed
  mmkit embed ./coco --split test --model openai/clip-vit-base-patch32
  mmkit embed ./data -o vectors.parquet
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def embed(
    data: Data = Path("data"),
    split: Split = None,
    limit: Limit = None,
    model: Model = "runs/latest",
    out: Out = None,
    force: Force = False,
    device: Device = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Embed every image and caption of a dataset, all splits or one; prints the path of the file.

    The file is .arrow (mapped by readers, not loaded), .parquet or .npy. One that is up to date is reused.
    """
    from mmkit.cli.progress import bars
    from mmkit.data.shards import open_dataset
    from mmkit.embedding import embed_dataset
    from mmkit.encode import Pace
    from mmkit.loading import load_model
    from mmkit.vectors_writer import check_target

    if out and out != "-":
        check_target(out)
    dataset = open_dataset(data)
    loaded = load_model(model, device, console.say)
    with bars() as progress:
        pace = Pace(batch_size, workers, progress("embedded"))
        path = embed_dataset(loaded, dataset, split, None if out == "-" else out, limit, force, pace)
    if out == "-":
        _pour(path)
    elif console.as_json:
        console.record({"embeddings": str(path)})
    else:
        console.product(str(path))


def _pour(path: Path) -> None:
    """The file's bytes on stdout."""
    import shutil
    import sys

    with open(path, "rb") as f:
        shutil.copyfileobj(f, sys.stdout.buffer)
