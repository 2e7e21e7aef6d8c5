"""The samples of a split that have all that a decision is made of, each input encoded once."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mmkit.encode import Pace, chunks, columns_of, encode
from mmkit.errors import UserError
from mmkit.explain.held import Held, hold
from mmkit.explain.support import has_target, roots, writes
from mmkit.losses.classify import labels_of
from mmkit.metrics import heads

if TYPE_CHECKING:
    from torch import Tensor

    from mmkit.data.shards import Dataset
    from mmkit.metrics.evaluation import Request
    from mmkit.model import Model

HELD_BYTES = 1 << 30  # of what the encoders gave


class Samples:
    """The samples of a split that have all inputs of a loss, and where it has a head a target.

    Raises:
        UserError: the dataset lacks a column.

    Attributes:
        names: of the inputs; ids, targets: of the samples, of pairs the label of their row.
        left_out: why -> how many; full: there was no room for more.
    """

    def __init__(self, model: Model, data: Dataset, objective: Any, split: str | None, request: Request) -> None:
        self.model, self.data, self.objective, self.request = model, data, objective, request
        self.roots = roots(model, objective)
        self.names = list(self.roots)
        columns = columns_of(model, data, self.names)
        if lacking := [name for name in self.names if name not in columns]:
            what = f"the dataset has no column for {' and '.join(lacking)}"
            raise UserError(what, data.path, f"it has: {', '.join(data.columns)}")
        self.ids: list[str] = []
        self.targets: list[Any] = []
        self.left_out: Counter[str] = Counter()
        self.full = False
        self._items: dict[str, dict[str, list[Tensor]]] = {n: {r.what: [] for r in of} for n, of in self.roots.items()}
        self._index: dict[str, list[int]] = {name: [] for name in self.names}
        self._read(split, columns)

    def _read(self, split: str | None, columns: dict[str, str]) -> None:
        total, limit = heads.rows_of(self.data, split, self.request.limit), self.request.limit
        pace = Pace(self.request.batch_size, self.request.workers, self.request.progress("encoded"))
        if has_target(self.objective):
            own = columns[self.objective.text] if writes(self.objective) else None
            source = heads.asked(self.model, self.objective, self.data, split, limit, pace, total=total, column=own)
        else:
            source = _pairs(self.model, self.data, columns, split, limit, pace, total)
        held = 0
        for chunk in source:
            kept = [one for one in chunk if self._is_whole(one)]
            held += sum(self._encode(name, [one.inputs[name] for one in kept]) for name in self.names)
            self.ids += [one.id for one in kept]
            self.targets += [one.target for one in kept]
            if held > HELD_BYTES:
                self.full = True
                return

    def _is_whole(self, one: heads.Asked) -> bool:
        lacking = [name for name in self.names if one.inputs.get(name) is None]
        if lacking:
            self.left_out[f"without {' and '.join(lacking)}"] += 1
            return False
        if has_target(self.objective) and not self.objective.is_target(one.target):
            column = self.objective.column
            self.left_out[f"without {column}" if one.target is None else f"whose {column} the model does not know"] += 1
            return False
        return True

    def _encode(self, name: str, values: list[Any]) -> int:
        """What the encoder gives of each different value; returns its bytes."""
        once = {id(value): value for value in values}
        items, begin = self._items[name], len(next(iter(self._items[name].values())))
        found = encode(self.model, name, list(once.values()), list(items), self.request.batch_size)
        for what, tensors in found.items():
            items[what] += tensors
        place = {key: begin + i for i, key in enumerate(once)}
        self._index[name] += [place[id(value)] for value in values]
        return sum(x.nbytes for tensors in found.values() for x in tensors)

    def held(self) -> dict[str, Held]:
        """Each input of the samples. What stands for one that is not there is what a fusion gets of rows that lack it; where
        vectors are compared a blank item, for a vector of zeros is alike to none, and no input would be worth more than another.
        """
        found = {}
        for name in self.names:
            blank = None
            if hasattr(self.objective, "of_pair"):
                given = encode(self.model, name, [self.model.reader(name).blank], list(self._items[name]))
                blank = {what: tensors[0] for what, tensors in given.items()}
            found[name] = hold(self._items[name], self._index[name], blank)
        return found

    def classes(self) -> list[list[str]]:
        """What is true of each sample: classes of the model, the best answers, the labels of a pair's row; of a text or a number
        nothing."""
        if writes(self.objective):
            return [[] for _ in self.targets]
        if not has_target(self.objective):
            return [labels_of(target) for target in self.targets]
        names = self.objective.classes
        if not names:
            return [[] for _ in self.targets]
        truth = self.objective.truth(self.targets)
        best = (truth > 0) & (truth == truth.amax(1, keepdim=True))
        return [[names[c] for c in row.nonzero().flatten().tolist()] for row in best]


def _pairs(
    model: Model, data: Dataset, columns: dict[str, str], split: str | None, limit: int | None, pace: Pace, total: int
) -> Iterator[list[heads.Asked]]:
    """The rows of a split in chunks, each combination of the items of their inputs: an image with each of its captions."""
    label = next(iter(data.columns_of("label")), None)
    wanted = list(dict.fromkeys(["id", *columns.values(), *([label] if label else [])]))
    done = 0
    for rows, found in chunks(model, columns, data.rows(split, wanted, limit), pace):
        items: list[dict[str, list[Any]]] = [{name: [] for name in columns} for _ in rows]
        for name, of in found.items():
            for item in of:
                items[item.row][name].append(item.value)
        yield [
            heads.Asked(row["id"], dict(zip(columns, each, strict=True)), row[label] if label else None)
            for row, has in zip(rows, items, strict=True)
            for each in itertools.product(*[values or [None] for values in has.values()])
        ]
        done += len(rows)
        pace.progress(done, total)
