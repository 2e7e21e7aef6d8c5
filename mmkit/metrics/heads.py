"""What the head of a loss says of the rows of a dataset: read, prepared and scored, for the metrics of classifiers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmkit.batch import Want
from mmkit.data.modalities import MODALITIES
from mmkit.embedding import checkpoint_name, data_name, file_item, model_name
from mmkit.encode import Pace, answer, chunks, columns_of, diverged
from mmkit.errors import UserError
from mmkit.given import File, held_by_files, inputs_of

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.metrics.evaluation import Request, Val
    from mmkit.model import Model


class Asked(NamedTuple):
    """One row, or one item of its column of targets: its inputs, prepared, and what is true of it (None: not known)."""

    id: str
    inputs: dict[str, Any]
    target: Any


def find(model: Model, metric: str) -> Any:
    """The first loss of a model that a metric measures, or None."""
    return next((loss for loss in model.loss.values() if metric in loss.measured()), None)


def objective_of(model: Model, metric: str, what: str) -> Any:
    """The first loss of a model that a metric measures.

    Raises:
        UserError: it has none.
    """
    found = find(model, metric)
    if found is None:
        trained = ", ".join(table["kind"] for table in model.config.loss.values())
        raise UserError(f"the model was not trained {what}", model.name, f"its losses: {trained}")
    return found


def writes(objective: Any) -> bool:
    """A loss of language, whose model writes answers instead of choosing among classes."""
    return hasattr(objective, "prompt_ids")


def read_by(model: Model, objective: Any) -> list[str]:
    """The inputs that the head of a loss reads, through a fusion or alone."""
    return list(dict.fromkeys(root.part for want in objective.wants() for root in model.roots(want)))


def given_to(model: Model, objective: Any) -> list[str]:
    """Those that a sample has: a text that is written is no input."""
    return [name for name in read_by(model, objective) if not writes(objective) or name != objective.text]


def of_files(model: Model, objective: Any, files: Sequence[File]) -> dict[str, Any]:
    """The inputs of one sample that files hold, of those that the head reads; see `mmkit.given.inputs_of`.

    Raises:
        UserError: a file is missing or holds no such item, or is of no input that the head reads.
    """
    names = read_by(model, objective)
    if not held_by_files(model, names):
        hint = "its rows are in a dataset that holds them: mmkit eval vqa --data DATA, and mmkit prep regions adds a picture's"
        made = any(hasattr(MODALITIES[str(model.inputs[name].modality)], "MADE_BY") for name in names)
        raise UserError(f"the model reads no file, but {' and '.join(names)}", model.name, hint if made else "")
    return {name: file_item(model, name, file.path) for name, file in inputs_of(model, names, files).items()}


def lacking(model: Model, objective: Any, inputs: Collection[str], what: str) -> str:
    """What is to be said of a sample that has not all inputs that the head reads; nothing where it has.

    Args:
        inputs: that it has; what: the model says of it, with its verb: `the classes are those`.
    """
    names = given_to(model, objective)
    missing = [name for name in names if name not in inputs]
    there = [name for name in names if name in inputs]
    return f"{what} for the {' and '.join(there)} alone; the model reads {' and '.join(missing)}, too" if missing else ""


def asked(
    model: Model,
    objective: Any,
    data: Dataset,
    split: str | None,
    limit: int | None,
    pace: Pace,
    features: Mapping[str, Any] | None = None,
    total: int = 0,
    names: Sequence[str] | None = None,
    column: str | None = None,
) -> Iterator[list[Asked]]:
    """The rows of a split, in chunks; where a row has a list of targets, such as those of its questions, each of these.

    Of any other input a row shows its first item. A row without any of the inputs is left out.

    Args:
        features: input -> what its still encoder gives of these rows; it is not read then.
        total: rows in all, for the progress.
        names: the inputs, where they are not all that the head reads; none of them: every row is one.
        column: of the targets, where it is not the loss's own.

    Raises:
        UserError: the data has not the column of targets, or none of the inputs.
    """
    names, features = list(read_by(model, objective) if names is None else names), dict(features or {})
    column = column or objective.column
    if column not in data.columns:
        raise UserError(f"the dataset has no column {column!r}", data.path, f"its columns: {', '.join(data.columns)}")
    columns = columns_of(model, data, names)
    if names and not columns:
        raise UserError(f"the dataset has no {' and no '.join(names)} column", data.path, f"it has: {', '.join(data.columns)}")
    each = next((name for name, own in columns.items() if own == column), None)
    read = {name: own for name, own in columns.items() if name not in features}
    wanted = list(dict.fromkeys(["id", column, *read.values()]))
    done = 0
    for rows, found in chunks(model, read, data.rows(split, wanted, limit), pace):
        by_row: list[dict[str, list[Any]]] = [{} for _ in rows]
        for name, items in found.items():
            for item in items:
                by_row[item.row].setdefault(name, []).append(item.value)
        for i, row in enumerate(by_row):
            for name, held in features.items():
                if name in columns:
                    row[name] = held.row(done + i)
        cells = [row[column] for row in rows]
        samples = zip(rows, by_row, cells, strict=True)
        kept = [one for one in samples if one[1] or not names]
        listed = objective.listed and data.columns[column] == "questions"
        yield [one for row, items, cell in kept for one in _of_row(row["id"], items, cell, listed, each)]
        done += len(rows)
        pace.progress(done, total)


def _of_row(id: str, items: dict[str, list[Any]], cell: Any, listed: bool, each: str | None) -> Iterator[Asked]:
    first = {name: values[0] for name, values in items.items() if values}
    if each is None:
        # the input whose items these targets are of may have been left out of the model
        for target in cell or () if listed else [cell]:
            yield Asked(id, first, target)
        return
    for value, target in zip(items.get(each, ()), cell or (), strict=True):
        yield Asked(id, first | {each: value}, target)


def of_split(
    model: Model, objective: Any, data: Dataset, split: str | None, request: Request, title: str, known: Callable[[Asked], bool]
) -> tuple[list[Asked], np.ndarray]:
    """The samples of a split whose target is known, without what was prepared of their inputs, and the probabilities (n, C), or
    of a loss that predicts numbers these, (n, 1)."""
    total = rows_of(data, split, request.limit)
    pace = Pace(request.batch_size, request.workers, request.progress(title))
    samples: list[Asked] = []
    found = [np.empty((0, objective.width), np.float32)]
    for chunk in asked(model, objective, data, split, request.limit, pace, total=total):
        kept = [one for one in chunk if known(one)]
        found.append(scored(model, objective, [one.inputs for one in kept], request.batch_size)[1])
        samples += [one._replace(inputs=dict.fromkeys(one.inputs)) for one in kept]
    return samples, np.concatenate(found)


def of_val(
    objective: Any, model: Model, val: Val, known: Callable[[Asked], bool]
) -> tuple[list[Asked], Callable[[Model], np.ndarray]]:
    """The samples of val whose target is known, prepared once, and a function of the model to the probabilities (n, C), which
    raises FloatingPointError where they are not finite."""
    total = rows_of(val.data, val.split, val.limit)
    chunks = asked(model, objective, val.data, val.split, val.limit, val.pace, val.features, total)
    samples = [one for chunk in chunks for one in chunk if known(one)]

    def probabilities(model: Model) -> np.ndarray:
        try:
            return scored(model, model.loss[objective.name], [one.inputs for one in samples], 256, val.features)[1]
        except UserError as e:
            raise FloatingPointError(e.what) from e

    return samples, probabilities


def scored(
    model: Model,
    objective: Any,
    inputs: Sequence[dict[str, Any]],
    batch_size: int = 64,
    features: Mapping[str, Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The logits and probabilities of each class for some samples, by their prepared inputs: (n, C) float32 each.

    Raises:
        UserError: they are not finite.
    """
    if not inputs:
        return (np.empty((0, objective.width), np.float32),) * 2
    logits = answer(model, read_by(model, objective), inputs, Want(objective.name, "logits"), batch_size, features)
    found = objective.probabilities(logits).numpy()
    if not np.isfinite(found).all():
        raise diverged(model, "a probability is not finite")
    return logits.numpy(), found


def scope(model: Model, data: Dataset, request: Request, metric: str) -> tuple[str | None, dict[str, Any], str]:
    """The split that was asked for, the part of a record that says what was measured, and the stem of its files."""
    from mmkit.data.shards import default_split

    split = data.split_name(request.split) if request.split else default_split(data)
    stem = f"{data_name(data)}-{split or 'all'}" + (f"-first{request.limit}" if request.limit else "")
    # a checkpoint on the way must not replace what the whole run reached
    stem += f"-{checkpoint}" if (checkpoint := checkpoint_name(model)) else ""
    return (
        split,
        {
            "dataset": data_name(data),
            "model": model_name(model),
            "pretrained": "",
            "language": data.manifest.get("language", "en"),
            "split": split or "all",
            "cost": {"parameters": model.parameter_count},
            "model_hash": model.hash,
            "data_hash": data.hash,
        },
        f"{stem}-{metric}",
    )


def asked_of(model: Model, objective: Any) -> dict[str, str]:
    """What a record says of how a checkpoint that writes by itself was asked; {} of any other model."""
    protocol: Any = getattr(model, "protocol", None)
    found: dict[str, str] = protocol(objective.metric) if protocol is not None else {}
    return found


def question_of(model: Model, objective: Any) -> str:
    """The input that the question of a loss of answers is.

    Raises:
        UserError: it reads no words.
    """
    words = [name for name in read_by(model, objective) if model.config.is_language(name)]
    if not words:
        raise UserError("the model answers without reading the question", model.name)
    return next((name for name in words if model.inputs[name].column == objective.column), words[0])


def counted(model: Model, objective: Any, samples: Sequence[Asked]) -> dict[str, int]:
    """How many samples have each input."""
    return {name: sum(name in sample.inputs for sample in samples) for name in given_to(model, objective)}


def rows_of(data: Dataset, split: str | None, limit: int | None) -> int:
    total = sum(count for name, count in data.splits.items() if split in (None, name))
    return min(total, limit or total)
