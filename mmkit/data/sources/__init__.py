"""The table of sources. A new one is a file with what is below, and a row in the table; its command makes itself.

the docstring   what `mmkit prep NAME --help` says
EXAMPLES        commands to copy
read(ask, *, key: Annotated[kind, Option(...)] = default, ...) -> Source
                the keys are the options of the command, beside those that all sources share; one of the same name as a
                shared one takes its place
GENERATED       True if nothing is read: then the command has no --source, and none of what is done to raw data
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mmkit.data.schema import Source


class Listed(NamedTuple):
    """A source: its one line in `mmkit prep --help`, and the module, which is imported when it is used."""

    help: str
    module: str


SOURCES = {
    "shapes": Listed("Generated scenes with captions; no download.", "mmkit.data.sources.shapes"),
    "coco": Listed("COCO captions, found or downloaded.", "mmkit.data.sources.coco"),
    "flickr": Listed("Flickr8k or Flickr30k.", "mmkit.data.sources.flickr"),
    "vqa": Listed("VQA 1 and 2: questions about COCO's photos.", "mmkit.data.sources.vqa"),
    "easy-vqa": Listed("easy-VQA: drawn shapes and questions about them.", "mmkit.data.sources.easy_vqa"),
    "nlvr": Listed("NLVR and NLVR2: sentences that are true or false.", "mmkit.data.sources.nlvr"),
    "msrvtt": Listed("MSR-VTT: clips with sentences about them.", "mmkit.data.sources.msrvtt"),
    "table": Listed("A CSV, TSV, JSONL, Parquet or NPZ table.", "mmkit.data.sources.table"),
    "regions": Listed("Features of regions, for the pictures of a prepared dataset.", "mmkit.data.sources.regions"),
    "folder": Listed("Class folders, or images, sounds or videos beside text files.", "mmkit.data.sources.folder"),
}


def module_of(name: str) -> Any:
    """The module of a source."""
    return importlib.import_module(SOURCES[name].module)


def reader(name: str) -> Callable[..., Source]:
    """The `read` function of a source."""
    return module_of(name).read
