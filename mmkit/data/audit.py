"""The audit of a dataset folder: it reports, it never drops. Memory holds a few numbers a row, never the pictures."""

from __future__ import annotations

import os
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mmkit.data.images import FLAT, Look, bytes_of, look
from mmkit.data.shards import Dataset
from mmkit.data.threads import in_order
from mmkit.errors import UserError
from mmkit.files import stable_hash

CONTEXT = 77
TOKENS_PER_WORD = 1.3
ESTIMATE = f"words x {TOKENS_PER_WORD} + 2 against CLIP's context of {CONTEXT}; the tokenizer of a model decides"
EXAMPLES = 5
# so many pictures of a kind are named, in the table the first few
NAMED = 100
PICTURES = {
    "unreadable_images": ("images that cannot be read", ""),
    "one_colour_images": ("images of one colour", "they show nothing: "),
    "low_contrast_images": ("images of low contrast", f"fewer than {FLAT} of 256 levels: "),
}
# scripts without spaces count one word a character
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W\u2e80-\u9fff\uf900-\ufaff]+")


@dataclass(slots=True)
class Seen:
    """A row whose pictures were looked at.

    Args:
        pictures: of each column of images a hash of the bytes and what they show, or why they show nothing.
    """

    row: dict[str, Any]
    pictures: list[tuple[int, Look] | UserError | OSError]


class Tally:
    """Numbers gathered in one pass over the shards, a few bytes a row.

    Args:
        texts, labels: the names of the columns that hold captions and labels.
    """

    def __init__(self, texts: list[str], labels: list[str]) -> None:
        self.text_columns, self.label_columns = texts, labels
        self.split_of = array("i")
        self.image_hash, self.image_row = array("q"), array("q")
        self.width, self.height = array("i"), array("i")
        self.caption_hash, self.caption_row = array("q"), array("q")
        self.words, self.chars = array("i"), array("i")
        self.labels: Counter[str] = Counter()
        # rows with a linked picture that has gone, one that cannot be decoded, one that shows next to nothing
        self.missing, self.unreadable, self.one_colour, self.low_contrast = (array("q") for _ in range(4))

    def add(self, seen: Seen, split: int) -> None:
        """Take one row into account."""
        index, row = len(self.split_of), seen.row
        self.split_of.append(split)
        for found in seen.pictures:
            self._add_image(found, index)
        for caption in (c for name in self.text_columns for c in row[name] or ()):
            self.caption_hash.append(stable_hash(" ".join(unicodedata.normalize("NFC", caption).casefold().split())))
            self.caption_row.append(index)
            self.words.append(len(_WORD.findall(caption)))
            self.chars.append(len(caption))
        for label in (row[name] for name in self.label_columns if row[name] is not None):
            self.labels.update(map(str, label) if isinstance(label, list) else [str(label)])

    def _add_image(self, found: tuple[int, Look] | UserError | OSError, index: int) -> None:
        if not isinstance(found, tuple):
            # what is not there is no duplicate of anything
            (self.missing if isinstance(found, OSError) else self.unreadable).append(index)
            return
        digest, look = found
        self.image_hash.append(digest)
        self.image_row.append(index)
        self.width.append(look.size[0])
        self.height.append(look.size[1])
        if look.levels < FLAT:
            (self.one_colour if look.levels == 1 else self.low_contrast).append(index)


def audit(
    data: Dataset, progress: Callable[[int, int], None] = lambda done, total: None, workers: int | None = None
) -> tuple[dict[str, Any], ...]:
    """One pass over all shards.

    Args:
        workers: threads that decode; one per core where None.

    Returns:
        The `audit`, and what it found for `image` and `text` of dataset.json (sizes in pixels, lengths in characters).

    Raises:
        UserError: a shard is missing or damaged, or has not the columns that dataset.json names.
    """
    images, texts, labels = (data.columns_of(modality) for modality in ("image", "text", "label"))
    tally, names, total = Tally(texts, labels), list(data.splits), sum(data.splits.values())
    rows = data.rows(columns=[*images, *texts, *labels])
    for i, seen in enumerate(in_order(partial(_seen, images), rows, workers or os.cpu_count() or 1)):
        tally.add(seen, names.index(seen.row["split"]))
        progress(i + 1, total)
    splits = np.array(tally.split_of, np.int64)
    captioned = splits[np.array(tally.caption_row, np.int64)]
    found: dict[str, Any] = {
        "rows": {name: int((splits == i).sum()) for i, name in enumerate(names)},
        "captions": {name: int((captioned == i).sum()) for i, name in enumerate(names)},
        "rejected": data.manifest.get("rejected", 0),
        "merged": data.manifest.get("merged", 0),
        "missing_images": len(tally.missing),
        **_pictures(data, tally, names),
    }
    if len(tally.words):
        found |= _captions(tally)
    if tally.labels:
        found["labels"] = _labels(tally.labels)
    return found, _image_facts(tally), _text_facts(tally)


def _seen(columns: list[str], row: dict[str, Any]) -> Seen:
    """Look at the pictures of a row, which then lets go of them."""
    seen = Seen(row, [])
    for name in columns:
        try:
            data = bytes_of(row.pop(name))
            seen.pictures.append((stable_hash(data), look(data)))
        except (OSError, UserError) as e:
            seen.pictures.append(e)
    return seen


def _pictures(data: Dataset, tally: Tally, names: list[str]) -> dict[str, Any]:
    """Pictures that cannot be read, that show next to nothing, and that other rows have too, with the rows' names."""
    kinds = {
        "unreadable_images": tally.unreadable,
        "one_colour_images": tally.one_colour,
        "low_contrast_images": tally.low_contrast,
    }
    leaks, twins = _equal(tally)
    pairs = [*leaks[:EXAMPLES], *twins[:EXAMPLES]]
    ids = _ids(data, {int(i) for shown in (*pairs, *(rows[:NAMED] for rows in kinds.values())) for i in shown})
    where = {i: (names[tally.split_of[i]], name) for i, name in ids.items()}
    found: dict[str, Any] = {
        kind: {"count": len(rows), "examples": _by_split(where[i] for i in rows[:NAMED])} for kind, rows in kinds.items()
    }
    found["low_contrast_images"]["levels_below"] = FLAT
    found["duplicate_images"] = {
        "within_splits": len(twins),
        "across_splits": len(leaks),
        "examples": [_by_split(where[int(i)] for i in pair) for pair in pairs],
    }
    return found


def _equal(tally: Tally) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows (n, 2) of two splits, and of one, whose pictures are equal byte for byte as stored."""
    hashes, rows = np.array(tally.image_hash, np.int64), np.array(tally.image_row, np.int64)
    splits = np.array(tally.split_of, np.int64)[rows]
    order = np.lexsort((rows, splits, hashes))
    pairs = np.stack([rows[order][:-1], rows[order][1:]], axis=1)
    same = (hashes[order][1:] == hashes[order][:-1]) & (pairs[:, 0] != pairs[:, 1])
    same_split = splits[order][1:] == splits[order][:-1]
    return pairs[same & ~same_split], pairs[same & same_split]


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
    for kind, (what, remark) in PICTURES.items():
        if found[kind]["count"]:
            rows.append([what, f"{found[kind]['count']:,}", remark + _listed(found[kind])])
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


def _listed(kind: dict[str, Any]) -> str:
    """The first rows of a kind as split/id."""
    named = [f"{split}/{name}" for split, ids in kind["examples"].items() for name in ids]
    return ", ".join(named[:EXAMPLES]) + (" …" if kind["count"] > EXAMPLES else "")


def _caption_lines(found: dict[str, Any]) -> list[list[str]]:
    words, chars, over, equal = (found[k] for k in ("caption_words", "caption_chars", "over_context", "equal_captions"))
    return [
        ["words a caption, median", str(words["p50"]), f"99 % up to {words['p99']}, longest {words['max']}"],
        ["characters a caption, median", str(chars["p50"]), f"99 % up to {chars['p99']}, longest {chars['max']}"],
        ["captions over the context", f"{over['captions']:,}", f"estimate: {over['estimate']}"],
        ["captions shared by images", f"{equal['on_several_images']:,}", f"of {equal['distinct']:,} different ones"],
    ]
