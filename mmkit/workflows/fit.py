"""Training from options to a finished run folder. `mmkit train` and `demo` call it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mmkit.config import Config, Stage, Tables, to_dict, write_toml
from mmkit.data.loader import Loader
from mmkit.data.shards import Dataset, open_dataset
from mmkit.errors import UserError
from mmkit.files import lock
from mmkit.loading import (
    CONFIG,
    WEIGHTS,
    from_run,
    load_weights,
    run_config,
    save_made,
)
from mmkit.model import Model
from mmkit.talk import Talk, as_read, short
from mmkit.training import distributed, loop, lora
from mmkit.training.distributed import world
from mmkit.training.doctor import diagnose, read_rows
from mmkit.training.report_to import REPORTERS, check_packages
from mmkit.training.run import checkpoints, find_run, new_run, sweep
from mmkit.workflows import feed, finish
from mmkit.workflows.card import write_card
from mmkit.workflows.plan import Plan, check, first_weights, introduce, place, plan


def start(
    config: Config, runs: Path, name: str | None, force: bool, device: str, talk: Talk, readers_of: Path | None = None
) -> Path:
    """Make a run folder for `config` and train it to the end.

    Args:
        readers_of: as of `plan`.

    Returns:
        The run folder.

    Raises:
        UserError: see `plan`.
        loop.Interrupted: stopped by a signal; resumable.
    """
    made = plan(config, device, talk, readers_of=readers_of)
    # what was measured differs between processes: the first one's figures hold for all
    config = distributed.from_first(made.config)
    folder = None
    if world()[0] == 0:
        folder = new_run(runs, name, f"{Path(config.recipe).stem}-{made.data.name}", force)
        save_made(made.model, folder)
        finish.keep_first(made.first, folder)
        write_toml(folder / CONFIG, config)
        introduce(made, folder, talk)
    folder = distributed.from_first(folder)
    assert folder is not None
    return _run(config, folder, made.model, made.data, talk, made.loader)


def dry_run(config: Config, device: str, talk: Talk) -> Plan:
    """The plan of a run with its first batch; writes nothing."""
    made = plan(config, device, talk, dry=True)
    introduce(made, None, talk)
    return made


def resume(
    which: str, runs: Path, device: str, talk: Talk, differing: Callable[[Tables], list[str]] = lambda tables: []
) -> Path | None:
    """Go on with an interrupted run exactly where its newest checkpoint is; None where `auto` finds nothing.

    Args:
        differing: what of the configuration given beside --resume is not the run's: it changes nothing, and that is said.
    """
    # one process looks: another that is slow would find the run that the first has begun meanwhile
    folder = distributed.from_first(find_run(which, runs) if world()[0] == 0 else None)
    if folder is None:
        return None
    config = run_config(folder)
    ignored = differing(to_dict(config))
    if "data.path" in ignored:
        hint = f"leave DATA out, or start a new run with its weights: --init {folder}"
        raise UserError(f"the run goes on with the data that it began with, {config.data.path}", str(folder), hint)
    if ignored:
        hint = f" (a new run from its weights: --init {folder})" if "finished" in config.run else ""
        talk.warn(f"{folder} goes on as it was configured; without effect: {', '.join(ignored)}{hint}")
    found = checkpoints(folder)
    if "finished" in config.run:
        talk.say(f"{folder} is finished: nothing to do")
        return folder
    check_packages(config.train.report_to)
    data = open_dataset(config.data.path)
    if data.hash != config.data.hash:
        raise UserError(
            "the dataset is not the one this run was trained on", config.data.path, "train a new run with `mmkit train`"
        )
    torch.manual_seed(config.train.seed)
    model = from_run(config, folder)
    check(model)
    if found:
        load_weights(model, found[-1] / WEIGHTS)
    else:
        first_weights(config, model, talk)
    lora.attach(model.encoder, config)
    place(model, config, device)
    talk.say(f"resuming {folder} from {found[-1].name if found else 'its start'} of {config.train.steps} steps")
    return _run(config, folder, model, data, talk)


def _run(config: Config, folder: Path, model: Model, data: Dataset, talk: Talk, loader: Loader | None = None) -> Path:
    """Train to the end.

    Args:
        loader: of all stages; where there is one stage it is that one's.
    """
    assert isinstance(config.train.steps, int)
    talk.begin(config.train.steps, config.train.batch_size or 1)
    first = world()[0] == 0
    reporters = [REPORTERS[name](folder) for name in config.train.report_to] if first else []
    doctor = Doctor(folder / loop.LOG, talk.warn)

    def report(row: dict[str, Any]) -> None:
        talk.report(row)
        for reporter in reporters:
            reporter(row)
        doctor.see(row)

    def loaders(stage: Stage) -> Loader:
        return loader if loader and len(config.stage) <= 1 else feed.loader(config, data, model, [stage], talk)

    with lock(folder) if first else nullcontext(), stop_on_signal() as stop:
        if first:
            sweep(folder)
        evaluate = feed.evaluation(config, data, model, talk) if first else None
        state = loop.train(config, folder, model, loaders, replace(talk, report=report), evaluate, stop)
    if first:
        best = state["best_step"]
        weights = f"step {state['step']}, the last"
        if best:
            name, value = as_read(state["select"], state["best"])
            weights = f"step {best}, best on val: {name.replace('_', ' ')} {short(value)}"
        model, weights = finish.finish(config, folder, model, weights, evaluate)
        config.run |= {"finished": state["step"], "weights": weights}
        write_toml(folder / CONFIG, config)
        finish.clean(folder)
        write_card(folder, config, model, data, doctor.rows)
        doctor.last_word()
        talk.say(f"{folder}/{WEIGHTS}: {weights}")
    return folder


class Doctor:
    """Tells each finding once, while training and at its end; the log is read once, for what stood there before a resumption."""

    EVERY = 20  # rows

    def __init__(self, log: Path, warn: Callable[[str], None]) -> None:
        self.log, self.warn, self.seen = log, warn, 0
        self.told: set[str] = set()

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        return read_rows(self.log)

    def see(self, row: dict[str, Any]) -> None:
        """Take in a row that the log holds already."""
        if self.seen:
            self.rows.append(row)
        if self.seen % self.EVERY == 0:
            self.last_word()
        self.seen += 1

    def last_word(self) -> None:
        for finding in diagnose(self.rows):
            if finding.name not in self.told:
                self.told.add(finding.name)
                self.warn(str(finding))


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """While open, Ctrl-C and SIGTERM ask the loop to stop after its step; a second one stops at once."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are the caller's
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
