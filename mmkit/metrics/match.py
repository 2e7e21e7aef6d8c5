"""How well a model tells pairs that belong together from others: accuracy and AUROC over the pairs of a split, and as many made
of its items."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from mmkit.encode import Pace
from mmkit.errors import UserError
from mmkit.files import stable_hash
from mmkit.metrics import fused, heads, intervals, scores
from mmkit.metrics.evaluation import Request, Result, Val
from mmkit.talk import Measured

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

METRIC, SELECT = "match", "match_accuracy"
NAMES = {"acc1": SELECT, "auroc": "match_auroc"}
TRIES = 32  # draws of another item, before all of them are looked through


class Pairs(NamedTuple):
    """Pairs of items (n, 2), whether each belongs together (n,), and the row that each is made for (n,)."""

    items: np.ndarray
    true: np.ndarray
    rows: np.ndarray


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Match every item of the first input with the items of its row, and with as many of other rows.

    Raises:
        UserError: the model was not trained to match, or the split has no two rows that differ.
    """
    objective = heads.objective_of(model, METRIC, fused.TRAINED)
    split, record, stem = heads.scope(model, data, request, METRIC)
    kept = {name: fused.keeper(model, objective, name) for name in objective.pair}
    pace = Pace(request.batch_size, request.workers, request.progress("encoded"))
    found = fused.split_of(
        model,
        objective,
        data,
        split,
        request.limit,
        pace,
        total=heads.rows_of(data, split, request.limit),
        keep=lambda name, items: fused.keep(model, name, items, kept[name], request.batch_size),
    )
    order = _order(model, objective)
    pairs = made(found, order, f"{data.path} {split or 'all'}")
    columns = [order.index(name) for name in objective.pair]
    logits = fused.logits_of(model, objective, kept, pairs.items[:, columns], request.batch_size, request.progress("matched"))
    probabilities = objective.probabilities(torch.from_numpy(logits)).numpy()
    target = pairs.true.astype(int)
    metrics = _metrics(probabilities, target)
    ids = [found.ids[row] for row in pairs.rows]
    record |= {
        "task": "matching",
        "n": {name: len(items.rows) for name, items in found.items.items()},
        "metrics": metrics,
        "chance": dict.fromkeys(metrics, 0.5),
        "counts": {"pairs": int(pairs.true.sum()), "others": int((~pairs.true).sum())},
    }
    if request.intervals:
        named = {name: metrics[own] for name, own in NAMES.items()}
        drawn = intervals.of_classes(named, probabilities, target, ids)
        record["interval"] = {NAMES[name]: each for name, each in drawn.items()}
    rows = {
        "id": ids,
        **_shown(found, order, pairs),
        "target": [objective.classes[c] for c in target],
        "predicted": [objective.classes[c] for c in probabilities.argmax(1)],
        "probability": probabilities[:, 1].tolist(),
        SELECT: probabilities.argmax(1) == target,
    }
    return [Result(record, rows, "rows", stem)]


def _order(model: Model, objective: Any) -> list[str]:
    """The inputs of a head, that of words last: a picture is shown with words of its own and of others."""
    return sorted(objective.pair, key=model.config.is_language)


def made(found: fused.Split, names: Sequence[str], where: str) -> Pairs:
    """The pairs of a split: those of each row, and for each of them one of its first item with an item of another row.

    Two items belong together, too, where equal ones do in some row. Which other item is taken is drawn by the row's id alone
    from all of the split.

    Raises:
        UserError: no row has both inputs, or everything belongs together.
    """
    first, second = (found.items[name] for name in names)
    of_row: dict[int, list[int]] = {}
    for j, row in enumerate(second.rows):
        of_row.setdefault(row, []).append(j)
    own = [(i, j) for i, row in enumerate(first.rows) for j in of_row.get(row, ())]
    if not own:
        raise UserError(f"no row has {' and '.join(names)}", where)
    together = {(first.keys[i], second.keys[j]) for i, j in own}
    numbers: Counter[int] = Counter()
    other: list[tuple[int, int]] = []
    for i, _ in own:
        rng = random.Random(stable_hash(f"{METRIC} {found.ids[first.rows[i]]} {numbers[i]}"))
        numbers[i] += 1
        tried = (rng.randrange(len(second.keys)) for _ in range(TRIES))
        found_one = [j for j in tried if (first.keys[i], second.keys[j]) not in together][:1]
        left = found_one or [j for j, key in enumerate(second.keys) if (first.keys[i], key) not in together]
        if left:
            other.append((i, rng.choice(left)))
    if not other:
        raise UserError("everything belongs together: there is nothing to tell apart", where)
    items = np.array(own + other)
    return Pairs(items, np.arange(len(items)) < len(own), np.array(first.rows)[items[:, 0]])


def _metrics(probabilities: np.ndarray, target: np.ndarray) -> dict[str, float]:
    found = scores.single_label(probabilities, target)
    return {name: found[own] for own, name in NAMES.items()}


def _shown(found: fused.Split, names: Sequence[str], pairs: Pairs) -> dict[str, list[Any]]:
    """What an item of words says, as `caption`, and the row whose item stands beside the first."""
    second = found.items[names[1]]
    said = {"caption": [second.said[j] for j in pairs.items[:, 1]]} if second.said and second.said[0] is not None else {}
    return said | {"other": [found.ids[second.rows[j]] for j in pairs.items[:, 1]]}


def names(model: Model) -> list[str]:
    """What is measured on val, that which weights are chosen by first."""
    return list(NAMES.values())


def during(model: Model, val: Val) -> Callable[[Model], Measured]:
    """Prepare the items of val once; the function encodes each of them once and matches them."""
    objective = heads.objective_of(model, METRIC, fused.TRAINED)
    total = heads.rows_of(val.data, val.split, val.limit)
    found = fused.split_of(model, objective, val.data, val.split, val.limit, val.pace, val.features, total)
    order = _order(model, objective)
    pairs = made(found, order, f"{val.data.path} {val.split}")
    columns = [order.index(name) for name in objective.pair]

    def measure(model: Model) -> Measured:
        kept = {name: fused.keeper(model, objective, name) for name in objective.pair}
        for name, own in kept.items():
            fused.keep(model, name, found.items[name].values, own, 256, val.features.get(name))
        try:
            logits = fused.logits_of(model, model.loss[objective.name], kept, pairs.items[:, columns], 256)
        except UserError as e:
            raise FloatingPointError(e.what) from e
        values = _metrics(objective.probabilities(torch.from_numpy(logits)).numpy(), pairs.true.astype(int))
        return Measured(SELECT, values[SELECT], values)

    return measure
