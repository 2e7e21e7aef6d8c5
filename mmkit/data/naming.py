"""How the columns of strangers' tables are called, and how much of one is of a kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from mmkit.data.cells import is_blank

Rows = Sequence[dict[str, Any]]


def value_of(row: dict[str, Any], column: str | None) -> Any:
    """What a row has in a column, or under a key such as `names.zh`; None where there is none."""
    if column is None or column in row:
        return None if column is None else row[column]
    first, _, rest = column.partition(".")
    inner = row.get(first)
    return inner.get(rest) if isinstance(inner, dict) else None


def plain(name: str) -> str:
    """`Image Path`, `imagePath`, `image-path` as `image_path`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s._\-/#()\[\]:]+", "_", words).strip("_").lower()


def base(name: str) -> str:
    """The name without its number or letter: `caption` for `captions`, `caption_0`, `Caption 2`, `caption b`, `caption.1`."""
    whole = plain(name)
    match = re.fullmatch(r"(.*[^\d_])_?\d{1,3}|(.+)_[a-z]|\d{1,3}_(.+)", whole)
    found = next(filter(None, match.groups())) if match else whole
    return found.removesuffix("s")


def filled(sample: Rows, name: str) -> bool:
    return any(not is_blank(row.get(name)) for row in sample)


def share(sample: Rows, name: str, test: Callable[[Any], bool]) -> float:
    values = [value for row in sample if not is_blank(value := row.get(name))]
    return sum(map(test, values)) / len(values) if values else 0.0
