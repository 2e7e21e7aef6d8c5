"""Files that are shown to a model: which of its inputs each is of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mmkit.data.modalities import MODALITIES
from mmkit.embedding import called_as, file_item, suffixes
from mmkit.errors import UserError

if TYPE_CHECKING:
    from mmkit.model import Model


class File(NamedTuple):
    """A file, and what it is said to be: the name, column or modality of an input, or nothing."""

    path: str
    word: str = ""


def input_called(model: Model, word: str, names: Iterable[str] | None = None) -> str | None:
    """The input that a user means, of some or of those of the shared space: by its name, else the first of that modality or that
    is read from that column."""
    among = model.embedded if names is None else names
    facts = {name: (model.inputs[name].modality, model.inputs[name].column) for name in among}
    return word if word in facts else next((name for name, known in facts.items() if word in known), None)


def held_by_files(model: Model, names: Iterable[str]) -> list[str]:
    """Those of some inputs of which files hold an item each."""
    return [name for name in names if suffixes(model, name)]


def inputs_of(model: Model, names: Iterable[str], files: Sequence[File]) -> dict[str, File]:
    """input -> the file that is of it, in the order of the files: those first that are said to be of one, then each as it is
    called; what is called like none, as a picture may be, is of the first that is left.

    Raises:
        UserError: no input is left for a file, or none is of files, or the model has not the one that is named.
    """
    held = held_by_files(model, names)
    if not held:
        raise UserError("the model reads no file", model.name, f"it reads: {', '.join(names)}")
    found: dict[File, str] = {}
    for file in sorted(files, key=lambda file: not file.word):
        left = [name for name in held if name not in found.values()]
        named = input_called(model, file.word, held) if file.word else None
        if file.word and named is None and file.word not in MODALITIES:
            raise UserError(f"the model has no input {file.word!r} of files", model.name, f"it reads: {', '.join(held)}")
        # two sounds are of the same input, whatever else is left
        likely = called_as(model, left, file.path) or (None if called_as(model, held, file.path) else next(iter(left), None))
        name = named or likely
        if name is None or name not in left:
            other = next((one.path for one, its in found.items() if its == (name or its)), "")
            hint = f"of: {', '.join(held)}; INPUT=FILE says which a file is" if len(held) > 1 else f"one {held[0]} at a time"
            raise UserError(f"no input is left for this file beside {other}", file.path, hint)
        found[file] = name
    return {found[file]: file for file in files}


def said_of(model: Model, names: Iterable[str], files: Sequence[File]) -> dict[str, str]:
    """What a record says of files: each under the word that it is said to be, else under its modality; of a further input of that
    under the input's name."""
    of = inputs_of(model, names, files)
    record: dict[str, str] = {}
    for name, file in of.items():
        own = str(model.inputs[name].modality)
        meant = bool(file.word) and input_called(model, file.word, model.inputs) == name
        record[file.word if meant else name if own in record else own] = file.path
    return record


def readable_as(model: Model, names: Iterable[str], path: str) -> list[str]:
    """Those of some inputs that a file can be read as, whatever it is called."""
    found = []
    for name in held_by_files(model, names):
        try:
            file_item(model, name, path)
        except UserError:
            continue
        found.append(name)
    return found
