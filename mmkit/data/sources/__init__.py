"""The table of sources. A new one is a file here with `read(options) -> Source`, and a row below."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmkit.data.schema import Options, Source

# name -> one-line help; the module of the same name is imported when it is used
SOURCES = {
    "shapes": "Generated scenes with captions; no download.",
    "coco": "COCO captions, found or downloaded.",
    "flickr": "Flickr8k or Flickr30k.",
    "table": "A CSV, TSV, JSONL, Parquet or NPZ table.",
    "folder": "Class folders, or images beside text files.",
}


def reader(name: str) -> Callable[[Options], Source]:
    """The `read` function of a source."""
    return importlib.import_module(f"mmkit.data.sources.{name}").read
