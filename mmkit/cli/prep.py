"""`mmkit prep`: raw data to a dataset folder, one subcommand a source; and `prep audit`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import GroupPage, Page
from mmkit.cli.options import DATA, SEED_MOST, Data, Debug, Force, Json, Limit, Quiet, Workers
from mmkit.cli.prep_options import SOURCE, DryRun, Karpathy, Link, OnError, Out, Resize, SourceAt, Splits
from mmkit.data.sources import SOURCES
from mmkit.errors import UsageError, UserError

if TYPE_CHECKING:
    from mmkit.data.plan import Choices
    from mmkit.data.schema import Options

app = typer.Typer(rich_markup_mode=None, add_completion=False)

EPILOG = """\b
Examples:
  mmkit prep shapes
  mmkit prep coco ./data --source ~/coco
  mmkit prep audit ./data
"""


@app.callback(cls=GroupPage, epilog=EPILOG, invoke_without_command=True)
def prep(context: typer.Context) -> None:
    """Prepare a dataset folder: pictures with their captions as Parquet shards, rejects, an audit and a card.

    A rerun of the same command continues where it stopped. What you keep in OUT is never changed or deleted.
    Pictures become upright 8-bit RGB: 10, 12 and 16 bits by their depth, floats and 32-bit integers stretched.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), color=context.color)


@app.command(
    cls=Page,
    rich_help_panel="Sources",
    short_help=SOURCES["shapes"],
    epilog="""\b
Examples:
  mmkit prep shapes
  mmkit prep shapes ./scenes --limit 2000 --seed 1
  mmkit prep shapes --dry-run
""",
)
def shapes(
    out: Out = Path("data"),
    limit: Annotated[
        int,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="Scenes of train and val together; test has 300 more.",
            rich_help_panel=DATA,
        ),
    ] = 10_000,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="N",
            min=0,
            max=SEED_MOST,
            help="Another seed gives other scenes and other unseen combinations.",
            rich_help_panel=DATA,
        ),
    ] = 0,
    dry_run: DryRun = False,
    force: Force = False,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Generated scenes of one or two objects, with captions, questions, labels and boxes.

    The test split shows 300 scenes of combinations that training never saw, each with a caption of its own.
    """
    _run("shapes", out, {"limit": limit, "seed": seed}, {"scenes": limit, "seed": seed}, {"workers": workers}, dry_run, force)


@app.command(
    cls=Page,
    rich_help_panel="Sources",
    short_help=SOURCES["coco"],
    epilog="""\b
Examples:
  mmkit prep coco
  mmkit prep coco ./data --source ~/coco --resize 256
  mmkit prep coco ./coco5k --source ~/coco --karpathy dataset_coco.json
""",
)
def coco(
    out: Out = Path("data"),
    source: SourceAt = None,
    karpathy: Karpathy = None,
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", metavar="URL", help="Download from a mirror.", show_default=False, rich_help_panel=SOURCE),
    ] = None,
    splits: Splits = None,
    limit: Limit = None,
    on_error: OnError = "skip",
    resize: Resize = None,
    link: Link = False,
    dry_run: DryRun = False,
    force: Force = False,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """COCO 2017 captions: the official folders or zip files in OUT or --source, else downloaded to OUT first (20 GB).

    Official splits: train and val. --karpathy gives train, val and the usual 5K test, restval joined to train.
    """
    if source and _is_url(source):
        source, base_url = None, source
    typed = {"source": source, "karpathy": karpathy, "splits": splits, "resize": resize, "limit": limit, "link": link}
    asked = {"source": source, "karpathy": karpathy, "base_url": base_url}
    _run("coco", out, typed, asked, _how(splits, resize, limit, on_error, link, workers), dry_run, force)


@app.command(
    cls=Page,
    rich_help_panel="Sources",
    short_help=SOURCES["flickr"],
    epilog="""\b
Examples:
  mmkit prep flickr ./flickr8k --source ~/Flickr8k
  mmkit prep flickr ./data --source ~/flickr30k --resize 256
  mmkit prep flickr ./data --source ~/f30k --karpathy dataset_flickr30k.json
""",
)
def flickr(
    out: Out = Path("data"),
    source: SourceAt = None,
    karpathy: Karpathy = None,
    splits: Splits = None,
    limit: Limit = None,
    on_error: OnError = "skip",
    resize: Resize = None,
    link: Link = False,
    dry_run: DryRun = False,
    force: Force = False,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Flickr8k or Flickr30k: a token file, captions.txt, results.csv or Karpathy JSON, and the photos in any subfolder.

    *.trainImages.txt, *.devImages.txt and *.testImages.txt are the official splits, where they are found.
    """
    typed = {"source": source, "karpathy": karpathy, "splits": splits, "resize": resize, "limit": limit, "link": link}
    asked = {"source": source, "karpathy": karpathy}
    _run("flickr", out, typed, asked, _how(splits, resize, limit, on_error, link, workers), dry_run, force)


@app.command(
    cls=Page,
    rich_help_panel="Sources",
    short_help=SOURCES["table"],
    epilog="""\b
Examples:
  mmkit prep table ./data --source products.csv
  mmkit prep table ./data --source pairs.jsonl --image-root ~/photos
  mmkit prep table --source t.csv --column caption=title --column caption=alt
""",
)
def table(
    out: Out = Path("data"),
    source: SourceAt = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="ROLE=NAME",
            help="What a column is: image, caption or series (may repeat), label, split or id.",
            show_default="detected, and said",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    image_root: Annotated[
        Path | None,
        typer.Option(
            "--image-root",
            metavar="FOLDER",
            help="What relative paths start from.",
            show_default="the table's folder",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    splits: Splits = None,
    limit: Limit = None,
    on_error: OnError = "skip",
    resize: Resize = None,
    link: Link = False,
    dry_run: DryRun = False,
    force: Force = False,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """A CSV, TSV, JSONL, Parquet or NPZ table of images or series, with captions or labels.

    Separator, encoding, header and columns are detected and said. Columns named id, label and split count as such; numbered
    ones (caption_0, caption_1 …) are captions of one picture. A series is a list of numbers, or of channels (channels x time);
    in NPZ each array is a column. In a folder, shards and splits of one table are read as one: train.csv and test.csv, or
    Parquet as the Hub lays it.
    """
    from mmkit.data.columns import parse

    asked = {"source": source, "columns": parse(column or []), "image_root": image_root}
    typed: dict[str, Any] = {"source": source, "column": column or None, "image_root": image_root}
    typed |= {"splits": splits, "resize": resize, "limit": limit, "link": link}
    _run("table", out, typed, asked, _how(splits, resize, limit, on_error, link, workers), dry_run, force)


@app.command(
    cls=Page,
    rich_help_panel="Sources",
    short_help=SOURCES["folder"],
    epilog="""\b
Examples:
  mmkit prep folder ./data --source ~/pets
  mmkit prep folder ./data --source ~/pets --template "a drawing of {label}"
  mmkit prep folder ./data --source ~/photos --splits train:0.9,test:0.1
""",
)
def folder(
    out: Out = Path("data"),
    source: SourceAt = None,
    template: Annotated[
        str,
        typer.Option("--template", metavar="TEXT", help="The caption of a class folder's pictures.", rich_help_panel=SOURCE),
    ] = "a photo of {label}",
    splits: Splits = None,
    limit: Limit = None,
    on_error: OnError = "skip",
    resize: Resize = None,
    link: Link = False,
    dry_run: DryRun = False,
    force: Force = False,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Class folders (pets/cats/1.jpg gives the label cats and a caption), or images beside a text file of the same name.

    Folders such as train, validation, seg_test or Testing are the official splits. A text file (1.txt, 1.caption or 1.jpg.txt)
    holds one caption a line. Where there is a metadata.csv, .jsonl or .parquet with a column file_name, on top or in each
    folder, its captions are read instead; for pictures of no classes, those of any table that names them (captions.csv).
    """
    typed = {"source": source, "template": template, "splits": splits, "resize": resize, "limit": limit, "link": link}
    asked = {"source": source, "template": template}
    _run("folder", out, typed, asked, _how(splits, resize, limit, on_error, link, workers), dry_run, force)


@app.command(
    cls=Page,
    rich_help_panel="Afterwards",
    short_help="The audit of a prepared dataset again.",
    epilog="""\b
Examples:
  mmkit prep audit
  mmkit prep audit ./coco
  mmkit prep audit ./data --json | jq .duplicate_images
""",
)
def audit(data: Data = Path("data"), json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Counts, lengths, duplicates, leaks and class balance of a prepared dataset; it reports, it changes nothing."""
    from mmkit.cli.progress import bars
    from mmkit.data.audit import audit as run_audit
    from mmkit.data.audit import table as lines
    from mmkit.data.shards import open_dataset

    with bars() as progress:
        found, _ = run_audit(open_dataset(data), progress("audited"))
    if console.json:
        console.record(found)
    else:
        console.table(f"audit of {data}", ["", "count", "remark"], lines(found), to_stdout=True)


def _how(
    splits: str | None, resize: int | None, limit: int | None, on_error: str, link: bool, workers: int | None
) -> dict[str, Any]:
    if on_error not in ("skip", "fail"):
        raise UsageError(f"no such way to handle errors: {on_error}", "--on-error", "known: fail, skip")
    if link and resize:
        raise UsageError(
            "--link leaves the pixels where they are, --resize changes them", "--link --resize", "leave one of them out"
        )
    return {"shares": splits, "resize": resize, "limit": limit, "fail": on_error == "fail", "link": link, "workers": workers}


def _run(
    kind: str, out: Path, typed: dict[str, Any], asked: dict[str, Any], how: dict[str, Any], dry_run: bool, force: bool
) -> None:
    """Prepare with one source and print the folder (or show what would be prepared)."""
    from mmkit.cli.progress import bars
    from mmkit.data import splits
    from mmkit.data.audit import table as lines
    from mmkit.data.plan import Choices
    from mmkit.data.schema import Options
    from mmkit.data.write import prepare

    if out.exists() and not out.is_dir():
        read_it = f"mmkit prep {kind} ./data --source {out}   reads it" if "source" in asked else ""
        raise UserError("OUT is a file, not the folder of a dataset", str(out), read_it or "choose another name")
    shares = how.get("shares")
    how |= {"shares": splits.parse(shares) if shares else None, "workers": how["workers"] or os.cpu_count() or 1}
    choices = Choices(**how)
    with bars() as progress:
        options = Options(out, **asked | {"source": _local(asked.get("source"))}, say=console.say, progress=progress)
        if dry_run:
            _show(kind, options, choices)
            return
        try:
            manifest = prepare(kind, options, choices, _settings(typed, options), force)
        except KeyboardInterrupt:
            console.say("interrupted; the same command continues where this one stopped")
            raise
    if console.as_json:
        console.record({"path": str(out), "splits": {n: s["rows"] for n, s in manifest["splits"].items()}} | manifest["audit"])
        return
    console.table(f"audit of {out}", ["", "count", "remark"], lines(manifest["audit"]))
    console.product(str(out))


def _is_url(text: str) -> bool:
    return "://" in text


def _local(source: str | None) -> Path | None:
    if source and _is_url(source):
        raise UsageError("this source reads files and folders, not URLs", f"--source {source}", "download it first")
    return Path(source).expanduser() if source else None


def _settings(typed: dict[str, Any], options: Options) -> dict[str, Any]:
    """What was typed that changes the result, as dataset.json keeps it; a path is the same however it is typed."""
    named = typed | {"source": options.source}
    plain = {name: os.path.abspath(value) if isinstance(value, Path) else value for name, value in named.items()}
    return {name: value for name, value in plain.items() if value is not None and value is not False}


def _show(kind: str, options: Options, choices: Choices) -> None:
    """Three decoded samples and the counts; nothing is written."""
    from mmkit.data.preview import preview

    seen = preview(kind, options, choices)
    if console.as_json:
        console.record({"splits": seen.splits, "rejected": len(seen.rejects), "samples": [s.record for s in seen.samples]})
        return
    for sample in seen.samples:
        console.say(f"\n{sample.split}/{sample.id}  {sample.size}".rstrip())
        if console.live and sample.image:
            _draw(sample.image)
        for caption in sample.shown.get("captions", ()):
            console.say(f"  {caption}")
        if "label" in sample.shown:
            console.say(f"  label {sample.shown['label']}")
    counts = ", ".join(f"{name} {n:,}" for name, n in seen.splits.items())
    console.say(f"\nwould prepare {counts} rows; {len(seen.rejects):,} rejected so far; nothing was written")
    for reject in seen.rejects[:5]:
        console.say(f"  rejected {reject.id}: {reject.reason}, {reject.where}")


def _draw(image: Any) -> None:
    """A small rendition in half-block characters on stderr."""
    from rich.console import Console as Rich
    from rich.text import Text

    from mmkit.data.preview import blocks

    rich = Rich(stderr=True)
    for line in blocks(image):
        text = Text("  ")
        for upper, lower in line:
            text.append("▀", f"rgb({upper[0]},{upper[1]},{upper[2]}) on rgb({lower[0]},{lower[1]},{lower[2]})")
        rich.print(text)
