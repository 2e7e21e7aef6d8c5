"""`mmkit retrieve`: search images with a sentence, or texts with an image."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmkit.cli.console import console
from mmkit.cli.options import BatchSize, Debug, Device, Json, Model, Quiet, Split, Workers

if TYPE_CHECKING:
    from mmkit.search.gallery import Gallery
    from mmkit.views.sheet import Strip

EPILOG = """\b
Examples:
  mmkit retrieve "a red circle left of a blue square"
  mmkit retrieve "a dog on a beach" --in ~/Pictures --model openai/clip-vit-base-patch32 --top 3
  mmkit retrieve "a red dress" "a blue chair" --top 6 --figure found.png
  mmkit retrieve photo.jpg --find text --json | jq -r .text
  mmkit retrieve - < queries.jsonl > answers.jsonl
"""

DRAWN = 50  # queries in one figure

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog=EPILOG)
def retrieve(
    queries: Annotated[list[str], typer.Argument(metavar="QUERY", help="A sentence, an image's path, or - for JSONL on stdin.")],
    where: Annotated[
        str, typer.Option("--in", metavar="DATA|EMBEDDINGS|FOLDER", help="A dataset, embeddings or images.")
    ] = "data",
    model: Model = "runs/latest",
    top: Annotated[int, typer.Option("--top", min=1, help="Answers to a query.")] = 10,
    find: Annotated[
        Literal["image", "text"] | None,
        typer.Option("--find", help="What to look for. Default: image for a text, text for an image.", show_default=False),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Draw the answers with their scores: .png .jpg .pdf or .html.", show_default=False),
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

    if figure:
        from mmkit.views.sheet import check_format

        check_format(figure)
    asked: Iterable[dict[str, Any]]
    asked = json_lines(sys.stdin, ("text", "image")) if queries == ["-"] else [parse_query(word) for word in queries]
    loaded = load_model(model, device)
    with bars() as progress:
        gallery = open_gallery(where, loaded, split, Pace(batch_size, workers, progress("embed")))
    if gallery.note:
        console.say(gallery.note)
    strips: list[Strip] = []
    for query in asked:
        answers = gallery.answer(query, find, top)
        if console.json:
            for answer in answers:
                console.record(({"query_id": query["id"]} if "id" in query else {}) | answer)
        else:
            _table(query, answers, gallery)
        if figure and len(strips) < DRAWN:
            strips.append(_strip(query, answers, gallery))
    if figure:
        _draw(strips, figure)


def _table(query: dict[str, Any], answers: list[dict[str, Any]], gallery: Gallery) -> None:
    rows = [
        [str(a["rank"]), f"{a['score']:.3f}", a["id"], a["path"] or a["text"] or gallery.caption(a["id"]) or ""] for a in answers
    ]
    console.table(query.get("text") or query["image"], ["rank", "score", "id", "path or text"], rows, to_stdout=True)


def _strip(query: dict[str, Any], answers: list[dict[str, Any]], gallery: Gallery) -> Strip:
    """A query and its answers as they are drawn. An answer is right or wrong only if the query's id is one of the gallery's."""
    from mmkit.data.images import load_rgb
    from mmkit.views.pictures import of_source
    from mmkit.views.sheet import Strip, Tile

    known = query.get("id") in gallery.found.ids
    source = (gallery.found.meta or {}).get("data")
    pictured = [a["id"] for a in answers if a["modality"] == "image"]
    pictures = of_source(source, pictured, gallery.split) if source and pictured else {}
    tiles = [
        Tile(
            a["text"] or ("" if a["id"] in pictures else a["id"]),
            pictures.get(a["id"]) if a["modality"] == "image" else None,
            a["score"],
            a["id"] == query["id"] if known else None,
        )
        for a in answers
    ]
    asked = Tile(query["text"]) if "text" in query else Tile(Path(query["image"]).name, load_rgb(query["image"]))
    return Strip(asked, tiles)


def _draw(strips: list[Strip], figure: Path) -> None:
    from mmkit.views.sheet import save_answers

    if len(strips) == DRAWN:
        console.say(f"the figure shows the first {DRAWN} queries")
    save_answers(strips, figure, "Answers")
    console.say(f"wrote {figure}")
