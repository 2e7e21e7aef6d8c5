"""Progress of long work on stderr: a bar where a person watches, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmkit.cli.console import console

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Yield `start(title) -> report(done, total)`; each title is one bar or its own sequence of lines."""
    if not console.live:
        yield _lines
        return
    from rich.console import Console as Rich
    from rich.progress import Progress

    with Progress(console=Rich(stderr=True), transient=True) as progress:

        def start(title: str) -> Callable[[int, int], None]:
            task = None

            def report(done: int, total: int) -> None:
                nonlocal task
                if task is None:  # work that turns out to be done already shows no bar
                    task = progress.add_task(title, total=total)
                progress.update(task, completed=done, total=total, visible=done < total)

            return report

        console.above = progress.console
        try:
            yield start
        finally:
            console.above = None


def _lines(title: str) -> Callable[[int, int], None]:
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            console.say(f"{title} {done:,} of {total:,}")

    return report
