"""Which split a row belongs to: as typed, as the source says, or 80/10/10."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

from mmkit.data.schema import Row
from mmkit.errors import UsageError
from mmkit.files import stable_hash

DEFAULT = {"train": 0.8, "val": 0.1, "test": 0.1}
# split names become names of files; `datasets.load_dataset` takes no others
NAMES = "letters, digits and _, such as test_2"
ALIASES = {"validation": "val", "valid": "val", "dev": "val", "training": "train", "testing": "test"}


def split_name(name: str) -> str:
    """The name that mmkit uses for a split: `validation`, `valid` and `dev` are `val`."""
    name = name.strip().lower()
    return ALIASES.get(name, name)


def is_name(name: str) -> bool:
    """A split may be called so."""
    return bool(re.fullmatch(r"\w+(\.\w+)*", name))


def parse(text: str) -> dict[str, float]:
    """`train:0.9,test:0.1` as shares.

    Raises:
        UsageError: it is not of that form, names no train, has a name that no split may have, or does not add up to 1.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\S+)\s*:\s*([0-9.]+)\s*", part)
        if not match:
            raise UsageError("not a list of splits and shares", f"--splits {text}", "such as --splits train:0.9,test:0.1")
        if not is_name(match[1]):
            raise UsageError(f"{match[1]!r} is no name of a split", f"--splits {text}", NAMES)
        shares[split_name(match[1])] = _number(match[2], text)
    if not shares.get("train"):
        raise UsageError("train gets no share", f"--splits {text}", "train is never empty: --splits train:0.9,test:0.1")
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise UsageError(f"the shares add up to {sum(shares.values()):g}, not to 1", f"--splits {text}")
    return shares


def _number(text: str, splits: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text} is not a number", f"--splits {splits}") from None


def assign(rows: Sequence[Row], shares: dict[str, float] | None, say: Callable[[str], None]) -> list[Row]:
    """Give every row its split and return those that have one; `train` gets at least one row.

    Where a source has official splits, the rows that are in none of them are left out, as the papers leave them out.
    """
    if shares is None and any(is_train(row) for row in rows):
        official = listed(rows, shares, say)
        for row in official:
            row.split = split_name(row.split or "")
        return official
    if shares is None and any(row.split for row in rows):
        say("the official splits have no usable train rows: the rows are split 80/10/10 instead")
    shares = shares or DEFAULT
    for row in rows:
        row.split = _drawn(row.id, shares)
    if rows and not any(row.split == "train" for row in rows):
        # so few rows that chance left train empty: it takes one from the largest split
        largest = Counter(row.split for row in rows).most_common(1)[0][0]
        min((r for r in rows if r.split == largest), key=lambda r: stable_hash(r.id)).split = "train"
    for name in shares:
        if not any(row.split == name for row in rows):
            say(f"the split {name} is empty: it gets no file")
    return list(rows)


def listed(rows: Sequence[Row], shares: dict[str, float] | None, say: Callable[[str], None]) -> list[Row]:
    """The rows that official splits leave: those in one of them, if there is a train split and no `shares`, else all."""
    if shares is not None or not any(is_train(row) for row in rows):
        return list(rows)
    found = [row for row in rows if row.split]
    if len(found) < len(rows):
        say(f"{len(rows) - len(found):,} rows are in no official split: left out (--splits takes them in)")
    return found


def _drawn(row_id: str, shares: dict[str, float]) -> str:
    point = (stable_hash(f"split:{row_id}") + 2**63) / 2**64
    for name, share in shares.items():
        point -= share
        if point < 0:
            return name
    return next(reversed(shares))


def is_train(row: Row) -> bool:
    """The source itself counts the row to train."""
    return split_name(row.split or "") == "train"
