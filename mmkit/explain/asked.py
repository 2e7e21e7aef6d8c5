"""What is to be explained: the score that a model gives what is looked at, such as a picture, and a text or another input, or an
answer, or the vector of the one alone.

B rows, N tokens, D width, d width of the shared space
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmkit.batch import Batch, Want
from mmkit.data.modalities import MODALITIES
from mmkit.data.pictures import is_picture
from mmkit.decoding import generate, others
from mmkit.encode import joined
from mmkit.errors import UsageError, UserError, nearest
from mmkit.explain.support import writes
from mmkit.losses.filip import late_interaction
from mmkit.model import Model

Got = Mapping[Want, Tensor]
NUMBER = "number"  # what the score of a loss is that has no classes


@dataclass(frozen=True)
class Asked:
    """One question to a model.

    Args:
        looked: the input that is looked at; words: that of the text, None where none is read.
        items: input -> its prepared item, None where there is none.
        wants: what the score is made of; score: of each row, (B,).
        kind: what the score is: cosine, late interaction, logit, number, log-probability or norm.
        answer: the class, answer or column of numbers whose logit it is, or the text that the model wrote.
        measure: what is followed as parts of what is looked at go, (B,), where it is not the score: a logit's probability, a
            number in the units of the data.
        foretold: the text whose tokens are foretold, so that the score is of all of them.
        missing: inputs that the model reads, too, and of which there is no item.
    """

    model: Model
    looked: str
    words: str | None
    items: dict[str, Any]
    wants: tuple[Want, ...]
    score: Callable[[Got], Tensor]
    kind: str
    answer: str | None = None
    measure: Callable[[Got], Tensor] | None = None
    foretold: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def told(self) -> Callable[[Got], Tensor]:
        """The score as it is told, (B,): a number in the units of the data, on which no gradient and so no map hangs."""
        return self.measure if self.kind == NUMBER and self.measure else self.score

    @property
    def joined(self) -> str | None:
        """The fusion that the score is made of, by name; None where it is made of none."""
        read = (self.model.loss[want.part].of if want.part in self.model.head else want.part for want in self.wants)
        return next((joined for part in read if (joined := part.partition(".")[0]) in self.model.fusion), None)

    @property
    def fusion(self) -> Any:
        """The same itself."""
        return self.model.fusion[self.joined] if self.joined else None

    def batch(self, others: Sequence[Any] | None = None) -> Batch:
        """The question as a batch: of one row, or of one for each of some prepared items instead of that which is looked at."""
        shown = [self.items[self.looked]] if others is None else list(others)
        items = {name: shown if name == self.looked else [item] * len(shown) for name, item in self.items.items()}
        parts = [joined(self.model, name, listed, {}) for name, listed in items.items()]
        return Batch(
            [""] * len(shown),
            {name: tensors for part in parts for name, tensors in part.inputs.items()},
            {name: has for part in parts for name, has in part.present.items()},
            nowhere=frozenset().union(*(part.nowhere for part in parts)),
        ).to(self.model.device)

    @torch.inference_mode()
    def measured(self, others: Sequence[Any]) -> Tensor:
        """The score, or where it is a logit the answer's probability, with other prepared items: (B,) on the CPU."""
        got = self.model(self.batch(others), self.wants)
        return (self.measure or self.score)(got).float().cpu()


def ask(
    model: Model, prepared: Any, text: str | None, looked: str | None = None, beside: Mapping[str, Any] | None = None
) -> Asked:
    """The question that what is looked at and a text put to a model: the answer of one that answers questions, else how alike
    they are, else the answer to the text or how likely it would write it, else, for a head that reads no words, the class that
    the text names. Without a text: how alike it and another input are, unless a head reads them together; else the class that is
    predicted, the text that it writes, or the vector of what is looked at.

    Args:
        prepared: what is looked at, by the Reader of its input.
        looked: that input; by default the first that can be.
        beside: further inputs, and a prepared item of each.

    Raises:
        UserError: the model reads no texts, or does not compare the two.
        UsageError: it has no class of this name.
    """
    looked, beside = looked or can_be_looked_at(model)[0], beside or {}
    objective, words = _headed(model), words_of(model, looked)
    partner = partner_of(model, looked, beside)
    if text is None and partner is not None:
        return _of_pair(model, looked, partner, prepared, beside[partner])
    if (questions := _answering(model)) is not None:
        return _of_head(model, questions, looked, prepared, text, beside)
    if text is not None and words in model.embedded and looked in model.embedded:
        return _of_pair(model, looked, str(words), prepared, model.reader(words).prepare(text))
    if objective is not None and writes(objective):
        return _of_text(model, objective, looked, prepared, text, beside)
    if objective is not None:
        return _of_head(model, objective, looked, prepared, text, beside)
    if text is None:
        return _alone(model, looked, prepared)
    raise UserError("the model reads no texts", model.name, f"leave the text out: the {looked} alone is explained")


def partner_of(model: Model, looked: str, beside: Iterable[str]) -> str | None:
    """The first of some further inputs that the model compares with what is looked at, where no head reads the two together."""
    if looked not in model.embedded:
        return None
    objective = _headed(model)
    read = set() if objective is None else {root.part for want in objective.wants() for root in model.roots(want)}
    return next((name for name in beside if name in model.embedded and not {looked, name} <= read), None)


def can_be_looked_at(model: Model) -> list[str]:
    """The inputs of which a map can be drawn: pictures first.

    Raises:
        UserError: there is none.
    """
    found = [name for name in model.inputs if hasattr(MODALITIES[str(model.inputs[name].modality)], "LAID")]
    if not found:
        raise UserError("the model reads nothing that a map can be drawn on", model.name, f"it reads: {', '.join(model.inputs)}")
    return sorted(found, key=lambda name: not is_picture(model.inputs[name].modality))


def words_of(model: Model, looked: str) -> str | None:
    """The input of the texts that `ask` takes; None where the model reads none."""
    if (questions := _answering(model)) is not None:
        return _words_read(model, questions)
    compared = [name for name in model.embedded if model.config.is_language(name)]
    if compared and looked in model.embedded:
        return compared[0]
    objective = _headed(model)
    return _words_read(model, objective) if objective is not None else None


def _headed(model: Model) -> Any:
    """The first loss whose head tells classes apart or writes."""
    headed = (loss for name, loss in model.loss.items() if name in model.head)
    return next((loss for loss in headed if hasattr(loss, "classes") or writes(loss)), None)


def _answering(model: Model) -> Any:
    """The loss by which a model answers questions about what it reads beside them, where that is the first: what it is aligned
    by, such as the contrast of a recipe vqa, is not what it was made for."""
    objective = _headed(model)
    words = None if objective is None else _words_read(model, objective)
    if words is None or writes(objective) or model.inputs[words].column != objective.column:
        return None
    roots = {root.part for want in objective.wants() for root in model.roots(want)}
    return objective if any(not model.config.is_language(name) for name in roots) else None


def _words_read(model: Model, objective: Any) -> str | None:
    """The input of words that a head reads: that of the loss's own column, such as questions, else the first."""
    names = list(dict.fromkeys(root.part for want in objective.wants() for root in model.roots(want)))
    language = [name for name in names if model.config.is_language(name)]
    return next((name for name in language if model.inputs[name].column == objective.column), next(iter(language), None))


def _of_pair(model: Model, looked: str, other: str, prepared: Any, item: Any) -> Asked:
    what = ("vectors", "mask") if model.tokenwise else ("vector",)
    sides = [[Want(name, one) for one in what] for name in (looked, other)]

    def cosine(got: Got) -> Tensor:
        a, b = (got[side[0]] for side in sides)
        return (a * b).sum(-1)

    def late(got: Got) -> Tensor:
        both = [[got[want] for want in side] for side in sides]
        rows = [late_interaction(*(x[i : i + 1] for side in both for x in side)) for i in range(len(both[0][0]))]
        return torch.stack([(of_a + of_b).view(()) / 2 for of_a, of_b in rows])

    items = {looked: prepared, other: item}
    wants = tuple(want for side in sides for want in side)
    words = other if model.config.is_language(other) else None
    return Asked(model, looked, words, items, wants, *((late, "late interaction") if model.tokenwise else (cosine, "cosine")))


def _of_head(model: Model, objective: Any, looked: str, prepared: Any, text: str | None, beside: Mapping[str, Any]) -> Asked:
    want = Want(objective.name, "logits")
    names = list(dict.fromkeys(root.part for root in model.roots(want)))
    if looked not in names:
        raise UserError(f"the model answers without the {looked}", model.name, f"it reads: {', '.join(names)}")
    words = _words_read(model, objective)
    items = {name: beside.get(name) for name in names} | {looked: prepared}
    if words is not None and text is not None:
        items[words] = model.reader(words).prepare(text)
    missing = tuple(name for name, item in items.items() if item is None)
    if words is not None and items[words] is None:
        if len(missing) == len(names) - 1:
            return _alone(model, looked, prepared, missing)
        words = None
    kind = "logit" if objective.classes else NUMBER
    asked = Asked(model, looked, words, items, (want,), lambda got: got[want][:, 0], kind)
    if text is not None and words is None:
        if not objective.classes:
            raise UsageError("the model predicts a number and has no classes", model.name, "leave the text out")
        if text not in objective.number:
            raise UsageError(f"the model has no class {text!r}", model.name, nearest(text, objective.classes))
        number = objective.number[text]
    else:
        with torch.inference_mode():
            number = int(model(asked.batch(), [want])[want][0].argmax())
    return Asked(
        model,
        looked,
        words,
        items,
        (want,),
        lambda got: got[want][:, number],
        kind,
        objective.classes[number] if objective.classes else objective.column,
        lambda got: objective.probabilities(got[want].float())[:, number],
        missing=missing,
    )


def _of_text(model: Model, objective: Any, looked: str, prepared: Any, text: str | None, beside: Mapping[str, Any]) -> Asked:
    names = others(model, objective)
    if looked not in names:
        raise UserError(f"the model writes without the {looked}", model.name, f"it reads: {', '.join(names)}")
    items = {name: beside.get(name) for name in names} | {looked: prepared}
    missing = tuple(name for name, item in items.items() if item is None)
    answer = None
    if text is None:
        ((written,),) = generate(model, objective, [items])
        text = answer = written.text
    items[objective.text] = model.reader(objective.text).prepare(text)
    said = text

    def score(got: Got) -> Tensor:
        rows = got[objective.clean()[0]].size(0)
        found: Tensor = objective.log_probability(got, [said] * rows)
        return found

    wants = objective.clean()
    return Asked(
        model,
        looked,
        objective.text,
        items,
        wants,
        score,
        "log-probability",
        answer,
        lambda got: score(got).exp(),
        said,
        missing,
    )


def _alone(model: Model, looked: str, prepared: Any, missing: tuple[str, ...] = ()) -> Asked:
    """The length of its own vector, whose gradient is the vector: nothing is asked of it."""
    want = Want(looked, "pooled")

    def half_square(got: Got) -> Tensor:
        return got[want].float().square().sum(-1) / 2

    return Asked(model, looked, None, {looked: prepared}, (want,), half_square, "norm", missing=missing)
