"""`mmkit retrieve`: search images, sounds or videos with a sentence, or texts with one of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import DATA, OUTPUT, BatchSize, Debug, Device, Force, Json, Model, Quiet, Split, Workers
from mmkit.errors import UsageError, nearest

if TYPE_CHECKING:
    from mmkit.cli.queries import Asked
    from mmkit.data.pictures import Held
    from mmkit.search.gallery import Answer, Gallery
    from mmkit.views.sheet import Strip

    Found = tuple[dict[str, Any], list[Answer]]

EPILOG = """\b
Examples:
  mmkit retrieve "a red circle left of a blue square"
  mmkit retrieve "a dog on a beach" --in ~/Pictures --model openai/clip-vit-base-patch32 --top 3
  mmkit retrieve "a red dress" "a blue chair" --top 6 --figure found.png
  mmkit retrieve "a red dress" --save found
  mmkit retrieve photo.jpg --plus "a blue circle" --minus "a red circle"
  mmkit retrieve photo.jpg --find text --json | jq -r .text
  mmkit retrieve "a dog barks" --find audio --in ~/sounds
  mmkit retrieve bark.wav --plus "snow" --find image
  mmkit retrieve depth=map.png --find series
  mmkit retrieve - < queries.jsonl > answers.jsonl
"""

DRAWN = 50  # queries in one figure
ANSWERS = "Answers"  # a heading of --help

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def retrieve(
    queries: Annotated[list[str], typer.Argument(metavar="QUERY", help="A sentence, a file, or - for JSONL on stdin.")],
    where: Annotated[
        str,
        typer.Option(
            "--in",
            metavar="DATA|EMBEDDINGS|FOLDER",
            help="A dataset, embeddings or a folder of images.",
            rich_help_panel=DATA,
        ),
    ] = "data",
    split: Split = None,
    model: Model = "runs/latest",
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Answers to a query.", rich_help_panel=ANSWERS)] = 10,
    find: Annotated[
        str | None,
        typer.Option(
            "--find",
            metavar="image|text",
            help="What to look for; any modality of the model.",
            show_default="image for a text, text for an image",
            rich_help_panel=ANSWERS,
        ),
    ] = None,
    plus: Annotated[
        list[str] | None,
        typer.Option("--plus", metavar="QUERY", help="Add what this says or shows; may repeat.", rich_help_panel=ANSWERS),
    ] = None,
    minus: Annotated[
        list[str] | None,
        typer.Option("--minus", metavar="QUERY", help="Take away what this says or shows; may repeat.", rich_help_panel=ANSWERS),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure",
            metavar="FILE",
            help="Draw the answers with their scores: .png .jpg .pdf or .html.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FOLDER",
            help="Write the pictures that are found, ranked; of several queries, a folder each.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Force = False,
    device: Device = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find the images or texts nearest to each query. The vectors of --in are made once and kept beside the run.

    Prints a table in a terminal and one JSON object an answer elsewhere: query, rank, score, id, modality, text, path.
    The path is that of the original picture where it is still there.
    Lines on stdin are {"id": …, "text": …} or {"id": …, "image": "path"} and are answered one by one. Of a file that may be of
    several inputs INPUT=FILE says which, such as depth=map.png.
    """
    from mmkit.cli.progress import bars
    from mmkit.cli.queries import parse_query, query_lines
    from mmkit.encode import Pace
    from mmkit.given import input_called
    from mmkit.loading import load_model
    from mmkit.search.gallery import open_gallery

    if figure:
        from mmkit.views.sheet import check_target

        check_target(figure, force)
    if save:
        from mmkit.files import check_folder

        if find == "text":
            raise UsageError("--save copies files, and --find text finds texts", hint="leave --find out")
        check_folder(save, force)
    if "-" in queries and len(queries) > 1:
        raise UsageError("- reads the queries from stdin, all of them", hint="leave - out, or the other queries")
    typed = [] if queries == ["-"] else [parse_query(word) for word in queries]
    added, taken = ([parse_query(word).query for word in words or ()] for words in (plus, minus))
    loaded = load_model(model, device, console.say)
    asked: Iterable[Asked] = typed or query_lines(sys.stdin, loaded)
    sought = input_called(loaded, find) if find else None
    if find and not sought:
        raise UsageError(f"the model has nothing called {find!r} to find", "--find", nearest(find, loaded.embedded))
    with bars() as progress:
        gallery = open_gallery(where, loaded, split, Pace(batch_size, workers, progress("embedded")))
    if gallery.note:
        console.say(gallery.note)
    drawn: list[Found] = []
    with _saving(save, force, gallery, alone=queries != ["-"] and len(queries) == 1) as save_answers:
        for one in asked:
            query = one.query
            with one.named():
                answers = gallery.answer(query, sought, top, added, taken)
                if said := gallery.cut_off(query):
                    console.warn(said)
                save_answers(query, answers)
            if console.json:
                for answer in answers:
                    console.record(({"query_id": query["id"]} if "id" in query else {}) | answer.record())
            else:
                _table(_title(query, answers, gallery), answers, gallery)
            if figure and len(drawn) <= DRAWN:  # one more tells that there are more
                drawn.append((query, answers))
    if figure:
        if len(drawn) > DRAWN:
            console.say(f"the figure shows the first {DRAWN} queries")
        _draw(drawn[:DRAWN], gallery, figure, force)


@contextmanager
def _saving(
    folder: Path | None, force: bool, gallery: Gallery, alone: bool
) -> Iterator[Callable[[dict[str, Any], Sequence[Answer]], None]]:
    """Yield what saves the answers to a query; the folder appears when all is done.

    Args:
        alone: there is one query, so it needs no folder of its own.
    """
    if folder is None:
        yield lambda query, answers: None
        return
    from mmkit.files import writing_folder
    from mmkit.search.saved import plain_name, save_pictures

    count = saved = gone = 0

    def save(query: dict[str, Any], answers: Sequence[Answer]) -> None:
        nonlocal count, saved, gone
        count += 1
        name = plain_name(query.get("text") or Path(gallery.asked(query)[1]).stem)
        lost = save_pictures(gallery, answers, beside if alone else beside / f"{count:03d}-{name}")
        saved, gone = saved + len(answers) - lost, gone + lost

    with writing_folder(folder, force) as beside:
        yield save
    console.say(
        f"wrote {saved:,} {'file' if saved == 1 else 'files'} to {folder}" + (f"; {gone:,} more are gone" if gone else "")
    )


def _title(query: dict[str, Any], answers: Sequence[Answer], gallery: Gallery) -> str:
    """What was asked, with what was added to it."""
    return answers[0].query if answers else gallery.asked(query)[1]


def _table(asked: str, answers: Sequence[Answer], gallery: Gallery) -> None:
    rows = [[str(a.rank), f"{a.score:.3f}", a.id, a.path or a.text or gallery.caption(a) or ""] for a in answers]
    console.table(asked, ["rank", "score", "id", "path or text"], rows, to_stdout=True)


def _draw(asked: list[Found], gallery: Gallery, figure: Path, force: bool) -> None:
    """Draw the queries with their answers, which are right or wrong where a query's id is one of the gallery's."""
    from mmkit.files import make_way
    from mmkit.views.sheet import save_answers

    pictures = gallery.pictures([answer for _, answers in asked for answer in answers])
    known = set(gallery.found.ids)
    strips = [
        _strip(query, _title(query, answers, gallery), answers, gallery, pictures, str(query.get("id")) in known)
        for query, answers in asked
    ]
    make_way(figure, force)
    save_answers(strips, figure, "Answers")
    console.say(f"wrote {figure}")


def _strip(
    query: dict[str, Any],
    title: str,
    answers: Sequence[Answer],
    gallery: Gallery,
    pictures: dict[Answer, Held],
    judged: bool,
) -> Strip:
    from mmkit.data.pictures import exhibit, is_picture, is_shown
    from mmkit.views.sheet import Strip, Tile, verdicts

    marks = verdicts([a.id == str(query["id"]) for a in answers]) if judged else [None] * len(answers)
    tiles = []
    for a, mark in zip(answers, marks, strict=True):
        kind = gallery.kind(a.modality)
        there = exhibit(kind, pictures[a]) if a in pictures else None
        # a picture speaks for itself, what a sound or a series is of must be said
        said = "" if there and is_picture(kind) else gallery.caption(a) or a.id
        tiles.append(Tile(a.text or said, there and there.picture, a.score, mark, there and there.listen))
    name, asked = gallery.asked(query)
    note = f"{name} → {answers[0].modality}" if answers and len(gallery.model.embedded) > 2 else ""
    if is_shown(gallery.kind(name)):
        picture, listen = exhibit(gallery.kind(name), Path(asked))
        return Strip(Tile(Path(asked).name + title.removeprefix(asked), picture, listen=listen), tiles, note)
    return Strip(Tile(title), tiles, note)
