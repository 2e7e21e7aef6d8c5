"""The view of a running training on stderr: live in a terminal, plain lines every few seconds elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from mmkit.cli.console import Console
from mmkit.cli.progress import LINE_SECONDS, Pace, Screen, bar, duration, job_line, lines

RECENT = 20  # steps that samples/s is the mean of
FIGURES = {"loss": "train/loss", "lr": "train/lr", "logit_scale": "train/logit_scale"}
RECALL = "val/mean_recall"


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
        kind = "val_step" if RECALL in row else "train_step"
        self.latest = self.latest | row | {kind: row["step"]}
        if RECALL in row and not self.console.live:
            self.console.say(self._recall(row))

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

    def _recall(self, row: dict[str, Any]) -> str:
        loss = f"loss {self.latest['train/loss']:.4g}  " if "train/loss" in self.latest else ""
        return (
            f"step {row['step']:,}/{self.steps:,}  {loss}val R@1 {row['val/image_retrieval_recall@1']:.3f} text-to-image, "
            f"{row['val/text_retrieval_recall@1']:.3f} image-to-text (chance {row['val/chance@1']:.3f})"
        )

    def _lines(self, columns: int) -> list[str]:
        """The frame: how far it is, the newest figures, the newest recall, and what runs before a stage."""
        job = self.job
        jobs = [job_line(*job, columns)] if job else []
        if self.pace is None:
            return jobs
        step, times = self._counts()
        frame = [f"[bold]{step}[/]  {bar(self.pace.share, columns - len(step) - len(times) - 4)}{times}"]
        if figures := self._figures():
            frame.append(figures)
        return [*frame, *self._recalls(), *jobs]

    def _recalls(self) -> list[str]:
        latest = self.latest
        if "val_step" not in latest:
            return []
        val = {key.removeprefix("val/"): value for key, value in latest.items() if key.startswith("val/")}
        frame = []
        for direction in ("image_retrieval", "text_retrieval"):
            recalls = {k.partition("@")[2]: v for k, v in val.items() if k.startswith(f"{direction}_recall@")}
            cells = [f"R@{k} [bold]{value:.3f}[/]" for k, value in recalls.items()]
            frame.append("  ".join([f"val {direction:<15}", *cells]))
        frame[-1] += f"  at step {latest['val_step']:,}"
        return frame
