"""The files that make up one table: a file, the shards and splits of a folder, or metadata beside pictures."""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from mmkit.data.compressed import suffix_of
from mmkit.data.modalities import file_suffixes
from mmkit.data.splits import WORDS, folder_split, split_name
from mmkit.data.tables import TABLES, open_table
from mmkit.data.unread import refuse, shards_beside
from mmkit.data.walk import walk
from mmkit.errors import UserError

NAMED_FILES = 5
# how many folders deep tables are looked for, where there is none on top: default/train/0000.parquet
DEPTH = 3
# what pictures have beside them in files of their names
SIDECARS = (".txt", ".json")
SETTINGS = ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "config.json", "croissant.json")
SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(-[0-9a-f]+)?")
NAMES_IT = "--source names the table"
OURS = re.compile(r"[\w.-]+-\d{5}-of-\d{5}\.parquet|rejected\.jsonl|dataset\.json")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a table.

    Args:
        split: what its name or folder says; None where the rows are to be split.
        beside: it names the pictures beside it.
        others: tables in the folder that are no part of it.
    """

    path: Path
    split: str | None = None
    beside: bool = False
    others: tuple[str, ...] = ()


def data_files(source: Path, in_place: bool = False) -> list[Part]:
    """The files of the table that `source` is or holds, in the order of their names.

    Args:
        in_place: the dataset is written to the same folder: its shards are no raw data.

    Raises:
        UserError: there is none, or it is not clear which files are one table; they are named.
    """
    if not source.exists():
        raise UserError("no such table", str(source), NAMES_IT)
    if source.is_file():
        return [Part(source)]
    if metadata := metadata_files(source):
        return metadata
    names = [p.name for p in source.iterdir() if p.is_file()]
    tops = _tables(source, names)
    raw = [path for path in tops if not OURS.fullmatch(path.name)] if in_place or "dataset.json" in names else tops
    # a prepared dataset is a table, too; its shards are meant where nothing else is there
    found = raw or ([path for path in tops if suffix_of(path) == ".parquet"] if not in_place else [])
    likely = _likely(found) or _likely(_nested(source))
    if not likely or shards_beside(likely):
        refuse(source)
    # prose lies beside tables; it counts only where nothing else is found
    found = likely or found
    if not found:
        raise _none(source, names)
    return _one_table(source, found)


def tables_in(folder: Path, below: bool = True) -> list[Path]:
    """The tables that lie in a folder, then those below it; those that are surely tables first."""
    found = _tables(folder, os.listdir(folder)) + (_nested(folder) if below else [])
    return sorted(found, key=lambda path: suffix_of(path) in SIDECARS)


def metadata_files(folder: Path) -> list[Part]:
    """`metadata.csv` and its like, which name the pictures beside them in a column `file_name`; on top, else below it."""
    for found in (_tables(folder, os.listdir(folder)), _nested(folder)):
        named = [path for path in found if path.name.lower().startswith("metadata.") and suffix_of(path) != ".txt"]
        if files := [path for path in named if _names_files(path)]:
            _not_twice(folder, files)
            return _split([Part(path, split_of(path.relative_to(folder).parent / "_"), True) for path in files])
    return []


def _names_files(path: Path) -> bool:
    try:
        return any(name.lower() == "file_name" or name.lower().endswith("_file_name") for name in open_table(path).columns)
    except UserError:
        return False  # something else of that name


def _tables(folder: Path, names: list[str]) -> list[Path]:
    """Those of the names that are tables, without the text files of pictures."""
    pictures = {Path(name).stem for name in names if Path(name).suffix.lower() in file_suffixes()}
    found = sorted(folder / name for name in names if not name.startswith(".") and suffix_of(Path(name)) in TABLES)
    return [path for path in found if suffix_of(path) not in SIDECARS or path.stem not in pictures]


def _nested(root: Path) -> list[Path]:
    """The tables in the folders below, at most DEPTH of them deep; a link to a folder above is not followed."""
    return [path for folder, files in walk(root, DEPTH) if folder.parts for path in _tables(root / folder, files)]


def _likely(found: list[Path]) -> list[Path]:
    """Those that are no prose and no settings; of JSON arrays only where nothing else is found."""
    found = [path for path in found if suffix_of(path) != ".txt" and path.name not in SETTINGS]
    return [path for path in found if suffix_of(path) != ".json"] or found


def _one_table(folder: Path, found: list[Path]) -> list[Part]:
    """The files as parts of one table.

    Raises:
        UserError: their names do not say that they are shards or splits of one.
    """
    if len(found) == 1:
        return [Part(found[0])]
    shorter = {path: path.relative_to(folder) for path in found}
    splits = {path: split_of(short) for path, short in shorter.items()}
    whole = [path for path in found if splits[path]]
    if len(whole) < len(found) and _is_whole([(shorter[path], splits[path]) for path in whole]):
        # validated.tsv, other.tsv … of Common Voice
        left = tuple(str(shorter[path]) for path in found if path not in whole)
        return [replace(part, others=left) for part in _one_table(folder, whole)]
    groups = {_stem(short) for short in shorter.values()}
    if len(groups) > 1 or (any(splits.values()) and not all(splits.values())):
        names = ", ".join(str(shorter[path]) for path in found[:NAMED_FILES])
        names += f" and {len(found) - NAMED_FILES:,} more" if len(found) > NAMED_FILES else ""
        # of several configurations a folder is meant, of several files perhaps that of the training rows
        first = next((path for path in found if splits[path] == "train"), found[0])
        one = first if len({_stem(short)[0] for short in shorter.values()}) == 1 else first.parent
        # prose is none, and only who knows it can say which text file is one
        hint = f"--source {shlex.quote(str(one))}   reads that one alone" if suffix_of(one) != ".txt" else NAMES_IT
        raise UserError(f"not exactly one table in the folder: {names}", str(folder), hint)
    _not_twice(folder, found)
    return _split([Part(path, splits[path]) for path in found])


def _is_whole(files: list[tuple[Path, str | None]]) -> bool:
    """Files are train, val and test of one table in one folder."""
    same = len({(path.parent, path.suffix, _stem(path)) for path, _ in files}) == 1
    return same and {split for _, split in files} == {*WORDS}


def _split(parts: list[Part]) -> list[Part]:
    """The parts, without splits unless they are in several."""
    splits = {part.split for part in parts}
    several = len(splits) > 1 and None not in splits and not splits.isdisjoint(WORDS)
    return parts if several else [replace(part, split=None) for part in parts]


def split_of(path: Path) -> str | None:
    """The split that the name of a file says, else that of the innermost folder: train-00000-of-00002, captions_val, train/."""
    if match := SHARD.fullmatch(path.name.partition(".")[0]):
        # the Hub: what stands before the number is the split, such as testA
        return split_name(match[1])
    for name in (path.name.partition(".")[0], *reversed(path.parent.parts)):
        if (found := folder_split(name)) and (split := split_name(found[0])) in WORDS:
            return split
    return None


def _stem(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the names of shards and splits of one table share: folders and name, without numbers and words for splits."""
    name = path.name.partition(".")[0]
    folders = [_plain(part) for part in path.parent.parts]
    return tuple(" ".join(words) for words in folders if words), () if SHARD.fullmatch(name) else tuple(_plain(name))


def _plain(name: str) -> list[str]:
    found = folder_split(name)
    words = found[1].split() if found else re.split(r"[\W\d_]+", name.lower())
    return [word for word in words if word not in ("", "data", "partial")]


def _not_twice(folder: Path, found: list[Path]) -> None:
    """Raise the error for files that differ in format only."""
    same: dict[str, list[str]] = defaultdict(list)
    for path in found:
        short = path.relative_to(folder)
        same[str(short).partition(".")[0]].append(str(short))
    for names in same.values():
        if len(names) > 1:
            hint = f"--source {shlex.quote(str(folder / names[0]))}   reads that one alone"
            raise UserError(f"the same table in several formats: {', '.join(names)}", str(folder), hint)


def _none(folder: Path, names: list[str]) -> UserError:
    stems = {Path(name).stem for name in names if Path(name).suffix.lower() in file_suffixes()}
    if any(Path(name).stem in stems for name in names if Path(name).suffix.lower() == ".txt"):
        hint = f"mmkit prep folder --source {shlex.quote(str(folder))}   reads these"
        return UserError("no table in the folder, but pictures with text files of the same name", str(folder), hint)
    return UserError("not exactly one table in the folder: none", str(folder), NAMES_IT)
