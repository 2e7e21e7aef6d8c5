"""The report of a run: its configuration, how it learned, how good it is, what it looks at, and the data it learned from."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmkit import __version__
from mmkit.data import pictures
from mmkit.data.audit import table as audit_table
from mmkit.data.shards import Dataset, default_split, open_dataset
from mmkit.embedding import checkpoint_name, embed_dataset, model_name
from mmkit.encode import Pace, cell_items, columns_of
from mmkit.errors import UserError
from mmkit.loading import CONFIG, load_model
from mmkit.metrics.evaluation import Request, Result, metrics_of
from mmkit.tabular import large
from mmkit.talk import Talk
from mmkit.training.doctor import diagnose, read_rows
from mmkit.training.loop import LOG
from mmkit.vectors import Embeddings, read_embeddings
from mmkit.views import charts
from mmkit.views.fonts import lacking
from mmkit.views.report import Report, Shown, at_most
from mmkit.views.sheet import Tile
from mmkit.workflows import examples, inside
from mmkit.workflows.forgetting import old_task

if TYPE_CHECKING:
    from mmkit.model import Model

Part = TypeVar("Part")
SAMPLES = 8
OTHER = "The run did not learn from this data: all of it is new to the model."


@dataclass(frozen=True)
class Asked:
    """What a report is made from; `split` by default test, else val, else all rows."""

    model: str
    data: Path | None = None
    split: str | None = None
    limit: int | None = None
    device: str = "auto"


def gather(asked: Asked, talk: Talk) -> Report:
    """Measure a run and gather its report; what a model cannot show is left out.

    Raises:
        UserError: there is no such run, or its data is gone.
    """
    model = load_model(asked.model, asked.device, talk.say)
    if model.folder is None:
        raise UserError("a report is of a run, and this is a checkpoint of others", asked.model, "mmkit train makes a run")
    data = open_dataset(asked.data or _trained_on(model))
    split = data.split_name(asked.split) if asked.split else default_split(data)
    results = _measure(model, data, split, asked, talk)
    records = [result.record for result in results]
    rows = read_rows(model.folder / LOG) if (model.folder / LOG).is_file() else []
    found = _embeddings(model, data, split, asked)
    attention: Sequence[Shown] = _or(lambda: inside.shown_attention(model, data, split), (), talk)
    for line in lacking(shown.alt for shown in attention):
        talk.say(line)
    return Report(
        title=_title(model),
        kicker="mmkit report",
        lead=_lead(model, data),
        stats=_stats(model, records),
        findings=[(finding.what, finding.do) for finding in diagnose(rows)] if rows else None,
        records=records,
        old_task=_or(lambda: old_task(model, data, split, _measured_by(asked, talk, model, records)), None, talk),
        confusion=_confusion(results),
        strips=_strips(model, data, split, found, results),
        marks=_marks(found, results),
        map=inside.shown_map(found) if found is not None else None,
        attention=attention,
        contribution=_or(lambda: inside.shown_contribution(model, data, split), None, talk),
        rows=rows,
        batch_size=model.config.train.batch_size,
        splits=data.splits,
        own_data=_is_own(model, data),
        data_note="" if _is_own(model, data) else OTHER,
        samples=_samples(model, data),
        audit=audit_table(data.manifest["audit"]) if "audit" in data.manifest else (),
        model=facts(model, records),
        config=(model.folder / CONFIG).read_text(encoding="utf-8"),
        commands=[(line, remark) for line, remark in _commands(model, data)],
        footer=f"mmkit {__version__} · {platform.system()} {platform.machine()} · this page is one file and loads nothing",
    )


def _or(show: Callable[[], Part], nothing: Any, talk: Talk) -> Part:
    """A part of the report, or where the model or the data has nothing for it the word why."""
    try:
        return show()
    except UserError as e:
        talk.say(f"left out of the report: {e.what}")
        return nothing


def _trained_on(model: Model) -> Path:
    path = model.config.data.path
    if not path or ("://" not in path and not Path(path).is_dir()):
        raise UserError("the data that the run was trained on is not there", path or model.name, "--data names it")
    return Path(path)


def _measure(model: Model, data: Dataset, split: str | None, asked: Asked, talk: Talk) -> list[Result]:
    """What `eval` gives of the model, kept in the run as there; a metric that the data has nothing for is said."""
    assert model.folder
    found: list[Result] = []
    for metric in metrics_of(model):
        request = Request(metric, split=split, limit=asked.limit, progress=talk.progress)
        try:
            found += request.module.of_model(model, data, request)
        except UserError as e:
            talk.warn(f"no {metric} in the report: {e}")
    for result in found:
        result.save(model.folder / "eval")
    return found


def _measured_by(asked: Asked, talk: Talk, model: Model, records: list[dict[str, Any]]) -> Any:
    """A function that measures a model as `_measure`; what is measured already is not measured again."""

    def measure(one: Model, data: Dataset, split: str | None) -> list[dict[str, Any]]:
        if one is model and records and records[0]["data_hash"] == data.hash:
            return records
        return [result.record for result in _measure(one, data, split, asked, talk)]

    return measure


def _embeddings(model: Model, data: Dataset, split: str | None, asked: Asked) -> Embeddings | None:
    """The vectors of the split, where the model compares two things that the data has."""
    if len(columns_of(model, data, model.embedded)) < 2:
        return None
    return read_embeddings(embed_dataset(model, data, split, limit=asked.limit, pace=Pace()))


def _title(model: Model) -> str:
    assert model.folder
    return " ".join(filter(None, (model.folder.resolve().name, checkpoint_name(model))))


def _lead(model: Model, data: Dataset) -> str:
    steps = checkpoint_name(model).rpartition("-")[2].lstrip("0") or model.config.run.get("finished", model.config.train.steps)
    own = _is_own(model, data)
    learned = data.name if own else Path(model.config.data.path).name
    return (
        f"Recipe {Path(model.config.recipe).stem}, size {model.config.size}: {model.parameter_count:,} parameters, trained for "
        f"{steps} steps on {learned}." + ("" if own else f" Measured on other data, {data.name}.")
    )


def _is_own(model: Model, data: Dataset) -> bool:
    """Whether the run learned from this data."""
    return model.config.data.hash == data.hash


def _stats(model: Model, records: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """The first figure of each direction or metric, large, and the size of the model."""
    shown = []
    for record in records:
        ways = charts.directions_of(record)
        names = {f"{way}_recall@1": f"R@1, {said}" for way, said in ways.items()} or {
            name: name.replace("_", " ") for name in islice(record["metrics"], 1)
        }
        for name, what in names.items():
            if name in record["metrics"]:
                chance = record["chance"].get(name)
                # a loss is no share
                figure = f"{record['metrics'][name]:.2f}" if name == record["task"] else large(name, record["metrics"][name])
                reached = f"chance {chance:.3f}" if chance is not None else ""
                shown.append((figure, what, ", ".join(filter(None, [reached, at_most(record, name)]))))
    return [*shown[:3], (f"{model.parameter_count:,}", "parameters", f"size {model.config.size}")]


def _confusion(results: list[Result]) -> Shown | None:
    """What each class was taken for, or predicted numbers beside true ones."""
    if counted := next((result.confusion for result in results if result.confusion), None):
        return Shown(lambda theme: charts.confusion(*counted, theme), "What each class was taken for")
    if numbers := next((result.scatter for result in results if result.scatter), None):
        return Shown(lambda theme: charts.predicted(*numbers, theme), "Predicted numbers beside true ones")
    return None


def _marks(found: Embeddings | None, results: list[Result]) -> str:
    if found is not None:
        return examples.MARKS
    return examples.WRITTEN if any("references" in result.rows for result in results) else examples.VERDICTS


def _strips(
    model: Model, data: Dataset, split: str | None, found: Embeddings | None, results: list[Result]
) -> list[examples.Group]:
    groups: list[examples.Group] = []
    if found is not None:
        names = sorted(model.embedded, key=model.config.is_language)  # a picture is found for a sentence
        there = [name for name in names if len(found.rows(name))]
        groups += examples.of_retrieval(found, (there[0], there[-1]), data, split)
    for result in results:
        if "references" in result.rows:
            groups += examples.of_captions(result.rows, data, split)
        elif result.scatter:
            groups += examples.of_numbers(result.rows, data, split)
        elif {"answer", "predicted"} & result.rows.keys():
            groups += examples.of_answers(result.rows, data, split)
    return groups


def _samples(model: Model, data: Dataset) -> list[Tile]:
    """Some training rows as pictures with their first words, where there is a picture of them."""
    columns = columns_of(model, data, model.inputs)
    shown = next((name for name in columns if pictures.is_shown(str(model.inputs[name].modality))), None)
    if shown is None:
        return []
    said = next((name for name in columns if model.config.is_language(name)), None)
    label = next(iter(data.columns_of("label")), None)
    wanted = list(dict.fromkeys(["id", columns[shown], *([columns[said]] if said else []), *([label] if label else [])]))
    split = "train" if data.splits.get("train") else None
    tiles = []
    for row in islice(data.rows(split, wanted), SAMPLES):
        held = cell_items(model, shown, row[columns[shown]])
        words = cell_items(model, said, row[columns[said]]) if said else []
        text = words[0] if words else str(row[label]) if label and row[label] else row["id"]
        if held:
            there = pictures.exhibit(str(model.inputs[shown].modality), held[0])
            tiles.append(Tile(str(text), there.picture, listen=there.listen))
    return tiles


def facts(model: Model, records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The model in the words of its configuration."""
    config, train = model.config, model.config.train
    cost: dict[str, float] = next((record["cost"] for record in records if "ms_per" in " ".join(record["cost"])), {})
    speed = ", ".join(f"{cost[f'ms_per_{name}']:.2g} ms a {name}" for name in model.inputs if f"ms_per_{name}" in cost)
    rows = [
        *((f"{name} encoder", _table(table)) for name, table in config.encoder.items()),
        *(("fusion" if table is config.fusion else f"{name} fusion", _table(table)) for name, table in config.fusions.items()),
        ("shared space", f"{config.project.dim} dimensions" if model.embedded else ""),
        ("losses", ", ".join(f"{name}: {table['kind']}" for name, table in config.loss.items())),
        ("parameters", f"{model.parameter_count:,}"),
        (
            "training",
            f"{train.steps} steps of {train.batch_size}, learning rate {train.lr:g}, {train.precision}, seed {train.seed}",
        ),
        ("weights", checkpoint_name(model) or str(config.run.get("weights", ""))),
        ("speed", speed),
        ("measured as", model_name(model)),
    ]
    return [(name, value) for name, value in rows if value]


def _table(table: dict[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in table.items() if key != "kind")
    return f"{table['kind']} ({rest})" if rest else str(table["kind"])


def _commands(model: Model, data: Dataset) -> list[tuple[str, str]]:
    run, where = shlex.quote(model_name(model)), shlex.quote(data.path)
    lines = [(f"mmkit eval {metric} --model {run} --data {where}", "the figures above") for metric in metrics_of(model)]
    if model.embedded:
        lines.append((f"mmkit umap {where} --model {run} -o map.html", "the map, to walk about in"))
    return lines
