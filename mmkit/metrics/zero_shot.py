"""Zero-shot classification: of which class an item is, by the sentence that it is nearest to (CLIP, arXiv:2103.00020, 3.1).

Shapes: N rows, C classes, T templates, d width of the shared space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.encode import Pace, Vectors, cell_items, columns_of, diverged, vectors
from mmkit.errors import UserError
from mmkit.losses.classify import labels_of
from mmkit.metrics import heads, intervals, scores
from mmkit.metrics.evaluation import Request, Result
from mmkit.metrics.prompts import CAPTIONS_READ, Classes, Templates, classes_of, few, fitting, templates_of
from mmkit.metrics.ranking import Chance, Scores
from mmkit.ragged import Ragged, unit

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model
    from mmkit.vectors import Embeddings

METRIC = "zero-shot"
FIGURE = "confusion"
PROMPTS = 1024  # encoded between two reports
STRIP = 1024  # rows scored at once

Key = tuple[str, str]  # split and id: an id is that of one row only within its split


@dataclass(frozen=True)
class _Task:
    """What is the same for every input: the classes as words and vectors, and the labels of each row."""

    classes: Classes
    prompts: Vectors
    labels: dict[Key, list[str]]


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Tell the classes of the rows of a split that have a label, one result for each input that is no words.

    The embeddings of the split are reused, as `recall@k` does. A row shows its first item; one with several labels is right
    where the nearest class is any of them; a label that is no class counts as wrong.

    Raises:
        UserError: the model compares nothing with words, no row has a label, or none of the labels is among the classes.
    """
    from mmkit.embedding import data_name, embed_dataset, language_of
    from mmkit.vectors import read_embeddings

    language, inputs = language_of(model), _inputs(model, data)
    called = (data_name(data), data.name)
    labels = _labels(data)
    classes = classes_of(request.classes, called, {label for own in labels.values() for label in own}, data.column("label"))
    if request.templates:
        templates = templates_of(request.templates, called)
    else:
        templates = fitting(_captions(model, data, language), own=model.folder is not None)
    split, record, stem = heads.scope(model, data, request, METRIC)
    stems = {name: stem if len(inputs) == 1 else f"{stem.removesuffix(METRIC)}{name}-{METRIC}" for name in inputs}
    pace = Pace(request.batch_size, request.workers, request.progress("embedded"))
    found = read_embeddings(embed_dataset(model, data, split, limit=request.limit, pace=pace))
    meta = found.meta or {}
    record |= {key: meta.get(key) for key in ("resolution", "precision")} | {"cost": record["cost"] | meta.get("cost", {})}
    record["prompt"] = {"from": templates.source, "templates": [*templates.sentences], "classes": [*classes.names]}
    record["prompt"]["classes_from"] = classes.source
    task = _Task(classes, _prompts(model, language, classes, templates, request), labels)
    return [_result(model, found, name, task, record, stems[name], request) for name in inputs]


def _inputs(model: Model, data: Dataset) -> list[str]:
    """The inputs of the shared space that are no words and that the dataset has."""
    names = [name for name in model.embedded if not model.config.is_language(name)]
    if not names:
        raise UserError("the model compares words alone: there is nothing to classify", model.name)
    there = [*columns_of(model, data, names)]
    if not there:
        has = ", ".join(sorted(set(data.columns.values())))
        raise UserError(f"the dataset has no {' and no '.join(names)} column", data.path, f"it has: {has}")
    return there


def _labels(data: Dataset) -> dict[Key, list[str]]:
    """The labels of the rows that have one, of every split: a class may have no row in the one that is measured."""
    column = data.column("label")
    rows = (((row["split"], row["id"]), labels_of(row[column])) for row in data.rows(None, ["id", column]))
    return {key: [str(label) for label in found] for key, found in rows if found}


def _captions(model: Model, data: Dataset, language: str) -> Iterator[tuple[str, str]]:
    """(label, caption) of the first rows that have one label: those that a run was trained on, where there are some."""
    column = columns_of(model, data, [language]).get(language)
    if column is None:
        return
    label, split = data.column("label"), "train" if data.splits.get("train") else None
    for row in data.rows(split, ["id", label, column], CAPTIONS_READ):
        if len(own := labels_of(row[label])) == 1:
            yield from ((str(own[0]), str(caption)) for caption in cell_items(model, language, row[column]))


def _prompts(model: Model, language: str, classes: Classes, templates: Templates, request: Request) -> Vectors:
    """The vectors of the classes: (C, d), each the normalised mean of its sentences' unit vectors, which is CLIP's ensemble; of
    a model that compares token by token those of all C x T sentences, class by class."""
    T, total = len(templates.sentences), len(classes.names) * len(templates.sentences)
    reader, report = model.reader(language), request.progress("prompts")
    parts: list[np.ndarray] = []
    step = max(1, PROMPTS // T)
    read: dict[tuple[tuple[int, ...], ...], str] = {}
    for start in range(0, len(classes.names), step):
        some = classes.names[start : start + step]
        texts = [text for name in some for text in templates.fill(name)]
        if hasattr(reader, "tokenizer"):
            _tell_apart(reader.tokenizer, some, texts, read, model)
        found = vectors(model, language, [reader.prepare(text) for text in texts], request.batch_size)
        if isinstance(found, Ragged):
            parts += [found[i] for i in range(len(found))]
        else:
            parts.append(unit(unit(found).reshape(-1, T, found.shape[1]).mean(1)))
        report(min(total, (start + step) * T), total)
    return Ragged.of(parts, model.dim) if model.tokenwise else np.concatenate(parts)


def _tell_apart(
    tokenizer: Any, names: Sequence[str], texts: list[str], read: dict[tuple[tuple[int, ...], ...], str], model: Model
) -> None:
    """Make sure that no two classes are the same to the model, as where the end of a prompt is cut off.

    Args:
        texts: the sentences of each name, T of each; read: what was read of the names before, which grows by these.

    Raises:
        UserError: two are.
    """
    ids = [tuple(each) for each in tokenizer.encode(texts)]
    T = len(texts) // len(names)
    for i, name in enumerate(names):
        other = read.setdefault(tuple(ids[i * T : (i + 1) * T]), name)
        if other != name:
            what = f"the model reads the classes {other!r} and {name!r} alike: {tokenizer.context} tokens of {texts[i * T]!r}"
            raise UserError(what, model.name, "shorter --templates, or train with --set data.text.context=32")


def _result(
    model: Model, found: Embeddings, name: str, task: _Task, record: dict[str, Any], stem: str, request: Request
) -> Result:
    """Of one input: the classes of its labelled rows."""
    shown = _first_items(found, name)
    labels = [task.labels.get((found.split[row], found.ids[row])) for row in shown]
    rows, said = shown[[own is not None for own in labels]], [own for own in labels if own is not None]
    among = _numbered(said, task.classes, f"{record['dataset']} {record['split']}")
    C = len(task.classes.names)
    cosine = score(found.take(rows), task.prompts, C)
    target, predicted = nearest(cosine, among), cosine.argmax(1)
    right = scores.each(cosine, target)
    record = record | {
        "task": "zeroshot_classification",
        "n": {name: len(rows)},
        "metrics": metrics(right, target),
        "chance": chance(among, C),
        "majority": {"acc1": float(np.bincount([c for own in among for c in own]).max() / len(rows))},
        "counts": {
            "classes": C,
            "rows_without_label": len(shown) - len(rows),
            "labels_outside_classes": sum(map(len, said)) - sum(map(len, among)),
        },
    }
    if request.intervals:
        record["interval"] = intervals.of_classes(record["metrics"], cosine, target, found.ids[rows])
    table = {
        "id": found.ids[rows].tolist(),
        "target": [", ".join(own) for own in said],
        "predicted": [task.classes.labels[c] for c in predicted],
        "probability": _probabilities(model, cosine, name).max(1).tolist(),
        **right,
    }
    return Result(record, table, "rows", stem, confusion=(scores.confusion(target, predicted, C), [*task.classes.names]))


def _first_items(found: Embeddings, name: str) -> np.ndarray:
    """The rows of an input, of those that belong together the first."""
    first: dict[Key, int] = {}
    for row in found.rows(name):
        first.setdefault((found.split[row], found.ids[row]), row)
    return np.array([*first.values()], np.int64)


def _numbered(said: Sequence[Sequence[str]], classes: Classes, where: str) -> list[list[int]]:
    """The numbers of the classes that each row is labelled with.

    Raises:
        UserError: no row has a label, or none that is a class.
    """
    if not said:
        raise UserError("no row has a label", where)
    labels = {label for own in said for label in own}
    number = classes.numbers(labels)
    if not number:
        hint = f"the classes: {few(classes.labels)}; the labels: {few(sorted(labels))}"
        raise UserError("none of the labels is among the classes", f"{classes.source} and {where}", hint)
    return [sorted({number[label] for label in own if label in number}) for own in said]


def _probabilities(model: Model, cosine: np.ndarray, name: str) -> np.ndarray:
    """(N, C), by the loss that the model was trained with; `name` is the input that is classified."""
    import torch

    from mmkit.embedding import language_of

    found = model.probabilities(torch.from_numpy(cosine), (name, language_of(model))).numpy()
    if not np.isfinite(found).all():
        raise diverged(model, "a probability is not finite")
    return found


def score(items: Vectors, prompts: Vectors, classes: int) -> np.ndarray:
    """How near each of N items is to each class: (N, C) float32 cosines.

    Args:
        items: (N, d), or several vectors an item.
        prompts: (C, d); or several vectors for each of C x T sentences, class by class: then the mean over the sentences of
            their late interaction (FILIP, arXiv:2111.07783, section 3.2).
    """
    near, found = Scores(prompts), np.empty((len(items), classes), np.float32)
    for begin in range(0, len(items), STRIP):
        end = min(begin + STRIP, len(items))
        strip = near(items, begin, end, np.empty((end - begin, len(prompts)), np.float32))
        found[begin:end] = strip.reshape(end - begin, classes, -1).mean(2)
    return found


def nearest(cosine: np.ndarray, among: Sequence[Sequence[int]]) -> np.ndarray:
    """(N,) of the classes that a row is labelled with the one of the highest score, -1 where it has none: the row is then right
    at k where any of its labels is among the k nearest."""
    best = (max(own, key=row.__getitem__) if own else -1 for row, own in zip(cosine, among, strict=True))
    return np.fromiter(best, np.int64, len(among))


def metrics(right: Mapping[str, np.ndarray], target: np.ndarray) -> dict[str, float]:
    """`acc1`, `acc5` where C > 5, and `mean_per_class_recall` over the classes with a row, labels that are no class being one.

    Args:
        right: of `scores.each`.
        target: (N,) in -1..C-1.
    """
    support, hits = np.bincount(target + 1), np.bincount(target + 1, right["acc1"])
    there = support > 0
    recall = float(np.mean(hits[there] / support[there]))
    return {name: float(found.mean()) for name, found in right.items()} | {"mean_per_class_recall": recall}


def chance(among: Sequence[Sequence[int]], classes: int) -> dict[str, float]:
    """The same metrics of a model that puts the classes in a random order: 1 / C for rows of one label. It does not know how
    frequent the classes are, as no zero-shot model is told."""
    own = np.array([len(found) for found in among])
    random = Chance(own, classes)
    accuracy = {f"acc{k}": random.recall(k) for k in (1, 5) if k == 1 or classes > 5}
    # of several labels of a row each is equally often the one that counts
    rows, share = np.zeros(classes), np.zeros(classes)
    for found in among:
        rows[found] += 1
        share[found] += 1 / max(len(found), 1)
    there = share > 0
    recall = (rows[there] / share[there] / classes).sum() / (there.sum() + bool((own == 0).any()))
    return accuracy | {"mean_per_class_recall": float(recall)}
