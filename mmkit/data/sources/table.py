"""`mmkit prep table`: a CSV, TSV, JSONL, Parquet or NPZ table of images or series, with captions or labels."""

from __future__ import annotations

from mmkit.data.data_files import data_files
from mmkit.data.samples import read_parts
from mmkit.data.schema import Options, Source


def read(options: Options) -> Source:
    """The rows of the table, in its order; shards and splits of one table in a folder are read as one.

    Raises:
        UserError: the table is missing, damaged or without rows, or has no columns that make samples; its columns are
            named. It is not clear which files of a folder are one table. The disk is full.
    """
    in_place = options.folder.absolute() == options.out.absolute()
    return read_parts(data_files(options.folder, in_place), options)
