"""Examples that stand before what is asked of a model: rows of training whose captions or answers are known (few-shot prompting,
Flamingo, arXiv:2204.14198, section 2.5)."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from mmkit.data.loader import prepare
from mmkit.decoding import Example, check_examples, others
from mmkit.encode import cell_items, columns_of
from mmkit.errors import UserError
from mmkit.files import stable_hash

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

SPLIT = "train"


def drawn(
    model: Model, objective: Any, data: Dataset, column: str | None, count: int, seed: int, split: str | None = ""
) -> list[Example]:
    """Rows of train with all that a text is written from and the text: the first by a hash of the seed and their id, the same
    for all that is asked.

    Args:
        column: of captions, or of questions, of which a row shows one that has an answer, with its most frequent.
        split: what is measured; None for all rows, "" for nothing.

    Raises:
        UserError: the model takes no examples, train has too few of them, or is measured itself.
    """
    if not count:
        return []
    check_examples(model, objective)
    if not data.splits.get(SPLIT) or column is None:
        raise UserError(f"no {SPLIT} split of texts to take --shots {count} from", data.path, "--data DATA names another")
    if split in (SPLIT, None):
        raise UserError(f"examples are rows of {SPLIT}, whose answers they would tell", data.path, "--split val, or no --shots")
    names = others(model, objective)
    columns = columns_of(model, data, names)
    order = sorted((stable_hash(f"{seed} {row['id']}"), row["id"]) for row in data.rows(SPLIT, ["id"]))
    found: list[Example] = []
    for lot, id in order:
        if len(found) == count:
            break
        row: Any = data.find(id, list(dict.fromkeys([column, *columns.values()])), SPLIT)
        said = _said(data, column, row[column], random.Random(lot))
        items = {name: cell_items(model, name, row[own])[:1] for name, own in columns.items()}
        if said is None or not all(items.get(name) for name in names):
            continue
        inputs = {n: prepare(model.reader(n), item, n, id, "prepare the dataset again") for n, (item,) in items.items()}
        found.append(Example(inputs, *said))
    if len(found) < count:
        raise UserError(
            f"{SPLIT} has {len(found)} rows to show before a question, not {count}", data.path, f"--shots {len(found)}"
        )
    return found


def _said(data: Dataset, column: str, cell: Any, rng: random.Random) -> tuple[str, str | None] | None:
    """A caption, or an answer and its question; None where there is none."""
    if data.columns[column] != "questions":
        return (rng.choice(cell), None) if cell else None
    asked = [one for one in cell or () if one["answers"]]
    if not asked:
        return None
    one = rng.choice(asked)
    return Counter(one["answers"]).most_common(1)[0][0], one["question"]
