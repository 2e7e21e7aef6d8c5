"""THE table of modalities: a new one is a file here and a row below, and prep, the loader and the audit know it.

Each row holds all that is particular to it. For prep:
    COLUMN    the column of a dataset that holds it, unless dataset.json says otherwise
    FEATURE   the Hugging Face feature of that column
    SUFFIXES  of a file that holds one value
    ROLE      what it is called in `--column ROLE=NAME`
    NAMES     what its columns are usually called in strangers' tables, the most telling first
    holds(value) -> bool  by its type alone, a cell of a stranger's table is one
    store(raw) -> value   as the column keeps it; stored again it is the same. Raises `Blank` where there is nothing in it,
                          ValueError with the reason where it cannot be used. Of a file, raw is its bytes
And if it can be so:
    cells(values) -> raw  several columns of a table are one value
    missing(raw) -> list  parts of a value that are left out
    merge(one, other)     the values of two rows that are one sample; without it, they must be equal
"""

from __future__ import annotations

from typing import Any

from mmkit.data.modalities import image, series, text

MODALITIES: dict[str, Any] = {"image": image, "text": text, "series": series}


def name_of(modality: Any) -> str:
    """What a modality is called in the table."""
    return next(name for name, module in MODALITIES.items() if module is modality)
