"""How well a model captions: BLEU-4, ROUGE-L, CIDEr-D and exact matches, beside captions that take no model of language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmkit.decoding import Example, Written, generate, others
from mmkit.encode import Pace, cell_items, columns_of, encode
from mmkit.errors import UserError
from mmkit.metrics import heads, intervals, ngrams, shots
from mmkit.metrics.evaluation import Request, Result, Val
from mmkit.talk import Measured

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

METRIC, SELECT = "caption", "CIDEr"
WRITTEN = True  # also of a checkpoint that writes by itself
BLEU = "Bleu_4"
NAMES = [SELECT, BLEU, "ROUGE_L", "exact_match"]
WHAT = "to write captions (loss kind lm)"
REFERENCES = "references"  # the kind of a column that holds what is true of a row, where its captions are only some of it
VAL_ROWS = 200  # of val, whose captions are written in training: one token costs a pass through the model
NEAREST = 10_000  # training rows among which the nearest is looked for


class Scored(NamedTuple):
    """Some captions against their references.

    Args:
        metrics: of all together; each: metric -> of each caption (n,), whose mean it is, and which a comparison pairs.
        counts: what BLEU is made of, which is no mean.
    """

    metrics: dict[str, float]
    each: dict[str, np.ndarray]
    counts: ngrams.Counts


def score(said: Sequence[str], references: Sequence[Sequence[str]]) -> Scored:
    """Score captions, each with one reference or several. `exact_match`: a caption has the words of one of its references."""
    words = [ngrams.words_of(text) for text in said]
    true = [[ngrams.words_of(text) for text in texts] for texts in references]
    counts = ngrams.bleu_counts(words, true)
    each = {
        SELECT: ngrams.cider(words, true),
        "ROUGE_L": np.array([ngrams.rouge_l(one, texts) for one, texts in zip(words, true, strict=True)]),
        "exact_match": np.array([float(one in texts) for one, texts in zip(words, true, strict=True)]),
    }
    found = {name: float(values.mean()) for name, values in each.items()} | {BLEU: float(ngrams.bleu(counts)[0])}
    return Scored({name: found[name] for name in NAMES}, each, counts)


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Write a caption of each row of a split that has a reference.

    `chance` is what the most frequent training caption reaches, said of every row; `nearest` what the first caption of the
    training row reaches whose picture is most alike, by the cosine of what the encoder pools.

    Raises:
        UserError: the model writes no captions, or no row has a reference.
    """
    objective = heads.objective_of(model, METRIC, WHAT)
    split, record, stem = heads.scope(model, data, request, METRIC)
    total = heads.rows_of(data, split, request.limit)
    pace = Pace(request.batch_size, request.workers, request.progress("captioned"))
    samples: list[heads.Asked] = []
    written: list[Written] = []
    vectors = _Nearest(model, objective)
    examples = shots.drawn(model, objective, data, column_of(model, objective, data), request.shots, request.seed, split)
    for chunk in _captioned(model, objective, data, split, request.limit, pace, total=total):
        written += write(model, objective, chunk, request, len(written), examples)
        vectors.add([one.inputs for one in chunk])
        samples += [one._replace(inputs=dict.fromkeys(one.inputs)) for one in chunk]
    if not samples:
        raise UserError("no row of the split has a caption to compare with", f"{data.path} {split or 'all'}")
    references = [one.target for one in samples]
    scored = score([one.text for one in written], references)
    frequent, nearest = _known(model, objective, data, vectors, request)
    count = sum(map(len, references))
    record |= {
        "task": "captioning",
        "n": {name: sum(name in one.inputs for one in samples) for name in others(model, objective)} | {objective.text: count},
        "metrics": scored.metrics,
        "chance": score([frequent] * len(samples), references).metrics,
        "nearest": score(nearest, references).metrics if nearest else {},
        "tokenizer": ngrams.TOKENIZER,
        **written_by(request),
        **heads.asked_of(model, objective),
    }
    if request.intervals:
        record["interval"] = intervals.of_captions(scored.counts, scored.each, [one.id for one in samples], BLEU, SELECT)
    rows = {
        "id": [one.id for one in samples],
        "caption": [one.text for one in written],
        "reference": [texts[0] for texts in references],
        "references": references,
        "log_probability": [one.score for one in written],
        **{name: values.tolist() for name, values in scored.each.items()},
    }
    return [Result(record, rows, "rows", stem)]


def names(model: Model) -> list[str]:
    """What is measured on val, that which weights are chosen by first."""
    return NAMES


def during(model: Model, val: Val) -> Callable[[Model], Measured]:
    """Prepare some rows of val once; the function writes a caption of each, token by token the likeliest.

    Raises:
        UserError: none has a reference.
    """
    objective = heads.objective_of(model, METRIC, WHAT)
    limit = min(VAL_ROWS, val.limit or VAL_ROWS)
    chunks = _captioned(model, objective, val.data, val.split, limit, val.pace, val.features, limit)
    samples = [one for chunk in chunks for one in chunk]
    if not samples:
        raise UserError(f"no row of {val.split} has a caption: nothing to measure by", val.data.path)
    references = [one.target for one in samples]

    def measure(model: Model) -> Measured:
        try:
            own, inputs = model.loss[objective.name], [one.inputs for one in samples]
            written = [texts[0] for texts in generate(model, own, inputs, batch_size=256, features=val.features)]
        except UserError as e:
            raise FloatingPointError(e.what) from e
        found = score([one.text for one in written], references).metrics
        return Measured(SELECT, found[SELECT], found)

    return measure


def _captioned(
    model: Model,
    objective: Any,
    data: Dataset,
    split: str | None,
    limit: int | None,
    pace: Pace,
    features: Mapping[str, Any] | None = None,
    total: int = 0,
) -> Iterator[list[heads.Asked]]:
    """The rows of a split that have a reference, in chunks; the target of each are its references."""
    text = objective.text
    own = columns_of(model, data, [text])
    column = next(iter(data.columns_of(REFERENCES)), own.get(text))
    if column is None:
        raise UserError(f"the dataset has no {text} column to compare with", data.path, f"it has: {', '.join(data.columns)}")
    names = others(model, objective)
    for chunk in heads.asked(model, objective, data, split, limit, pace, features, total, names, column):
        found = [one._replace(target=cell_items(model, text, one.target)) for one in chunk]
        yield [one for one in found if one.target]


def column_of(model: Model, objective: Any, data: Dataset) -> str | None:
    """The column of captions; None where the data has none."""
    found: str | None = columns_of(model, data, [objective.text]).get(objective.text)
    return found


def write(
    model: Model,
    objective: Any,
    samples: Sequence[heads.Asked],
    request: Request,
    first: int = 0,
    examples: Sequence[Example] = (),
) -> list[Written]:
    """The best caption of each sample, or one that is drawn.

    Args:
        first: the number of the first of them, by which it is drawn.
        examples: they stand before each.
    """
    inputs, rows = [one.inputs for one in samples], request.batch_size * request.beams
    sampling = request.sampling and request.sampling._replace(first=first)
    how: dict[str, Any] = {"batch_size": rows, "sampling": sampling, "examples": examples}
    return [texts[0] for texts in generate(model, objective, inputs, request.beams, **how)]


def written_by(request: Request) -> dict[str, Any]:
    """What a record says of how texts were written: beams, how tokens were drawn, and examples, where there were any."""
    found: dict[str, Any] = {"beams": request.beams}
    if request.sampling:
        found["sampling"] = {key: getattr(request.sampling, key) for key in ("top_p", "temperature", "seed")}
    return found | ({"shots": request.shots, "seed": request.seed} if request.shots else {})


def _known(model: Model, objective: Any, data: Dataset, asked: _Nearest, request: Request) -> tuple[str, list[str]]:
    """The most frequent training caption, and of each row that of the nearest training row; of all rows where there is no split
    of training."""
    split = "train" if data.splits.get("train") else None
    text = objective.text
    column = columns_of(model, data, [text]).get(text) or next(iter(data.columns_of(REFERENCES)))
    frequent = most_frequent(model, objective, data, split, column)
    if not asked.name:
        return frequent, []
    total = heads.rows_of(data, split, NEAREST)
    pace = Pace(request.batch_size, request.workers, request.progress("looked up"))
    trained, said = _Nearest(model, objective), list[str]()
    for chunk in heads.asked(model, objective, data, split, NEAREST, pace, None, total, [asked.name], column):
        kept = [one for one in chunk if cell_items(model, text, one.target)]
        trained.add([one.inputs for one in kept])
        said += [cell_items(model, text, one.target)[0] for one in kept]
    return frequent, [said[i] for i in asked.nearest(trained)] if said else []


def most_frequent(model: Model, objective: Any, data: Dataset, split: str | None, column: str) -> str:
    """The caption that most rows of a split have; "" where none has one."""
    seen: Counter[str] = Counter()
    for row in data.rows(split, [column]):
        seen.update(cell_items(model, objective.text, row[column]))
    return max(seen, key=lambda caption: (seen[caption], caption), default="")


class _Nearest:
    """What the encoder of the first input that is no words pools of samples, by which one finds the nearest."""

    def __init__(self, model: Model, objective: Any) -> None:
        self.model = model
        names = [] if hasattr(model, "write") else others(model, objective)  # such a checkpoint shows no encodings
        self.name = next((name for name in names if not model.config.is_language(name)), None)
        self.found: list[np.ndarray] = []

    def add(self, inputs: Sequence[Mapping[str, Any]]) -> None:
        if self.name and inputs:
            reader = self.model.reader(self.name)
            items = [reader.blank if one.get(self.name) is None else one[self.name] for one in inputs]
            self.found.append(np.stack([x.numpy() for x in encode(self.model, self.name, items, ["pooled"])["pooled"]]))

    def nearest(self, others: _Nearest) -> list[int]:
        """Of each sample the number of the most alike among others."""
        own, there = (
            x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in map(np.concatenate, (self.found, others.found))
        )
        return [int((row @ there.T).argmax()) for row in own]
