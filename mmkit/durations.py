"""Durations: one notation for every length of a run or a part of it."""

from __future__ import annotations

import re

from mmkit.errors import UserError

DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z%]*)")
LENGTHS = '500, "2 epochs", "100000 samples", "15 min"'


def duration(
    value: int | str, batch_size: int, rows: int, total: int = 0, seconds_per_step: float = 0.0, key: str = "duration"
) -> int:
    """A duration as steps: 500, "2 epochs", "100000 samples", "15 min" or "10%" (of `total` steps); at least 1.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(value, int):
        return value
    found, hint = DURATION.fullmatch(value.strip()), f"e.g. {LENGTHS}" + (', "10%"' if total else "")
    if not found:
        raise UserError(f"{key} = {value!r} is not a duration", hint=hint)
    factors = {
        "step": 1.0,
        "epoch": rows / batch_size,
        "sample": 1 / batch_size,
        "%": total / 100,
        "min": 60 / seconds_per_step if seconds_per_step else 0.0,
    }
    unit = found[2].removesuffix("s") or "step"
    if unit == "%" and not total:
        raise UserError(f"{key} = {value!r}: a share of the run cannot be its length", hint=hint)
    if unit not in factors:
        raise UserError(f"{key} = {value!r} has an unknown unit", hint=hint)
    return max(1, round(float(found[1]) * factors[unit]))


def readable(key: str, value: int | str) -> None:
    """Check that a duration can be read; how many steps it is depends on the data.

    Raises:
        UserError: it cannot.
    """
    duration(value, 1, 1, 1, 1.0, key)


def readable_length(key: str, value: int | str) -> None:
    """As `readable`, for the length of the run itself, which cannot be a share of it."""
    duration(value, 1, 1, 0, 1.0, key)


def in_words(seconds: float) -> str:
    """`80 s`, `12 min` or `3.5 h`."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
