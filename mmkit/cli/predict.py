"""`mmkit predict`: how probable each of some texts is for an image."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import Debug, Device, Json, Model, Quiet
from mmkit.errors import UsageError

if TYPE_CHECKING:
    from mmkit.model import Model as LoadedModel

EPILOG = """\b
Examples:
  mmkit predict cat.jpg "a cat" "a dog"
  mmkit predict cat.jpg "a cat" "a dog" --model openai/clip-vit-base-patch32 --json
  echo '{"image": "cat.jpg", "texts": ["a cat", "a dog"]}' | mmkit predict -
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def predict(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture, or - for JSONL on stdin: image, texts.")],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="The texts to choose between.", show_default=False)
    ] = None,
    model: Model = "runs/latest",
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The probability of each text for an image: shares of one for a softmax model, each on its own for a sigmoid one.

    Prints a table in a terminal and one JSON object a text elsewhere.
    """
    from mmkit.cli.queries import predict_lines
    from mmkit.embedding import require_file
    from mmkit.loading import load_model

    if image != "-" and not texts:
        raise UsageError("which texts?", hint=f'mmkit predict {image} "a cat" "a dog"')
    if not all(text.strip() for text in texts or []):
        raise UsageError("a text is empty", hint=f'mmkit predict {image} "a cat" "a dog"')
    if image != "-":
        require_file(image, "image")
    loaded = load_model(model, device, console.say)
    if image != "-":
        _show(_probabilities(loaded, image, texts or []))
        return
    for asked in predict_lines(sys.stdin, texts or []):
        line = asked.query
        with asked.named():
            answers = _probabilities(loaded, line["image"], line["texts"])
        for answer in answers:
            console.record(({"id": line["id"]} if "id" in line else {}) | answer)


def _probabilities(model: LoadedModel, path: str, texts: list[str]) -> list[dict[str, Any]]:
    import numpy
    import torch

    from mmkit.embedding import embed_file, embed_texts
    from mmkit.encode import diverged
    from mmkit.metrics.ranking import Scores

    image, vectors = embed_file(model, "image", path), embed_texts(model, texts)
    scores = Scores(vectors)(image, 0, 1, numpy.empty((1, len(texts)), numpy.float32))[0]
    probabilities = model.probabilities(torch.from_numpy(scores))
    if not probabilities.isfinite().all():  # a scale that has diverged beside vectors that have not
        raise diverged(model, "a probability is not finite")
    pairs = zip(texts, probabilities.tolist(), scores.tolist(), strict=True)
    return [{"image": path, "text": text, "probability": probability, "score": score} for text, probability, score in pairs]


def _show(answers: list[dict[str, Any]]) -> None:
    if console.json:
        for answer in answers:
            console.record(answer)
        return
    best_first = sorted(answers, key=lambda answer: -answer["probability"])
    rows = [[answer["text"], f"{answer['probability']:.3f}", f"{answer['score']:.3f}"] for answer in best_first]
    console.table(answers[0]["image"], ["text", "probability", "score"], rows, to_stdout=True)
