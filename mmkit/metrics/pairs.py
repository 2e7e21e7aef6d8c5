"""Whether a model tells apart pairs that differ in little: the text score, the image score and the group score of Winoground
(arXiv:2204.03162, section 4), and the accuracy of SugarCrepe (arXiv:2306.14610). What ties is wrong, as the authors count it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.data.modalities import MODALITIES
from mmkit.data.pair_files import Example, read
from mmkit.embedding import model_name, suffixes
from mmkit.encode import Vectors, diverged, vectors
from mmkit.errors import UserError
from mmkit.metrics import fused, heads, intervals
from mmkit.metrics.evaluation import Request, Result
from mmkit.metrics.ranking import Scores

if TYPE_CHECKING:
    from mmkit.losses.matching import Matching
    from mmkit.model import Model

METRIC, MATCH = "pairs", "match"
TEXT, IMAGE, BOTH = "text_acc", "image_acc", "acc"
CHANCE = {TEXT: 1 / 4, IMAGE: 1 / 4, BOTH: 1 / 6}  # of four scores in random order
CHUNK = 256  # examples whose pictures are held at once


def of_files(model: Model, path: Path, request: Request) -> list[Result]:
    """Score every picture of an example with every text: by the matching head, else by cosine; `request.by` says which.

    Raises:
        UserError: the files hold no examples, or the model can do neither.
    """
    from mmkit.files import stable_hash

    found = read(path, request.image_root)[: request.limit]
    objective = matching_of(model, request.by)
    score = _compared if objective is None else _matched(objective)
    report = request.progress("compared")
    each: list[np.ndarray] = []
    for start in range(0, len(found), CHUNK):
        part = found[start : start + CHUNK]
        each += score(model, part, request.batch_size)
        report(start + len(part), len(found))
    if not all(np.isfinite(scores).all() for scores in each):
        raise diverged(model, "a score is not finite")
    name = path.resolve().stem
    content = "\n".join(f"{one.id} {one.texts}" for one in found)
    record = {
        "dataset": name,
        "model": model_name(model),
        "pretrained": "",
        "language": "en",
        "split": "all",
        "task": METRIC,
        "cost": {"parameters": model.parameter_count},
        "by": "cosine" if objective is None else "match",
        "model_hash": model.hash,
        "data_hash": f"{stable_hash(content) & (1 << 64) - 1:016x}",
    }
    stem = f"{name}-all" + (f"-first{request.limit}" if request.limit else "") + f"-{record['by']}"
    several = [one for one in zip(found, each, strict=True) if len(one[0].pictures) > 1]
    single = [one for one in zip(found, each, strict=True) if len(one[0].pictures) == 1]
    kinds = ((_winoground, several), (_sugar_crepe, single))
    results = [_result(record, stem, made, own, request) for made, own in kinds if own]
    if len(results) > 1:  # both benchmarks in one folder
        for result, kind in zip(results, ("winoground", "sugar_crepe"), strict=True):
            result.record["dataset"], result.stem = f"{name}/{kind}", result.stem.replace(name, f"{name}-{kind}", 1)
    return results


def of_model(model: Model, data: Any, request: Request) -> list[Result]:
    """Raises:
    UserError: the benchmark is no dataset; its files are measured by `of_files`.
    """
    hint = "mmkit eval pairs --data FOLDER   of each model, and then mmkit compare of the two results in their eval/"
    raise UserError("pairs are measured on files of their own, not on a dataset", data.path, hint)


Scored = Sequence[tuple[Example, np.ndarray]]
Values = dict[str, np.ndarray]


def _result(
    record: dict[str, Any], stem: str, made: Callable[[Scored], tuple[Values, Values]], own: Scored, request: Request
) -> Result:
    whole, parts = made(own)
    values = parts if len(parts) > 1 or not whole else {}
    metrics = {name: float(np.nanmean(one)) for name, one in {**whole, **values}.items()}
    if not whole:
        metrics = {BOTH: float(np.mean(list(metrics.values())))} | metrics
    chance = {name: CHANCE[name.partition("/")[0]] if whole else 0.5 for name in metrics}
    ids = [one.id for one, _ in own] if whole else [f"{one.subset} {one.id}" for one, _ in own]
    counts = {name.partition("/")[2]: int(np.count_nonzero(~np.isnan(one))) for name, one in parts.items()}
    found = record | {
        "n": {"examples": len(own)},
        "metrics": metrics,
        **({"interval": intervals.of_shares({**whole, **values}, ids)} if request.intervals else {}),
        "chance": chance,
        "counts": counts,
    }
    rows: dict[str, Any] = {"id": ids, "caption": [one.texts[0] for one, _ in own], "other": [one.texts[1] for one, _ in own]}
    rows |= {name: [None if np.isnan(v) else float(v) for v in one] for name, one in {**whole, **values}.items()}
    return Result(found, rows, "rows", f"{stem}-{METRIC}")


def _winoground(own: Scored) -> tuple[Values, Values]:
    """The three scores of all examples, and of those of each tag."""
    s = np.stack([scores for _, scores in own])  # (n, picture, text)
    text = (s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0])
    image = (s[:, 0, 0] > s[:, 1, 0]) & (s[:, 1, 1] > s[:, 0, 1])
    whole = {TEXT: text.astype(float), IMAGE: image.astype(float), BOTH: (text & image).astype(float)}
    tags = np.array([one.subset for one, _ in own], object)
    names = sorted({tag for tag in tags if tag})
    return whole, {f"{name}/{tag}": np.where(tags == tag, one, np.nan) for tag in names for name, one in whole.items()}


def _sugar_crepe(own: Scored) -> tuple[Values, Values]:
    """The accuracy of each subset; the whole is their mean."""
    right = np.array([float(scores[0, 0] > scores[0, 1]) for _, scores in own])
    subsets = np.array([one.subset for one, _ in own], object)
    return {}, {f"{BOTH}/{one}": np.where(subsets == one, right, np.nan) for one in dict.fromkeys(subsets.tolist())}


def matching_of(model: Model, by: str | None) -> Matching | None:
    """The loss whose head scores pairs; None where they are scored by cosine.

    Args:
        by: `match` or `contrast`; None: by the head where there is one.

    Raises:
        UserError: the model cannot do what was asked for, or neither.
    """
    objective: Matching | None = heads.find(model, MATCH)
    losses = ", ".join(table["kind"] for table in model.config.loss.values())
    if by == MATCH and objective is None:
        raise UserError("the model was not trained to match", model.name, f"its losses: {losses}; --by contrast compares")
    if objective is None and not model.embedded:
        raise UserError("the model compares nothing, and was not trained to match", model.name, f"its losses: {losses}")
    if by not in (None, MATCH) and not model.embedded:
        raise UserError("the model compares nothing", model.name, f"its losses: {losses}; --by match")
    return objective if by in (None, MATCH) else None


def sides(model: Model, names: Sequence[str]) -> tuple[str, str]:
    """Of some inputs the first that files hold, and the first of words.

    Raises:
        UserError: there are no such two.
    """
    picture = next((name for name in names if suffixes(model, name)), None)
    words = next((name for name in names if model.config.is_language(name)), None)
    if picture is None or words is None:
        raise UserError("the model has not both an input of files and one of words", model.name, f"it reads: {', '.join(names)}")
    return picture, words


def _items(model: Model, part: Sequence[Example], picture: str, words: str) -> tuple[list[Any], list[Any], np.ndarray]:
    """The pictures and the texts of some examples, prepared, and all pairs of each example (n, 2), pictures first."""
    files: list[Any] = []
    texts: list[Any] = []
    pairs: list[tuple[int, int]] = []
    for one in part:
        first, second = len(files), len(texts)
        files += [_prepared(model, picture, file, one.where) for file in one.pictures]
        texts += [model.reader(words).prepare(text) for text in one.texts]
        pairs += [(first + i, second + j) for i in range(len(one.pictures)) for j in range(2)]
    return files, texts, np.array(pairs)


def _prepared(model: Model, name: str, file: Path | bytes, where: str) -> Any:
    modality = MODALITIES[str(model.inputs[name].modality)]
    item = {"bytes": file, "path": None} if isinstance(file, bytes) else modality.of_file(str(file))
    try:
        return model.reader(name).prepare(item)
    except (OSError, ValueError, UserError) as e:
        raise UserError(f"the picture cannot be read ({e.what if isinstance(e, UserError) else e})", where) from e


def _split(flat: np.ndarray, part: Sequence[Example]) -> list[np.ndarray]:
    """The scores of each example, (pictures, 2)."""
    ends = np.cumsum([2 * len(one.pictures) for one in part])[:-1]
    return [scores.reshape(-1, 2) for scores in np.split(flat, ends)]


def _compared(model: Model, part: Sequence[Example], batch_size: int) -> list[np.ndarray]:
    picture, words = sides(model, model.embedded)
    files, texts, pairs = _items(model, part, picture, words)
    a, b = vectors(model, picture, files, batch_size), vectors(model, words, texts, batch_size)
    return _split(cosines(a, b, pairs), part)


def cosines(a: Vectors, b: Vectors, pairs: np.ndarray) -> np.ndarray:
    """How alike the items of some pairs are, (n,): as `Scores` says, the first being the query."""
    found = np.empty(len(pairs), np.float32)
    for i in np.unique(pairs[:, 0]):
        own = np.flatnonzero(pairs[:, 0] == i)
        score = Scores(_some(b, pairs[own, 1]))
        found[own] = score(_some(a, np.array([i])), 0, 1, np.empty((1, len(own)), np.float32))[0]
    return found


def _some(x: Vectors, rows: np.ndarray) -> Vectors:
    return x[rows] if isinstance(x, np.ndarray) else x.take(rows)


def _matched(objective: Matching) -> Callable[[Model, Sequence[Example], int], list[np.ndarray]]:
    def score(model: Model, part: Sequence[Example], batch_size: int) -> list[np.ndarray]:
        picture, words = sides(model, objective.pair)
        files, texts, pairs = _items(model, part, picture, words)
        logits = match(model, objective, {picture: files, words: texts}, pairs, batch_size)
        return _split(fused.scores(logits), part)

    return score


def match(model: Model, objective: Matching, items: dict[str, list[Any]], pairs: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """The logits (n, 2) of a matching head for some pairs of prepared items.

    Args:
        items: by input; pairs: (n, 2) numbers of them, in the order of `items`.
    """
    kept = {name: fused.keeper(model, objective, name) for name in objective.pair}
    for name, own in kept.items():
        fused.keep(model, name, items[name], own, batch_size)
    columns = [list(items).index(name) for name in objective.pair]
    return fused.logits_of(model, objective, kept, pairs[:, columns], batch_size)
