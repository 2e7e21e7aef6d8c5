"""`mmkit answer`: what a model that was trained on questions says of an image."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import (
    DataOption,
    Debug,
    Device,
    Json,
    Prompt,
    Quiet,
    Seed,
    Shots,
    Temperature,
    TopP,
    Writer,
    drawing,
)
from mmkit.cli.writing import Scribe, examples
from mmkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmkit.given import File

METRIC = "vqa"  # of the losses that answer
ANSWERS = "Answers"  # a heading of --help
EPILOG = """\b
Examples:
  mmkit answer cat.jpg "what colour is the cat?"
  mmkit answer cat.jpg "how many are there?" --top 5 --model runs/vqa-data-1
  mmkit answer cat.jpg "what is on its head?" --model ./SmolVLM-256M-Instruct
  mmkit answer cat.jpg "what is it?" --shots 4 --data ./vqa --top-p 0.9 --seed 1
  echo '{"id": 1, "image": "cat.jpg", "question": "is it a cat?"}' | mmkit answer -
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def answer(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture, or - for JSONL on stdin: image, question.")],
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="What to ask of it.", show_default=False)] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="Answers to a question, best first.", rich_help_panel=ANSWERS)
    ] = 1,
    top_p: TopP = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    shots: Shots = 0,
    data: DataOption = None,
    prompt: Prompt = None,
    model: Writer = "runs/latest",
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The answer to a question about an image and how probable it is: of those that were trained on, or in its own words where
    the model writes, such as a vision-language checkpoint of transformers.

    Prints a table in a terminal and one JSON object an answer elsewhere: image, question, answer, probability.
    Lines on stdin are {"id": …, "image": "path", "question": …} and are answered one by one.
    """
    from mmkit.cli.queries import answer_lines, parse_file
    from mmkit.foreign_open import load_writer
    from mmkit.metrics import heads, vqa

    asks = f'mmkit answer {image} "what colour is it?"'
    if image == "-" and question is not None:
        raise UsageError("- reads the questions from stdin, all of them", hint="leave - out, or the question")
    if image != "-" and question is None:
        raise UsageError("which question?", hint=asks)
    if question is not None and not question.strip():
        raise UsageError("the question is empty", hint=asks)
    files = [] if image == "-" else [parse_file(image, "image")]
    sampling = drawing(top_p, temperature, seed, None)
    loaded = load_writer(model, device, console.say, prompt)
    objective = heads.objective_of(loaded, METRIC, vqa.WHAT)
    if sampling and hasattr(objective, "classes"):
        raise UsageError("--top-p and --temperature draw words, and the model chooses an answer", hint="leave them out")
    scribe = Scribe(loaded, objective, top, top, sampling, examples(loaded, objective, data, shots, seed, asks=True))
    if question is not None:
        _show(_answers(scribe, files, question))
        return
    for asked in answer_lines(sys.stdin, loaded):
        line = asked.query
        with asked.named():
            answers = _answers(scribe, line["files"], line["question"])
        for one in answers:
            console.record(({"id": line["id"]} if "id" in line else {}) | one)


def _answers(scribe: Scribe, files: Sequence[File], question: str) -> list[dict[str, Any]]:
    """The most probable answers, best first.

    Raises:
        UserError: the image cannot be read.
    """
    from mmkit.metrics import heads

    model, objective = scribe.model, scribe.objective
    if not hasattr(objective, "classes"):
        return _in_words(scribe, files, question)
    asked = heads.question_of(model, objective)
    inputs = scribe.items(files) | {asked: model.reader(asked).prepare(question)}
    probabilities = heads.scored(model, objective, [inputs])[1][0].tolist()
    best = sorted(range(len(probabilities)), key=lambda c: -probabilities[c])[: scribe.top]
    shown = scribe.named(files) | {"question": question}
    return [shown | {"answer": objective.classes[c], "probability": probabilities[c]} for c in best]


def _in_words(scribe: Scribe, files: Sequence[File], question: str) -> list[dict[str, Any]]:
    """As `_answers`, of a model that writes them: with the probability of all tokens of an answer."""
    from math import exp

    from mmkit.metrics import heads

    # the start token, which own models set before an answer, is not foretold
    start = heads.writes(scribe.objective)
    said = [(exp(one.score * (len(one.ids) - start)), one.text) for one in scribe.write(files, question)]
    answers = sorted(said, key=lambda each: -each[0])
    shown = scribe.named(files) | {"question": question}
    return [shown | {"answer": text, "probability": value} for value, text in answers]


def _show(answers: list[dict[str, Any]]) -> None:
    if console.json:
        for one in answers:
            console.record(one)
        return
    rows = [[one["answer"], f"{one['probability']:.3f}"] for one in answers]
    path = next(iter(answers[0].values()))  # under what the file is
    console.table(f"{path}: {answers[0]['question']}", ["answer", "probability"], rows, to_stdout=True)
