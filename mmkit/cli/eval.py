"""`mmkit eval`: measure models on a dataset, or an embeddings file alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import DATA, MODEL, OUTPUT, BatchSize, DataOption, Debug, Device, Force, Json, Limit, Quiet, Split, Workers
from mmkit.errors import UsageError

if TYPE_CHECKING:
    from mmkit.metrics.evaluation import Request, Result

EPILOG = """\b
Examples:
  mmkit eval recall@k
  mmkit eval recall@1,10 --model runs/clip-data-1 --model openai/clip-vit-base-patch32 --data ./coco
  mmkit eval recall@k --embeddings "$(mmkit embed --split test)" -o recall.json
  mmkit eval classify --figure confusion.png
  mmkit eval vqa --split val --json
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="RUN|CHECKPOINT",
        help="A run, a checkpoint in one, or a CLIP / SigLIP checkpoint; may repeat.",
        show_default="runs/latest",
        rich_help_panel=MODEL,
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="FILE.json for one result, FILE-1.json, FILE-2.json … for several; `-` is stdout.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]


@app.command(cls=Page, epilog=EPILOG)
def evaluate(
    metrics: Annotated[
        list[str], typer.Argument(metavar="METRIC", help="recall@k (for example recall@1,5,10), classify or vqa.")
    ],
    data: DataOption = None,
    model: Models = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--embeddings",
            metavar="FILE",
            help="Rank the rows of this file; no model.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None,
    split: Split = None,
    limit: Limit = None,
    out: Out = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure",
            metavar="FILE",
            help="Draw what classify takes for what: .png .svg .pdf or .html; of several models FILE-1, FILE-2 …",
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
    """Measure models on a split: test, else val, else all rows. Values are fractions, chance stands beside them.

    recall@k: of models that compare, how often the right one is among the k nearest. classify: how well classes are named.
    vqa: how well questions are answered, as the official VQA evaluation counts it.
    Prints a table in a terminal and one JSON object a line elsewhere. In a run folder the result is kept in eval/, with a
    picture of the confusion of classes.
    """
    from mmkit.cli.progress import bars
    from mmkit.metrics.evaluation import Request, parse_metrics

    if embeddings and (model or data):
        given = [option for option, value in (("--model", model), ("--data", data)) if value]
        raise UsageError("--embeddings needs no --model and no --data", hint=f"leave {' and '.join(given)} out")
    asked = parse_metrics(metrics)
    models = [] if embeddings else model or ["runs/latest"]
    targets = _targets(out, len(asked) * (len(models) or 1), force)
    figures = _figures(figure, [name for name, _ in asked], len(models), force)
    results: list[Result] = []
    with bars() as progress:
        requests = [Request(name, ks, split, limit, batch_size, workers, progress) for name, ks in asked]
        if embeddings:
            results += [result for request in requests for result in _of_embeddings(embeddings, request)]
        for name in models:
            results += _of_model(name, data or Path("data"), device, requests)
    records = [result.record for result in results]
    if targets:
        # how many pairs of inputs there are to rank for each other is known only now
        targets = targets if len(targets) == len(records) else _targets(out, len(records), force)
        _write(records, targets, force)
    if figures:
        _draw([result for result in results if result.confusion], figures, force)
    _show(records, out)


def _targets(out: str | None, results: int, force: bool) -> list[Path]:
    """The files that results go to, checked before any work is done: one object a file, as clip_benchmark reads them.

    Several results get numbered names; a pipe or a device takes all of them.
    """
    from mmkit.files import check_output, is_special

    if not out or out == "-":
        return []
    path = Path(out)
    # a pipe or a device has no suffix to pick a format with
    if path.suffix != ".json" and not is_special(path):
        what = f"results cannot be written as {path.suffix or 'a file without suffix'}"
        raise UsageError(what, out, f"-o {path.with_suffix('.json')}, or -o - for stdout")
    targets = [path] * results if is_special(path) else _numbered(path, results)
    for target in targets:
        check_output(target, _is_result, force)
    return targets


def _numbered(path: Path, count: int) -> list[Path]:
    return [path.with_stem(f"{path.stem}-{i}") if count > 1 else path for i in range(1, count + 1)]


def _figures(figure: Path | None, metrics: list[str], models: int, force: bool) -> list[Path]:
    """The files that figures go to, checked before any work is done.

    Raises:
        UsageError: nothing is measured that is drawn, or the suffix is of no format.
    """
    from mmkit.metrics.evaluation import metric

    if figure is None:
        return []
    if not models or not any(hasattr(metric(name), "CONFUSION") for name in metrics):
        raise UsageError("--figure draws the confusion of classes", str(figure), f"mmkit eval classify --figure {figure}")
    from mmkit.views.style import FORMATS
    from mmkit.views.target import check_target

    targets = _numbered(figure, models)
    for target in targets:
        check_target(target, FORMATS, force)
    return targets


def _is_result(path: Path) -> bool:
    """Whether a file holds a result of `eval`."""
    from mmkit.errors import UserError
    from mmkit.files import read_json

    try:
        value = read_json(path)
    except UserError:
        return False
    return isinstance(value, dict) and {"task", "n", "metrics", "chance", "data_hash"} <= value.keys()


def _of_embeddings(path: Path, request: Request) -> list[Result]:
    if not hasattr(request.module, "of_embeddings"):
        raise UsageError(f"{request.metric} cannot be measured from embeddings alone", hint="leave --embeddings out")
    results: list[Result] = request.module.of_embeddings(path, request)
    if results[0].anonymous:
        console.say(f"{path} does not say which model made it; taken as it is")
    return results


def _of_model(name: str, path: Path, device: str, requests: list[Request]) -> list[Result]:
    from mmkit.data.shards import open_dataset
    from mmkit.loading import load_model

    data = open_dataset(path)
    model = load_model(name, device, console.say)
    results = [result for request in requests for result in request.module.of_model(model, data, request)]
    for result in results:
        if model.folder:
            result.save(model.folder / "eval")
            if result.confusion:
                _confusion(result, model.folder / "eval" / f"{result.stem}.confusion.png")
    return results


def _show(records: list[dict[str, Any]], out: str | None) -> None:
    if console.as_json or out == "-" or (console.json and not out):
        for record in records:
            console.record(record)
    elif sys.stdout.isatty():
        (_one if len(records) == 1 else _several)(records)


def _write(records: list[dict[str, Any]], targets: list[Path], force: bool) -> None:
    from mmkit.files import make_way, write_json

    for record, target in zip(records, targets, strict=True):
        make_way(target, force)
        write_json(target, record)
        console.say(f"wrote {target}")


def _draw(results: list[Result], targets: list[Path], force: bool) -> None:
    from mmkit.files import make_way

    for result, target in zip(results, targets, strict=False):
        make_way(target, force)
        _confusion(result, target)
        console.say(f"wrote {target}")
    if not results:
        console.warn(f"{targets[0]} is not drawn: rows may have several labels, and so no class is taken for one other")


def _confusion(result: Result, path: Path) -> None:
    from mmkit.views.charts import confusion
    from mmkit.views.style import save

    assert result.confusion
    title = f"{result.record['model']} on {result.record['dataset']} {result.record['split']}"
    save(confusion(*result.confusion, note=title), path, title)


def _one(records: list[dict[str, Any]]) -> None:
    record = records[0]
    ceiling = record.get("caption_ceiling") or {}
    ceiling = ceiling if min(ceiling.values(), default=1) < 1 else {}
    rows = [
        [name, _figure(value), _figure(record["chance"].get(name))] + ([_figure(ceiling.get(name))] if ceiling else [])
        for name, value in record["metrics"].items()
    ]
    columns = ["metric", "value", "chance"] + (["ceiling"] if ceiling else [])
    console.table(f"{record['model'] or record['dataset']} on {_scope(record)}", columns, rows, to_stdout=True)
    if ceiling:
        console.say("ceiling: what equal captions on different images leave possible; a tie counts half, chance has no ties")


def _several(records: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for record in records for name in record["metrics"]))
    rows = [
        [record["model"] or record["dataset"]] + [_figure(record["metrics"].get(name)) for name in names] for record in records
    ]
    rows.append(["chance"] + [_figure(records[0]["chance"].get(name)) for name in names])
    columns = [name.replace("_retrieval_", " ").replace("recall", "R").replace("_", " ") for name in names]
    console.table(_scope(records[0]), ["model", *columns], rows, to_stdout=True)


def _scope(record: dict[str, Any]) -> str:
    counts = ", ".join(f"{n:,} {name.removesuffix('s')}s" for name, n in record["n"].items())
    return f"{record['dataset']} {record['split']}: {counts}"


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.1f}" if value > 1 else f"{value:.3f}" if value >= 0.001 or value == 0 else f"{value:.1e}"
