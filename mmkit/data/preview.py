"""`mmkit prep --dry-run`: what would be prepared, with three decoded samples; nothing is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from PIL import Image

from mmkit.data.plan import Choices, make_plan, reason_of, stored
from mmkit.data.schema import Ask, Picture, Reject, Row
from mmkit.data.sources import reader
from mmkit.errors import UserError

SAMPLES = 3


@dataclass(slots=True)
class Sample:
    """One sample as it would be stored.

    Args:
        shown: what is said of its values.
        image: its first picture.
    """

    split: str
    id: str
    shown: dict[str, Any]
    image: Image.Image | None = None

    @property
    def record(self) -> dict[str, Any]:
        """The sample as JSON, without its pixels."""
        return {"id": self.id, "split": self.split} | self.shown

    @property
    def size(self) -> str:
        """How large what it shows is, in words."""
        pixels = f"{self.shown['width']} x {self.shown['height']} px" if "width" in self.shown else ""
        frames = f"{self.shown['frames']:,} frames" if "frames" in self.shown else ""
        seconds = f"{self.shown['seconds']:g} s" if "seconds" in self.shown else ""
        rate = f"{self.shown['rate']:,} Hz" if "rate" in self.shown else ""
        series = f"{self.shown['channels']} x {self.shown['length']} values" if "channels" in self.shown else ""
        return ", ".join(filter(None, (pixels, frames, seconds, rate, series)))


@dataclass(slots=True)
class Preview:
    """Rows per split, the rejects met so far, and a few samples."""

    splits: dict[str, int]
    rejects: list[Reject]
    samples: list[Sample]


def preview(kind: str, ask: Ask, choices: Choices) -> Preview:
    """Read the source and decode the first samples.

    Raises:
        UserError: as preparing would; also where the data would have to be downloaded first.
    """
    ask.download = False
    source = reader(kind)(ask, **ask.options)
    if source.note:
        ask.say(source.note)
    plan = make_plan(source, choices, ask.say)
    splits = Counter[str]()
    for shard in plan.shards:
        splits[shard.split] += len(shard.rows)
    seen = Preview(dict(splits), plan.rejects, [])
    for shard in plan.shards:
        for row in shard.rows:
            if len(seen.samples) == SAMPLES:
                return seen
            try:
                seen.samples.append(_sample(row, shard.split, choices))
            except (UserError, OSError) as e:
                seen.rejects.append(Reject(row.id, row.where, reason_of(e)))
    return seen


def _sample(row: Row, split: str, choices: Choices) -> Sample:
    sample = Sample(split, row.id, {})
    for name, value in stored(row, choices).items():
        if isinstance(row.values[name], Picture):
            modality = row.modality(name)
            sample.image = sample.image or modality.picture(value)
            sample.shown |= modality.shown(value)
        elif hasattr(value, "nbytes"):
            sample.shown |= {"channels": value.shape[0], "length": value.shape[1]}
        elif value is not None and name not in ("regions", "references"):
            sample.shown[name] = value
    return sample


def blocks(image: Image.Image, columns: int = 32) -> list[list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """A picture as lines of (upper, lower) colours for half-block characters, `columns` wide."""
    rows = max(2, round(columns * image.height / image.width / 2) * 2)
    small = image.convert("RGB").resize((columns, rows), Image.Resampling.BOX)
    pixel = small.load()
    assert pixel is not None
    return [[(pixel[x, y], pixel[x, y + 1]) for x in range(columns)] for y in range(0, rows, 2)]  # type: ignore[misc]
