"""The page that --help prints: options in groups under headings, aligned and coloured as uv, ruff and cargo do it.

Typer's own coloured pages draw boxes with Rich, whose import alone takes 0.1 s. These are plain text with a few escape codes.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

ARGUMENTS, OPTIONS, COMMANDS, GLOBAL = "Arguments", "Options", "Commands", "Global options"
WIDTH = 102  # of lines of prose, with the margin that Typer takes off again
TERM_WIDTH = 26  # longer ones have their explanation on the next line
UNBROKEN, HARD_SPACE = 26, "\N{NO-BREAK SPACE}"  # a default up to this long stands on one line
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}


class Entry(NamedTuple):
    """One line of a section: what is typed, the placeholder of its value, and what it means."""

    literal: str
    placeholder: str = ""
    text: str = ""

    @property
    def width(self) -> int:
        return len(self.literal) + len(self.placeholder) + bool(self.literal and self.placeholder)

    @property
    def is_command(self) -> bool:
        return bool(self.literal) and "-" not in self.literal.split()[0][:1]


class Page(TyperCommand):
    """A command with such a page: `@app.command(cls=Page)`."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(_page(self, ctx, formatter.width, _sections(self.get_params(ctx))))


class GroupPage(TyperGroup):
    """A group of commands with such a page: `@app.callback(cls=GroupPage)`."""

    def commands_by_heading(self, ctx: Any) -> dict[str, dict[str, str]]:
        """heading -> command -> its one line, in the order of the page."""
        found: dict[str, dict[str, str]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            assert command is not None
            heading = getattr(command, "rich_help_panel", None)
            heading = heading if isinstance(heading, str) else COMMANDS
            found.setdefault(heading, {})[name] = command.get_short_help_str(limit=200)
        return found

    def format_help(self, ctx: Any, formatter: Any) -> None:
        commands = {
            heading: [Entry(name, text=text) for name, text in listed.items()]
            for heading, listed in self.commands_by_heading(ctx).items()
        }
        formatter.write(_page(self, ctx, formatter.width, commands | _sections(self.get_params(ctx))))


def coloured() -> bool:
    """Whether stdout shows colours: a terminal, or FORCE_COLOR; never with NO_COLOR, as Rich decides it too."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (sys.stdout.isatty() and os.environ.get("TERM") != "dumb")


def _page(command: Any, ctx: Any, width: int, sections: dict[str, list[Entry]]) -> str:
    # what Typer prints it with: by itself it takes colours out of what goes to no terminal
    ctx.color = coloured()
    parts = [_prose(command.help or "", width), _usage(command, ctx)]
    for heading, entries in sections.items():
        alike = [e for listed in sections.values() for e in listed if e.is_command == entries[0].is_command]
        term = min(max(e.width for e in alike), TERM_WIDTH, width * 2 // 5)
        parts.append("\n".join([_heading(f"{heading}:"), *(line for e in entries for line in _lines(e, term, width))]))
    parts.append(_examples(command.epilog or ""))
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(params: Iterable[Any]) -> dict[str, list[Entry]]:
    """Parameters by their `rich_help_panel`, in the order of the first of each; what every command takes comes last."""
    found: dict[str, list[Entry]] = {}
    for param in params:
        if param.hidden:
            continue
        is_argument = param.param_type_name == "argument"
        entry = Entry("", _argument(param), _text(param)) if is_argument else _option(param)
        panel = getattr(param, "rich_help_panel", None)
        if param.name == "help":
            panel = next((heading for heading in (GLOBAL, OPTIONS) if heading in found), OPTIONS)
        found.setdefault(panel or (ARGUMENTS if is_argument else OPTIONS), []).append(entry)
    last = found.pop(GLOBAL, [])
    return found | ({GLOBAL: last} if last else {})


def _argument(param: Any) -> str:
    name = (param.metavar or param.name.upper()) + ("..." if param.nargs == -1 else "")
    return name if param.required else f"[{name}]"


def _option(param: Any) -> Entry:
    names = sorted(param.opts, key=len) + param.secondary_opts
    # long names stand below each other whether there is a short one or not
    literal = ("" if len(names[0]) == 2 else "    ") + ", ".join(names)
    placeholder = "" if param.is_flag or param.count else param.metavar or param.name.upper()
    return Entry(literal, placeholder, _text(param))


def _text(param: Any) -> str:
    shown, text = param.show_default, param.help or ""
    if param.name == "help":
        text = "This page."
    default = shown if isinstance(shown, str) else param.default if shown else None
    if default in (None, "", False) or not isinstance(default, str | int | float | os.PathLike):
        return text
    default = f"[default: {default}]"
    return f"{text} {default if len(default) > UNBROKEN else default.replace(' ', HARD_SPACE)}"


def _usage(command: Any, ctx: Any) -> str:
    words = ["[OPTIONS]", *(_argument(p) for p in command.get_params(ctx) if p.param_type_name == "argument")]
    if isinstance(command, TyperGroup):
        words.append("[COMMAND]" if command.invoke_without_command else "COMMAND")
    return f"{_heading('Usage:')} {_literal(ctx.command_path)} {_placeholder(' '.join(words))}"


def _lines(entry: Entry, term: int, width: int) -> list[str]:
    space = " " if entry.literal and entry.placeholder else ""
    shown = "  " + _literal(entry.literal) + space + _placeholder(entry.placeholder)
    indent = " " * (term + 4)
    text = textwrap.wrap(entry.text, max(20, width - len(indent)), break_long_words=False, break_on_hyphens=False)
    text = [line.replace(HARD_SPACE, " ") for line in text]
    if entry.width > term or not text:
        return [shown, *(indent + line for line in text)]
    return [shown + " " * (term - entry.width + 2) + text[0], *(indent + line for line in text[1:])]


def _prose(text: str, width: int) -> str:
    """Paragraphs, wrapped."""
    return "\n\n".join(textwrap.fill(" ".join(part.split()), width) for part in text.split("\n\n"))


def _examples(epilog: str) -> str:
    """Never wrapped: they are there to be copied."""
    heading, _, lines = epilog.removeprefix("\b\n").partition("\n")
    return f"{_heading(heading)}\n{lines.rstrip()}" if heading else ""


def _heading(text: str) -> str:
    return typer.style(text, fg="green", bold=True) if coloured() else text


def _literal(text: str) -> str:
    name = text.lstrip()
    return text[: len(text) - len(name)] + typer.style(name, fg="cyan", bold=True) if name and coloured() else text


def _placeholder(text: str) -> str:
    return typer.style(text, fg="cyan") if text and coloured() else text
