"""The view of a running training on stderr: live in a terminal, plain lines every few seconds elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from mmkit.cli.console import Console
from mmkit.cli.progress import LINE_SECONDS, Pace, Screen, bar, duration, job_line, lines
from mmkit.talk import VAL, as_read, chosen_by, short

RECENT = 20  # steps that samples/s is the mean of
FIGURES = {"loss": "train/loss", "lr": "train/lr", "logit_scale": "train/logit_scale"}
DIRECTIONS = {"image": "text-to-image", "text": "image-to-text"}
RECALL, NOT_SHOWN = "_recall@", ("mean_recall", "chance@1")
MOST_IN_A_LINE = 3  # figures, with which the step that they are of has room in 80 columns


class LiveView:
    """Shows how far a training is after every step, and the figures of metrics.jsonl as they are written.

    It takes numbers that are there already: it asks the model for nothing and waits for no device.

    Args:
        console: whether a person watches, and whether talk is wanted at all.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.screen: Screen | None = None
        self.pace: Pace | None = None
        self.job: tuple[str, Pace] | None = None
        self.steps = self.batch_size = 0
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.samples = 0.0
        self.said = 0.0
        # replaced, never changed: another thread draws it
        self.latest: dict[str, Any] = {}

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *exc: Any) -> None:
        if self.screen is not None:
            self.screen.close()

    def begin(self, steps: int, batch_size: int) -> None:
        """The run's length and its batch, known before its first step."""
        self.steps, self.batch_size = steps, batch_size

    def step(self, done: int, seconds: float) -> None:
        """A step has ended, and took this long; called once before the first one, too."""
        if self.pace is None:
            self.pace = Pace(done, self.steps)
            self._open()
            return
        self.recent.append(seconds)
        self.samples = self.batch_size * len(self.recent) / max(1e-9, sum(self.recent))
        self.pace.at(done, self.steps)
        if not self.console.live and (monotonic() - self.said >= LINE_SECONDS or done in (1, self.steps)):
            self.said = monotonic()
            self.console.say(self._line())

    def row(self, row: dict[str, Any]) -> None:
        """One row of metrics.jsonl; the first only states facts of the run."""
        if row["step"] == 0:
            return
        measured = chosen_by(row)
        self.latest = self.latest | row | {"val_step" if measured else "train_step": row["step"]}
        if measured and not self.console.live:
            self.console.say(self._measured(row, measured))

    def progress(self, title: str) -> Callable[[int, int], None]:
        """The report of a job before a stage, `report(done, total)`, shown in the same view."""
        if not self.console.live:
            return lines(title)
        pace = Pace()

        def report(done: int, total: int) -> None:
            pace.at(done, total)
            self.job = (title, pace) if done < total else None
            self._open()

        return report

    def _open(self) -> None:
        if self.console.live and self.screen is None:
            self.screen = Screen(self.console, self._lines, stays=True)

    def _counts(self) -> tuple[str, str]:
        """How far it is, and how long it takes."""
        assert self.pace is not None
        # in a narrow terminal the end is cut
        times = f"ETA {self.pace.left}, {duration(self.pace.seconds)} elapsed"
        speed = f", {self.samples:,.0f} samples/s" if self.samples else ""
        steps = f"{self.steps:,}"
        return f"step {self.pace.done:>{len(steps)},}/{steps}", times + speed

    def _figures(self) -> str:
        """Of the newest row, with its step where that is not this one."""
        assert self.pace is not None
        latest = self.latest
        figures = [f"{name} {latest[key]:.4g}" for name, key in FIGURES.items() if key in latest]
        if figures and latest["train_step"] != self.pace.done:
            figures.append(f"at step {latest['train_step']:,}")
        return "  ".join(figures)

    def _line(self) -> str:
        return "  ".join(part for part in (*self._counts(), self._figures()) if part)

    def _measured(self, row: dict[str, Any], chosen: str) -> str:
        loss = f"loss {self.latest['train/loss']:.4g}  " if "train/loss" in self.latest else ""
        name, value = as_read(chosen, row[VAL + chosen])
        figure = f"val {name.replace('_', ' ')} {short(value)}"
        recalls = {way: row.get(f"{VAL}{name}_retrieval{RECALL}1") for name, way in DIRECTIONS.items()}
        if chosen == "mean_recall" and None not in recalls.values():
            figure = "val R@1 " + ", ".join(f"{value:.3f} {way}" for way, value in recalls.items())
            figure += f" (chance {row['val/chance@1']:.3f})"
        return f"step {row['step']:,}/{self.steps:,}  {loss}{figure}"

    def _lines(self, columns: int) -> list[str]:
        """The frame: how far it is, the newest figures, what was measured last, and what runs before a stage."""
        job = self.job
        jobs = [job_line(*job, columns)] if job else []
        if self.pace is None:
            return jobs
        step, times = self._counts()
        frame = [f"[bold]{step}[/]  {bar(self.pace.share, columns - len(step) - len(times) - 4)}{times}"]
        if figures := self._figures():
            frame.append(figures)
        return [*frame, *self._vals(), *jobs]

    def _vals(self) -> list[str]:
        """What was measured on val last: a line a direction of retrieval, and one of the first of all else."""
        latest = self.latest
        if "val_step" not in latest:
            return []
        cells: dict[str, list[str]] = {}
        for key, value in latest.items():
            name = key.removeprefix(VAL)
            if name == key or name in NOT_SHOWN or name.endswith("_median_rank") or name.startswith("-"):
                continue
            direction, recall, k = name.partition(RECALL)
            cells.setdefault(direction if recall else "", []).append(
                f"{f'R@{k}' if recall else name.rpartition('/')[2]} [bold]{short(value)}[/]"
            )
        width = max(map(len, cells), default=0)
        frame = [
            "  ".join([f"val {name:<{width}}" if width else "val", *shown[:MOST_IN_A_LINE]]) for name, shown in cells.items()
        ]
        frame[-1] += f"  at step {latest['val_step']:,}"
        return frame
