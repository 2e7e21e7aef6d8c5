"""Dots that are counted, a file of their numbers in --source or OUT.

A source of the tests: it is nowhere in mmkit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from mmkit.data.schema import Ask, Picture, Row, Source
from tests import raw

EXAMPLES = ("mmkit prep dots ./data --source dots.txt", "mmkit prep dots --source dots.txt --word spot")


def read(
    ask: Ask,
    *,
    word: Annotated[str, Option("--word", metavar="TEXT", help="What a dot is called.")] = "dot",
    more: Annotated[list[str] | None, Option("--more", metavar="TEXT", help="Further captions.", show_default=False)] = None,
    key: Annotated[Path | None, Option("--key", metavar="FILE", help="Not there.", show_default=False)] = None,
) -> Source:
    """A picture for each number in the file."""
    numbers = [int(line) for line in ask.folder.read_text().split()]
    rows = [
        Row(
            f"dots-{n}",
            {"image": Picture(f"dots-{n}", lambda n=n: raw.encoded(raw.picture(n))), "captions": [f"{n} {word}s", *(more or [])]},
            f"{ask.folder} line {i}",
        )
        for i, n in enumerate(numbers, 1)
    ]
    return Source(rows, str(ask.folder), "CC0-1.0", f"{len(rows)} numbers")
