"""`mmkit caption`: what a model that was trained to write says of images."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import (
    Beams,
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
from mmkit.errors import UsageError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmkit.given import File
    from mmkit.model import Model as LoadedModel

METRIC = "caption"  # of the losses that write
CAPTIONS = "Captions"  # a heading of --help
EPILOG = """\b
Examples:
  mmkit caption cat.jpg
  mmkit caption photos/*.jpg --beams 5 --model runs/caption-data-1 > captions.jsonl
  mmkit caption cat.jpg --top 3
  mmkit caption cat.jpg --top-p 0.9 --seed 1
  mmkit caption cat.jpg --shots 4 --data ./coco --model runs/flamingo
  mmkit caption cat.jpg --model ./SmolVLM-256M-Instruct --prompt "Describe the picture in detail."
  echo '{"id": 1, "image": "cat.jpg"}' | mmkit caption -
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def caption(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Pictures, or - for JSONL on stdin: image.")],
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="Captions of an image, best first.", rich_help_panel=CAPTIONS)
    ] = 1,
    beams: Beams = None,
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
    """A caption of each image, by a model that was trained to write them, or by a vision-language checkpoint of transformers.

    Prints a table in a terminal and one JSON object a caption elsewhere: image, caption, score. The score is the mean
    log-probability of the caption's tokens, its end included; of beams the caption with the best one is taken.
    Lines on stdin are {"id": …, "image": "path"} and are answered one by one.
    """
    from mmkit.cli.queries import caption_lines, parse_file
    from mmkit.foreign_open import load_writer

    sampling = drawing(top_p, temperature, seed, beams)
    if beams is not None and top > beams:
        raise UsageError(f"--top {top} of {beams} beams: a beam ends in one caption", hint=f"--beams {top}")
    if "-" in images and len(images) > 1:
        raise UsageError("- reads the images from stdin, all of them", hint="leave - out, or the other images")
    files = [parse_file(path, "image") for path in (images if images != ["-"] else ())]
    loaded = load_writer(model, device, console.say, prompt)
    objective = _objective(loaded)
    shown = examples(loaded, objective, data, shots, seed, asks=False)
    scribe = Scribe(loaded, objective, beams or top, top, sampling, shown)
    if images != ["-"]:
        _show(scribe, files)
        return
    for asked in caption_lines(sys.stdin, loaded):
        line = asked.query
        with asked.named():
            captions = _captions(scribe, line["files"])
        for one in captions:
            console.record(({"id": line["id"]} if "id" in line else {}) | one)


def _objective(model: LoadedModel) -> Any:
    """The loss of a model that writes captions.

    Raises:
        UserError: it has none.
    """
    from mmkit.metrics import heads

    objective = heads.find(model, METRIC)
    if objective is None:
        losses = ", ".join(table["kind"] for table in model.config.loss.values())
        hint = f"mmkit train --recipe caption   trains one that does; its losses: {losses}"
        raise UserError("the model was not trained to write captions", model.name, hint)
    return objective


def _captions(scribe: Scribe, files: Sequence[File]) -> list[dict[str, Any]]:
    """The best captions, best first."""
    written = scribe.write(files)
    return [scribe.named(files) | {"caption": one.text, "score": one.score} for one in written]


def _show(scribe: Scribe, images: Sequence[File]) -> None:
    if console.json:
        for file in images:
            for one in _captions(scribe, [file]):
                console.record(one)
        return
    captions = [one for file in images for one in _captions(scribe, [file])]
    # the first key says what the file is
    rows = [[next(iter(one.values())), one["caption"], f"{one['score']:.3f}"] for one in captions]
    title = "score: the mean log-probability of the tokens"
    console.table(title, [next(iter(captions[0])), "caption", "score"], rows, to_stdout=True)
