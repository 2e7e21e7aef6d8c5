"""What `mmkit attn-viz` looks at: files or a row of a dataset, one input of it, and a text and the other inputs beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit.data.shards import open_dataset
from mmkit.embedding import called_as, file_value, require_file
from mmkit.encode import cell_items, columns_of
from mmkit.errors import UsageError, UserError
from mmkit.explain.asked import Asked, ask, can_be_looked_at, partner_of, words_of
from mmkit.given import File, held_by_files, input_called, inputs_of
from mmkit.model import Model


@dataclass(frozen=True)
class Chosen:
    """What is looked at.

    Args:
        looked: the input; item: as a row holds it; name: what it is called.
        text: that goes with it.
        beside: the other inputs, and an item of each.
    """

    looked: str
    item: Any
    name: str
    text: str | None = None
    beside: dict[str, Any] = field(default_factory=dict)

    def asked(self, model: Model) -> Asked:
        """The question that it puts to a model."""
        beside = {name: model.reader(name).prepare(item) for name, item in self.beside.items()}
        return ask(model, model.reader(self.looked).prepare(self.item), self.text, self.looked, beside)


def of_files(model: Model, files: Sequence[File], text: str | None, of: str | None = None) -> Chosen:
    """Files of as many inputs, and a text that goes with them.

    Args:
        of: the input that is looked at, and that the first file is of unless that is said or it is rather of another; by default
            the first that can be looked at.

    Raises:
        UserError: a file is missing or holds no such item.
        UsageError: the model has no such input, or no file is of it, or it compares two things and there are more.
    """
    names = _inputs(model, of)
    every = [*names, *(name for name in held_by_files(model, model.inputs) if name not in names)]
    input_of = inputs_of(model, every, _with_word(model, files, of))
    looked = of or next((name for name in input_of if name in names), names[0])
    if looked not in input_of:
        raise UsageError(f"no file is of the {looked}", ", ".join(file.path for file in files), f"{looked}=FILE")
    if text is not None and words_of(model, looked) is None and called_as(model, every, text):
        require_file(text, "file")  # one that is not there, as a file of an input would not be a text
    items = {name: file_value(model, name, file.path) for name, file in input_of.items()}
    beside = {name: item for name, item in items.items() if name != looked}
    two = partner_of(model, looked, beside) is not None
    if two and len(beside) + (text is not None) > 1:
        raise UsageError(f"the model compares the {looked} with one thing", model.name, f"a text, or {' or '.join(beside)}")
    return Chosen(looked, items[looked], input_of[looked].path, text, beside)


def _with_word(model: Model, files: Sequence[File], of: str | None) -> list[File]:
    """The files, of which the first is said to be what is looked at where it may be."""
    first, *rest = files
    if of is None or first.word or any(file.word and input_called(model, file.word, model.inputs) == of for file in rest):
        return list(files)
    others = [name for name in model.inputs if name != of]
    rather = rest and called_as(model, others, first.path) and not called_as(model, [of], first.path)
    return list(files) if rather else [File(first.path, of), *rest]


def of_row(model: Model, path: Path, split: str | None, id: str, text: str | None, of: str | None = None) -> Chosen:
    """A row of a dataset, with its first text unless one is given, and with all else that it has.

    Raises:
        UserError: there is no such row, or nothing in it can be looked at.
        UsageError: the model has no such input.
    """
    data = open_dataset(path)
    names = _inputs(model, of)
    columns = columns_of(model, data, model.inputs)
    there = [name for name in names if name in columns]
    if not there:
        raise UserError(f"the dataset has no {names[0]} column", str(path), f"it has: {', '.join(data.columns)}")
    row = data.find(id, list(dict.fromkeys(["id", *columns.values()])), split)
    if row is None:
        raise UserError(f"no row {id!r}", str(path), f"its ids are such as {next(data.rows(split, ['id'], 1))['id']}")
    items = {name: cell_items(model, name, row[column]) for name, column in columns.items()}
    looked = next((name for name in there if items[name]), None)
    if looked is None:
        raise UserError(f"the row has no {there[0]}", f"{path} row {id}")
    return of_items(model, items, looked, id, text)


def of_items(model: Model, items: Mapping[str, Sequence[Any]], looked: str, name: str, text: str | None = None) -> Chosen:
    """What the cells of a row hold, with its first text unless one is given."""
    words = words_of(model, looked)
    text = text if text is not None else next(iter(items.get(words or "", [])), None)
    beside = {other: held[0] for other, held in items.items() if other not in (looked, words) and held}
    return Chosen(looked, items[looked][0], name, text, beside)


def _inputs(model: Model, of: str | None) -> list[str]:
    names = can_be_looked_at(model)
    if of is None:
        return names
    if of not in names:
        raise UsageError(f"the model has no input {of!r} to look at", "--of", f"one of: {', '.join(names)}")
    return [of]
