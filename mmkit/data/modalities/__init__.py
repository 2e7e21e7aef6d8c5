"""THE table of modalities: a new one is a file here and a row below, and prep, the loader and the audit know it.

Each row holds all that is particular to it. For prep:
    COLUMN    the column of a dataset that holds it, unless dataset.json says otherwise
    FEATURE   the Hugging Face feature of that column
    SUFFIXES  of a file that holds one value; where two modalities have one of them, the first unless it is said
    ROLE      what it is called in `--column ROLE=NAME`
    NAMES     what its columns are usually called in strangers' tables, the most telling first
    holds(value) -> bool  by its type alone, a cell of a stranger's table is one
    store(raw) -> value   as the column keeps it; stored again it is the same. Raises `Blank` where there is nothing in it,
                          ValueError with the reason where it cannot be used. Of a file, raw is its bytes
And if it can be so:
    cells(values) -> raw  several columns of a table are one value
    ready()               raises UserError where a library that reads it is not installed
    is_shown_by(path)     a file of a suffix that another modality has, too, is rather of this one
    missing(raw) -> list  parts of a value that are left out
    merge(one, other)     the values of two rows that are one sample; without it, they must be equal
    is_one(value) -> bool  a value of the column is one; dataset.json calls a column where none is ELSE
    picture(value) -> a PIL image, which stands for it on sheets; listen(value): the bytes of a file that browsers play, its type
    ending(bytes) -> the suffix of a file of them: its values are files, {bytes, path} in the column; store(raw, resize) then
                          takes what `--resize` says, and shown(value) is what is said of one in words
    may_hold(value)       it may be one, or one of another modality: the name of its column, or what else is in it, decides
    TREATMENT what dataset.json says that prep does to such files
    MADE_BY               the command that makes what a dataset lacks

Of what files hold one value each (`of_file`), for `prep folder`:
    TEMPLATE  of the caption that a class folder or a label gives it
    PLURAL    what they are called; FILES: and their files
    UNREAD    suffixes of files that cannot be read; READ_AS: a form that can

For models:
KINDS: the kinds of dataset columns that its encoders read. ENCODER: the kind that encodes it unless another is named.
LANGUAGE: it is words, so that a text made from a label would give the label away.
Spec: the keys of its `[data.NAME]` table.
of_file(path): the item that a file with one of SUFFIXES holds; where that is no file, (path, like): like another file.
items(value): what one cell holds of it, in a list: a picture, several captions, nothing.
of_checkpoint(spec, checkpoint): fill the spec as a foreign checkpoint says; returns key -> reason.
fill(spec, data, size, table): fill what data and `--size` decide; returns key -> reason.
settle(spec, data, still): fill what hangs on whether its encoder learns; returns key -> reason.
learn(spec, data, columns, limit): the Reader, fitted to the training rows where it has to be, and key -> reason.
foreign(spec, checkpoint): the Reader of a checkpoint's encoder.
load(spec, folder, name): the Reader of the encoder `name` of a run. All read as a trained model does: nothing is drawn.
TRAINING: the keys of Spec that say nothing of a trained model.

And a Reader turns one item into what an encoder takes, in these steps:
prepare(item), without chance; draw(prepared, rng, mates), with it (`mates`: the texts of the row); collate(drawn) -> tensors;
`blank` is a prepared item for rows without one; key(item) marks equal items; `still`: nothing is drawn;
given(): the facts that encoders take; made_of(): JSON of what the tensors depend on; over(spec): the same, another spec;
weight(prepared): bytes worth keeping in memory, 0 where preparing again is cheap; length(prepared): to batch like with like;
log(tensors, said): what to write of a batch to metrics.jsonl; save(folder, name).

Where parts of an item can be hidden, to be told from the others (losses of kind mlm, mim, mmm …), a Reader has also:
units(tensors, n) -> bool (B, n), which of the units of each row may be hidden: no padding, no special tokens. A unit is a token
of the encoder; where `grid` is true they are its patches row by row, n of them, which the encoder decides; else n is None.
hide(tensors, hidden, rngs) -> tensors, the same with the units hidden (B, n) replaced, by what each row's rng draws;
`masked`: the share of the units that is usually hidden. With a `grid` also patches(tensors, n, side) -> (B, n, 3, side, side), in
0..1: the patches themselves, for codes to be made of.

Where it can be drawn what a model looks at in an item (`mmkit attn-viz`), a row has also LAID, a key of
`mmkit.explain.laid.LAID`: how the tokens of its encoder lie in it; and its Reader
canvas(item) -> `mmkit.data.canvas.Canvas`, the item as people see it; without(prepared, gone): a prepared item with the usual
where a map (bool) says so; over time also effect(tensors, slopes) -> (rows, steps), what each cell adds to a score.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmkit.data.modalities import audio, image, regions, series, text, video

MODALITIES: dict[str, Any] = {
    "image": image,
    "text": text,
    "audio": audio,
    "series": series,
    "regions": regions,
    "video": video,
}


def of_files() -> list[Any]:
    """The modalities whose values are files."""
    return [module for module in MODALITIES.values() if hasattr(module, "ending")]


@functools.cache
def file_suffixes() -> frozenset[str]:
    """The suffixes of all of their files."""
    return frozenset().union(*(module.SUFFIXES for module in of_files()))


def of_path(path: str | Path, names: Iterable[str] = MODALITIES) -> str | None:
    """The first of some modalities that a file is of by its suffix; of one that several have, the first that the file shows: a
    GIF that moves is a video, a still one a picture. None where no suffix is that of the file."""
    held = [name for name in dict.fromkeys(names) if names_file(MODALITIES[name], str(path))]
    if len(held) > 1:
        judges = {name: MODALITIES[name].is_shown_by for name in held if hasattr(MODALITIES[name], "is_shown_by")}
        shown = {name: judge(Path(path)) for name, judge in judges.items()}
        held.sort(key=lambda name: {True: 0, None: 1, False: 2}[shown.get(name)])
    return next(iter(held), None)


def name_of(modality: Any) -> str:
    """What a modality is called in the table."""
    return next(name for name, module in MODALITIES.items() if module is modality)


def plural(name: str) -> str:
    """What several items of an input are called.

    >>> plural("audio"), plural("series"), plural("text")
    ('sounds', 'series', 'texts')
    """
    return getattr(MODALITIES.get(name), "PLURAL", f"{name.removesuffix('s')}s")


def names_file(modality: Any, value: Any) -> bool:
    """A cell of a table is the name of a file that holds one value."""
    named = isinstance(value, str) and Path(value.strip()).suffix.lower() in modality.SUFFIXES
    return named and hasattr(modality, "of_file")
