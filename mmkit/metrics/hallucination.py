"""How often a model speaks of what a picture does not show: CHAIR of its captions (Rohrbach et al. 2018, arXiv:1809.02156), and
POPE of its answers to yes and no (Li et al. 2023, arXiv:2305.10355).

Shapes: n captions or questions, D draws, G samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit import bootstrap
from mmkit.data.modalities import MODALITIES
from mmkit.data.pope_files import Question, read
from mmkit.embedding import file_item, model_name, suffixes
from mmkit.encode import Pace
from mmkit.errors import UserError
from mmkit.files import stable_hash
from mmkit.metrics import caption, heads, intervals, objects, shots, vqa
from mmkit.metrics.evaluation import Request, Result

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.decoding import Written
    from mmkit.model import Model

METRIC = "hallucination"
WRITTEN = True  # also of a checkpoint that writes by itself
OF_MENTIONS, OF_CAPTIONS = "CHAIRi", "CHAIRs"
YES = "yes"
NO = {"no", "not"}
CHUNK = 256  # questions whose pictures are held at once
# kinds of columns of texts: captions as a model reads them, and references
TEXTS = (*(row.KINDS[0] for row in MODALITIES.values() if row.LANGUAGE), caption.REFERENCES)


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """CHAIR: write a caption of each row of a split, and look for the things in it that the row does not hold.

    A row holds the things that its captions, the phrases of its regions and its labels name, as the authors take captions and
    annotated objects together. `CHAIRi` is the share of mentions that are not held, `CHAIRs` of captions with one.
    `chance` is what the most frequent training caption reaches, said of every row.

    Raises:
        UserError: the model writes no captions, or the data does not say what a picture holds.
    """
    objective = heads.objective_of(model, caption.METRIC, caption.WHAT)
    known = objects.things(request.synonyms)
    split, record, stem = heads.scope(model, data, request, METRIC)
    columns = {name: kind for name, kind in data.columns.items() if kind in (*TEXTS, "regions", "boxes", "label")}
    if not columns:
        raise UserError("the dataset does not say what its pictures hold", data.path, "it needs captions, regions or labels")
    held = _held(data, split, request.limit, columns, known)
    samples, written = _captions(model, objective, data, split, request, next(iter(columns)))
    if not samples:
        raise UserError("no row of the split has anything to write of", f"{data.path} {split or 'all'}")
    true = [held[one.id] for one in samples]
    said = [known.of(one.text) for one in written]
    wrong = [[one for one in mentions if one.thing not in there] for mentions, there in zip(said, true, strict=True)]
    frequent = _always(model, objective, data, known)
    ids = [one.id for one in samples]
    counts = np.array([[len(w), len(s)] for w, s in zip(wrong, said, strict=True)], np.int64)
    record |= {
        "task": METRIC,
        "n": {name: len(samples) for name in samples[0].inputs},
        "metrics": chair(counts),
        "chance": chair(np.array([[sum(one not in there for one in frequent), len(frequent)] for there in true])),
        "counts": {"mentions": int(counts[:, 1].sum()), "not_held": int(counts[:, 0].sum()), "things": known.count},
        "synonyms": known.name,
        "truth": list(columns),
        **caption.written_by(request),
        **heads.asked_of(model, objective),
    }
    if request.intervals:
        record["interval"] = chair_intervals(counts, ids)
    rows = {
        "id": ids,
        "caption": [one.text for one in written],
        "said": [[one.thing for one in mentions] for mentions in said],
        "not_held": [[one.thing for one in mentions] for mentions in wrong],
        OF_CAPTIONS: (counts[:, 0] > 0).astype(np.float64).tolist(),
    }
    silent = f"no caption names any of the {known.count} things of {known.name}; --synonyms FILE names others"
    return [Result(record, rows, "rows", stem, note="" if counts[:, 1].any() else silent)]


def chair(counts: np.ndarray) -> dict[str, float]:
    """CHAIRi and CHAIRs of (n, 2): mentions that are not held and all mentions of each caption; no CHAIRi without a mention."""
    wrong, said = counts.sum(0)
    shares = {OF_MENTIONS: float(wrong / said)} if said else {}
    return shares | {OF_CAPTIONS: float((counts[:, 0] > 0).mean())}


def chair_intervals(counts: np.ndarray, ids: Sequence[str]) -> intervals.Intervals:
    """Of these, the captions of a sample drawn together."""
    found = intervals.of_shares({OF_CAPTIONS: (counts[:, 0] > 0).astype(np.float64)}, ids)
    if not counts[:, 1].sum():
        return found
    ratio = _ratio(counts[:, 0], counts[:, 1], bootstrap.numbers(ids))
    value, speaking = counts[:, 0].sum() / counts[:, 1].sum(), int((counts[:, 1] > 0).sum())
    return {OF_MENTIONS: bootstrap.share(ratio, float(value), speaking)} | found


def _ratio(above: np.ndarray, below: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The ratio of two sums (n,) in every draw (D,); nan where the lower is 0."""
    G = int(groups.max()) + 1
    top, bottom = (np.bincount(groups, values, G) for values in (above, below))

    def ratio(weights: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return {"ratio": np.where(weights @ bottom > 0, (weights @ top) / (weights @ bottom), np.nan)}

    return bootstrap.weighted(ratio, groups)["ratio"]


def _held(
    data: Dataset, split: str | None, limit: int | None, columns: dict[str, str], known: objects.Things
) -> dict[str, set[str]]:
    """id -> the things that the rows of that id hold."""
    found: dict[str, set[str]] = {}
    for row in data.rows(split, ["id", *columns], limit):
        texts = [text for name, kind in columns.items() for text in _texts(kind, row[name])]
        found.setdefault(row["id"], set()).update(one.thing for text in texts if text for one in known.of(text))
    return found


def _texts(kind: str, cell: Any) -> Iterable[str]:
    """What a cell says of what its row holds."""
    if kind in TEXTS:
        return cell or ()
    if kind == "label":
        return [cell] if isinstance(cell, str) else cell or ()
    return (cell or {}).get("phrases") or ()


def _captions(
    model: Model, objective: Any, data: Dataset, split: str | None, request: Request, column: str
) -> tuple[list[heads.Asked], list[Written]]:
    """What there is to write of, and what is written of it."""
    from mmkit.decoding import others

    pace = Pace(request.batch_size, request.workers, request.progress("captioned"))
    total, names = heads.rows_of(data, split, request.limit), others(model, objective)
    samples: list[heads.Asked] = []
    written: list[Written] = []
    examples = shots.drawn(model, objective, data, caption.column_of(model, objective, data), request.shots, request.seed, split)
    for chunk in heads.asked(model, objective, data, split, request.limit, pace, None, total, names, column):
        written += caption.write(model, objective, chunk, request, len(written), examples)
        samples += [one._replace(inputs=dict.fromkeys(one.inputs)) for one in chunk]
    return samples, written


def _always(model: Model, objective: Any, data: Dataset, known: objects.Things) -> list[str]:
    """The things of the most frequent training caption; none where there are no captions."""
    column = next((name for kind in TEXTS for name in data.columns_of(kind)), None)
    if column is None:
        return []
    split = "train" if data.splits.get("train") else None
    return [one.thing for one in known.of(caption.most_frequent(model, objective, data, split, column))]


def of_files(model: Model, path: Path, request: Request) -> list[Result]:
    """POPE of a file, CHAIR of a dataset folder.

    Raises:
        UserError: as of `of_questions` and `of_model`.
    """
    from mmkit.data.shards import open_dataset

    return of_questions(model, path, request) if path.is_file() else of_model(model, open_dataset(path), request)


def of_questions(model: Model, path: Path, request: Request) -> list[Result]:
    """POPE: answer the questions of a JSONL file, each yes or no, about pictures beside it or in `request.image_root`.

    `pope_precision`, `pope_recall` and `pope_f1` are of yes; `pope_yes` is the share of answers that are yes. `chance` answers
    yes always.

    Raises:
        UserError: the file holds no such questions, a picture is missing, or the model answers none.
    """
    objective = heads.objective_of(model, vqa.METRIC, vqa.WHAT)
    if request.shots:
        raise UserError("a file of questions has no rows of train to show before them", str(path), "leave --shots out")
    asked = read(path, request.image_root)[: request.limit]
    said = _answers(model, objective, asked, request)
    yes, true = np.array([is_yes(text) for text in said]), np.array([one.label for one in asked])
    content = "\n".join(f"{one.id} {one.picture.name} {one.text} {one.label}" for one in asked)
    record = {
        "dataset": path.resolve().stem,
        "model": model_name(model),
        "pretrained": "",
        "language": "en",
        "split": "all",
        "task": METRIC,
        "n": {"questions": len(asked), "pictures": len({one.picture for one in asked})},
        "metrics": pope(yes, true),
        "chance": pope(np.ones_like(yes), true),
        "counts": {YES: int(true.sum())},
        "cost": {"parameters": model.parameter_count},
        "model_hash": model.hash,
        "data_hash": f"{stable_hash(content) & (1 << 64) - 1:016x}",
        **caption.written_by(request),
        **heads.asked_of(model, objective),
    }
    samples = [str(one.picture.name) for one in asked]
    if request.intervals:
        record["interval"] = pope_intervals(yes, true, samples)
    rows = {
        "sample": samples,
        "id": [one.id for one in asked],
        "question": [one.text for one in asked],
        "answer": said,
        "truth": [YES if one.label else "no" for one in asked],
        "pope_accuracy": (yes == true).astype(np.float64).tolist(),
    }
    first = f"-first{request.limit}" if request.limit else ""
    return [Result(record, rows, "rows", f"{record['dataset']}-all{first}-{METRIC}")]


def is_yes(answer: str) -> bool:
    """Whether an answer says yes, as the authors read it: what has neither `no` nor `not` in its first sentence does. They know
    `No`, too, but no `NOT`; here the case does not count.

    >>> is_yes("Yes, it is."), is_yes("No, there is none"), is_yes("It is not. Yes."), is_yes("a dog")
    (True, False, False, True)
    """
    return NO.isdisjoint(answer.partition(".")[0].replace(",", "").lower().split())


def pope(yes: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """The metrics of n answers: whether yes was said, and whether it is true, booleans (n,). What is undefined is left out."""
    right, said, there = int((yes & true).sum()), int(yes.sum()), int(true.sum())
    found = {"pope_accuracy": float((yes == true).mean())}
    found |= {"pope_f1": 2 * right / (said + there)} if said + there else {}
    found |= {"pope_precision": right / said} if said else {}
    found |= {"pope_recall": right / there} if there else {}
    return found | {"pope_yes": said / len(yes)}


def pope_intervals(yes: np.ndarray, true: np.ndarray, samples: Sequence[str]) -> intervals.Intervals:
    """Of these, the questions about a picture drawn together."""
    found = intervals.of_shares({"pope_accuracy": (yes == true).astype(float), "pope_yes": yes.astype(float)}, samples)
    groups, right = bootstrap.numbers(samples), (yes & true).astype(float)
    ratios = {"pope_f1": (2 * right, yes.astype(float) + true), "pope_precision": (right, yes), "pope_recall": (right, true)}
    for name, (above, below) in ratios.items():
        if below.sum():
            n = len(np.unique(groups[np.asarray(below) > 0]))
            found[name] = bootstrap.share(_ratio(above, np.asarray(below, float), groups), float(above.sum() / below.sum()), n)
    return {name: found[name] for name in pope(yes, true)}


def _answers(model: Model, objective: Any, asked: Sequence[Question], request: Request) -> list[str]:
    question = heads.question_of(model, objective)
    seen = next((name for name in heads.read_by(model, objective) if name != question and suffixes(model, name)), None)
    if seen is None:
        raise UserError("the model reads no picture, of which POPE asks", model.name)
    report = request.progress("answered")
    said: list[str] = []
    for start in range(0, len(asked), CHUNK):
        part = asked[start : start + CHUNK]
        pictures = {one.picture: one for one in part}
        items = {path: file_item(model, seen, str(path)) for path in pictures}
        inputs = [{seen: items[one.picture]} for one in part]
        said += vqa.answers(model, objective, inputs, [one.text for one in part], request, len(said))
        report(start + len(part), len(asked))
    return said
