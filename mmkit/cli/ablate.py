"""`mmkit ablate`: what each part of a recipe is worth, cell by cell of a grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.levels import Typed
from mmkit.cli.options import OUTPUT, SEED_MOST, Debug, Device, Force, Json, Quiet, Workers
from mmkit.cli.train_options import (
    Accumulate,
    Amp,
    ConfigFile,
    DataFolder,
    Encoder,
    Epochs,
    GlobalBatch,
    Init,
    LockImage,
    LockText,
    Patience,
    Rate,
    Recipe,
    Sets,
    Size,
    Steps,
    TrainLimit,
    Tune,
    typed,
)
from mmkit.errors import Exit, UsageError, UserError

if TYPE_CHECKING:
    from mmkit.talk import Talk
    from mmkit.workflows.ablation import Ablation

EPILOG = """\b
Examples:
  mmkit ablate --recipe fusion-mid --drop image,text --seeds 3
  mmkit ablate --vary loss.itc.kind=infonce,sigmoid --vary train.lr=1e-3,5e-4 --steps 500 -o lr
  mmkit ablate --from runs/latest --seeds 2 --jobs 2
  mmkit ablate --vary 'data.image.augment=[],["crop"]' --print-commands | parallel -j 4
  mmkit ablate -o lr --json | jq .metrics
"""
GRID, WORK = "What is compared", "How it runs"

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def ablate(
    data: DataFolder = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B",
            help="Train with each value, of several --vary with each combination. A value is TOML; also recipe=A,B.",
            rich_help_panel=GRID,
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART,PART",
            help="Train without each of these in turn: an input, a modality or loss.NAME.",
            rich_help_panel=GRID,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N|LIST",
            help="Train each cell with N seeds, or with those of a list: 0,3,7.",
            show_default="1",
            rich_help_panel=GRID,
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="The base is this run; without --vary and --drop each part that can go is dropped in turn.",
            rich_help_panel=GRID,
        ),
    ] = None,
    data_option: Annotated[str | None, typer.Option("--data", metavar="DATA", help="As DATA.", rich_help_panel=GRID)] = None,
    limit: TrainLimit = None,
    recipe: Recipe = None,
    size: Size = None,
    image_encoder: Encoder = None,
    text_encoder: Encoder = None,
    lock_image: LockImage = False,
    lock_text: LockText = False,
    tune: Tune = None,
    init: Init = None,
    steps: Steps = None,
    epochs: Epochs = None,
    patience: Patience = None,
    batch_size: GlobalBatch = None,
    lr: Rate = None,
    config: ConfigFile = None,
    set_: Sets = None,
    amp: Amp = None,
    accumulate: Accumulate = None,
    jobs: Annotated[
        int, typer.Option(metavar="N", min=1, help="Cells that run at once; they share the cores.", rich_help_panel=WORK)
    ] = 1,
    print_commands: Annotated[
        bool,
        typer.Option(
            "--print-commands",
            help="Print a command for each missing cell and seed, for other machines with these files; run none.",
            rich_help_panel=WORK,
        ),
    ] = False,
    only: Annotated[
        str | None, typer.Option(metavar="NAME", help="Do this one cell and seed of FOLDER.", rich_help_panel=WORK)
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed cells again.", rich_help_panel=WORK)] = False,
    device: Device = "auto",
    workers: Workers = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Gets ablation.json, runs/, table.md, table.csv, ablation.png.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("ablation"),
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw the differences there instead: .png .svg .pdf or .html.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Train and measure every cell of a grid, and compare each with the first: what is each part of a recipe worth?

    A cell is finished once: the same command goes on where it was stopped, and with more values or seeds it only adds. Without
    options but DATA it goes on with what FOLDER holds. Tokenizer, size, length, precision and workers are decided once, for
    the first cell; other automatic values (rate, batch, widths) follow from what is varied, and those that do are named.
    Measures recall@k, classify or vqa, whatever the losses are measured by, on test, else val. Prints a table in a terminal
    and one JSON object a cell and seed elsewhere; the exit code is 1 where a cell has failed.
    """
    options = {
        "DATA": data,
        "--data": data_option,
        "--limit": limit,
        "--workers": workers,
        "--size": size,
        "--steps": steps,
        "--epochs": epochs,
        "--batch-size": batch_size,
        "--lr": lr,
        "--patience": patience,
        "--init": init,
        "--amp": amp,
        "--accumulate": accumulate,
        "--image-encoder": image_encoder,
        "--text-encoder": text_encoder,
    }
    words = typed(recipe, config, set_, {"image": lock_image, "text": lock_text}, options, tune)
    asked = Asked(words, vary or [], drop or [], seeds, from_)
    from mmkit.training.loop import Interrupted

    try:
        with words.named():
            return _ablate(asked, out, Runs(jobs, print_commands, only, retry, device), figure, force)
    except (Interrupted, KeyboardInterrupt):
        console.warn("stopped; the same command goes on where this one was")
        return Exit.INTERRUPTED


@dataclasses.dataclass(frozen=True)
class Asked:
    """What was typed of the grid and of its base."""

    base: Typed
    vary: list[str]
    drop: list[str]
    seeds: str | None
    run: str | None

    @property
    def nothing(self) -> bool:
        """Whether the folder says what there is to do, wherever its data lie now."""
        from mmkit.workflows.ablation import FREE

        base = self.base
        said = {key for key, _ in base.shortcuts.values()}.difference(FREE)
        return not (
            self.vary or self.drop or self.run or base.recipe or base.file or said or base.locked or base.tune or base.sets
        )


@dataclasses.dataclass(frozen=True)
class Runs:
    """How the jobs run."""

    jobs: int
    print_commands: bool
    only: str | None
    retry: bool
    device: str


def _ablate(asked: Asked, out: Path, runs: Runs, figure: Path | None, force: bool) -> int:
    if figure:
        from mmkit.views.style import FORMATS
        from mmkit.views.target import check_target

        check_target(figure, FORMATS, force)
    grid = _grid(asked, out, runs.device)
    from mmkit.cli.ablate_report import report
    from mmkit.files import lock
    from mmkit.workflows import ablation as workflow
    from mmkit.workflows import ablation_jobs

    if runs.only:
        state = workflow.open_folder(out, None, False, console.say)
        return _only(dataclasses.replace(state, bases=grid.bases) if grid and asked.nothing else state, runs)
    state = workflow.open_folder(out, grid, force, console.say)
    workflow.check(state)
    with lock(out):
        with _view("measured") as talk:
            state = workflow.prepare(state, runs.device, dataclasses.replace(talk, say=console.say))
        if runs.retry:
            workflow.forget_failed(state, state.names())
        missing = state.missing()
        if runs.print_commands:
            for name in missing:
                console.product(ablation_jobs.shell_line(state, name, runs.device))
            return Exit.DONE
        try:
            if runs.jobs > 1:
                ablation_jobs.at_once(state, missing, runs.device, runs.jobs, console.say)
            else:
                ablation_jobs.one_by_one(state, missing, runs.device, _view, console.say)
        finally:
            state = workflow.collect(state)
        report(state, figure, force)
    return Exit.FAILED if state.missing() or any(row["error"] for row in state.rows) else Exit.DONE


def _only(state: Ablation, runs: Runs) -> int:
    """One job of a folder, as --print-commands names it."""
    from mmkit.workflows import ablation as workflow
    from mmkit.workflows import ablation_jobs

    assert runs.only
    name = ablation_jobs.find(state, runs.only)
    if runs.retry:
        workflow.forget_failed(state, [name])
    with _view(name) as talk:
        row = workflow.work(state, name, runs.device, talk)
    if row is None:
        raise UserError(ablation_jobs.BUSY, str(state.folder / workflow.CELLS / name), "wait for it to end")
    console.record(row)
    return Exit.FAILED if row["error"] else Exit.DONE


def _grid(asked: Asked, out: Path, device: str) -> Ablation | None:
    """What was asked for; None where that is what the folder holds.

    Raises:
        UsageError: nothing is varied.
    """
    from mmkit.config import to_dict
    from mmkit.workflows import ablation as workflow
    from mmkit.workflows import ablation_cells as cells

    seeds = _seeds(asked.seeds) if asked.seeds is not None else None
    if asked.nothing:
        if not (out / workflow.STATE).is_file() or (seeds is None and not asked.base.shortcuts):
            return None
        found = workflow.open_folder(out, None, False, console.say)
        bases = {recipe: to_dict(asked.base.resolve(tables, whole=True)) for recipe, tables in found.bases.items()}
        return dataclasses.replace(found, grid=dataclasses.replace(found.grid, seeds=seeds or found.grid.seeds), bases=bases)
    vary = cells.parse_vary(asked.vary)
    drop = list(dict.fromkeys(part.strip() for word in asked.drop for part in word.split(",") if part.strip()))
    base = _resolved(asked, asked.base, device)
    if not vary and not drop and asked.run:
        drop = _parts(base)
    if not vary and not drop:
        raise UsageError("nothing is varied", hint="e.g. --vary loss.itc.kind=infonce,sigmoid, or --drop image")
    recipes = vary.get(cells.RECIPE)
    if recipes is None:
        bases = {"": to_dict(base)}
    elif asked.run or asked.base.recipe:
        raise UsageError("--vary recipe= says the recipes", "--from" if asked.run else "--recipe", "leave one out")
    else:
        bases = {name: to_dict(_resolved(asked, dataclasses.replace(asked.base, recipe=name), device)) for name in recipes}
    return workflow.Ablation(out, cells.Grid(vary, drop, seeds or [base.train.seed]), bases, asked.run)


def _parts(base: Any) -> list[str]:
    from mmkit.data.shards import open_dataset
    from mmkit.workflows.ablation_cells import parts_of

    parts = parts_of(base, open_dataset(base.data.path))
    if not parts:
        hint = "recall compares two modalities; a model with a target of its own, such as fusion-mid, can do without one"
        raise UsageError("the run has no part that can be dropped", "--from", hint)
    return parts


def _resolved(asked: Asked, words: Typed, device: str) -> Any:
    """The base's configuration: nothing of it is resolved but its size."""
    from mmkit.training.names import check_names

    if asked.run:
        from mmkit.loading import CONFIG, other_runs, pointed, run_config
        from mmkit.workflows.ablation_cells import reopened

        if words.recipe:
            raise UsageError("--from says what the base is", "--recipe", "leave one out")
        run = pointed(Path(asked.run))
        if not (run / CONFIG).is_file():
            raise UserError("no such run", asked.run, other_runs(run) or "train one with `mmkit train`")
        return words.resolve(reopened(run_config(run)), whole=True)
    base = words.resolve()
    check_names(base)
    if base.train.init:
        from mmkit.loading import init_tables

        base = words.resolve(init_tables(base.train.init, console.say))
    from mmkit.loading import pick_device
    from mmkit.training.auto import sized

    return sized(base, on_cpu=pick_device(device).type == "cpu")[0]


def _seeds(text: str) -> list[int]:
    """N seeds from 0, or those of a list.

    Raises:
        UsageError: it is neither.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [-1]
    if min(numbers) < 0 or max(numbers) > SEED_MOST or numbers == [0]:
        raise UsageError(f"--seeds takes how many, or a list, not {text!r}", hint="--seeds 3, or --seeds 0,3,7")
    return list(range(numbers[0])) if len(numbers) == 1 else list(dict.fromkeys(numbers))


@contextmanager
def _view(title: str) -> Iterator[Talk]:
    """Where a job reports to: its steps as one bar, its warnings with its title."""
    from mmkit.cli.progress import bars
    from mmkit.talk import Talk

    with bars() as progress:
        steps = progress(title)
        total = [0]

        def begin(count: int, batch_size: int) -> None:
            total[0] = count

        yield Talk(
            warn=lambda text: console.warn(f"{title}: {text}"),
            begin=begin,
            step=lambda done, seconds: steps(done, total[0]),
            progress=progress,
        )
