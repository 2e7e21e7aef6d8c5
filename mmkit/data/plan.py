"""From what a source yields to what the shards will hold: merged, limited, split, ordered and dealt out."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmkit.data import splits
from mmkit.data.cells import Blank
from mmkit.data.modalities import name_of
from mmkit.data.schema import GATHERED, Later, Picture, Reject, Row, Source, features_of, kind_of, tells
from mmkit.errors import UserError
from mmkit.files import stable_hash

SHARD_ROWS = 5_000
SHARD_BYTES = 500 << 20


@dataclass(slots=True)
class Choices:
    """How rows become shards; the same for every source.

    Args:
        shares: split -> share; None keeps the official splits.
        resize: short side in pixels that larger pictures are shrunk to.
        limit: at most this many rows, drawn by hash of the id.
        link: store paths, leave the pixels where they are.
        fail: the first row that cannot be used is an error.
        workers: threads that decode.
    """

    shares: dict[str, float] | None = None
    resize: int | None = None
    limit: int | None = None
    link: bool = False
    fail: bool = False
    workers: int = 1


@dataclass(slots=True)
class Shard:
    """One file to be: its rows are in the order of hash(id)."""

    file: str
    split: str
    rows: list[Row]


@dataclass(slots=True)
class Plan:
    """All that is known before the first picture is stored.

    Args:
        features: column -> Hugging Face feature.
        columns: column -> modality, or what else it holds.
        origin: the folder that all pictures lie in which are files; None where none is.
    """

    features: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    shards: list[Shard] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    fingerprint: str = ""
    origin: str | None = None

    @property
    def rows(self) -> int:
        return sum(len(shard.rows) for shard in self.shards)


def make_plan(source: Source, choices: Choices, say: Callable[[str], None]) -> Plan:
    """Decide which row goes where.

    Raises:
        UserError: no row is left, `choices.fail` and a row cannot be used, or a library that reads them is missing.
    """
    plan = Plan(fingerprint=fingerprint(source.rows, choices.link))
    splits.settle(source, choices.shares, say)
    rows = _merge(source.rows, choices, plan, say)
    for name in features_of(rows) if rows else ():
        getattr(rows[0].modality(name), "ready", lambda: None)()
    rows.sort(key=lambda row: (stable_hash(row.id), row.id))
    rows = _limited(rows, choices, say)
    rows = _split(rows, choices, plan, say)
    if not rows:
        raise nothing_left(plan.rejects)
    inside = next((row for row in rows if row.picture and row.picture.path is None), None)
    if choices.link and inside:
        raise UserError("a picture inside another file cannot be linked", inside.where, "unpack them, or leave --link out")
    plan.features = features_of(rows)
    plan.columns = {name: kind_of(name, rows) for name in plan.features if name != "id"}
    if "feature" in plan.features.get("label", {}):
        for row in rows:
            label = row.values.get("label")
            row.values["label"] = [label] if isinstance(label, str) else label
    plan.shards = _deal(rows)
    plan.origin = None if choices.link else _origin(rows)
    return plan


def _origin(rows: Sequence[Row]) -> str | None:
    folders = {os.path.dirname(row.picture.path) for row in rows if row.picture and row.picture.path}
    try:
        return os.path.commonpath(folders) if folders else None
    except ValueError:  # on several drives of Windows
        return None


def fingerprint(rows: Iterable[Row | Reject], link: bool) -> str:
    """Changes when the source does: a caption, a label, a split, the size or time of a picture; to links also its place."""
    digest = hashlib.sha256()
    for row in rows:
        if isinstance(row, Reject):
            # a reason may name the folder that the command was typed in
            seen: list[object] = [row.id]
        else:
            path = row.picture.path if row.picture and link else None
            seen = [row.id, *((name, _stamp(value)) for name, value in sorted(row.values.items())), row.split, path]
        digest.update(json.dumps(seen).encode())
    return digest.hexdigest()[:16]


def _stamp(value: Any) -> Any:
    """What changes with a value, as JSON."""
    if isinstance(value, Picture | Later):
        return value.stamp
    return hashlib.sha256(value.tobytes()).hexdigest() if hasattr(value, "tobytes") else value


def reject(plan: Plan, row: Row | Reject, reason: str, choices: Choices) -> None:
    """Note a row that cannot be used.

    Raises:
        UserError: `--on-error fail`.
    """
    found = Reject(_printable(row.id), _printable(row.where), _printable(reason))
    if choices.fail:
        raise failed(found)
    plan.rejects.append(found)


def failed(row: Reject) -> UserError:
    """The error that `--on-error fail` makes of a row that cannot be used."""
    return UserError(row.reason, row.where, "--on-error skip leaves such rows out")


def nothing_left(rejects: Sequence[Reject]) -> UserError:
    """The error for a source of which no row can be used."""
    if not rejects:
        return UserError("the source holds no rows")
    # shards mix the rows
    first = min(rejects, key=lambda one: int(found[1]) if (found := re.search(r" row (\d+)$", one.where)) else 0)
    n = f"all {len(rejects):,} rows were" if len(rejects) > 1 else "the only row was"
    hint = "save the file as UTF-8" if first.reason.startswith("wrong encoding") else ""
    return UserError(f"{n} rejected; the first: {first.reason}", first.where, hint)


def _merge(found: Iterable[Row | Reject], choices: Choices, plan: Plan, say: Callable[[str], None]) -> list[Row]:
    """Rows with the same picture become one sample; texts that are missing are left out and said."""
    seen, missing = 0, Counter[str]()
    by_key: dict[tuple[str | None, str], Row] = {}
    owners: dict[tuple[str | None, str], Row] = {}
    for row in found:
        if isinstance(row, Reject):
            reject(plan, row, row.reason, choices)
            continue
        row.where = _printable(row.where)
        for name, raw in row.values.items():
            if (parts := getattr(row.modality(name), "missing", None)) and raw:
                seen += len(raw)
                missing.update(parts(raw))
        # with shares typed, official splits count for nothing: the same picture twice is one sample
        split = None if choices.shares else row.split
        first = by_key.get((split, row.key)) if row.picture else None
        reason = _unfit(row, choices) or _stored(row)
        reason = reason or (_clash(row, first) if first else _taken(row, owners.get((split, row.id))))
        if reason:
            reject(plan, row, reason, choices)
        elif first:
            _join(first, row)
        else:
            by_key[split, row.key] = owners[split, row.id] = row
    if missing:
        say(f"{missing.total():,} of {seen:,} captions are missing: {_held(missing)}")
    return list(by_key.values())


def _stored(row: Row) -> str | None:
    """Bring the values of a row to the form of their columns; why it cannot be used."""
    lacks = []
    for name, raw in row.values.items():
        modality = row.modality(name)
        if modality is None or isinstance(raw, Picture | Later):
            # 0 may be what is to be predicted
            row.values[name] = raw if raw or isinstance(raw, float) else None
            continue
        try:
            row.values[name] = None if raw is None else modality.store(raw)
            lacks += [f"no {name if name in row.kinds else name_of(modality)} in the row"] if raw is None else []
        except Blank as e:
            row.values[name] = None
            lacks.append(str(e))
        except ValueError as e:
            return str(e)
    told = [name for name in row.values if tells(name, row)]
    if len(told) > 1:
        return None
    return lacks[0] if lacks else f"the row says nothing but {told[0] if told else 'its id'}"


def _clash(row: Row, first: Row) -> str | None:
    """Why a row is not one sample with the first of the same picture."""
    for name, value in row.values.items():
        there = first.values.get(name)
        if value is None or there is None or hasattr(row.modality(name), "merge"):
            continue
        if isinstance(value, Picture):
            if value.key != there.key:
                return f"the same {row.told_by} has another {name} in {first.where}"
            continue
        if name in ("label", "target") and value != there:
            return f"{name} {value!r}, but the same {row.told_by} has {there!r} in {first.where}"
        if row.modality(name) and _stamp(value) != _stamp(there):
            return f"the same {row.told_by} has another {name} in {first.where}"
    return None


def _taken(row: Row, owner: Row | None) -> str | None:
    """Why a row cannot have its id."""
    return f"the id {row.id!r} belongs to another row in {owner.where}" if owner else None


def _join(first: Row, row: Row) -> None:
    """Make a row part of the sample of the first one of the same picture."""
    for name, value in row.values.items():
        there, merge = first.values.get(name), getattr(row.modality(name), "merge", None)
        if there is None:
            first.values[name] = value
        elif merge and value is not None:
            first.values[name] = merge(there, value)
        elif name in GATHERED and value is not None:
            first.values[name] = [*there, *value]
    first.merged.append((row.id, row.where))


def _held(missing: Counter[str]) -> str:
    """`10 are empty, 2 say 'nan'`"""
    said = (f"{n:,} say {word!r}" if word else f"{n:,} are empty" for word, n in missing.most_common())
    return ", ".join(said)


def _unfit(row: Row, choices: Choices) -> str | None:
    """Why the names in a row cannot be stored or hashed."""
    linked = row.picture.path if row.picture and choices.link else None
    label = row.values.get("label") or ""
    for what, text in (("id", row.id), ("label", "".join(label)), ("path of the picture to link to", linked)):
        if text and not _is_unicode(text):
            return f"the {what} is not UTF-8"
    if row.split and not choices.shares and not splits.is_name(row.split):
        return f"{row.split!r} is no name of a split: {splits.NAMES}, or type --splits"
    return None


def _is_unicode(text: str) -> bool:
    # bytes that did not decode were kept as surrogates, which do not encode
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _limited(rows: list[Row], choices: Choices, say: Callable[[str], None]) -> list[Row]:
    if choices.limit is None or len(rows) <= choices.limit:
        return rows
    # those that are in no split do not count
    rows = splits.listed(rows, choices.shares, say)
    chosen = rows[: choices.limit]
    say(f"{len(rows) - len(chosen):,} of {len(rows):,} samples are left out: --limit {choices.limit}")
    if not any(splits.is_train(row) for row in chosen):
        chosen[-1] = next((row for row in rows if splits.is_train(row)), chosen[-1])
    return chosen


def _split(rows: list[Row], choices: Choices, plan: Plan, say: Callable[[str], None]) -> list[Row]:
    """Assign the splits such that train holds at least one row whose picture can be read."""
    official = {id(row): row.split for row in rows}
    while rows:
        for row in rows:
            row.split = official[id(row)]
        rows = splits.assign(rows, choices.shares, say)
        unreadable = []
        for row in (row for row in rows if row.split == "train"):
            try:
                stored(row, choices)
                break
            except (UserError, OSError) as e:
                unreadable.append((row, reason_of(e)))
        else:
            for row, reason in unreadable:
                for lost in row.rejects(reason):
                    reject(plan, lost, reason, choices)
            gone = {id(row) for row, _ in unreadable}
            rows = [row for row in rows if id(row) not in gone]
            continue
        return rows
    return []


def stored(row: Row, choices: Choices) -> dict[str, Any]:
    """column -> value as it is stored; pictures are read, and what comes later is made.

    Raises:
        UserError, OSError: a picture cannot be read.
    """
    found = dict(row.values)
    for name, value in row.values.items():
        if isinstance(value, Picture):
            found[name] = row.modality(name).store(value.read(), choices.resize)
        elif isinstance(value, Later):
            found[name] = value.read()
    return found


def reason_of(e: UserError | OSError) -> str:
    """Why a picture was rejected, in one line."""
    if isinstance(e, UserError):
        return e.what
    return "missing file" if isinstance(e, FileNotFoundError) else f"cannot read the file ({e.strerror or e})"


def _deal(rows: list[Row]) -> list[Shard]:
    order = ["train", "val", "test"]
    names = sorted({row.split or "" for row in rows}, key=lambda s: (order.index(s) if s in order else len(order), s))
    shards = []
    for name in names:
        parts = _parts([row for row in rows if row.split == name])
        shards += [Shard(f"{name}-{i:05d}-of-{len(parts):05d}.parquet", name, part) for i, part in enumerate(parts)]
    return shards


def _parts(rows: list[Row]) -> list[list[Row]]:
    parts: list[list[Row]] = [[]]
    size = 0
    for row in rows:
        if parts[-1] and (len(parts[-1]) == SHARD_ROWS or size + row.size > SHARD_BYTES):
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += row.size
    return parts
