"""The audit of a dataset folder: it reports, it never drops. Memory holds a few numbers a row, never the pictures."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mmkit.data.images import FLAT
from mmkit.data.modalities import MODALITIES
from mmkit.data.modalities.series import time_first
from mmkit.data.shards import Dataset
from mmkit.data.tallies import EXTRA, Tally, tally_of
from mmkit.data.threads import in_order

EXAMPLES = 5
BARS = "▁▂▃▄▅▆▇█"
# so many pictures of a kind are named, in the table the first few
NAMED = 100
PICTURES = {
    "unreadable_images": ("images that cannot be read", ""),
    "unreadable_videos": ("videos that cannot be read", ""),
    "one_colour_images": ("images of one colour", "they show nothing: "),
    "low_contrast_images": ("images of low contrast", f"fewer than {FLAT} of 256 levels: "),
    "unreadable_sounds": ("sounds that cannot be read", ""),
    "silent_sounds": ("silent sounds", "every sample is 0: "),
}


class Count:
    """One pass over the rows.

    Args:
        tallies: kind -> its tally; columns: column -> tally of its kind, which two columns may share.
    """

    def __init__(self, data: Dataset) -> None:
        kinds = [kind for kind in (*MODALITIES, *EXTRA) if data.columns_of(kind)]
        for kind in kinds:
            getattr(MODALITIES.get(kind), "ready", lambda: None)()
        self.tallies = {kind: tally_of(kind) for kind in kinds}
        self.columns = {name: self.tallies[kind] for kind in kinds for name in data.columns_of(kind)}
        # columns beside the first of their modality: equal values there make no equal rows
        self.further = {name for kind in kinds for name in data.columns_of(kind)[1:]}
        self.texts = [name for kind in MODALITIES for name in data.columns_of(kind)]
        self.split_of = array("i")
        # column -> number of the split -> rows that have a value there; and all texts
        self.filled: dict[str, Counter[int]] = {name: Counter() for name in self.columns}
        self.captions = Counter[int]()

    def look(self, row: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Look at the values of a row, which then lets go of them; may be called from any thread."""
        values = {name: row.pop(name) for name in self.columns}
        # 0 may be a label or a target
        there = {name: value for name, value in values.items() if value or isinstance(value, int | float)}
        return row, {name: self.columns[name].seen(value) for name, value in there.items()}

    def add(self, row: dict[str, Any], seen: dict[str, Any], split: int) -> None:
        """Take one row into account."""
        index = len(self.split_of)
        self.split_of.append(split)
        for name, value in seen.items():
            tally = self.columns[name]
            known = len(tally.hashes)
            tally.add(value, index)
            if name in self.further:  # two scenes may well have one depth map
                del tally.hashes[known:], tally.rows[known:]
            self.filled[name][split] += 1
            self.captions[split] += len(value) if isinstance(value, list) and name in self.texts else 0


def audit(
    data: Dataset, progress: Callable[[int, int], None] = lambda done, total: None, workers: int | None = None
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """One pass over all shards.

    Args:
        workers: threads that decode; one per core where None.

    Returns:
        The `audit`, and what it found for each modality in dataset.json (sizes in pixels, lengths in characters).

    Raises:
        UserError: a shard is missing or damaged, or has not the columns that dataset.json names.
    """
    count, names, total = Count(data), list(data.splits), sum(data.splits.values())
    rows = data.rows(columns=list(count.filled))
    for i, (row, seen) in enumerate(in_order(count.look, rows, workers or os.cpu_count() or 1)):
        count.add(row, seen, names.index(row["split"]))
        progress(i + 1, total)
    splits = np.array(count.split_of, np.int64)
    found: dict[str, Any] = {
        "rows": {name: int((splits == i).sum()) for i, name in enumerate(names)},
        "captions": {name: count.captions[i] for i, name in enumerate(names)},
        "filled": {column: {name: n[i] for i, name in enumerate(names)} for column, n in count.filled.items()},
        "rejected": data.manifest.get("rejected", 0),
        "merged": data.manifest.get("merged", 0),
    }
    for tally in count.tallies.values():
        found |= tally.found(len(splits)) | _named(data, tally, count, names)
    return found, {kind: tally.facts(len(splits)) for kind, tally in count.tallies.items()}


def _named(data: Dataset, tally: Tally, count: Count, names: list[str]) -> dict[str, Any]:
    """Values that have a fault, and those that other rows have too, with the rows' names."""
    leaks, twins = _equal(tally, count)
    pairs = [*leaks[:EXAMPLES], *twins[:EXAMPLES]]
    ids = _ids(data, {int(i) for shown in (*pairs, *(rows[:NAMED] for rows in tally.faults.values())) for i in shown})
    where = {i: (names[count.split_of[i]], name) for i, name in ids.items()}
    found: dict[str, Any] = {
        kind: {"count": len(rows), "examples": _by_split(where[i] for i in rows[:NAMED])} for kind, rows in tally.faults.items()
    }
    if "low_contrast_images" in found:
        found["low_contrast_images"]["levels_below"] = FLAT
    if tally.hashes or tally.faults:
        found[f"duplicate_{tally.plural}"] = {
            "within_splits": len(twins),
            "across_splits": len(leaks),
            "examples": [_by_split(where[int(i)] for i in pair) for pair in pairs],
        }
    return found


def _equal(tally: Tally, count: Count) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows (n, 2) of two splits, and of one, whose values are equal byte for byte as stored."""
    hashes, rows = np.array(tally.hashes, np.int64), np.array(tally.rows, np.int64)
    splits = np.array(count.split_of, np.int64)[rows]
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


def table(found: dict[str, Any]) -> list[list[str]]:
    """The audit as rows (what, how many, remark) for people."""
    rows = []
    for name, n in found["rows"].items():
        captions = found["captions"][name]
        rows.append([f"rows in {name}", f"{n:,}", f"{captions:,} captions" if captions else ""])
    for column, filled in found["filled"].items():
        if lacking := {name: found["rows"][name] - n for name, n in filled.items() if n < found["rows"][name]}:
            remark = ", ".join(f"{name} {n:,}" for name, n in lacking.items())
            rows.append([f"rows without {column}", f"{sum(lacking.values()):,}", remark])
    rows.append(["rejected rows", f"{found['rejected']:,}", "see rejected.jsonl" if found["rejected"] else ""])
    if "missing_images" in found:
        rows.append(["rows merged by image", f"{found['merged']:,}", ""])
    if found.get("missing_images"):
        rows.append(["linked images missing", f"{found['missing_images']:,}", "they were moved or deleted since"])
    for kind, (what, remark) in PICTURES.items():
        if kind in found and found[kind]["count"]:
            rows.append([what, f"{found[kind]['count']:,}", remark + _listed(found[kind])])
    for kind, same in found.items():
        if kind.startswith("duplicate_"):
            rows += _same_lines(kind.removeprefix("duplicate_"), same)
    if "caption_words" in found:
        rows += _caption_lines(found)
    rows += _sound_lines(found["sounds"]) if "sounds" in found else []
    if "videos" in found:
        seconds, frames = found["videos"]["seconds"], found["videos"]["frames"]
        remark = f"from {seconds['min']:g} to {seconds['max']:g}, together {seconds['total']:,.1f}"
        rows.append(["seconds a video, median", f"{seconds['p50']:g}", remark])
        rows.append(["frames a video, median", str(frames["p50"]), _range(frames)])
    if "series" in found:
        channels, length = found["series"]["channels"], found["series"]["length"]
        turned = time_first([(channels[a], length[b]) for a in ("min", "p50", "max") for b in ("min", "max")])
        channels, length = (length, channels) if turned else (channels, length)
        several = "; a model takes one number" if channels["min"] != channels["max"] else ""
        remark = "time comes first; if not, train --set data.series.channels=N" if turned else _range(channels) + several
        rows.append(["channels a series", str(channels["p50"]), remark])
        rows.append(["values a channel, median", str(length["p50"]), _range(length)])
    if "regions" in found:
        count, width = found["regions"]["per_row"], found["regions"]["features"]
        rows.append(["regions a row, median", str(count["p50"]), _range(count)])
        rows.append(["values a region", str(width["p50"]), _range(width)])
    if "labels" in found:
        labels = found["labels"]
        largest, smallest = next(iter(labels["largest"].items())), list(labels["smallest"].items())[-1]
        rows.append(["classes", f"{labels['classes']:,}", f"{largest[0]} {largest[1]:,} … {smallest[0]} {smallest[1]:,}"])
    return rows + (_question_lines(found["questions"]) if "questions" in found else []) + _target_lines(found)


def _sound_lines(found: dict[str, Any]) -> list[list[str]]:
    rates = ", ".join(f"{int(rate):,} ({n:,})" for rate, n in found["rates"].items())
    whole = f"from {found['seconds_min']:g} to {found['seconds_max']:g}, {found['seconds']:,.0f} together"
    return [["seconds a sound, median", f"{found['seconds_p50']:g}", whole], ["samples a second", rates, ""]]


def _question_lines(found: dict[str, Any]) -> list[list[str]]:
    types = ", ".join(f"{name} {n:,}" for name, n in list(found["types"].items())[:EXAMPLES])
    lines = [["questions", f"{found['count']:,}", types]]
    if found["without_answers"]:
        lines.append(["questions without answers", f"{found['without_answers']:,}", ""])
    return [*lines, ["different answers", f"{found['answers']:,}", ", ".join(f"{a} {n:,}" for a, n in found["frequent"].items())]]


def _target_lines(found: dict[str, Any]) -> list[list[str]]:
    if "target" not in found:
        return []
    target = found["target"]
    most = max(target["histogram"]["counts"])
    bars = "".join(BARS[round(n / most * (len(BARS) - 1))] if n else " " for n in target["histogram"]["counts"])
    remark = f"from {target['min']:g} to {target['max']:g}, deviation {target['std']:.3g}  {bars}"
    return [["target, mean", f"{target['mean']:.3g}", remark]]


def _same_lines(plural: str, same: dict[str, Any]) -> list[list[str]]:
    # one split in a pair: twins within it; two: a leak
    equal = {len(pair): " = ".join(f"{s}/{i}" for s, ids in pair.items() for i in ids) for pair in reversed(same["examples"])}
    leak = f"LEAK: {equal[2]}" if 2 in equal else ""
    return [
        [f"equal {plural} within a split", f"{same['within_splits']:,}", equal.get(1, "")],
        [f"equal {plural} across splits", f"{same['across_splits']:,}", leak],
    ]


def _range(spread: dict[str, int]) -> str:
    return "" if spread["min"] == spread["max"] else f"from {spread['min']} to {spread['max']}"


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
        [
            f"captions shared by {'images' if 'missing_images' in found else 'rows'}",
            f"{equal['on_several_images']:,}",
            f"of {equal['distinct']:,} different ones",
        ],
    ]
