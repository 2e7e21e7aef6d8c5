"""What two models made of the same items: found in their runs, else measured first. Torch is imported only to measure."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.config import read_toml
from mmkit.errors import UsageError, UserError
from mmkit.files import CONFIG, WEIGHTS, pointed, sha256
from mmkit.metrics.compare import scope_words
from mmkit.metrics.evaluation import KS, METRICS, Request, metrics_of
from mmkit.metrics.items import Items
from mmkit.metrics.saved import Saved, Scope, of_file, of_run, preferred

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset

TABLES = (".parquet", ".json")
MOST_TOLD = 3  # results that an error names


@dataclass(frozen=True)
class Asked:
    """What the comparison is to be of; what is None or empty is found out.

    Args:
        metrics: (row of METRICS, ks).
        progress, say: as of `mmkit eval`.
    """

    data: Path | None = None
    split: str | None = None
    limit: int | None = None
    metrics: Sequence[tuple[str, tuple[int, ...]]] = ()
    device: str = "auto"
    batch_size: int = 64
    workers: int | None = None
    progress: Callable[[str], Callable[[int, int], None]] = lambda title: lambda done, total: None
    say: Callable[[str], None] = lambda text: None

    def takes(self, saved: Saved, data_hash: str | None) -> bool:
        """Whether a saved result is of what was asked for."""
        from mmkit.data.splits import find_split

        return (
            data_hash in (None, saved.scope.data_hash)
            and (self.split is None or find_split(self.split, {saved.scope.split}) is not None)
            and self.limit in (None, saved.scope.limit)
            and (not self.metrics or saved.measure[0] in dict(self.metrics))
        )

    def metrics_in(self, found: Iterable[tuple[str, ...]]) -> bool:
        """Whether all the metrics that were asked for are there."""
        return {name for name, _ in self.metrics} <= {key[0] for key in found}

    def ks(self, metric: str) -> tuple[int, ...]:
        return dict(self.metrics).get(metric, KS)


@dataclass(frozen=True)
class Side:
    """A or B, as it was typed.

    Args:
        run: its run folder; None of a checkpoint of transformers, and of a file.
        saved: the results that these very weights gave.
        is_file: a result or a table, that stands for itself.
    """

    name: str
    run: Path | None = None
    saved: list[Saved] = field(default_factory=list)
    is_file: bool = False

    def trained_on(self) -> dict[str, Any]:
        """`path` and `hash` of the data, {} where it is no run."""
        return dict(read_toml(self.run / CONFIG).get("data", {})) if self.run else {}


def pairs_of(a: str, b: str, asked: Asked) -> list[tuple[Items, Items]]:
    """The items of both, not aligned yet, one pair for each table: by what both were measured, in their runs or now.

    Where one of the models has more inputs than these, the names of the metrics say of which they are.

    Args:
        a, b: a run, a checkpoint in one, a CLIP, SigLIP or CLAP checkpoint, or a `.json` or `.parquet` that `mmkit eval` wrote.

    Raises:
        UserError: one is none of these; they were measured on different data, or on several and none was picked.
    """
    from mmkit.data.shards import open_dataset

    sides = [open_side(name) for name in (a, b)]
    if all(side.is_file for side in sides):
        first, second = (side.saved[0] for side in sides)
        return [_named(first.items(asked.ks(first.measure[0])), second.items(asked.ks(second.measure[0])))]
    data = open_dataset(asked.data) if asked.data else None
    kept = [[one for one in side.saved if asked.takes(one, data.hash if data else None)] for side in sides]
    if all(kept):
        _check_same(sides, kept, asked)
    both = {(one.scope, one.measure) for one in kept[0]} & {(one.scope, one.measure) for one in kept[1]}
    known = [one for one in kept[0] if (one.scope, one.measure) in both] or kept[0] or kept[1]
    scope = _scope(known, sides) if known else None
    wanted = [one for one in known if one.scope == scope]
    tables = [_found(side, own, wanted, asked) for side, own in zip(sides, kept, strict=True)]
    lacks = [not found or not asked.metrics_in(found) for found in tables]
    if any(lacks):
        data = data or _dataset(sides, wanted)
        for i in np.flatnonzero(lacks):
            again = i and a == b
            tables[i] = tables[0] if again else _measured(sides[i], data, scope, wanted, asked)
    shared = [key for key in tables[0] if key in tables[1]]
    if not shared:
        metrics = [", ".join(" ".join(key) for key in found) for found in tables]
        by = " and ".join(f"{side.name} by {words}" for side, words in zip(sides, metrics, strict=True))
        raise UserError("they were measured by different metrics", by)
    return [_named(tables[0][key], tables[1][key]) for key in shared]


def _named(a: Items, b: Items) -> tuple[Items, Items]:
    """Both with the same names of metrics, which tell their inputs where one of the models has others."""
    of = a.of or b.of
    return a.named(of), b.named(of)


def open_side(name: str) -> Side:
    """What was typed as A or B, with the results that it has.

    Raises:
        UserError: there is nothing of this name.
    """
    path = pointed(Path(name))
    if path.suffix in TABLES and path.is_file():
        return Side(name, saved=[of_file(path)], is_file=True)
    run = next((one for one in (path, path.parent.parent) if (one / CONFIG).is_file()), None)
    weights = path / WEIGHTS
    if run and weights.is_file():
        return Side(name, run, of_run(run, sha256(weights)[:16]))
    from mmkit.data.checkpoint import is_local

    if path.suffix in TABLES or (is_local(name) and not path.exists()):
        from mmkit.loading import other_runs

        raise UserError("no such run or result", name, other_runs(path) or "A and B are runs, or results of `mmkit eval`")
    return Side(name, run)


def _scope(known: Sequence[Saved], sides: Sequence[Side]) -> Scope:
    """Of what the results are, one of them."""
    own = next((found["hash"] for side in sides if (found := side.trained_on()).get("hash")), None)
    scopes = preferred((one.scope for one in known), own)
    if len(scopes) > 1:
        names = sorted({scope_words(one.record) for one in known if one.scope in scopes})
        raise UsageError("there are results on several datasets", ", ".join(names), "--data FOLDER picks one")
    return scopes[0]


def _check_same(sides: Sequence[Side], kept: Sequence[Sequence[Saved]], asked: Asked) -> None:
    """Refuse two that have results, but none of the same; what was asked for by an option is measured.

    Raises:
        UserError: the data, the splits or the metrics differ.
    """
    hashes, scopes, measures = (
        [{what(one) for one in found} for found in kept]
        for what in (lambda one: one.scope.data_hash, lambda one: one.scope, lambda one: one.measure[0])
    )
    first = kept[0][0]
    if not hashes[0] & hashes[1]:
        differ, hint = "on different data", "--data FOLDER measures both on it"
    elif not scopes[0] & scopes[1] and asked.split is asked.limit is None:
        differ, hint = "on different splits", f"--split {first.scope.split} measures both on it"
    elif not measures[0] & measures[1] and not asked.metrics:
        differ, hint = "by different metrics", _measures_both(sides, kept)
    else:
        return
    words = ", ".join(f"{side.name} on {_words(found)}" for side, found in zip(sides, kept, strict=True))
    raise UserError(f"they were measured {differ}", words, hint)


def _measures_both(sides: Sequence[Side], kept: Sequence[Sequence[Saved]]) -> str:
    """A hint at the metric by which both can be measured: each has a result or a loss of it."""
    able = []
    for side, found in zip(sides, kept, strict=True):
        own = {one.measure[0] for one in found}
        if side.run:
            from mmkit.losses import loss_class  # of torch, and worth its while where the two end here

            own |= {loss_class(name, table).metric for name, table in read_toml(side.run / CONFIG).get("loss", {}).items()}
        able.append(own)
    both = next((name for name in METRICS if name in able[0] & able[1]), None)
    return f"--metric {both} measures both" if both else "no metric measures both: they have learnt different things"


def _words(saved: Sequence[Saved]) -> str:
    """What results are of, for people: the first few."""
    told = []
    for one in saved:
        first = f", the first {one.scope.limit}" if one.scope.limit else ""
        told.append(f"{scope_words(one.record)} ({one.measure[0]}{first})" if one.record else scope_words({}))
    told = list(dict.fromkeys(told))
    if len(told) > MOST_TOLD:
        return f"{', '.join(told[:MOST_TOLD])} and {len(told) - MOST_TOLD} more"
    return " and ".join(told)


def _found(side: Side, kept: Sequence[Saved], wanted: Sequence[Saved], asked: Asked) -> dict[tuple[str, ...], Items]:
    """What a side has of what is wanted: its items, by how they were measured."""
    keys = {(one.scope, one.measure) for one in wanted}
    return {one.measure: one.items(asked.ks(one.measure[0])) for one in kept if (one.scope, one.measure) in keys}


def _dataset(sides: Sequence[Side], wanted: Sequence[Saved]) -> Dataset:
    """The data that a result is of, else that the runs were trained on, else ./data.

    Raises:
        UserError: it is not found, or the runs were trained on different data.
    """
    from mmkit.data.shards import open_dataset

    own = {data.get("hash") for side in sides if (data := side.trained_on())}
    paths = [path for side in sides for path in _places(side)]
    if wanted:
        record = wanted[0].record
        for path in [*paths, Path("data"), Path(str(record.get("dataset")))]:
            if (path / "dataset.json").is_file() and (found := open_dataset(path)).hash == record.get("data_hash"):
                return found
        raise UserError("the data of the result is not found", scope_words(record), "--data FOLDER")
    if len(own) > 1:
        where = " and ".join(f"{side.name} on {side.trained_on().get('path')}" for side in sides)
        raise UserError("they were trained on different data", where, "--data FOLDER measures both on it")
    return open_dataset(next((path for path in paths if (path / "dataset.json").is_file()), Path("data")))


def _places(side: Side) -> list[Path]:
    """Where the data of a run may be: its path is from where `train` was typed."""
    path = side.trained_on().get("path")
    return [Path(path), side.run.resolve().parent.parent / path] if path and side.run else []


def _measured(
    side: Side, data: Dataset, scope: Scope | None, wanted: Sequence[Saved], asked: Asked
) -> dict[tuple[str, ...], Items]:
    """Measure a side now, as `mmkit eval` does, and keep the result in its run."""
    from mmkit.data.shards import default_split
    from mmkit.embedding import data_name
    from mmkit.loading import load_model

    if side.is_file:
        raise UserError("the result is not of what was asked for", side.name, "name the run, and it is measured")
    model = load_model(side.name, asked.device, asked.say)
    own = metrics_of(model)
    others = list(dict.fromkeys(one.measure[0] for one in wanted))
    metrics = [name for name, _ in asked.metrics] or [name for name in others if name in own] or others or own
    split = asked.split or (scope.split if scope and scope.split != "all" else None)
    limit = asked.limit or (scope.limit if scope else None)
    shown = split or default_split(data) or "all"
    asked.say(f"{side.name} has no result on {data_name(data)} {shown} yet: measured by {', '.join(metrics)}")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for metric in metrics:
            ks = asked.ks(metric)
            request = Request(metric, ks, split, limit, True, asked.batch_size, asked.workers, asked.progress)
            for result in request.module.of_model(model, data, request):
                if not result.rows:
                    raise UsageError(f"{metric} has no figures of single items to compare", hint=f"mmkit eval {metric} -m A -m B")
                if model.folder:
                    result.save(model.folder / "eval")
                result.save(Path(folder))
                saved = Saved(Path(folder) / f"{result.stem}.{result.table}.parquet", result.record)
                found[saved.measure] = saved.items(ks)
    return found
