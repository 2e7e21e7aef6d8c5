"""`mmkit predict`: how probable each of some texts is for an image, or each class of a classifier; or a number."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import By, Debug, Device, Json, Model, Quiet
from mmkit.errors import UsageError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmkit.given import File
    from mmkit.model import Model as LoadedModel

METRIC, NUMBERS = "classify", "regress"  # of the losses that have classes, and of those that predict a number
EPILOG = """\b
Examples:
  mmkit predict cat.jpg "a cat" "a dog"
  mmkit predict cat.jpg --model runs/classify-data-1
  mmkit predict said.wav face.mp4 "it was a good film" --model runs/sentiment-data-1
  mmkit predict depth=map.png --model runs/classify-rooms-1
  mmkit predict cat.jpg "a cat" "a dog" --model runs/match-data-1 --by contrast
  mmkit predict cat.jpg "a cat" "a dog" --model openai/clip-vit-base-patch32 --json
  echo '{"image": "cat.jpg", "texts": ["a cat", "a dog"]}' | mmkit predict -
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def predict(
    image: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A picture, sound, video or series, INPUT=FILE, or - for JSONL on stdin: image, texts."
        ),
    ],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="The texts to choose between; none: the model's classes. A file of a further input of the model is shown to it.",
            show_default=False,
        ),
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
    that number, for each text where it reads texts, too. A model of several inputs is shown a file of each: `predict x.wav
    x.mp4 "a text"`, or on stdin {"audio": "x.wav", "video": "x.mp4", "texts": ["a text"]}; what is missing is said.
    Prints a table in a terminal and one JSON object a text elsewhere.
    """
    from mmkit.cli.queries import parse_file, predict_lines, sorted_out
    from mmkit.loading import load_model

    if not all(text.strip() for text in texts or []):
        raise UsageError("a text is empty", hint=f'mmkit predict {image} "a cat" "a dog"')
    first = None if image == "-" else parse_file(image)
    oracle = Oracle(load_model(model, device, console.say), by)
    if first is not None:
        files, said = sorted_out(oracle.model, first, texts or [])
        _show(files, oracle.answers(files, said))
        return
    for asked in predict_lines(sys.stdin, texts or [], oracle.model, classes=oracle.head is not None):
        line = asked.query
        with asked.named():
            answers = oracle.answers(line["files"], line["texts"])
        for answer in answers:
            console.record(({"id": line["id"]} if "id" in line else {}) | answer)


@dataclass(frozen=True)
class Oracle:
    """A model that says how probable texts or classes are, or a number.

    Args:
        by: of a model that does both, whether it matches or compares.
        noted: what was said of inputs that are missing, which is not said again.
    """

    model: LoadedModel
    by: str | None
    noted: set[str] = field(default_factory=set)

    @property
    def head(self) -> Any:
        """The first loss that has classes, else that predicts a number."""
        from mmkit.metrics import heads

        return heads.find(self.model, METRIC) or heads.find(self.model, NUMBERS)

    def answers(self, files: Sequence[File], texts: list[str]) -> list[dict[str, Any]]:
        """Of each text, or where there are none of each class, with the files.

        Raises:
            UserError: the model cannot say.
        """
        from mmkit.given import said_of

        of, found = self._answers(files, texts)
        shown = said_of(self.model, of, files)
        return [shown | answer for answer in found]

    def _answers(self, files: Sequence[File], texts: list[str]) -> tuple[Sequence[str], list[dict[str, Any]]]:
        """The inputs of which the files are, and the answers."""
        from mmkit.metrics import heads
        from mmkit.metrics.pairs import MATCH, matching_of

        model, head = self.model, self.head
        compares = bool(model.embedded or heads.find(model, MATCH))
        read = heads.read_by(model, head) if head else []
        if (head and not (texts and compares)) or (head and len(files) > 1):
            return read, self._by_head(head, files, texts)
        if texts:
            matching = matching_of(model, self.by)
            if len(files) > 1:
                raise UsageError("the model compares one file with texts", ", ".join(file.path for file in files))
            found = _of_texts(model, files[0], texts) if matching is None else _matched(model, matching, files[0], texts)
            return model.embedded if matching is None else matching.pair, found
        if compares:
            raise UsageError("which texts?", hint=f'mmkit predict {files[0].path} "a cat" "a dog"')
        losses = ", ".join(table["kind"] for table in model.config.loss.values())
        raise UserError("the model was trained neither to compare texts nor to classify", model.name, f"its losses: {losses}")

    def _by_head(self, head: Any, files: Sequence[File], texts: list[str]) -> list[dict[str, Any]]:
        """The number that is predicted, of the files with each text, or alone: a number has no probability; or each class, best
        first."""
        from mmkit.metrics import heads

        model, typed = self.model, " ".join(file.path for file in files)
        inputs = heads.of_files(model, head, files)
        words = next((name for name in heads.read_by(model, head) if model.config.is_language(name)), None)
        if texts and words is None:
            what = "the model has classes of its own and compares no texts" if head.classes else "the model reads no texts"
            raise UsageError(what, model.name, f"mmkit predict {typed}")
        if head.classes and len(texts) > 1:
            raise UsageError("the model has classes of its own, for one text", model.name, f'mmkit predict {typed} "{texts[0]}"')
        asked = [inputs | {words: model.reader(words).prepare(text)} for text in texts] if words else []
        self._note(head, [*inputs, *([words] if words and texts else [])])
        logits, found = heads.scored(model, head, asked or [inputs])
        if not head.classes:
            said = texts or [head.column]
            numbers = found[:, 0].tolist()
            return [{"text": text, "probability": None, "score": n} for text, n in zip(said, numbers, strict=True)]
        scores, probabilities = logits[0].tolist(), found[0].tolist()
        best_first = sorted(range(len(scores)), key=lambda c: -scores[c])
        return [{"text": head.classes[c], "probability": probabilities[c], "score": scores[c]} for c in best_first]

    def _note(self, head: Any, inputs: Sequence[str]) -> None:
        """A model of several inputs is shown some of them."""
        from mmkit.metrics import heads

        what = "the classes are those" if head.classes else f"the {head.column} is that"
        note = heads.lacking(self.model, head, inputs, what)
        if note and note not in self.noted:
            self.noted.add(note)
            console.say(note)


def _of_texts(model: LoadedModel, file: File, texts: list[str]) -> list[dict[str, Any]]:
    import numpy
    import torch

    from mmkit.data.modalities import of_path
    from mmkit.embedding import cut_off, embed_file, embed_texts, language_of, require_input
    from mmkit.encode import diverged
    from mmkit.given import held_by_files, inputs_of
    from mmkit.metrics.ranking import Scores

    if not held_by_files(model, model.embedded):
        require_input(model, of_path(file.path) or "image")
    name = next(iter(inputs_of(model, model.embedded, [file])))
    image, vectors = embed_file(model, name, file.path), embed_texts(model, texts)
    if said := cut_off(model, texts):
        console.warn(said)
    scores = Scores(vectors)(image, 0, 1, numpy.empty((1, len(texts)), numpy.float32))[0]
    probabilities = model.probabilities(torch.from_numpy(scores), (name, language_of(model)))
    if not probabilities.isfinite().all():  # a scale that has diverged beside vectors that have not
        raise diverged(model, "a probability is not finite")
    pairs = zip(texts, probabilities.tolist(), scores.tolist(), strict=True)
    return [{"text": text, "probability": probability, "score": score} for text, probability, score in pairs]


def _matched(model: LoadedModel, objective: Any, file: File, texts: list[str]) -> list[dict[str, Any]]:
    """The probability that each text and the image belong together."""
    import numpy
    import torch

    from mmkit.embedding import file_item
    from mmkit.metrics import fused, pairs

    picture, words = pairs.sides(model, objective.pair)
    items = {picture: [file_item(model, picture, file.path)], words: [model.reader(words).prepare(text) for text in texts]}
    every = numpy.array([(0, i) for i in range(len(texts))])
    logits = pairs.match(model, objective, items, every)
    found = zip(
        texts, objective.probabilities(torch.from_numpy(logits))[:, 1].tolist(), fused.scores(logits).tolist(), strict=True
    )
    return [{"text": text, "probability": probability, "score": score} for text, probability, score in found]


def _show(files: Sequence[File], answers: list[dict[str, Any]]) -> None:
    if console.json:
        for answer in answers:
            console.record(answer)
        return
    title = ", ".join(file.path for file in files)
    if answers[0]["probability"] is None:
        rows = [[answer["text"], f"{answer['score']:.3f}"] for answer in answers]
        console.table(title, ["text", "predicted"], rows, to_stdout=True)
        return
    best_first = sorted(answers, key=lambda answer: -answer["probability"])
    rows = [[answer["text"], f"{answer['probability']:.3f}", f"{answer['score']:.3f}"] for answer in best_first]
    console.table(title, ["text", "probability", "score"], rows, to_stdout=True)
