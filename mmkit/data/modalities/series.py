"""Series: numbers over time, of one or several channels, such as those of a sensor."""

from __future__ import annotations

from typing import Any

from mmkit.data.cells import Blank

ROLE = COLUMN = "series"
_NUMBERS = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}
FEATURE = {"feature": _NUMBERS, "_type": "List"}
SUFFIXES = {".npy"}
NAMES = ("series", "time_series", "timeseries", "signal", "sensor", "sensors", "channels", "waveform", "recording")


def holds(value: Any) -> bool:
    """Channels of numbers (list of lists), or a list of numbers, which is one channel."""
    if not isinstance(value, list) or not value:
        return False
    if all(isinstance(channel, list) for channel in value):
        return any(value) and all(map(_numbers, value))
    return _numbers(value)


def cells(values: list[Any]) -> Any:
    """The series of a row; of several columns, each is one channel."""
    return values[0] if len(values) == 1 else values


def store(raw: Any) -> Any:
    """The series as an array (channels, time) of float32.

    Raises:
        Blank: there is nothing in it.
        ValueError: its channels differ in length, or not all of it is finite numbers.
    """
    import numpy as np

    if raw is None or len(raw) == 0:
        raise Blank("empty series")
    try:
        found = np.atleast_2d(np.asarray(raw, np.float32))
    except (TypeError, ValueError):
        raise ValueError(_reason(raw)) from None
    if found.ndim != 2 or not found.size:
        raise Blank("empty series") if not found.size else ValueError(f"the series has {found.ndim} axes, not channels x time")
    if not np.isfinite(found).all():
        channel, at = (int(i) for i in np.argwhere(~np.isfinite(found))[0])
        raise ValueError(f"the series is not finite: {found[channel, at]} in channel {channel + 1} at {at + 1}")
    return found


def _numbers(values: list[Any]) -> bool:
    # null among numbers is a gap, which is a reject later
    numbers = [v for v in values if v is not None]
    return bool(numbers or not values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers)


def _reason(raw: Any) -> str:
    lengths = [len(channel) if isinstance(channel, list) else 1 for channel in raw]
    if len(set(lengths)) > 1:
        return (
            f"the channels of the series differ in length: {', '.join(map(str, lengths[:4]))}{' …' if len(lengths) > 4 else ''}"
        )
    return "the series holds what is no number"
