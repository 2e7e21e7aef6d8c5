"""The jobs of an ablation, a cell and a seed each: one after the other, several at once, or anywhere else by their command."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from mmkit.durations import in_words
from mmkit.errors import UsageError, nearest
from mmkit.talk import Talk
from mmkit.training.loop import Interrupted
from mmkit.workflows.ablation import CELL, CELLS, LOG, Ablation, Row, finish, row_of, work
from mmkit.workflows.fit import stop_on_signal

BUSY = "another mmkit is at this cell"  # what a job says that is not let in
POLL = 0.1  # seconds
# opens where a job of this title reports to
View = Callable[[str], AbstractContextManager[Talk]]
Say = Callable[[str], None]


def find(ablation: Ablation, name: str) -> str:
    """A job by its name.

    Raises:
        UsageError: there is none; the nearest is named.
    """
    if name not in ablation.names():
        raise UsageError(f"there is no cell {name!r}", "--only", nearest(name, ablation.names()))
    return name


def command(ablation: Ablation, name: str, device: str) -> list[str]:
    """The words after `mmkit` of a call that does one job."""
    return ["ablate", "-o", str(ablation.folder), "--only", name, "--device", device]


def shell_line(ablation: Ablation, name: str, device: str) -> str:
    """That call as a line of a shell, which any machine with the same files can run."""
    return f"cd {shlex.quote(str(Path.cwd()))} && mmkit {shlex.join(command(ablation, name, device))}"


def one_by_one(ablation: Ablation, names: Sequence[str], device: str, view: View, say: Say) -> None:
    """Do jobs in this process.

    Raises:
        Interrupted: stopped while training; the same call goes on.
    """
    pace = _Pace(len(names), say)
    for name in names:
        title = _title(ablation, name)
        pace.begin(title)
        with view(title) as talk:
            row = work(ablation, name, device, talk)
        pace.end(title, row)


def at_once(ablation: Ablation, names: Sequence[str], device: str, jobs: int, say: Say) -> None:
    """Do jobs in up to `jobs` processes, which share the cores.

    Raises:
        Interrupted: stopped; each has saved its last step, and the same call goes on.
    """
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    env = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    left, running = list(names), dict[str, subprocess.Popen[bytes]]()
    pace = _Pace(len(names), say, jobs)
    with stop_on_signal() as stop:
        try:
            while (left or running) and not stop():
                while left and len(running) < jobs:
                    name = left.pop(0)
                    pace.begin(_title(ablation, name))
                    running[name] = _spawn(ablation, name, device, env)
                time.sleep(POLL)
                for name in [name for name, process in running.items() if process.poll() is not None]:
                    pace.end(_title(ablation, name), _ended(ablation, name, running.pop(name).returncode))
        finally:
            for process in running.values():
                process.send_signal(signal.SIGINT)
            for process in running.values():
                process.wait()
    if left or running:
        raise Interrupted(str(ablation.folder))


def _title(ablation: Ablation, name: str) -> str:
    cell, seed = ablation.names()[name]
    return f"{cell.title}, seed {seed}"


def _spawn(ablation: Ablation, name: str, device: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    place = ablation.folder / CELLS / name
    place.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "mmkit", *command(ablation, name, device), "--quiet", "--json"]
    with open(place / LOG, "ab") as log:
        # a group of its own: what is pressed in the terminal is passed on once, by this process
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=env,
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )


def _die_with_parent() -> Callable[[], None] | None:
    """What lets a process on Linux be stopped when this one is killed; elsewhere it does its job to the end."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _ended(ablation: Ablation, name: str, code: int) -> Row | None:
    """The row of a process that has ended; None where it was not let in."""
    if (ablation.folder / CELLS / name / CELL).is_file():
        return row_of(ablation.folder, name)
    if code < 0:
        return finish(ablation, name, 0.0, f"its process ended by signal {-code} (9: the system was out of memory)")
    log = ablation.folder / CELLS / name / LOG
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if code else []
    if not code or any(BUSY in line for line in said[-2:]):
        return None
    return finish(ablation, name, 0.0, f"its process ended with code {code}: {said[-1] if said else log}")


class _Pace:
    """Says which job begins, which has ended, and how long the rest takes."""

    def __init__(self, total: int, say: Say, jobs: int = 1) -> None:
        self.total, self.say, self.jobs = total, say, jobs
        self.begun, self.ended, self.start = 0, 0, time.monotonic()

    def begin(self, title: str) -> None:
        self.begun += 1
        left = ""
        if self.ended:
            seconds = (time.monotonic() - self.start) / self.ended * (self.total - self.ended)
            left = f", about {in_words(seconds)} left"
        self.say(f"{self.begun} of {self.total}  {title}{left}")

    def end(self, title: str, row: Row | None) -> None:
        self.ended += 1
        if row is None:
            self.say(f"  {title}: another process is at it")
        elif row["error"] is not None:
            self.say(f"  {title} failed: {row['error']}")
