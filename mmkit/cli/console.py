"""The streams of one invocation: stdout carries the product, stderr the talk. Tests replace the Console."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import Any


@dataclass
class Console:
    """What a command knows of its surroundings, set once from the options that every command shares."""

    as_json: bool = False
    quiet: bool = False
    debug: bool = False
    above: Any = None  # the Rich console of a bar or a live view that is on the screen: lines go above it

    @property
    def json(self) -> bool:
        """JSON was asked for, or stdout is not a terminal."""
        return self.as_json or not sys.stdout.isatty()

    @property
    def live(self) -> bool:
        """A person watches stderr: progress bars and live views make sense."""
        return sys.stderr.isatty() and not self.quiet and os.environ.get("TERM") != "dumb"

    def product(self, text: str) -> None:
        """Print one line of the product on stdout, at once, so that a pipeline sees it."""
        print(text, flush=True)

    def record(self, value: dict[str, Any]) -> None:
        """Print one JSON object on its own line."""
        self.product(json.dumps(value, ensure_ascii=False, allow_nan=False))

    def say(self, text: str) -> None:
        """Talk to the user on stderr; nothing under --quiet."""
        if not self.quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        """Something the user should know even under --quiet."""
        self._line(f"warning: {text}")

    def _line(self, text: str) -> None:
        if self.above is None:
            print(text, file=sys.stderr, flush=True)
            return
        from rich.console import Group
        from rich.text import Text

        # what Rich wraps is cut for good: a path in two is nothing to copy. A group, for a bare Text forgets that it is
        # not to be wrapped, and said to print() it would hold for the bar below, too.
        self.above.print(Group(Text(text, no_wrap=True, overflow="ignore")), crop=False)

    def table(
        self, title: str, columns: list[str], rows: list[list[str]], to_stdout: bool = False, figures: bool = False
    ) -> None:
        """A table for people: Rich in a terminal, aligned plain text elsewhere.

        Args:
            figures: all but the first column is never cut in two, however narrow the terminal is.
        """
        if self.quiet and not to_stdout:
            return
        from rich.console import Console as Rich
        from rich.table import Table

        stream = sys.stdout if to_stdout else sys.stderr
        # a width that never wraps a figure when the output goes to a file
        width = None if stream.isatty() or os.environ.get("COLUMNS") else 120
        table = Table(title=title, title_justify="left", title_style="bold")
        for i, name in enumerate(columns):
            table.add_column(name, justify="left" if i == 0 else "right", overflow="fold", no_wrap=figures and i > 0)
        for row in rows:
            table.add_row(*[cell.replace("[", r"\[") for cell in row])
        Rich(file=stream, width=width).print(table)


console = Console()
