"""The view of a running training on stderr: live in a terminal, plain lines every few seconds elsewhere."""

from __future__ import annotations

import time
from typing import Any

from mmkit.cli.console import Console

PLAIN_SECONDS = 5.0


class LiveView:
    """Shows rows of metrics.jsonl as they are written.

    Args:
        console: whether a person watches, and whether talk is wanted at all.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live: Any = None
        self.first: int | None = None
        self.steps, self.began, self.last = 0, time.monotonic(), 0.0
        self.latest: dict[str, Any] = {}

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *exc: Any) -> None:
        if self.live is not None:
            self.live.stop()
            self.console.above = None

    def begin(self, steps: int) -> None:
        """The run's length, known before its first step."""
        self.steps = steps

    def row(self, row: dict[str, Any]) -> None:
        """One row of metrics.jsonl; the first only states facts of the run."""
        if row["step"] == 0:
            return
        self.latest |= row
        if self.first is None:
            self.first, self.began = row["step"], time.monotonic()
        if self.console.live:
            self._draw()
        elif "val/mean_recall" in row or time.monotonic() - self.last >= PLAIN_SECONDS or row["step"] == self.steps:
            self.last = time.monotonic()
            self.console.say(self._line(row))

    def _eta(self) -> str:
        done = self.latest["step"] - (self.first or 0)
        if not done or not self.steps:
            return "?"
        left = (time.monotonic() - self.began) / done * (self.steps - self.latest["step"])
        return f"{int(left) // 60}:{int(left) % 60:02d}"

    def _line(self, row: dict[str, Any]) -> str:
        head = f"step {row['step']}/{self.steps or '?'}"
        if "val/mean_recall" in row:
            recalls = (row["val/image_retrieval_recall@1"], row["val/text_retrieval_recall@1"])
            loss = f"loss {self.latest['train/loss']:.4f}  " if "train/loss" in self.latest else ""
            chance = row["val/chance@1"]
            return f"{head}  {loss}val R@1 {recalls[0]:.3f} text-to-image, {recalls[1]:.3f} image-to-text (chance {chance:.3f})"
        return (
            f"{head}  loss {row['train/loss']:.4f}  lr {row['train/lr']:.2e}  logit_scale {row['train/logit_scale']:.1f}"
            f"  {row['train/samples_per_second']:.0f} samples/s  ETA {self._eta()}"
        )

    def _draw(self) -> None:
        from rich.console import Console as Rich
        from rich.live import Live
        from rich.table import Table

        if self.live is None:
            self.live = Live(console=Rich(stderr=True), refresh_per_second=4, transient=False)
            self.live.start()
            self.console.above = self.live.console
        grid = Table.grid(padding=(0, 2))
        latest = self.latest
        done = latest["step"] / self.steps if self.steps else 0.0
        bar = "━" * int(30 * done)
        grid.add_row(f"[bold]step {latest['step']}/{self.steps or '?'}[/]", f"[cyan]{bar:<30}[/]", f"ETA {self._eta()}")
        shown = {
            "loss": "train/loss",
            "lr": "train/lr",
            "logit_scale": "train/logit_scale",
            "samples/s": "train/samples_per_second",
        }
        grid.add_row(*[f"{name} [bold]{latest[key]:.4g}[/]" for name, key in shown.items() if key in latest])
        val = {k.removeprefix("val/"): v for k, v in latest.items() if k.startswith("val/") and "recall@" in k}
        if val:
            for direction in ("image_retrieval", "text_retrieval"):
                cells = [f"R@{k.partition('@')[2]} [bold]{v:.3f}[/]" for k, v in val.items() if k.startswith(direction)]
                grid.add_row(f"val {direction}", *cells)
        self.live.update(grid)
