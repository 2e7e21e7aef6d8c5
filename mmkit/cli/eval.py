"""`mmkit eval`: measure models on a dataset, or an embeddings file alone."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.eval_options import (
    TABLES,
    Classes,
    Embeddings,
    Figure,
    Format,
    ImageRoot,
    Models,
    NoIntervals,
    Out,
    Rerank,
    Synonyms,
    Templates,
)
from mmkit.cli.help import Page
from mmkit.cli.options import (
    BatchSize,
    Beams,
    By,
    DataOption,
    Debug,
    Device,
    Force,
    Json,
    Limit,
    Prompt,
    Quiet,
    Seed,
    Shots,
    Split,
    Temperature,
    TopP,
    Workers,
    drawing,
)
from mmkit.errors import UsageError
from mmkit.metrics.evaluation import METRICS

if TYPE_CHECKING:
    from mmkit.metrics.evaluation import Request, Result

WRITES = ("caption", "vqa", "hallucination")
EPILOG = """\b
Examples:
  mmkit eval recall@k
  mmkit eval recall@1,10 --model runs/clip-data-1 --model openai/clip-vit-base-patch32 --data ./coco
  mmkit eval recall@k --embeddings "$(mmkit embed --split test)" -o recall.json
  mmkit eval zero-shot --classes "cat,dog,bird" --templates openai --figure confusion.png
  mmkit eval cost recall@k --model runs/a --model runs/b --format md
  mmkit eval linear-probe --model runs/a --model openai/clip-vit-base-patch32
  mmkit eval vqa --split val --json
  mmkit eval match recall@k --rerank 16 --model runs/match-data-1
  mmkit eval pairs --data ./sugar_crepe --image-root ./coco/val2017
  mmkit eval caption --beams 3
  mmkit eval vqa caption --shots 4 --model runs/flamingo
  mmkit eval caption vqa hallucination --model runs/latest --model ./SmolVLM-256M-Instruct
  mmkit eval hallucination --data coco_pope_adversarial.jsonl --image-root ./val2014
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def evaluate(
    metrics: Annotated[list[str], typer.Argument(metavar="METRIC", help=f"{', '.join(METRICS)}; recall@1,5,10 for other k.")],
    data: DataOption = None,
    model: Models = None,
    embeddings: Embeddings = None,
    split: Split = None,
    limit: Limit = None,
    classes: Classes = None,
    templates: Templates = None,
    rerank: Rerank = None,
    by: By = None,
    image_root: ImageRoot = None,
    synonyms: Synonyms = None,
    beams: Beams = None,
    top_p: TopP = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    shots: Shots = 0,
    prompt: Prompt = None,
    no_intervals: NoIntervals = False,
    out: Out = None,
    form: Format = None,
    figure: Figure = None,
    force: Force = False,
    device: Device = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure models on a split: test, else val, else all rows. Values are fractions, chance stands beside them.

    recall@k: of models that compare, how often the right one is among the k nearest. zero-shot: how often the sentence of the
    right class is the nearest. classify: how well a classifier names classes. regress: how close predicted numbers are. vqa:
    how well questions are answered, as the official VQA evaluation counts it. caption: CIDEr-D, BLEU-4, ROUGE-L and exact
    matches of what a captioner writes. match: how well pairs that belong together are told from others. pairs: Winoground and
    SugarCrepe as published: --data is the folder of their JSON, JSONL or parquet files and of the pictures. hallucination: the
    things in captions that are not in the picture (CHAIR); where --data is a JSONL file, POPE's yes and no. linear-probe: how
    well a logistic regression on an encoder's frozen features names classes. reconstruction: how close pictures that are made of
    a discrete VAE's codes come. loss: what it was trained by. cost: parameters, milliseconds an item, memory.
    Prints a table in a terminal and one JSON object a line elsewhere. In a run folder the result is kept in eval/, with a
    picture of confused classes or of predicted numbers.
    """
    from mmkit.cli.progress import bars
    from mmkit.metrics.evaluation import Request, parse_metrics

    if embeddings and (model or data):
        given = [option for option, value in (("--model", model), ("--data", data)) if value]
        raise UsageError("--embeddings needs no --model and no --data", hint=f"leave {' and '.join(given)} out")
    asked = parse_metrics(metrics)
    _check_options(
        [name for name, _ in asked],
        {"--classes": (classes, "zero-shot"), "--templates": (templates, "zero-shot"), "--rerank": (rerank, "recall@k")}
        | {"--by": (by, "pairs"), "--image-root": (image_root, "pairs", "hallucination")}
        | {"--synonyms": (synonyms, "hallucination"), "--beams": (beams, *WRITES)}
        | {"--top-p": (top_p, *WRITES), "--temperature": (temperature, *WRITES), "--shots": (shots or None, *WRITES)}
        | {"--prompt": (prompt, *WRITES)},
    )
    sampling = drawing(top_p, temperature, seed, beams)
    if embeddings and rerank:
        raise UsageError("--rerank reads the items themselves, not only embeddings", hint="leave --embeddings or --rerank out")
    form = _form(out, form, json)
    models = [] if embeddings else model or ["runs/latest"]
    targets = _targets(out, len(asked) * (len(models) or 1), form, force)
    figures = _figures(figure, [name for name, _ in asked], len(models), force) if figure else []
    results: list[Result] = []
    with bars() as progress:
        same = Request(
            split=split,
            limit=limit,
            intervals=not no_intervals,
            batch_size=batch_size,
            workers=workers,
            classes=tuple(classes or ()),
            templates=tuple(templates or ()),
            rerank=rerank,
            by=by,
            image_root=image_root,
            beams=beams or 1,
            sampling=sampling,
            shots=shots,
            seed=seed,
            synonyms=synonyms,
            progress=progress,
        )
        requests = [replace(same, metric=name, ks=ks) for name, ks in asked]
        if embeddings:
            results += [result for request in requests for result in _of_embeddings(embeddings, request)]
        for name in models:
            results += _of_model(name, data or Path("data"), device, requests, prompt)
    records = [result.record for result in results]
    if targets:
        # how many pairs of inputs there are to rank for each other is known only now
        targets = targets if form or len(targets) == len(records) else _targets(out, len(records), form, force)
        _write(records, targets, form, force)
    if figure:
        drawn = [result for result in results if result.confusion or result.scatter]
        _draw(drawn, figures if len(drawn) <= len(figures) else _drawable(figure, len(drawn), force), force)
    _show(records, out, form)


def _check_options(metrics: list[str], options: dict[str, tuple[Any, ...]]) -> None:
    """Check that options of some metrics stand beside one: option -> what was given, and its metrics."""
    for option, (given, *own) in options.items():
        if given is not None and given != [] and not set(own) & set(metrics):
            raise UsageError(f"{option} is of {own[0]}, which is not measured", hint=f"mmkit eval {own[0]} {option} …")


def _form(out: str | None, form: str | None, as_json: bool) -> str | None:
    """The table that is asked for, by `--format` or by the suffix of a file; None where it is JSON.

    Raises:
        UsageError: two things are asked for.
    """
    from mmkit.files import is_special

    by_suffix = next((name for name, suffix in TABLES.items() if out and Path(out).suffix == suffix), None)
    if form and as_json:
        raise UsageError("--json or --format: which?", f"--format {form}")
    if form and out and out != "-" and form != by_suffix and not (form in TABLES and is_special(out)):
        suffix = TABLES.get(form)
        hint = f"-o {Path(out).with_suffix(suffix)}" if suffix else "leave -o out, or --format"
        raise UsageError(f"--format {form} is not what this file is named for", out, hint)
    return form or by_suffix


def _targets(out: str | None, results: int, form: str | None, force: bool) -> list[Path]:
    """The files that results go to, checked before any work is done: a table of all, or one object a file, as clip_benchmark
    reads them.

    Several results get numbered names; a pipe or a device takes all of them.
    """
    from mmkit.files import check_output, is_special

    if not out or out == "-":
        return []
    path = Path(out)
    if form:
        check_output(path, _is_table, force)
        return [path]
    # a pipe or a device has no suffix to pick a format with
    if path.suffix != ".json" and not is_special(path):
        what = f"results cannot be written as {path.suffix or 'a file without suffix'}"
        hint = f"-o {path.with_suffix('.json')}, .md, .csv or .tex, or -o - for stdout"
        raise UsageError(what, out, hint)
    targets = [path] * results if is_special(path) else _numbered(path, results)
    for target in targets:
        check_output(target, _is_result, force)
    return targets


def _numbered(path: Path, count: int) -> list[Path]:
    return [path.with_stem(f"{path.stem}-{i}") if count > 1 else path for i in range(1, count + 1)]


def _figures(figure: Path, metrics: list[str], models: int, force: bool) -> list[Path]:
    """The files that figures go to, checked before any work is done.

    Raises:
        UsageError: nothing is measured that is drawn, or the suffix is of no format.
    """
    from mmkit.metrics.evaluation import metric

    drawn = models * sum(hasattr(metric(name), "FIGURE") for name in metrics)
    if not drawn:
        what = "--figure draws the confusion of classes, or predicted numbers beside true ones"
        raise UsageError(what, str(figure), f"mmkit eval classify --figure {figure}")
    return _drawable(figure, drawn, force)


def _drawable(figure: Path, count: int, force: bool) -> list[Path]:
    from mmkit.views.style import FORMATS
    from mmkit.views.target import check_target

    targets = _numbered(figure, count)
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


def _is_table(path: Path) -> bool:
    """Whether a file holds a table of `eval`."""
    from mmkit.cli.eval_table import is_ours

    return is_ours(path.read_text(encoding="utf-8", errors="replace"))


def _of_embeddings(path: Path, request: Request) -> list[Result]:
    if not hasattr(request.module, "of_embeddings"):
        raise UsageError(f"{request.metric} cannot be measured from embeddings alone", hint="leave --embeddings out")
    results: list[Result] = request.module.of_embeddings(path, request)
    if results[0].anonymous:
        console.say(f"{path} does not say which model made it; taken as it is")
    return results


def _of_model(name: str, path: Path, device: str, requests: list[Request], prompt: str | None) -> list[Result]:
    from mmkit.data.shards import open_dataset
    from mmkit.errors import UserError
    from mmkit.foreign_open import load_writer

    data = open_dataset(path) if any(not hasattr(request.module, "of_files") for request in requests) else None
    model = load_writer(name, device, console.say, prompt)
    for request in requests:
        if hasattr(model, "write") and not hasattr(request.module, "WRITTEN"):
            hint = "mmkit eval caption vqa hallucination"
            raise UserError(f"a checkpoint that writes is not measured by {request.metric}", name, hint)
    found: list[tuple[Request, Result]] = []
    for request in requests:
        files = getattr(request.module, "of_files", None)
        results = files(model, path, request) if files else request.module.of_model(model, data, request)
        found += [(request, result) for result in results]
    for request, result in found:
        if result.note:
            console.warn(result.note)
        if model.folder:
            result.save(model.folder / "eval")
            if result.confusion or result.scatter:
                _picture(result, model.folder / "eval" / f"{result.stem}.{request.module.FIGURE}.png")
    return [result for _, result in found]


def _show(records: list[dict[str, Any]], out: str | None, form: str | None) -> None:
    from mmkit.cli import eval_table

    if form in TABLES and (not out or out == "-"):
        sys.stdout.write(eval_table.rendered(records, form))
    elif form == "table" or (sys.stdout.isatty() and not console.as_json and out != "-"):
        eval_table.show(records)
    elif console.as_json or not out or out == "-":
        for record in records:
            console.record(record)


def _write(records: list[dict[str, Any]], targets: list[Path], form: str | None, force: bool) -> None:
    from mmkit.cli.eval_table import rendered
    from mmkit.files import make_way, write_json, write_text

    for i, target in enumerate(targets):
        make_way(target, force)
        if form:
            write_text(target, rendered(records, form))
        else:
            write_json(target, records[i])
        console.say(f"wrote {target}")


def _draw(results: list[Result], targets: list[Path], force: bool) -> None:
    from mmkit.files import make_way
    from mmkit.views.fonts import lacking

    for result, target in zip(results, targets, strict=False):
        make_way(target, force)
        _picture(result, target)
        console.say(f"wrote {target}")
    for line in lacking(name for result in results if result.confusion for name in result.confusion[1]):
        console.say(line)
    if not results:
        console.warn(f"{targets[0]} is not drawn: rows may have several labels, and so no class is taken for one other")


def _picture(result: Result, path: Path) -> None:
    """Draw what was taken for what, or numbers as they are and as they were predicted."""
    from mmkit.views.charts import confusion, predicted
    from mmkit.views.style import save

    title = f"{result.record['model']} on {result.record['dataset']} {result.record['split']}"
    if result.confusion:
        save(confusion(*result.confusion, note=title), path, title)
    elif result.scatter:
        save(predicted(*result.scatter, note=title), path, title)
