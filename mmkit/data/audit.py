"""The audit of a dataset folder: it reports, it never drops. Memory holds a few numbers a row, never the pictures."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmkit.data.images import size_of
from mmkit.data.shards import Dataset
from mmkit.errors import UserError
from mmkit.files import stable_hash

CONTEXT = 77
TOKENS_PER_WORD = 1.3
ESTIMATE = f"words x {TOKENS_PER_WORD} + 2 against CLIP's context of {CONTEXT}; the tokenizer of a model decides"
EXAMPLES = 5
# scripts without spaces count one word a character
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W\u2e80-\u9fff\uf900-\ufaff]+")


class Tally:
    """Numbers gathered in one pass over the shards, a few bytes a row."""

    def __init__(self) -> None:
        self.split_of, self.image_hash = array("i"), array("q")
        self.width, self.height = array("i"), array("i")
        self.caption_hash, self.caption_row = array("q"), array("q")
        self.words, self.chars = array("i"), array("i")
        self.labels: Counter[str] = Counter()
        self.missing = 0

    def add(self, row: dict[str, Any], split: int) -> None:
        """Take one row into account."""
        index = len(self.split_of)
        self.split_of.append(split)
        self._add_image(row["image"], index)
        for caption in row.get("captions") or ():
            self.caption_hash.append(stable_hash(" ".join(unicodedata.normalize("NFC", caption).casefold().split())))
            self.caption_row.append(index)
            self.words.append(len(_WORD.findall(caption)))
            self.chars.append(len(caption))
        label = row.get("label")
        self.labels.update([label] if isinstance(label, str) else label or [])

    def _add_image(self, image: dict[str, Any], index: int) -> None:
        try:
            data = image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
            width, height = size_of(data)
        except (OSError, UserError):
            # a linked picture that has gone since; it is no duplicate of anything
            self.missing += 1
            self.image_hash.append(stable_hash(f"missing {index}"))
            return
        self.image_hash.append(stable_hash(data))
        self.width.append(width)
        self.height.append(height)


def audit(data: Dataset, progress: Callable[[int, int], None] = lambda done, total: None) -> tuple[dict[str, Any], ...]:
    """One pass over all shards.

    Returns:
        The `audit`, and what it found for `image` and `text` of dataset.json (sizes in pixels, lengths in characters).

    Raises:
        UserError: a shard is missing or damaged.
    """
    tally, names = Tally(), list(data.splits)
    columns = ["image", *(name for name in ("captions", "label") if name in data.columns)]
    total = sum(data.splits.values())
    for i, row in enumerate(data.rows(columns=columns)):
        tally.add(row, names.index(row["split"]))
        progress(i + 1, total)
    found: dict[str, Any] = {
        "rows": {name: split["rows"] for name, split in data.manifest["splits"].items()},
        "captions": {name: split["captions"] for name, split in data.manifest["splits"].items()},
        "rejected": data.manifest.get("rejected", 0),
        "merged": data.manifest.get("merged", 0),
        "missing_images": tally.missing,
        "duplicate_images": _duplicates(data, tally, names),
    }
    if len(tally.words):
        found |= _captions(tally)
    if tally.labels:
        found["labels"] = _labels(tally.labels)
    return found, _image_facts(tally), _text_facts(tally)


def _duplicates(data: Dataset, tally: Tally, names: list[str]) -> dict[str, Any]:
    """Rows whose picture another row has too, byte for byte as stored."""
    hashes, splits = np.array(tally.image_hash, np.int64), np.array(tally.split_of)
    order = np.lexsort((splits, hashes))
    same = hashes[order][1:] == hashes[order][:-1]
    same_split = splits[order][1:] == splits[order][:-1]
    leaks, twins = np.flatnonzero(same & ~same_split), np.flatnonzero(same & same_split)
    wanted = [(int(order[i]), int(order[i + 1])) for found in (leaks, twins) for i in found[:EXAMPLES]]
    ids = _ids(data, {i for pair in wanted for i in pair})
    return {
        "within_splits": len(twins),
        "across_splits": len(leaks),
        "examples": [_by_split((names[splits[i]], ids[i]) for i in pair) for pair in wanted],
    }


def _by_split(pair: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for split, row_id in pair:
        found.setdefault(split, []).append(row_id)
    return found


def _ids(data: Dataset, wanted: set[int]) -> dict[int, str]:
    if not wanted:
        return {}
    return {i: row["id"] for i, row in enumerate(data.rows(columns=["id"])) if i in wanted}


def _captions(tally: Tally) -> dict[str, Any]:
    words = np.array(tally.words)
    hashes, rows = np.array(tally.caption_hash, np.int64), np.array(tally.caption_row, np.int64)
    pairs = np.unique(np.stack([hashes, rows]), axis=1)  # a caption counts once a row
    _, images = np.unique(pairs[0], return_counts=True)
    over = int((np.ceil(words * TOKENS_PER_WORD) + 2 > CONTEXT).sum())
    return {
        "caption_words": _spread(words),
        "caption_chars": _spread(np.array(tally.chars)),
        "captions_per_row": round(len(words) / len(tally.split_of), 2),
        "over_context": {"captions": over, "share": round(over / len(words), 4), "estimate": ESTIMATE},
        "equal_captions": {
            "distinct": len(images),
            "on_several_images": int((images > 1).sum()),
            "rows_times_captions": int(images[images > 1].sum()),
        },
    }


def _labels(labels: Counter[str]) -> dict[str, Any]:
    counts = labels.most_common()
    return {
        "classes": len(counts),
        "largest": dict(counts[:EXAMPLES]),
        "smallest": dict(counts[-EXAMPLES:]),
        "imbalance": round(counts[0][1] / counts[-1][1], 2),
    }


def _spread(values: np.ndarray) -> dict[str, int]:
    return {name: int(np.percentile(values, q)) for name, q in (("min", 0), ("p50", 50), ("p99", 99), ("max", 100))}


def _image_facts(tally: Tally) -> dict[str, Any]:
    sides = (("median_width", tally.width), ("median_height", tally.height))
    return {name: int(np.median(np.array(side))) if len(side) else None for name, side in sides}


def _text_facts(tally: Tally) -> dict[str, Any]:
    if not len(tally.chars):
        return {}
    chars = _spread(np.array(tally.chars))
    return {
        "caption_chars_p50": chars["p50"],
        "caption_chars_p99": chars["p99"],
        "captions_per_row": round(len(tally.chars) / len(tally.split_of), 2),
    }


def table(found: dict[str, Any]) -> list[list[str]]:
    """The audit as rows (what, how many, remark) for people."""
    rows = [[f"rows in {name}", f"{n:,}", f"{found['captions'][name]:,} captions"] for name, n in found["rows"].items()]
    rows.append(["rejected rows", f"{found['rejected']:,}", "see rejected.jsonl" if found["rejected"] else ""])
    rows.append(["rows merged by image", f"{found['merged']:,}", ""])
    if found["missing_images"]:
        rows.append(["linked images missing", f"{found['missing_images']:,}", "they were moved or deleted since"])
    same = found["duplicate_images"]
    # one split in a pair: twins within it; two: a leak
    equal = {len(pair): " = ".join(f"{s}/{i}" for s, ids in pair.items() for i in ids) for pair in reversed(same["examples"])}
    rows.append(["equal images within a split", f"{same['within_splits']:,}", equal.get(1, "")])
    rows.append(["equal images across splits", f"{same['across_splits']:,}", f"LEAK: {equal[2]}" if 2 in equal else ""])
    if "caption_words" in found:
        rows += _caption_lines(found)
    if "labels" in found:
        labels = found["labels"]
        largest, smallest = next(iter(labels["largest"].items())), list(labels["smallest"].items())[-1]
        rows.append(["classes", f"{labels['classes']:,}", f"{largest[0]} {largest[1]:,} … {smallest[0]} {smallest[1]:,}"])
    return rows


def _caption_lines(found: dict[str, Any]) -> list[list[str]]:
    words, chars, over, equal = (found[k] for k in ("caption_words", "caption_chars", "over_context", "equal_captions"))
    return [
        ["words a caption, median", str(words["p50"]), f"99 % up to {words['p99']}, longest {words['max']}"],
        ["characters a caption, median", str(chars["p50"]), f"99 % up to {chars['p99']}, longest {chars['max']}"],
        ["captions over the context", f"{over['captions']:,}", f"estimate: {over['estimate']}"],
        ["captions shared by images", f"{equal['on_several_images']:,}", f"of {equal['distinct']:,} different ones"],
    ]
