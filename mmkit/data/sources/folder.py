"""Class folders (pets/cats/1.jpg gives the label cats and a caption), or images beside a text file of the same name.

Sounds and videos are read as pictures are, and so are series of numbers (NPY, NPZ, Parquet, CSV) where there is none of them.
Folders such as train, validation, seg_test or Testing are the official splits, and so are lists of files such as
trainlist01.txt or testing_list.txt. A text file (1.txt, 1.caption or 1.jpg.txt) holds one caption a line; in one of another
name, each line may begin with the name of a file and hold its caption. Where there is a metadata.csv, .jsonl or .parquet with a
column file_name, on top or in each folder, its captions are read instead; for pictures of no classes, those of any table that
names them (captions.csv).
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from mmkit.data.caption_lists import captions_by_id
from mmkit.data.data_files import Part, metadata_files
from mmkit.data.levels import Levels, levels_of
from mmkit.data.media_files import MEDIA, READ, Files
from mmkit.data.modalities import MODALITIES, name_of
from mmkit.data.row_series import COLUMNS
from mmkit.data.samples import Reading, read_parts
from mmkit.data.schema import Ask, Reject, Row, Source, of_file
from mmkit.data.split_lists import Lists, split_lists
from mmkit.data.splits import folder_split
from mmkit.data.tables import TABLES, open_table
from mmkit.data.tables_beside import command, other_command, table_of
from mmkit.data.unread import refuse
from mmkit.data.walk import walk
from mmkit.errors import UsageError, UserError, nearest

EXAMPLES = (
    "mmkit prep folder ./data --source ~/pets",
    'mmkit prep folder ./data --source ~/pets --template "a drawing of {label}"',
    "mmkit prep folder ./data --source ~/photos --splits train:0.9,test:0.1",
)
LICENSE = "unknown: that of the folder's files"
NAMED = 3
# the folders of a download are numbered: 000001_000050
PAGE = re.compile(r"[\d_-]{5,}")


def read(
    ask: Ask,
    *,
    template: Annotated[
        str | None,
        Option(
            "--template",
            metavar="TEXT",
            help="The caption of a class folder's files.",
            show_default=", ".join(MODALITIES[name].TEMPLATE for name in READ),
        ),
    ] = None,
    read_as: Annotated[
        str | None,
        Option("--as", metavar="MODALITY", help="What files are read as, such as video.", show_default="by their suffixes"),
    ] = None,
) -> Source:
    """Every picture, sound and video below the folder, in the order of their names; with metadata.csv and its like, those that
    it names.

    Pictures that lie in no classes are read with a table of their captions, whatever it is called.

    Raises:
        UserError: there is no such folder, no picture in it, or nothing that describes one.
    """
    root, how = ask.folder, Reading(ask, template=template)
    if read_as is not None and read_as not in READ:
        raise UsageError(f"no files are read as {read_as!r}", f"--as {read_as}", nearest(read_as, READ))
    if template is not None and "{label}" not in template:
        hint = 'such as --template "a photo of {label}"'
        raise UsageError("the template has no place for the label", f"--template {template!r}", hint)
    if not root.is_dir():
        if root.exists():
            refuse(root)
            tabular = root.suffix.lower() in TABLES
            where = shlex.quote(str(root if tabular else root.parent))
            hint = f"mmkit prep table --source {where}   reads tables" if tabular else f"--source {where}   its folder"
            raise UserError(f"a file, not a folder of {MODALITIES[read_as or MEDIA[0]].PLURAL}", str(root), hint)
        raise UserError("no such folder", str(root), "--source names the folder of the pictures")
    files = Files.below(root, read_as)
    if metadata := metadata_files(root):
        return _described(metadata, files, how)
    if files.kinds.keys() <= TABLES:
        # tables beside archives describe what is in those
        refuse(root)
    if not files.pictures:
        raise _nothing(root, [read_as] if read_as else READ)
    for path in [path for path in files.pictures if path.suffix.lower() in TABLES and folder_split(path.stem)][:NAMED]:
        _refuse_rows(root / path)
    tree = _layout(files, template)
    if not tree.with_text and (aside := [path for path in files.pictures if _is_aside(path)]):
        files.leave_out(aside)
        tree = _layout(files, template)
    table = None if tree.with_text else table_of(files.root, files.pictures, how)
    classes = sum(not PAGE.fullmatch(label) for label in tree.labels)
    if table and classes < 2:
        # one class, or none, has nothing to tell apart
        return _described(table[0], files, table[1])
    if not tree.labels and not tree.with_text and any(map(files.is_read, files.pictures)):
        raise _no_captions(files, how)
    rows = [_row(tree, path) for path in files.pictures]
    note = _note(tree, table)
    if classes < 2 and not tree.with_text and (typed := other_command(files.root, files.pictures, how)):
        note += f"; {typed}"
    lists = tree.lists is not None and tree.lists.rest is None
    return Source(rows, "." if ask.source is None else str(root), LICENSE, note, lists=lists)


def _nothing(root: Path, sought: list[str]) -> UserError:
    """The error for a folder that holds no file of what is looked for."""
    tables = any(Path(name).suffix.lower() in TABLES - {".txt"} for _, names in walk(root, 0) for name in names)
    suffixes = Counter(Path(name).suffix.lower() for _, names in walk(root) for name in names)
    there = " ".join(suffix for suffix, _ in suffixes.most_common(NAMED) if suffix)
    *others, last = (MODALITIES[name].PLURAL for name in sought)
    what = f"no {', '.join(others)} or {last}" if others else f"no {last}"
    looked = " ".join(sorted(set().union(*(MODALITIES[name].SUFFIXES for name in sought))))
    if tables:
        return UserError(what, str(root), f"mmkit prep table ./data --source {shlex.quote(str(root))}   reads the table in it")
    return UserError(what, str(root), (f"it holds {there}; " if there else "") + f"looked for {looked}")


def _refuse_rows(path: Path) -> None:
    """Raise the error for a file such as GunPoint_TRAIN.tsv, which holds many series."""
    try:
        rows = open_table(path).columns == COLUMNS
    except UserError:
        return
    if rows:
        hint = f"mmkit prep table ./data --source {shlex.quote(str(path.parent))}   reads it"
        raise UserError("a table of a series a row, not a file of one series", str(path), hint)


def _is_aside(path: Path) -> bool:
    """It lies in a folder such as _background_noise_ or __MACOSX, which is no class."""
    return any(part.startswith("_") for part in path.parts[:-1])


def _described(parts: list[Part], files: Files, how: Reading) -> Source:
    """The pictures that files such as metadata.csv name, with their captions; `datasets` calls that an image folder."""
    source = read_parts(parts, how)
    named = {row.picture.path for row in source.rows if isinstance(row, Row) and row.picture}
    left = sum(os.path.abspath(files.root / path) not in named for path in files.pictures)
    source.note += f"; paths start from {how.image_root}" if how.image_root else ""
    source.note += f"; {files.called} in none of its rows, left out: {left:,}" if left else ""
    return source


def _no_captions(files: Files, how: Reading) -> UserError:
    """The error for pictures that nothing describes."""
    names = {path.parent.name for path in files.pictures if path.parent.name and not folder_split(path.parent.name)}
    none = f" ({names.pop()} is none)" if len(names) == 1 else ""
    what = f"no captions: the {files.called} lie in no class folders{none} and have no text files"
    hint = "what is read: class folders (cats/1.jpg), text files (1.txt beside 1.jpg), or a table of names (metadata.csv)"
    return UserError(what, str(files.root), other_command(files.root, files.pictures, how) or hint)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a folder is read.

    Args:
        texts: the pictures that have text files beside them -> those.
        told: text file -> the pictures that its lines begin with, and the captions behind.
        captions: where a picture's captions come from, `texts` or `told`; else they are made from the names of the class folders.
        labels: all classes.
        lists: the official splits, where lists say them.
        first: column -> the first file of it.
    """

    files: Files
    template: str | None
    levels: Levels
    texts: dict[Path, list[Path]]
    told: dict[Path, dict[Path, list[str]]]
    captions: str
    labels: set[str]
    lists: Lists | None
    first: dict[str, Path]

    @property
    def with_text(self) -> bool:
        return bool(self.captions)

    def split(self, path: Path) -> str | None:
        """The official split of a picture."""
        split = self.levels.split(path)
        return self.lists.splits.get(path, split or self.lists.rest) if self.lists else split

    def said_of(self, path: Path) -> dict[Path, list[str]]:
        """Text file -> the captions of a picture in it."""
        if self.captions == "told":
            return {text: named[path] for text, named in self.told.items() if path in named}
        return {text: _lines(self.files.root / text) for text in self.texts.get(path, ())}


def _layout(files: Files, template: str | None) -> Layout:
    readable = [path for path in files.pictures if files.is_read(path)]
    levels = levels_of(readable)
    texts = {path: found for path in readable if (found := files.beside(path))}
    # a picture in no class folder, or in the only one, can have no other caption than a text
    labels = {path: label for path in readable if (label := levels.label(path)) and not levels.is_stray(path)}
    names = set(labels.values())
    classed = len(labels.keys() - texts.keys()) if len(names) > 1 else 0
    captions = "texts" if texts and len(texts) >= classed else ""
    others = {text for found in files.texts.values() for text in found} - {text for found in texts.values() for text in found}
    told = {} if captions else captions_by_id(files.root, readable, others)
    if 2 * len({path for named in told.values() for path in named}) > len(readable):
        captions = "told"
    lists = split_lists(files.root, files.pictures, others)
    first = {files.modality(path).COLUMN: path for path in reversed(readable)}
    return Layout(files, template, levels, texts, told, captions, names, lists, first)


def _note(tree: Layout, table: tuple[list[Part], Reading] | None) -> str:
    """What is read, and how.

    Args:
        table: one that names the pictures, too.
    """
    levels, found = tree.levels, tree.files.pictures
    listed = [path for path in found if not levels.is_stray(path)]
    kinds = tree.files.modalities
    beside = kinds[0].FILES if len(kinds) == 1 else "files"
    where = {"texts": f"{beside} beside text files", "told": f"captions by their names in {_texts(tree)}", "": "class folders"}
    note = f"{len(found):,} {tree.files.called}, {where[tree.captions]}"
    if doubtful := [s for s, name in tree.files.kinds.items() if name != MEDIA[0] and s in MODALITIES[MEDIA[0]].SUFFIXES]:
        note += f" ({' '.join(doubtful)} as {tree.files.kinds[doubtful[0]]}; --as {MEDIA[0]} reads their first frames)"
    if tree.texts and not tree.with_text:
        note += f" (a text file lies beside {len(tree.texts):,} of them only: it is not read)"
    if tree.told and not tree.with_text:
        few = len({path for one in tree.told.values() for path in one})
        note += f" ({_texts(tree)} has captions of {few:,} of them only: not read)"
    if not tree.with_text:
        note += _labels(levels, listed, tree.files.called)
    if tree.files.aside:
        places = ", ".join(sorted({path.parent.as_posix() for path in tree.files.aside})[:NAMED])
        note += f"; left out, in folders that begin with _: {len(tree.files.aside):,} ({places})"
    note += f"; {tree.lists.note}" if tree.lists else ""
    if levels.splits:
        named = (name if name == split else f"{name} ({split})" for name, (split, _) in sorted(levels.splits.items()))
        note += f", official splits {', '.join(named)}"
    if stray := Counter(levels.place(path) for path in found if levels.is_stray(path)):
        places = ", ".join(f"{place} {n:,}" for place, n in stray.most_common(NAMED)) + (" …" if len(stray) > NAMED else "")
        note += f"; {stray.total():,} in none of them, so rejected: {places}"
    loose = 0 if tree.with_text else sum(not levels.label(path) for path in listed)
    note += f"; {loose:,} in no class folder, so rejected" if loose else ""
    if table:
        parts, start = table
        path = parts[0].path if len(parts) == 1 else tree.files.root
        note += f"; {parts[0].path.name} is not read: {command(path, start.image_root)}"
    return note


def _texts(tree: Layout) -> str:
    """The text files that have captions by names."""
    first = min(tree.told, default=Path())
    return first.as_posix() if len(tree.told) == 1 else f"{len(tree.told):,} files such as {first.as_posix()}"


def _labels(levels: Levels, found: list[Path], called: str) -> str:
    """What is said of labels whose folders lie in others: which part is the label, and which labels stand for several folders."""
    if len(labels := {label for path in found if (label := levels.label(path))}) == 1:
        return f", but only one, {labels.pop()!r}: nothing tells these {called} apart"
    places: dict[str, set[str]] = defaultdict(set)
    for path in found:
        if label := levels.label(path):
            places[label].add("/".join(levels.folders(path)))
    deeper = next(((label, place) for label, ways in sorted(places.items()) for place in sorted(ways) if place != label), None)
    shared = {label: sorted(ways) for label, ways in sorted(places.items()) if len(ways) > 1}
    note = f", labelled by the innermost folder ({deeper[1]} is {deeper[0]!r})" if deeper else ""
    if shared:
        shown = "; ".join(f"{label!r}: {', '.join(ways[:NAMED])}" for label, ways in list(shared.items())[:NAMED])
        note += f", {len(shared):,} label{'s stand' if len(shared) > 1 else ' stands'} for several folders ({shown})"
    return note


def _row(tree: Layout, path: Path) -> Row | Reject:
    name, full, levels = path.as_posix(), tree.files.root / path, tree.levels
    if levels.is_stray(path):
        reason = f"in no split: {', '.join(sorted(levels.splits))} are the official ones, and it lies beside them"
        return Reject(name, str(full), reason)
    kind = tree.files.modality(path)
    if not tree.files.is_read(path):
        return Reject(name, str(full), f"{path.suffix} {kind.PLURAL} are not read: convert them to {kind.READ_AS}")
    split, label = tree.split(path), levels.label(path)
    try:
        values = {kind.COLUMN: of_file(name_of(kind), full, tree.files.root / tree.first[kind.COLUMN])}
        if tree.with_text:
            return _with_text(tree, path, values)
    except FileNotFoundError:
        return Reject(name, str(full), "missing file")
    except OSError as e:
        return Reject(name, str(full), f"cannot read the file ({e.strerror})")
    if not label:
        texts = (
            f"most {tree.files.called} have no text file, so none is read" if tree.texts else "there is no text file beside it"
        )
        return Reject(name, str(full), f"no caption: it lies in no class folder, and {texts}")
    caption = (tree.template or kind.TEMPLATE).replace("{label}", label.replace("_", " "))
    return Row(name, values | {"captions": [caption], "label": label}, str(full), split)


def _with_text(tree: Layout, path: Path, values: dict[str, Any]) -> Row | Reject:
    said = tree.said_of(path)
    if not said:
        reason = "no text file of the same name beside it" if tree.captions == "texts" else f"no caption in {_texts(tree)}"
        return Reject(path.as_posix(), str(tree.files.root / path), reason)
    captions = [caption for found in said.values() for caption in found]
    return Row(path.as_posix(), values | {"captions": captions}, str(tree.files.root / next(iter(said))), tree.split(path))


def _lines(path: Path) -> list[str]:
    # what does not decode is kept as surrogates and rejected later as wrong encoding
    lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    return [line for line in lines if line.strip()]
