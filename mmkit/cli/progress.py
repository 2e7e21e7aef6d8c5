"""Progress of long work on stderr: lines redrawn in place where a person watches, a plain line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from mmkit.cli.console import Console, console

LINE_SECONDS = 5.0  # between two plain lines; what ends sooner prints none
FRAMES = 5  # a second
BAR = 24  # characters


class Pace:
    """How far a count is, how fast it goes and how long it still takes.

    What comes before the first report happens once (the first picture, the first step), so it does not count as soon as
    there is a second; nor does what was there already, of a download that goes on.

    Args:
        done: where the count begins.
    """

    def __init__(self, done: int = 0, total: int = 0) -> None:
        self.total = total
        # each is (count, moment); they are replaced, never changed: another thread draws them
        self._begun = self._first = self._last = (done, monotonic())

    @property
    def done(self) -> int:
        return self._last[0]

    def at(self, done: int, total: int) -> None:
        """The count now."""
        last = (done, monotonic())
        if self._last is self._begun:
            self._first = last
        self.total, self._last = total, last

    @property
    def seconds(self) -> float:
        """Since it began."""
        return monotonic() - self._begun[1]

    @property
    def rate(self) -> float | None:
        """Counts a second; None while nothing is known."""
        last = self._last
        begin = self._begun if last is self._first else self._first
        count, seconds = last[0] - begin[0], last[1] - begin[1]
        return count / seconds if count > 0 and seconds > 0 else None

    @property
    def left(self) -> str:
        """`1:20`, or `?`."""
        return duration(max(0, self.total - self.done) / self.rate) if self.rate else "?"

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0

    def __str__(self) -> str:
        count = f"{self.done:,}" + (f" of {self.total:,}" if self.total >= self.done else "")
        rate = self.rate
        if not rate:
            return count
        return f"{count}, {f'{rate:,.0f}' if rate >= 10 else f'{rate:.2g}'}/s, {self.left} left"


def duration(seconds: float) -> str:
    """`0:07`, `12:30` or `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


class Screen:
    """Lines that stay at the end of stderr and are redrawn there; what else is said goes above them.

    A thread draws them a few times a second, so whoever changes what they show pays nothing for it and never waits.

    Args:
        console: learns that lines go above.
        lines: of Rich markup, asked for at each frame with the columns there are; what is wider is cut.
        stays: whether the last frame remains.
    """

    def __init__(self, console: Console, lines: Callable[[int], list[str]], stays: bool = False) -> None:
        from rich.console import Console as Rich
        from rich.live import Live

        self.console, self.lines, self.rich = console, lines, Rich(stderr=True, highlight=False)
        # stdout is not Rich's to redirect: it carries the product
        self.live = Live(
            get_renderable=self._frame,
            console=self.rich,
            refresh_per_second=FRAMES,
            transient=not stays,
            redirect_stdout=False,
        )
        self.live.start()
        console.above = self.rich

    def draw(self) -> None:
        """Draw a frame now."""
        self.live.refresh()

    def close(self) -> None:
        """Draw the last frame and give the terminal back."""
        self.live.stop()
        self.console.above = None

    def _frame(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        columns = self.rich.width - 1
        texts = [Text.from_markup(line) for line in self.lines(columns)]
        for text in texts:
            # a line that wraps would leave a rest behind at the next frame
            text.truncate(columns)
        return Group(*texts)


def bar(share: float, columns: int) -> str:
    """A bar as markup, at most `columns` wide; nothing where that would be too short to read."""
    length = min(BAR, columns)
    if length < 8:
        return ""
    full = round(length * share)
    return f"[cyan]{'━' * full}[/][bright_black]{'─' * (length - full)}[/]  "


def job_line(title: str, pace: Pace, columns: int) -> str:
    """One line of a job: `embedded ━━━━━━━━  1,200 of 5,000, 300/s, 0:13 left`."""
    figures = " " * max(0, len(f"{pace.total:,}") - len(f"{pace.done:,}")) + str(pace)
    return f"{title}  {bar(pace.share, columns - len(title) - len(figures) - 4)}{figures}"


@contextmanager
def bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Yield `start(title) -> report(done, total)`: one bar for the job that reports, or its sequence of lines.

    A title is a verb in the past and, where it is not plain, of what: `embedded`.
    """
    if not console.live:
        yield lines
        return
    running: dict[str, Pace] = {}
    screen: Screen | None = None

    def show(columns: int) -> list[str]:
        return [job_line(title, pace, columns) for title, pace in list(running.items())[-1:]]

    def start(title: str) -> Callable[[int, int], None]:
        pace = Pace()

        def report(done: int, total: int) -> None:
            nonlocal screen
            pace.at(done, total)
            if total > 0 and done >= total:  # work that turns out to be done already shows no bar
                running.pop(title, None)
            elif title not in running:
                running[title] = pace
                screen = screen or Screen(console, show)

        return report

    try:
        yield start
    finally:
        if screen:
            screen.close()


def lines(title: str) -> Callable[[int, int], None]:
    """The report of a job where nobody watches: `embedded 1,200 of 5,000, 300/s, 0:13 left` every few seconds."""
    pace, last = Pace(), monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        pace.at(done, total)
        if monotonic() - last >= LINE_SECONDS and (done < total or total <= 0):
            last = monotonic()
            console.say(f"{title} {pace}")

    return report
