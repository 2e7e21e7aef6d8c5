"""What is to be explained: the score that a model gives a picture and a text, or an answer, or the picture's vector alone.

B rows, N tokens, D width, d width of the shared space
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmkit.batch import Batch, Want
from mmkit.data.pictures import is_picture
from mmkit.decoding import generate, others
from mmkit.encode import joined
from mmkit.errors import UsageError, UserError, nearest
from mmkit.explain.support import writes
from mmkit.losses.filip import late_interaction
from mmkit.model import Model

Got = Mapping[Want, Tensor]


@dataclass(frozen=True)
class Asked:
    """One question to a model.

    Args:
        picture: the input of it; words: that of the text, None where none is read.
        items: input -> its prepared item, None where there is none.
        wants: what the score is made of; score: of each row, (B,).
        kind: what the score is: cosine, late interaction, logit, log-probability or norm.
        answer: the class, answer or column of numbers whose logit it is, or the text that the model wrote.
        measure: what is followed as parts of the picture go, (B,), where it is not the score: a logit's probability.
        foretold: the text whose tokens are foretold, so that the score is of all of them.
    """

    model: Model
    picture: str
    words: str | None
    items: dict[str, Any]
    wants: tuple[Want, ...]
    score: Callable[[Got], Tensor]
    kind: str
    answer: str | None = None
    measure: Callable[[Got], Tensor] | None = None
    foretold: str | None = None

    @property
    def joined(self) -> str | None:
        """The fusion that the score is made of, by name; None where it is made of none."""
        read = (self.model.loss[want.part].of if want.part in self.model.head else want.part for want in self.wants)
        return next((joined for part in read if (joined := part.partition(".")[0]) in self.model.fusion), None)

    @property
    def fusion(self) -> Any:
        """The same itself."""
        return self.model.fusion[self.joined] if self.joined else None

    def batch(self, pictures: Sequence[Any] | None = None) -> Batch:
        """The question as a batch: of one row, or of one for each of some prepared pictures instead of its own."""
        shown = [self.items[self.picture]] if pictures is None else list(pictures)
        items = {name: shown if name == self.picture else [item] * len(shown) for name, item in self.items.items()}
        parts = [joined(self.model, name, listed, {}) for name, listed in items.items()]
        return Batch(
            [""] * len(shown),
            {name: tensors for part in parts for name, tensors in part.inputs.items()},
            {name: has for part in parts for name, has in part.present.items()},
            nowhere=frozenset().union(*(part.nowhere for part in parts)),
        ).to(self.model.device)

    @torch.inference_mode()
    def measured(self, pictures: Sequence[Any]) -> Tensor:
        """The score, or where it is a logit the answer's probability, with other prepared pictures: (B,) on the CPU."""
        got = self.model(self.batch(pictures), self.wants)
        return (self.measure or self.score)(got).float().cpu()


def ask(model: Model, prepared: Any, text: str | None) -> Asked:
    """The question that a picture and a text put to a model: the answer of one that answers questions, else how alike they are,
    else the answer to the text or how likely it would write it, else, for a head that reads no words, the class that the text
    names. Without a text: the class that is predicted, the text that it writes, or the picture's own vector.

    Args:
        prepared: the picture, by the Reader of its input.

    Raises:
        UserError: the model reads no pictures, or no texts.
        UsageError: it has no class of this name.
    """
    objective, picture, words = _headed(model), picture_of(model), words_of(model)
    if (questions := _answering(model)) is not None:
        return _of_head(model, questions, picture, prepared, text)
    if text is not None and words in model.embedded and picture in model.embedded:
        return _of_pair(model, picture, str(words), prepared, text)
    if objective is not None and writes(objective):
        return _of_text(model, objective, picture, prepared, text)
    if objective is not None:
        return _of_head(model, objective, picture, prepared, text)
    if text is None:
        return _alone(model, picture, prepared)
    raise UserError("the model reads no texts", model.name, "leave the text out: the picture alone is explained")


def picture_of(model: Model) -> str:
    """The first input of pictures.

    Raises:
        UserError: there is none.
    """
    found = next((name for name in model.inputs if is_picture(model.inputs[name].modality)), None)
    if found is None:
        raise UserError("the model reads no pictures", model.name, f"it reads: {', '.join(model.inputs)}")
    return found


def words_of(model: Model) -> str | None:
    """The input of the texts that `ask` takes; None where the model reads none."""
    if (questions := _answering(model)) is not None:
        return _words_read(model, questions)
    compared = [name for name in model.embedded if model.config.is_language(name)]
    if compared and picture_of(model) in model.embedded:
        return compared[0]
    objective = _headed(model)
    return _words_read(model, objective) if objective is not None else None


def _headed(model: Model) -> Any:
    """The first loss whose head tells classes apart or writes."""
    headed = (loss for name, loss in model.loss.items() if name in model.head)
    return next((loss for loss in headed if hasattr(loss, "classes") or writes(loss)), None)


def _answering(model: Model) -> Any:
    """The loss by which a model answers questions about its pictures, where that is the first: what it is aligned by beside it,
    such as the contrast of a recipe vqa, is not what it was made for."""
    objective = _headed(model)
    words = None if objective is None else _words_read(model, objective)
    if words is None or writes(objective) or model.inputs[words].column != objective.column:
        return None
    roots = {root.part for want in objective.wants() for root in model.roots(want)}
    return objective if any(is_picture(model.inputs[name].modality) for name in roots) else None


def _words_read(model: Model, objective: Any) -> str | None:
    """The input of words that a head reads: that of the loss's own column, such as questions, else the first."""
    names = list(dict.fromkeys(root.part for want in objective.wants() for root in model.roots(want)))
    language = [name for name in names if model.config.is_language(name)]
    return next((name for name in language if model.inputs[name].column == objective.column), next(iter(language), None))


def _of_pair(model: Model, picture: str, words: str, prepared: Any, text: str) -> Asked:
    what = ("vectors", "mask") if model.tokenwise else ("vector",)
    sides = [[Want(name, one) for one in what] for name in (picture, words)]

    def cosine(got: Got) -> Tensor:
        a, b = (got[side[0]] for side in sides)
        return (a * b).sum(-1)

    def late(got: Got) -> Tensor:
        both = [[got[want] for want in side] for side in sides]
        rows = [late_interaction(*(x[i : i + 1] for side in both for x in side)) for i in range(len(both[0][0]))]
        return torch.stack([(of_a + of_b).view(()) / 2 for of_a, of_b in rows])

    items = {picture: prepared, words: model.reader(words).prepare(text)}
    wants = tuple(want for side in sides for want in side)
    return Asked(model, picture, words, items, wants, *((late, "late interaction") if model.tokenwise else (cosine, "cosine")))


def _of_head(model: Model, objective: Any, picture: str, prepared: Any, text: str | None) -> Asked:
    want = Want(objective.name, "logits")
    names = list(dict.fromkeys(root.part for root in model.roots(want)))
    if picture not in names:
        raise UserError(f"the model answers without the {picture}", model.name, f"it reads: {', '.join(names)}")
    words = _words_read(model, objective)
    if words is not None and text is None:
        return _alone(model, picture, prepared)
    items: dict[str, Any] = dict.fromkeys(names) | {picture: prepared}
    if words is not None:
        items[words] = model.reader(words).prepare(text or "")
    asked = Asked(model, picture, words, items, (want,), lambda got: got[want][:, 0], "logit")
    if words is None and text is not None:
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
        picture,
        words,
        items,
        (want,),
        lambda got: got[want][:, number],
        "logit",
        objective.classes[number] if objective.classes else objective.column,
        lambda got: objective.probabilities(got[want].float())[:, number],
    )


def _of_text(model: Model, objective: Any, picture: str, prepared: Any, text: str | None) -> Asked:
    names = others(model, objective)
    if picture not in names:
        raise UserError(f"the model writes without the {picture}", model.name, f"it reads: {', '.join(names)}")
    items: dict[str, Any] = dict.fromkeys(names) | {picture: prepared}
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
        picture,
        objective.text,
        items,
        wants,
        score,
        "log-probability",
        answer,
        lambda got: score(got).exp(),
        said,
    )


def _alone(model: Model, picture: str, prepared: Any) -> Asked:
    """The length of the picture's own vector, whose gradient is the vector: nothing is asked of it."""
    want = Want(picture, "pooled")
    return Asked(model, picture, None, {picture: prepared}, (want,), lambda got: got[want].float().square().sum(-1) / 2, "norm")
