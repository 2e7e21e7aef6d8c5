"""What each part of a recipe is worth: every cell of a grid trained with every seed and measured, resumable at any point.

FOLDER/ablation.json  the grid, what it was asked for, and a row a cell and seed
FOLDER/base/          what is decided once: the resolved configuration of the first cell and its tokenizers
FOLDER/runs/NAME/     the run of a cell and seed, as `mmkit train` leaves it, its results in eval/
FOLDER/cells/NAME/    cell.json, the row of a cell and seed once it is done; log.txt, what was said meanwhile
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mmkit.config import Config, Tables, build, to_dict, write_toml
from mmkit.data.shards import open_dataset
from mmkit.durations import in_words
from mmkit.errors import ConfigError, UsageError, UserError
from mmkit.files import check_beginning, lock, move_folder_aside, read_json, write_json
from mmkit.loading import CONFIG, load_model, run_config, save_made
from mmkit.metrics.evaluation import Request, metric, metrics_of, of_inputs
from mmkit.talk import Talk
from mmkit.training.loop import Interrupted
from mmkit.training.names import check_names
from mmkit.workflows import fit
from mmkit.workflows.ablation_cells import RECIPE, Cell, Grid, differences, drop, pinned, varied
from mmkit.workflows.plan import plan

STATE, BASE, RUNS, CELLS, CELL, LOG = "ablation.json", "base", "runs", "cells", "cell.json", "log.txt"
VERSION = 1
# of a base, what may be another one from call to call: the rows are compared by their hash, and threads change no result
FREE = ("data.path", "data.workers")
Row = dict[str, Any]


@dataclass
class Ablation:
    """What FOLDER/ablation.json holds.

    Args:
        bases: recipe -> the tables over which its cells lay their values; "" where no recipe is varied.
        readers_of: the run whose tokenizers all cells take; None: they are trained for the first cell.
        many: the first cell compares more than one pair of inputs, so that recalls are told apart by their pair.
        rows: of the cells and seeds that are done, in the order of the grid.
        also: title of a cell -> key -> [value in the first cell, value in this one], of what follows from what is varied.
    """

    folder: Path
    grid: Grid
    bases: Mapping[str, Tables]
    readers_of: str | None = None
    many: bool = False
    rows: list[Row] = field(default_factory=list)
    also: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        """Write it whole or not at all."""
        grid = {"vary": self.grid.vary, "drop": self.grid.drop, "seeds": self.grid.seeds}
        own = {"bases": self.bases, "readers_of": self.readers_of, "many": self.many, "also": self.also, "rows": self.rows}
        write_json(self.folder / STATE, {"version": VERSION, "grid": grid, **own})

    def names(self) -> dict[str, tuple[Cell, int]]:
        """Name of each job of the grid -> its cell and seed."""
        return {f"{cell.name}-seed{seed}": (cell, seed) for cell, seed in self.grid.jobs()}

    def missing(self) -> list[str]:
        """The names of the jobs that are not done."""
        return [name for name in self.names() if not (self.folder / CELLS / name / CELL).is_file()]

    def base(self, cell: Cell) -> Tables:
        """The tables that a cell lays its values over."""
        return self.bases[str(cell.values.get(RECIPE, ""))]

    def config(self, cell: Cell, seed: int) -> Config:
        """The configuration of a job, not yet resolved.

        Raises:
            UserError: it cannot be.
        """
        made = run_config(self.folder / BASE)
        config = build(pinned(self.base(cell), made, cell))
        config.train.seed = seed
        return drop(config, open_dataset(config.data.path), cell.drop) if cell.drop else config


def open_folder(folder: Path, asked: Ablation | None, force: bool, say: Callable[[str], None]) -> Ablation:
    """The ablation in a folder, its grid replaced by the one that is asked for; or a new one.

    Args:
        asked: None goes on with what is there.

    Raises:
        UserError: the folder holds something else, or cells of another base and there is no `force`.
    """
    path = folder / STATE
    if force and folder.exists() and asked:
        say(f"moved the old one to {move_folder_aside(folder, 'name a folder below it with -o')}")
    if not path.is_file():
        if asked is None:
            raise UsageError("nothing is varied", hint="e.g. --vary loss.itc.kind=infonce,sigmoid, or --drop image")
        check_beginning(folder, STATE, "ablation", "name a new folder with -o")
        return asked
    found = _read(path)
    if asked and not (folder / BASE / CONFIG).is_file():  # killed before anything was trained
        return asked
    if asked is None:
        return found
    for recipe, tables in asked.bases.items():
        differing = differences(found.bases.get(recipe, tables), tables)
        differing = {key: values for key, values in differing.items() if key not in FREE}
        if differing or (recipe == "") != ("" in found.bases):
            key, (was, now) = next(iter(differing.items()), ("recipe", ("one", "another")))
            what = f"the cells here were trained with {key} = {was}, not {now}"
            raise UserError(what, str(folder), "--force moves them aside, or name another folder with -o")
    return replace(asked, bases={**found.bases, **asked.bases}, many=found.many, also=found.also)


def _read(path: Path) -> Ablation:
    found = read_json(path)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise UserError("made by another version of mmkit", str(path), "--force moves it aside and begins a new one")
    own = {key: found[key] for key in ("bases", "readers_of", "many", "also", "rows")}
    return Ablation(path.parent, Grid(**found["grid"]), **own)


def check(ablation: Ablation) -> None:
    """Check what is named in all cells before anything is trained.

    Raises:
        UserError: a key, a kind or a part does not exist, or a part cannot be left out.
    """
    for cell in ablation.grid.cells():
        try:
            config = build(varied(ablation.base(cell), cell))
            check_names(config)
        except ConfigError as e:
            raise _varied_wrongly(e, cell) from e
        if cell.drop:
            drop(config, open_dataset(config.data.path), cell.drop)


def _varied_wrongly(e: ConfigError, cell: Cell) -> UserError:
    """The error of a key with the option that it was typed in, where that is --vary."""
    for key, value in cell.values.items():
        if any(f"{one}.".startswith(f"{key}.") or f"{key}.".startswith(f"{one}.") for one in e.keys):
            return UsageError(e.what, f"--vary {key}={value}", e.hint)
    return e


def prepare(ablation: Ablation, device: str, talk: Talk) -> Ablation:
    """Decide once what all cells share: measure the first cell, and train its tokenizers; then the grid is written.

    Raises:
        UserError: the first cell cannot be trained, or the dataset is not the one of the cells that are there.
    """
    base = ablation.folder / BASE
    cell, seed = next(ablation.grid.jobs())
    config = build(varied(ablation.base(cell), cell))
    if (base / CONFIG).is_file():
        _check_data(run_config(base), config.data.path)
        ablation.save()
        return ablation
    config.train.seed = seed
    try:
        made = plan(config, device, talk, dry=True, readers_of=Path(ablation.readers_of) if ablation.readers_of else None)
    except ConfigError as e:
        raise _varied_wrongly(e, cell) from e
    talk.say(f"each trains for {made.config.train.steps} steps, about {in_words(made.seconds)}")
    base.mkdir(parents=True, exist_ok=True)
    save_made(made.model, base)
    ablation = replace(ablation, many=len(made.model.embedded) > 2)
    ablation.save()
    write_toml(base / CONFIG, made.config)
    return ablation


def _check_data(made: Config, path: str) -> None:
    if open_dataset(path).hash != made.data.hash:
        hint = "--force moves them aside, or name another folder with -o"
        raise UserError("the dataset is not the one that the cells here were trained on", path, hint)


def work(ablation: Ablation, name: str, device: str, talk: Talk) -> Row | None:
    """Train and measure one job, or go on with it; its row is written to its cell.json.

    Returns:
        The row; None where another process is at it.

    Raises:
        Interrupted: stopped while training; the same call goes on.
    """
    cell, seed = ablation.names()[name]
    place = ablation.folder / CELLS / name
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock(place))
        except UserError:
            return None
        if (place / CELL).is_file():
            return row_of(ablation.folder, name)
        talk = stack.enter_context(_logged(talk, place / LOG))
        run, error = ablation.folder / RUNS / name, None
        found: tuple[dict[str, Any], int | None, list[tuple[str, str]]] = ({}, None, [])
        with _timed(place) as seconds:
            try:
                _train(ablation, run, cell, seed, device, talk)
                found = _measure(run, ablation.many, device, talk)
            except Interrupted:
                raise
            except Exception as e:  # the other cells go on
                error = _reason(e)
        return finish(ablation, name, seconds(), error, *found)


def finish(
    ablation: Ablation,
    name: str,
    seconds: float,
    error: str | None,
    metrics: Mapping[str, Any] = MappingProxyType({}),
    parameters: int | None = None,
    tables: Sequence[tuple[str, str]] = (),
) -> Row:
    """Write the row of a job that is done, or that has failed; returns it. The paths in it are written from the folder on."""
    cell, seed = ablation.names()[name]
    run = Path(RUNS, name)
    row = {
        "cell": dict(cell.values),
        "drop": list(cell.drop),
        "seed": seed,
        "metrics": dict(metrics),
        "parameters": parameters,
        "seconds": round(seconds, 1),
        "run": run.as_posix() if (ablation.folder / run).is_dir() else None,
        "error": error,
    }
    own = [(prefix, (run / "eval" / file).as_posix()) for prefix, file in tables]
    write_json(ablation.folder / CELLS / name / CELL, {"row": row, "tables": own})
    return row_of(ablation.folder, name)


def _reason(e: Exception) -> str:
    """A failure in one line."""
    if isinstance(e, UserError):
        return f"{e}; {e.hint}" if e.hint else str(e)
    return "out of memory" if isinstance(e, MemoryError) else f"{type(e).__name__}: {' '.join(str(e).split())}"


def _train(ablation: Ablation, run: Path, cell: Cell, seed: int, device: str, talk: Talk) -> None:
    if (run / CONFIG).is_file():
        _follow(run, build(ablation.base(cell)).data.path)
        fit.resume(str(run), run.parent, device, talk)
        return
    shutil.rmtree(run, ignore_errors=True)  # killed before it had a configuration, there is nothing in it
    config = ablation.config(cell, seed)
    fit.start(config, run.parent, run.name, False, device, talk, readers_of=ablation.folder / BASE)


def _follow(run: Path, path: str) -> None:
    """Let a run that has begun go on with its data where they lie now.

    Raises:
        UserError: there are others.
    """
    config = run_config(run)
    if config.data.path != path:
        _check_data(config, path)
        config.data.path = path
        write_toml(run / CONFIG, config)


def _measure(run: Path, many: bool, device: str, talk: Talk) -> tuple[dict[str, Any], int, list[tuple[str, str]]]:
    """The metrics of a run's losses on test, else val; its parameters; and the tables in eval/ of the items that metrics are of,
    each with what stands before their names."""
    model = load_model(str(run), device)
    data = open_dataset(model.config.data.path)
    metrics: dict[str, Any] = {}
    tables: list[tuple[str, str]] = []
    for own in metrics_of(model):
        results = metric(own).of_model(model, data, Request(own, workers=model.config.data.workers, progress=talk.progress))
        for result in results:
            result.save(run / "eval")
            # any two inputs have the same names of metrics
            compared = hasattr(metric(own), "of_embeddings") and (many or len(results) > 1)
            prefix = of_inputs(result.record["n"]) if compared else ""
            metrics |= {f"{prefix}{key}": _plain(value) for key, value in result.record["metrics"].items()}
            if result.rows:
                tables.append((prefix, f"{result.stem}.{result.table}.parquet"))
    return metrics, model.parameter_count, tables


def _plain(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


@contextlib.contextmanager
def _timed(place: Path) -> Iterator[Callable[[], float]]:
    """The seconds of a job, also those of earlier calls that were interrupted."""
    path, start = place / "seconds.json", time.monotonic()
    before = float(read_json(path)) if path.is_file() else 0.0
    try:
        yield lambda: before + time.monotonic() - start
    finally:
        write_json(path, before + time.monotonic() - start)


@contextlib.contextmanager
def _logged(talk: Talk, path: Path) -> Iterator[Talk]:
    """What is said goes to a file, warnings to the user as well."""
    with open(path, "a", encoding="utf-8") as log:

        def write(text: str) -> None:
            log.write(text + "\n")
            log.flush()

        def warn(text: str) -> None:
            write(f"warning: {text}")
            talk.warn(text)

        yield replace(talk, say=write, warn=warn)


def row_of(folder: Path, name: str) -> Row:
    """The row of a job that is done."""
    return told_of(folder, name)[0]


def told_of(folder: Path, name: str) -> tuple[Row, list[tuple[str, Path]]]:
    """The row of a job that is done, and its tables, each with what stands before the names of their metrics."""
    told = read_json(folder / CELLS / name / CELL)
    row = told["row"]
    if row["run"] is not None:
        row["run"] = str(folder / row["run"])
    return row, [(prefix, folder / path) for prefix, path in told["tables"]]


def forget_failed(ablation: Ablation, names: Iterable[str]) -> None:
    """Let failed jobs be missing, so that they are tried again from where they were."""
    for name in names:
        path = ablation.folder / CELLS / name / CELL
        if path.is_file() and row_of(ablation.folder, name)["error"] is not None:
            path.unlink()


def collect(ablation: Ablation) -> Ablation:
    """With the rows of all jobs that are done, and what follows from what each cell varies; written to its file."""
    done = [name for name in ablation.names() if name not in ablation.missing()]
    rows = [row_of(ablation.folder, name) for name in done]
    also = {cell.title: _follows(ablation, cell, done) for cell in ablation.grid.cells()}
    found = replace(ablation, rows=rows, also={title: found for title, found in also.items() if found})
    found.save()
    return found


def _follows(ablation: Ablation, cell: Cell, done: list[str]) -> dict[str, list[Any]]:
    """The keys beside the varied ones in which the runs of a cell differ from those of the first."""
    first, names = ablation.grid.cells()[0], ablation.names()
    pairs = [
        (ablation.folder / RUNS / f"{first.name}-seed{seed}" / CONFIG, ablation.folder / RUNS / name / CONFIG)
        for name in done
        for other, seed in [names[name]]
        if other == cell
    ]
    there = next((pair for pair in pairs if all(path.is_file() for path in pair)), None)
    if there is None or cell == first or cell.drop or RECIPE in cell.values:
        return {}
    one, other = (to_dict(run_config(path.parent)) for path in there)
    found = differences(one, other)
    varied_keys = tuple(cell.values)
    return {key: list(values) for key, values in found.items() if not key.startswith(("run.", *FREE, *varied_keys))}
