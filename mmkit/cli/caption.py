"""`mmkit caption`: what a model that was trained to write says of images."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import Beams, Debug, Device, Json, Model, Quiet
from mmkit.errors import UsageError, UserError

if TYPE_CHECKING:
    from mmkit.model import Model as LoadedModel

METRIC = "caption"  # of the losses that write
CAPTIONS = "Captions"  # a heading of --help
EPILOG = """\b
Examples:
  mmkit caption cat.jpg
  mmkit caption photos/*.jpg --beams 5 --model runs/caption-data-1 > captions.jsonl
  mmkit caption cat.jpg --top 3
  echo '{"id": 1, "image": "cat.jpg"}' | mmkit caption -
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def caption(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Pictures, or - for JSONL on stdin: image.")],
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="Captions of an image, best first.", rich_help_panel=CAPTIONS)
    ] = 1,
    beams: Beams = None,
    model: Model = "runs/latest",
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """A caption of each image, by a model that was trained to write them.

    Prints a table in a terminal and one JSON object a caption elsewhere: image, caption, score. The score is the mean
    log-probability of the caption's tokens, its end included; of beams the caption with the best one is taken.
    Lines on stdin are {"id": …, "image": "path"} and are answered one by one.
    """
    from mmkit.cli.queries import caption_lines
    from mmkit.embedding import require_file
    from mmkit.loading import load_model

    if beams is not None and top > beams:
        raise UsageError(f"--top {top} of {beams} beams: a beam ends in one caption", hint=f"--beams {top}")
    if "-" in images and len(images) > 1:
        raise UsageError("- reads the images from stdin, all of them", hint="leave - out, or the other images")
    for path in images if images != ["-"] else ():
        require_file(path, "image")
    loaded, count = load_model(model, device, console.say), beams or top
    if images != ["-"]:
        _show(loaded, images, count, top)
        return
    for asked in caption_lines(sys.stdin):
        line = asked.query
        with asked.named():
            captions = _captions(loaded, line["image"], count, top)
        for one in captions:
            console.record(({"id": line["id"]} if "id" in line else {}) | one)


def _captions(model: LoadedModel, path: str, beams: int, top: int) -> list[dict[str, Any]]:
    """The best captions, best first.

    Raises:
        UserError: the model writes none, or the image cannot be read.
    """
    from mmkit.decoding import generate
    from mmkit.metrics import heads

    objective = heads.find(model, METRIC)
    if objective is None:
        losses = ", ".join(table["kind"] for table in model.config.loss.values())
        hint = f"mmkit train --recipe caption   trains one that does; its losses: {losses}"
        raise UserError("the model was not trained to write captions", model.name, hint)
    (written,) = generate(model, objective, [heads.of_file(model, objective, path)], beams, top)
    return [{"image": path, "caption": one.text, "score": one.score} for one in written]


def _show(model: LoadedModel, images: list[str], beams: int, top: int) -> None:
    if console.json:
        for path in images:
            for one in _captions(model, path, beams, top):
                console.record(one)
        return
    captions = [one for path in images for one in _captions(model, path, beams, top)]
    rows = [[one["image"], one["caption"], f"{one['score']:.3f}"] for one in captions]
    title = "score: the mean log-probability of the tokens"
    console.table(title, ["image", "caption", "score"], rows, to_stdout=True)
