"""The whole path on generated scenes: prepare, train, measure on unseen combinations, and a report of it all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmkit.config import parse_set, resolve
from mmkit.errors import UserError
from mmkit.files import check_beginning, lock, move_folder_aside, read_json, write_json
from mmkit.talk import Talk

STATE, REPORT = "demo.json", "report.html"
VERSION = 1
STEPS = 850
SCENES = 10_000


@dataclass(frozen=True)
class Options:
    """What decides the result of a demo; kept in its folder, so that a rerun knows what it may reuse."""

    steps: int = STEPS
    seed: int = 0


# opens where one part of a demo reports to: with the live view of a run, or with bars
View = Callable[[bool], AbstractContextManager[Talk]]


@dataclass
class State:
    """What FOLDER/demo.json holds: the options, the seconds of each part, and at the end the measured record."""

    path: Path
    options: Options
    seconds: dict[str, float] = field(default_factory=dict)
    record: dict[str, Any] | None = None

    def save(self) -> None:
        """Write it whole or not at all."""
        write_json(
            self.path,
            {"version": VERSION, "options": asdict(self.options), "seconds": self.seconds, "record": self.record},
        )

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds that a part takes, also when it is interrupted: a rerun goes on counting."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] = round(self.seconds.get(part, 0.0) + time.monotonic() - start, 1)
            self.save()


def run(folder: Path, options: Options, force: bool, device: str, say: Callable[[str], None], view: View) -> State:
    """Make, continue or reuse the demo in `folder`.

    Returns:
        The state, with the record of recall on the unseen combinations; the report is at `folder / REPORT`.

    Raises:
        UserError: the folder holds something else, or a demo with other options.
        Interrupted: stopped while training; the same call continues.
    """
    if force and folder.exists():
        say(f"moved the old one to {move_folder_aside(folder, 'name a folder below it: mmkit demo ./demo --force')}")
    state = _open(folder, options)
    with lock(folder):
        if state.record and (folder / REPORT).is_file():
            say(f"{folder} is finished: nothing to do; --force makes a new one")
            return state
        state.save()
        _announce(folder, options, say)
        with state.timed("data"):
            _prepare(folder / "data", options.seed, view)
        with state.timed("train"):
            trained = _train(folder, options, device, view)
        with state.timed("report"):
            say("measuring, and drawing the report")
            record = _report(folder, trained, state, device, view)
        state.record = record
        state.save()
    return state


def _announce(folder: Path, options: Options, say: Callable[[str], None]) -> None:
    # roughly 0.1 s a step and 30 s for the rest; training prints a measured estimate before its first step
    minutes = (options.steps * 0.1 + 30) / 60
    say(f"demo in {folder}, about {max(1, round(minutes))} min on 2 cores:")
    say(f"  data         {SCENES:,} generated scenes with captions")
    say(f"  runs/latest  a model trained on them from nothing, {options.steps} steps")
    say(f"  {REPORT}  how often it finds the right one of 300 scenes of unseen combinations, with examples")


def _open(folder: Path, options: Options) -> State:
    """The state of a demo begun here with the same options, or a new one."""
    path = folder / STATE
    if not path.is_file():
        check_beginning(folder, STATE, "demo", "name a new folder: mmkit demo ./another")
        folder.mkdir(parents=True, exist_ok=True)
        return State(path, options)
    found = read_json(path)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise UserError("made by another version of mmkit", str(path), "--force moves it aside and makes a new one")
    if found["options"] != asdict(options):
        made = ", ".join(f"{name} {value}" for name, value in found["options"].items())
        asked = ", ".join(f"{name} {value}" for name, value in asdict(options).items())
        raise UserError(
            f"the demo here was made with {made}, not {asked}", str(folder), "--force moves it aside, or name another folder"
        )
    return State(path, options, found["seconds"], found["record"])


def _prepare(out: Path, seed: int, view: View) -> None:
    from mmkit.data.plan import Choices
    from mmkit.data.schema import Ask
    from mmkit.data.write import prepare

    with view(False) as talk:
        ask = Ask(out, options={"limit": SCENES, "seed": seed}, say=talk.say, progress=talk.progress)
        # the settings that `mmkit prep shapes` records, so that it would reuse this folder
        prepare("shapes", ask, Choices(workers=os.cpu_count() or 1), ask.options)


def _train(folder: Path, options: Options, device: str, view: View) -> Path:
    """The finished run: reused, resumed or trained from the start."""
    from mmkit.workflows import fit

    runs = folder / "runs"
    with view(True) as talk:
        trained = fit.resume("auto", runs, device, talk) if runs.is_dir() else None
        if trained is None:
            config = resolve("clip", None, [parse_set(text) for text in _own(folder / "data", options)])
            trained = fit.start(config, runs, None, False, device, talk)
    # by the link, as a user would name it
    return runs / "latest" if (runs / "latest").is_dir() else trained


def _own(data: Path, options: Options) -> list[str]:
    """The configuration that differs from demo to demo."""
    # ten measurements on the way; a run of a few steps would spend its time on them
    every = max(50, options.steps // 10)
    path = json.dumps(str(data))
    return [f"data.path={path}", f"train.steps={options.steps}", f"train.seed={options.seed}", f"train.eval_every={every}"]


def _report(folder: Path, trained: Path, state: State, device: str, view: View) -> dict[str, Any]:
    """Write the report; the record of recall on the test split that it holds."""
    from mmkit.views.report import write_report
    from mmkit.workflows.story import tell

    with view(False) as talk:
        report = tell(folder, trained, state.seconds, state.options.steps, device, talk)
    write_report(report, folder / REPORT)
    return report.records[0]
