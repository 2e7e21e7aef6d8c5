"""`mmkit retrieve`: search images with a sentence, or texts with an image."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import typer

from mmkit.cli.console import console
from mmkit.cli.options import BatchSize, Debug, Device, Json, Model, Quiet, Split, Workers

EPILOG = """\b
Examples:
  mmkit retrieve "a red circle left of a blue square"
  mmkit retrieve "a dog on a beach" --in ~/Pictures --model openai/clip-vit-base-patch32 --top 3
  mmkit retrieve photo.jpg --find text --json | jq -r .text
  mmkit retrieve - < queries.jsonl > answers.jsonl
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog=EPILOG)
def retrieve(
    queries: Annotated[
        list[str], typer.Argument(metavar="QUERY", help="A sentence, an image's path, or - for JSONL on stdin.")
    ],
    where: Annotated[
        str, typer.Option("--in", metavar="DATA|EMBEDDINGS|FOLDER", help="A dataset, embeddings or images.")
    ] = "data",
    model: Model = "runs/latest",
    top: Annotated[int, typer.Option("--top", min=1, help="Answers to a query.")] = 10,
    find: Annotated[
        Literal["image", "text"] | None,
        typer.Option("--find", help="What to look for. Default: image for a text, text for an image.", show_default=False),
    ] = None,
    split: Split = None,
    device: Device = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find the images or texts nearest to each query. The vectors of --in are made once and kept beside the run.

    Prints a table in a terminal and one JSON object an answer elsewhere: query, rank, score, id, modality, text, path.
    Lines on stdin are {"id": …, "text": …} or {"id": …, "image": "path"} and are answered one by one.
    """
    from mmkit.cli.progress import bars
    from mmkit.cli.queries import json_lines, parse_query
    from mmkit.embedding import Pace
    from mmkit.model import load_model
    from mmkit.search.gallery import open_gallery

    asked: Iterable[dict[str, Any]]
    asked = json_lines(sys.stdin, ("text", "image")) if queries == ["-"] else [parse_query(word) for word in queries]
    loaded = load_model(model, device)
    with bars() as progress:
        gallery = open_gallery(where, loaded, split, Pace(batch_size, workers, progress("embed")))
    if gallery.note:
        console.say(gallery.note)
    for query in asked:
        _show(query, gallery.answer(query, find, top))


def _show(query: dict[str, Any], answers: list[dict[str, Any]]) -> None:
    if console.json:
        for answer in answers:
            console.record(({"query_id": query["id"]} if "id" in query else {}) | answer)
        return
    rows = [[str(a["rank"]), f"{a['score']:.3f}", a["id"], a["text"] or a["path"] or ""] for a in answers]
    console.table(query.get("text") or query["image"], ["rank", "score", "id", "text or path"], rows, to_stdout=True)
