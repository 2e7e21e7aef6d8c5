"""Series: what is measured over time by several channels, as sensors, motion capture and machines give it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.data.cells import Blank
from mmkit.errors import UserError
from mmkit.fields import doc

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    import torch
    from PIL import Image

    from mmkit.data.canvas import Canvas
    from mmkit.data.checkpoint import Checkpoint
    from mmkit.data.shards import Dataset

ROLE = COLUMN = "series"
_NUMBERS = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}
FEATURE = {"feature": _NUMBERS, "_type": "List"}
SUFFIXES = {".npy", ".npz", ".parquet", ".csv", ".tsv"}
NAMES = ("series", "time_series", "timeseries", "signal", "sensor", "sensors", "channels", "waveform", "recording")
PLURAL, FILES, READ_AS = "series", "series files", "NPY"
UNREAD = set[str]()
TEMPLATE = "a series of {label}"
KINDS = ("series",)
ENCODER = "series"
LANGUAGE = False
LAID = "time"

LONGEST = {"tiny": 512, "small": 1024, "base": 2048, "large": 4096}
ROWS_MEASURED = 2000
TURNED = 4  # so many times more values along the first axis than along the second, in each series: time comes first


@dataclass
class Spec:
    channels: int | None = doc("channels of every series, (channels, time) or (time, channels)", least=1)
    length: int | None = doc("time steps the encoder sees; of a longer series the middle ones", least=1)
    mean: list[float] | None = doc("per channel, of the training rows")
    std: list[float] | None = doc("per channel, of the training rows", above=0)
    jitter: float = doc("noise added in training, in standard deviations of its channel", 0.0, least=0)


TRAINING = ("jitter",)


def holds(value: Any) -> bool:
    """Channels of numbers (list of lists), or a list of numbers, which is one channel; or the name of a file that holds them."""
    if isinstance(value, str):
        return Path(value.strip()).suffix.lower() in SUFFIXES
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


def picture(value: Any) -> Image.Image:
    """The curves of its channels, for people."""
    import numpy as np

    from mmkit.data.curves import SMALL, curves

    values = np.atleast_2d(np.asarray(value, np.float32))
    return curves(values.T if time_first([values.shape]) else values, SMALL)


def time_first(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether series are (time, channels), as arrays of recordings often are, by what all of them have: one number of channels.

    >>> time_first([(512, 3)]), time_first([(40, 6), (70, 6)]), time_first([(3, 512)]), time_first([(6, 4)])
    (True, True, False, False)
    """
    first, second = sorted(shape[0] for shape in shapes), {shape[1] for shape in shapes}
    if len(second) > 1:
        return False
    (channels,) = second
    return first[len(first) // 2] > channels if first[0] < first[-1] else first[0] > TURNED * channels


def _oriented(values: Any, channels: int) -> Any:
    """(channels, time), of an array that has them in either order."""
    return values.T if values.ndim == 2 and len(values) != channels == values.shape[1] else values


def items(value: Any) -> list[Any]:
    return [value] if value else []


def of_file(path: str, like: str | None = None) -> Any:
    """The channels of a file, in the order of another one; see `mmkit.data.series_files`.

    Raises:
        ValueError: it holds no numbers, is damaged, or is no series; see `store`.
    """
    from mmkit.data.series_files import read

    return store(read(path, like)).tolist()


def of_checkpoint(spec: Spec, checkpoint: Checkpoint) -> dict[str, str]:
    raise UserError("no encoder of series can be read from a transformers checkpoint", checkpoint.name, "kind series")


def fill(spec: Spec, data: Dataset, size: str, table: dict[str, Any]) -> dict[str, str]:
    """Channels, length and scale of the first training rows.

    Raises:
        UserError: no training row has a series, or none of so many channels.
    """
    import numpy as np

    if None not in (spec.channels, spec.length, spec.mean, spec.std):
        return {}
    column = data.column("series")
    rows = (row[column] for row in data.rows("train", [column], ROWS_MEASURED))
    found = [np.asarray(value, np.float64) for value in rows if value]
    if not found:
        raise UserError("no training row has a series", data.path)
    reasons = {}
    if spec.channels is None:
        turned = time_first([x.shape for x in found])
        spec.channels = found[0].shape[int(turned)]
        shape = " x ".join(map(str, found[0].shape))
        reasons["channels"] = f"{spec.channels} (of the first training row{f', {shape}: time comes first' if turned else ''})"
    found = [_oriented(x, spec.channels) for x in found]
    if spec.length is None:
        longest = max(x.shape[1] for x in found)
        spec.length = min(LONGEST[size], longest)
        reasons["length"] = f"{spec.length} (longest of {len(found):,} training rows {longest}, at most {LONGEST[size]})"
    fitting = [x for x in found if len(x) == spec.channels]
    if not fitting:
        there = f"they have: {', '.join(map(str, sorted({len(x) for x in found})))}"
        raise UserError(f"no training row has a series of {spec.channels} channels", "data.series.channels", there)
    whole = np.concatenate(fitting, 1)
    spec.mean = spec.mean or [float(v) for v in whole.mean(1)]
    # a channel that never changes has no scale of its own
    spec.std = spec.std or [float(v) or 1.0 for v in whole.std(1)]
    return reasons


def settle(spec: Spec, data: Dataset, still: bool) -> dict[str, str]:
    return {}


def learn(spec: Spec, data: Dataset, columns: list[str], limit: int | None) -> tuple[Reader, dict[str, str]]:
    return Reader(replace(spec, jitter=0.0)), {}


def foreign(spec: Spec, checkpoint: Checkpoint) -> Reader:
    return Reader(replace(spec, jitter=0.0))


def load(spec: Spec, folder: Any, name: str) -> Reader:
    return Reader(replace(spec, jitter=0.0))


class Reader:
    """A series, a list of channels, to {"values": float32 (B, C, T), "mask": bool (B, T), True = measured}."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @property
    def still(self) -> bool:
        return not self.spec.jitter

    def over(self, spec: Spec) -> Reader:
        return Reader(spec)

    def given(self) -> dict[str, Any]:
        keys = ("channels", "length", "mean", "std")
        return {key: getattr(self.spec, key) for key in keys}

    def prepare(self, item: Any) -> Any:
        """float32 (C, T).

        Raises:
            UserError: it has another number of channels than the model.
        """
        import numpy as np
        import torch

        assert self.spec.channels is not None and self.spec.length is not None
        values = _oriented(np.asarray(item, np.float32), self.spec.channels)
        if values.ndim != 2 or len(values) != self.spec.channels:
            shape = " x ".join(map(str, values.shape))
            hint = f"leave out the rows of another number of channels, or --set data.series.channels={len(values)}"
            raise UserError(f"a series of {shape} values where the model has {self.spec.channels} channels", hint=hint)
        start = max(0, values.shape[1] - self.spec.length) // 2
        return torch.from_numpy(values[:, start : start + self.spec.length].copy())

    def canvas(self, item: Any) -> Canvas:
        """The curves of all channels, one under the other."""
        import numpy as np

        from mmkit.data.canvas import Axis, Canvas, nice
        from mmkit.data.curves import curves

        assert self.spec.channels is not None and self.spec.length is not None
        values = _oriented(np.asarray(item, np.float32), self.spec.channels)
        channels, steps = values.shape
        start = max(0, steps - self.spec.length) // 2
        across = Axis("steps", np.arange(steps), [int(tick) for tick in nice(0, steps - 1) if tick == int(tick)])
        up = Axis("channels", np.arange(1, channels + 1), [int(tick) for tick in nice(1, channels) if tick == int(tick)])
        box = (float(start), 0.0, float(min(steps, start + self.spec.length)), float(channels))
        return Canvas([curves(values)], (steps, channels), box, across, up)

    def effect(self, tensors: dict[str, torch.Tensor], slopes: dict[str, torch.Tensor]) -> torch.Tensor:
        """What each value of one series adds to a score of those slopes, to first order, by how far it is from its channel's
        mean: (C, T)."""
        import torch

        values = tensors["values"]
        return ((values - torch.tensor(self.spec.mean).to(values)[:, None]) * slopes["values"])[0]

    def without(self, prepared: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
        """A prepared series with the mean of its channel for some of its values, bool (C, T)."""
        import torch

        return torch.where(gone, prepared.mean(1, keepdim=True), prepared)

    def draw(self, prepared: Any, rng: random.Random, mates: list[str]) -> Any:
        import torch

        noise = torch.randn(prepared.shape, generator=torch.Generator().manual_seed(rng.getrandbits(63)))
        return prepared + self.spec.jitter * torch.tensor(self.spec.std)[:, None] * noise

    def collate(self, drawn: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        import torch

        longest = max(x.size(1) for x in drawn)
        values = torch.stack([torch.nn.functional.pad(x, (0, longest - x.size(1))) for x in drawn])
        mask = torch.tensor([[True] * x.size(1) + [False] * (longest - x.size(1)) for x in drawn])
        return {"values": values, "mask": mask}

    @property
    def blank(self) -> Any:
        import torch

        return torch.tensor(self.spec.mean)[:, None]

    def key(self, item: Any) -> int:
        """The same for two series of the same values."""
        import numpy as np

        from mmkit.files import stable_hash

        return stable_hash(np.asarray(item, np.float32).tobytes())

    def weight(self, prepared: Any) -> int:
        return 4 * prepared.numel()

    def length(self, prepared: Any) -> int:
        return prepared.size(1)

    def made_of(self) -> Any:
        return {k: v for k, v in asdict(self.spec).items() if k not in TRAINING}

    def log(self, tensors: dict[str, torch.Tensor], said: list[str]) -> dict[str, float]:
        return {}

    def save(self, folder: Any, name: str) -> None:
        """Nothing: all of it is configuration."""
