"""`mmkit predict`: how probable each of some texts is for an image, or each class of a classifier; or a number."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import By, Debug, Device, Json, Model, Quiet
from mmkit.errors import UsageError, UserError

if TYPE_CHECKING:
    from mmkit.model import Model as LoadedModel

METRIC, NUMBERS = "classify", "regress"  # of the losses that have classes, and of those that predict a number
EPILOG = """\b
Examples:
  mmkit predict cat.jpg "a cat" "a dog"
  mmkit predict cat.jpg --model runs/classify-data-1
  mmkit predict cat.jpg "a cat" "a dog" --model runs/match-data-1 --by contrast
  mmkit predict cat.jpg "a cat" "a dog" --model openai/clip-vit-base-patch32 --json
  echo '{"image": "cat.jpg", "texts": ["a cat", "a dog"]}' | mmkit predict -
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def predict(
    image: Annotated[
        str, typer.Argument(metavar="FILE", help="A picture, sound, video or series, or - for JSONL on stdin: image, texts.")
    ],
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="The texts to choose between; none: the model's classes.", show_default=False),
    ] = None,
    model: Model = "runs/latest",
    by: By = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The probability of each text for an image: shares of one for a softmax model, each on its own for a sigmoid one.

    Of a model that was trained to match, the probability that the text and the image belong together, each on its own; `score`
    is how far its logit lies above that of the other answer. Without texts, the probability of each class of a model that was
    trained to classify, best first; `score` is then its logit, else the cosine. Of a model that predicts a number `score` is
    that number, for each text where it reads texts, too.
    Prints a table in a terminal and one JSON object a text elsewhere.
    """
    from mmkit.cli.queries import predict_lines
    from mmkit.embedding import require_file
    from mmkit.loading import load_model
    from mmkit.metrics import heads

    if not all(text.strip() for text in texts or []):
        raise UsageError("a text is empty", hint=f'mmkit predict {image} "a cat" "a dog"')
    if image != "-":
        require_file(image, "file")
    loaded = load_model(model, device, console.say)
    objective = heads.find(loaded, METRIC) or heads.find(loaded, NUMBERS)
    if objective and not texts:
        _say_unread(loaded, objective)
    if image != "-":
        _show(image, _named(loaded, image, texts or [], by))
        return
    for asked in predict_lines(sys.stdin, texts or [], classes=objective is not None):
        line = asked.query
        with asked.named():
            answers = _named(loaded, line["image"], line["texts"], by)
        for answer in answers:
            console.record(({"id": line["id"]} if "id" in line else {}) | answer)


def _say_unread(model: LoadedModel, objective: Any) -> None:
    """A model of several inputs is shown one of them."""
    from mmkit.embedding import suffixes
    from mmkit.metrics import heads

    names = heads.read_by(model, objective)
    shown = next((name for name in names if suffixes(model, name)), None)
    if unread := [name for name in names if name != shown]:
        what = "the classes are those" if objective.classes else f"the {objective.column} is that"
        console.say(f"{what} for the {shown} alone; the model reads {' and '.join(unread)}, too")


def _named(model: LoadedModel, path: str, texts: list[str], by: str | None) -> list[dict[str, Any]]:
    """The answers, each with the file, which is called by what it is."""
    from mmkit.cli.queries import called

    kind = called(model, path)
    return [{kind: path} | answer for answer in _answers(model, path, texts, by)]


def _answers(model: LoadedModel, path: str, texts: list[str], by: str | None) -> list[dict[str, Any]]:
    """Of each text, or where there are none of each class.

    Raises:
        UserError: the model cannot say.
    """
    from mmkit.metrics import heads
    from mmkit.metrics.pairs import MATCH, matching_of

    objective, numbers = heads.find(model, METRIC), heads.find(model, NUMBERS)
    if numbers and not objective and not (texts and (model.embedded or heads.find(model, MATCH))):
        return _of_numbers(model, numbers, path, texts)
    if texts and objective and not model.embedded and not heads.find(model, MATCH):
        raise UsageError("the model has classes of its own and compares no texts", model.name, f"mmkit predict {path}")
    if texts:
        matching = matching_of(model, by)
        return _of_texts(model, path, texts) if matching is None else _matched(model, matching, path, texts)
    if objective:
        return _of_classes(model, objective, path)
    if model.embedded or heads.find(model, MATCH):
        raise UsageError("which texts?", hint=f'mmkit predict {path} "a cat" "a dog"')
    losses = ", ".join(table["kind"] for table in model.config.loss.values())
    raise UserError("the model was trained neither to compare texts nor to classify", model.name, f"its losses: {losses}")


def _of_classes(model: LoadedModel, objective: Any, path: str) -> list[dict[str, Any]]:
    from mmkit.metrics import heads

    found = heads.scored(model, objective, [heads.of_file(model, objective, path)])
    logits, probabilities = (values[0].tolist() for values in found)
    best_first = sorted(range(len(logits)), key=lambda c: -logits[c])
    return [{"text": objective.classes[c], "probability": probabilities[c], "score": logits[c]} for c in best_first]


def _of_numbers(model: LoadedModel, objective: Any, path: str, texts: list[str]) -> list[dict[str, Any]]:
    """The number that is predicted, of the file with each text, or alone: a number has no probability."""
    from mmkit.metrics import heads

    inputs = heads.of_file(model, objective, path)
    words = next((name for name in heads.read_by(model, objective) if model.config.is_language(name)), None)
    if texts and words is None:
        raise UsageError("the model reads no texts", model.name, f"mmkit predict {path}")
    asked = [inputs | {words: model.reader(words).prepare(text)} for text in texts] if words else []
    found = heads.scored(model, objective, asked or [inputs])[1][:, 0].tolist()
    said = texts or [objective.column]
    return [{"text": text, "probability": None, "score": n} for text, n in zip(said, found, strict=True)]


def _of_texts(model: LoadedModel, path: str, texts: list[str]) -> list[dict[str, Any]]:
    import numpy
    import torch

    from mmkit.embedding import called_as, cut_off, embed_file, embed_texts, language_of
    from mmkit.encode import diverged
    from mmkit.metrics.ranking import Scores

    name = called_as(model, model.embedded, path) or "image"
    image, vectors = embed_file(model, name, path), embed_texts(model, texts)
    if said := cut_off(model, texts):
        console.warn(said)
    scores = Scores(vectors)(image, 0, 1, numpy.empty((1, len(texts)), numpy.float32))[0]
    probabilities = model.probabilities(torch.from_numpy(scores), (name, language_of(model)))
    if not probabilities.isfinite().all():  # a scale that has diverged beside vectors that have not
        raise diverged(model, "a probability is not finite")
    pairs = zip(texts, probabilities.tolist(), scores.tolist(), strict=True)
    return [{"text": text, "probability": probability, "score": score} for text, probability, score in pairs]


def _matched(model: LoadedModel, objective: Any, path: str, texts: list[str]) -> list[dict[str, Any]]:
    """The probability that each text and the image belong together."""
    import numpy
    import torch

    from mmkit.embedding import file_item
    from mmkit.metrics import fused, pairs

    picture, words = pairs.sides(model, objective.pair)
    items = {picture: [file_item(model, picture, path)], words: [model.reader(words).prepare(text) for text in texts]}
    every = numpy.array([(0, i) for i in range(len(texts))])
    logits = pairs.match(model, objective, items, every)
    found = zip(
        texts, objective.probabilities(torch.from_numpy(logits))[:, 1].tolist(), fused.scores(logits).tolist(), strict=True
    )
    return [{"text": text, "probability": probability, "score": score} for text, probability, score in found]


def _show(path: str, answers: list[dict[str, Any]]) -> None:
    if console.json:
        for answer in answers:
            console.record(answer)
        return
    if answers[0]["probability"] is None:
        rows = [[answer["text"], f"{answer['score']:.3f}"] for answer in answers]
        console.table(path, ["text", "predicted"], rows, to_stdout=True)
        return
    best_first = sorted(answers, key=lambda answer: -answer["probability"])
    rows = [[answer["text"], f"{answer['probability']:.3f}", f"{answer['score']:.3f}"] for answer in best_first]
    console.table(path, ["text", "probability", "score"], rows, to_stdout=True)
