"""What `mmkit attn-viz` looks at: a file or a row of a dataset, and the text or the other input that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.data.shards import open_dataset
from mmkit.embedding import called_as, file_value
from mmkit.encode import cell_items, columns_of
from mmkit.errors import UsageError, UserError
from mmkit.explain.asked import Asked, ask, can_be_looked_at, words_of
from mmkit.model import Model


@dataclass(frozen=True)
class Chosen:
    """What is looked at.

    Args:
        looked: the input; item: as a row holds it; name: what it is called.
        text: that goes with it; other: instead of one, an input and an item of it.
    """

    looked: str
    item: Any
    name: str
    text: str | None = None
    other: tuple[str, Any] | None = None

    def asked(self, model: Model) -> Asked:
        """The question that it puts to a model."""
        other = self.other and (self.other[0], model.reader(self.other[0]).prepare(self.other[1]))
        return ask(model, model.reader(self.looked).prepare(self.item), self.text, self.looked, other)


def of_file(model: Model, path: str, beside: str | None, of: str | None = None) -> Chosen:
    """A file, and a text or a file of another input that it is compared with.

    Args:
        of: the input; by default that whose files are called so, else the first that can be looked at.

    Raises:
        UserError: a file is missing or holds no such item.
        UsageError: the model has no such input.
    """
    names = _inputs(model, of)
    looked = called_as(model, names, path) or names[0]
    item = file_value(model, looked, path)
    if beside is not None:
        other = called_as(model, (name for name in model.embedded if name != looked), beside)
        if other and looked in model.embedded and (Path(beside).is_file() or words_of(model, looked) is None):
            return Chosen(looked, item, path, None, (other, file_value(model, other, beside)))
    return Chosen(looked, item, path, beside)


def of_row(model: Model, path: Path, split: str | None, id: str, text: str | None, of: str | None = None) -> Chosen:
    """A row of a dataset, with its first text unless one is given; where the model compares no texts with what the row has of
    another input.

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
    words = words_of(model, looked)
    text = text if text is not None else next(iter(items.get(words or "", [])), None)
    beside = [name for name in model.embedded if name not in (looked, words) and items.get(name)]
    other = (beside[0], items[beside[0]][0]) if words is None and text is None and beside and looked in model.embedded else None
    return Chosen(looked, items[looked][0], id, text, other)


def _inputs(model: Model, of: str | None) -> list[str]:
    names = can_be_looked_at(model)
    if of is None:
        return names
    if of not in names:
        raise UsageError(f"the model has no input {of!r} to look at", "--of", f"one of: {', '.join(names)}")
    return [of]
