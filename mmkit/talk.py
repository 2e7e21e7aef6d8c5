"""Where work reports to; the command line fills it in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

Progress = Callable[[str], Callable[[int, int], None]]


@dataclass(frozen=True)
class Talk:
    """One bundle of callables, all of them silent by default.

    Args:
        say, warn: one line for the user.
        begin: told the steps and the batch size of a run; step: what is done, and the seconds of the last one.
        report: a row of metrics.jsonl, as it is written.
        progress: progress(title) gives a function of (done, total).
    """

    say: Callable[[str], None] = lambda text: None
    warn: Callable[[str], None] = lambda text: None
    begin: Callable[[int, int], None] = lambda steps, batch_size: None
    step: Callable[[int, float], None] = lambda done, seconds: None
    report: Callable[[dict[str, Any]], None] = lambda row: None
    progress: Progress = lambda title: lambda done, total: None


VAL = "val/"  # before what was measured on val, in a row of metrics.jsonl


def chosen_by(row: dict[str, Any]) -> str | None:
    """The metric of a row of metrics.jsonl that weights are chosen by, without `val/`; None where it measures no val."""
    return next((key.removeprefix(VAL) for key in row if key.startswith(VAL)), None)


def as_read(metric: str, value: float) -> tuple[str, float]:
    """A metric of which less is better, under its own name: weights are chosen by its negative.

    >>> as_read("-mse", -0.25), as_read("acc1", 0.5)
    (('mse', 0.25), ('acc1', 0.5))
    """
    return (metric[1:], -value) if metric.startswith("-") else (metric, value)


def short(value: float) -> str:
    """Three decimals; of less than a hundredth two digits."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"


class Measured(NamedTuple):
    """What an evaluation of a model gave: the metric that weights are chosen by, its value (more is better), and all of them.

    It stands first among `values`, as in the rows of metrics.jsonl, so that a reader of these knows it.
    """

    name: str
    score: float
    values: dict[str, float]
