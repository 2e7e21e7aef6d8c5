"""`mmkit prep --dry-run`: what would be prepared, with three decoded samples; nothing is written."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import Any

from PIL import Image

from mmkit.data.images import treat
from mmkit.data.plan import Choices, make_plan, reason_of
from mmkit.data.schema import Options, Reject
from mmkit.data.sources import reader
from mmkit.errors import UserError

SAMPLES = 3


@dataclass(slots=True)
class Sample:
    """One decoded sample; `size` is (width, height) in pixels as it would be stored."""

    split: str
    id: str
    size: tuple[int, int]
    captions: list[str]
    image: Image.Image

    @property
    def record(self) -> dict[str, Any]:
        """The sample as JSON, without its pixels."""
        return {"id": self.id, "split": self.split, "width": self.size[0], "height": self.size[1], "captions": self.captions}


@dataclass(slots=True)
class Preview:
    """Rows per split, the rejects met so far, and a few samples."""

    splits: dict[str, int]
    rejects: list[Reject]
    samples: list[Sample]


def preview(kind: str, options: Options, choices: Choices) -> Preview:
    """Read the source and decode the first samples.

    Raises:
        UserError: as preparing would; also where the data would have to be downloaded first.
    """
    options.download = False
    source = reader(kind)(options)
    if source.note:
        options.say(source.note)
    plan = make_plan(source, choices, options.say)
    splits = Counter[str]()
    for shard in plan.shards:
        splits[shard.split] += len(shard.rows)
    seen = Preview(dict(splits), plan.rejects, [])
    for shard in plan.shards:
        for row in shard.rows:
            if len(seen.samples) == SAMPLES:
                return seen
            try:
                treated = treat(row.image.read(), choices.resize)
            except (UserError, OSError) as e:
                seen.rejects.append(Reject(row.id, row.where, reason_of(e)))
                continue
            seen.samples.append(Sample(shard.split, row.id, treated.size, row.captions, Image.open(io.BytesIO(treated.data))))
    return seen


def blocks(image: Image.Image, columns: int = 32) -> list[list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """A picture as lines of (upper, lower) colours for half-block characters, `columns` wide."""
    rows = max(2, round(columns * image.height / image.width / 2) * 2)
    small = image.convert("RGB").resize((columns, rows), Image.Resampling.BOX)
    pixel = small.load()
    assert pixel is not None
    return [[(pixel[x, y], pixel[x, y + 1]) for x in range(columns)] for y in range(0, rows, 2)]  # type: ignore[misc]
