"""`mmkit umap`: the shared space as a map."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page, coloured
from mmkit.cli.options import (
    DATA,
    OUTPUT,
    SEED_MOST,
    BatchSize,
    Debug,
    Device,
    Force,
    Json,
    Limit,
    Model,
    Quiet,
    Split,
    Workers,
    one_of,
)
from mmkit.errors import UsageError, UserError

if TYPE_CHECKING:
    from mmkit.vectors import Embeddings
    from mmkit.workflows.maps import Map

EPILOG = """\b
Examples:
  mmkit umap
  mmkit umap ./data --split test --color label -o map.html
  mmkit umap "$(mmkit embed)" --method pca -o map.svg
  mmkit umap --fit map.arrow -o coordinates.parquet
  mmkit umap ./new --transform map.arrow -o new.png
"""

LAYOUT, LOOK = "Layout", "Look"  # headings of --help
METHODS = ("umap", "pca", "tsne")
COLOURINGS = ("label", "modality", "split", "similarity", "cluster", "none")
BESIDE = 9  # lines of a terminal that the map leaves to what stands above and below it

app = typer.Typer(rich_markup_mode=None, add_completion=False)


def _metric(value: str | None) -> str | None:
    if value is None:
        return None
    from mmkit.space.neighbours import METRICS

    return one_of(METRICS, "--metric")(value)


@app.command(cls=Page, epilog=EPILOG)
def umap(
    where: Annotated[
        str,
        typer.Argument(
            metavar="EMBEDDINGS|DATA", help="An embeddings file, a map, a dataset, or a folder of images.", rich_help_panel=DATA
        ),
    ] = "data",
    split: Split = None,
    limit: Limit = None,
    model: Model = "runs/latest",
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="METHOD",
            callback=one_of(METHODS, "--method"),
            help="umap, pca or tsne.",
            show_default="umap",
            rich_help_panel=LAYOUT,
        ),
    ] = None,
    n_neighbors: Annotated[
        int | None,
        typer.Option(
            "--n-neighbors",
            metavar="N",
            min=2,
            help="Few show what is close, many the whole.",
            show_default="15",
            rich_help_panel=LAYOUT,
        ),
    ] = None,
    min_dist: Annotated[
        float | None,
        typer.Option(
            "--min-dist",
            metavar="X",
            min=0.0,
            max=1.0,
            help="How tightly points may lie.",
            show_default="0.1",
            rich_help_panel=LAYOUT,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="METRIC",
            callback=_metric,
            help="cosine, euclidean, correlation, manhattan …",
            show_default="cosine",
            rich_help_panel=LAYOUT,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            min=0,
            max=SEED_MOST,
            help="The same seed gives the same points.",
            show_default="0",
            rich_help_panel=LAYOUT,
        ),
    ] = None,
    transform: Annotated[
        Path | None,
        typer.Option(
            "--transform",
            metavar="MAP",
            help="Place the points on this map, which --fit made.",
            show_default=False,
            rich_help_panel=LAYOUT,
        ),
    ] = None,
    color: Annotated[
        str | None,
        typer.Option(
            "--color",
            metavar="BY",
            callback=one_of(COLOURINGS, "--color"),
            help="label, modality, split, similarity, cluster or none.",
            show_default="label, else modality",
            rich_help_panel=LOOK,
        ),
    ] = None,
    clusters: Annotated[
        int, typer.Option("--clusters", metavar="N", min=2, max=100, help="How many clusters.", rich_help_panel=LOOK)
    ] = 8,
    lines: Annotated[
        bool, typer.Option("--lines/--no-lines", help="Join what belongs together, in a figure.", rich_help_panel=LOOK)
    ] = True,
    thumbnails: Annotated[
        int, typer.Option("--thumbnails", metavar="N", min=0, help="Pictures in an HTML page.", rich_help_panel=LOOK)
    ] = 2000,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="A figure (.png .svg .pdf), a page (.html) or coordinates (.csv .arrow .parquet; - is CSV on stdout).",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(
            "--fit",
            metavar="MAP",
            help="Keep the map as a .arrow file for --transform; given as the argument it is drawn as it is.",
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
    """A map of the shared space in two dimensions: what lies near what, and how far apart the modalities are.

    Without -o it is drawn in the terminal, by braille cells; elsewhere and with --json one JSON object is printed: points,
    method, trustworthiness, modality_gap, out. A dataset is embedded first; an embeddings file needs no model.
    """
    asked = {"method": method, "n_neighbors": n_neighbors, "min_dist": min_dist, "metric": metric, "seed": seed}
    layout = {name: value for name, value in asked.items() if value is not None}
    _check(layout, transform, fit, out, force)
    found = _embeddings(where, split, limit, model, device, batch_size, workers)
    made = _map(found, layout, transform, clusters)
    for note in made.notes:
        console.say(note)
    if fit:
        _keep(made, fit, force)
    _show(made, color, out, force, lines, thumbnails)


def _check(layout: dict[str, Any], transform: Path | None, fit: Path | None, out: str | None, force: bool) -> None:
    """Refuse what cannot be, before any work is done.

    Raises:
        UsageError, UserError: an output cannot be written, or two options exclude each other.
    """
    from mmkit.space import coordinates
    from mmkit.workflows import draw_map

    if transform and layout:
        words = " and ".join(f"--{name.replace('_', '-')}" for name in layout)
        raise UsageError(f"the map says how points are laid out, {words} cannot", "--transform", f"leave {words} out")
    if transform and fit:
        raise UsageError("a map is either made or used", "--fit and --transform", "leave one of them out")
    if out:
        draw_map.check_target(out, force)
    if fit:
        coordinates.check_target(fit, (".arrow",), force)


def _embeddings(
    where: str, split: str | None, limit: int | None, model: str, device: str, batch_size: int, workers: int | None
) -> Embeddings:
    """The rows to map; a dataset or a folder is embedded first, which alone needs a model."""
    from mmkit.vectors import SUFFIXES, read_embeddings
    from mmkit.workflows.maps import rows_of

    path = Path(where)
    if path.is_file() or path.suffix in SUFFIXES:
        found, split_there = read_embeddings(path), split
    else:
        found, split_there = _embedded(where, split, model, device, batch_size, workers)
    if found.tokens is not None:
        console.say("each item has several vectors: the map is of their means")
    return found.only(rows_of(found, split_there, limit))


def _embedded(
    where: str, split: str | None, model: str, device: str, batch_size: int, workers: int | None
) -> tuple[Embeddings, str | None]:
    from mmkit.cli.progress import bars
    from mmkit.encode import Pace
    from mmkit.loading import load_model
    from mmkit.search.gallery import open_gallery

    loaded = load_model(model, device, console.say)
    with bars() as progress:
        gallery = open_gallery(where, loaded, split, Pace(batch_size, workers, progress("embedded")))
    if gallery.note:
        console.say(gallery.note)
    there = set(gallery.found.modality)
    lacking = [name for name in loaded.embedded if name not in there]
    if lacking and not (gallery.found.meta or {}).get("folder"):
        console.say(f"{where} has no {' and no '.join(lacking)}: the map is of {' and '.join(sorted(there))} alone")
    return gallery.found, gallery.split


def _map(found: Embeddings, layout: dict[str, Any], transform: Path | None, clusters: int) -> Map:
    from mmkit.cli.progress import bars
    from mmkit.space import coordinates
    from mmkit.workflows import maps

    if transform:
        ground = coordinates.require_map(transform, found)
        with bars() as progress:
            return maps.onto(found, ground, clusters, progress("placed"))
    old = None if layout else coordinates.read_map(found.path)
    if old and len(old.points) == len(found):
        return maps.kept(old, clusters)
    try:
        with bars() as progress:
            return maps.make(found, **layout, clusters=clusters, progress=progress("compared"))
    except UserError as e:  # of vectors, which do not know their file
        e.where = str(found.path)
        raise


def _keep(made: Map, fit: Path, force: bool) -> None:
    from mmkit.files import make_way
    from mmkit.workflows import draw_map

    make_way(fit, force)
    draw_map.keep(made, str(fit))
    console.say(f"kept the map in {fit}: mmkit umap NEW --transform {fit}   places other points on it")


def _show(made: Map, color: str | None, out: str | None, force: bool, lines: bool, thumbnails: int) -> None:
    """The product: a file and where it is, the map on the screen, or one JSON object."""
    from mmkit.files import make_way
    from mmkit.workflows import draw_map

    if out:
        if out != "-":
            make_way(out, force)
        for note in draw_map.write(made, out, color, lines, thumbnails):
            console.say(note)
    elif not console.json:
        columns, height = shutil.get_terminal_size()
        for line in draw_map.screen(made, color, columns - 1, height - BESIDE, coloured()):
            console.product(line)
    for fact in made.facts():
        console.say(fact)
    if out == "-":
        return
    if console.json:
        console.record(made.record(out))
    elif out:
        console.product(out)
