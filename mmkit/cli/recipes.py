"""mmkit recipes"""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Iterator
from json import dumps as json_text
from typing import Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import GroupPage, Page
from mmkit.cli.options import Debug, Json
from mmkit.config import Config, Stage, recipe, recipes
from mmkit.errors import UsageError

EPILOG = """\b
Examples:
  mmkit recipes
  mmkit recipes show clip > mine.toml && mmkit train --recipe mine.toml
"""

WRITTEN = ("recipe", "run", "data.hash")  # by train, not by hand

app = typer.Typer(rich_markup_mode=None, add_completion=False)


def _about(name: str) -> str:
    """The first sentence of a recipe's comment."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), recipes()[name].read_text(encoding="utf-8").splitlines())
    said = " ".join(line.removeprefix("#").strip() for line in lines)
    return said.partition(". ")[0].removesuffix(".") + "."


@app.callback(cls=GroupPage, epilog=EPILOG, invoke_without_command=True)
def list_recipes(ctx: typer.Context, json: Json = False, debug: Debug = False) -> None:
    """List the recipes; `show NAME` prints one as TOML."""
    if ctx.invoked_subcommand:
        return
    if console.json:
        for name in recipes():
            console.record({"recipe": name, "about": _about(name), "config": recipe(name)})
    else:
        console.table("recipes", ["name", "about"], [[name, _about(name)] for name in recipes()], to_stdout=True)


@app.command(cls=Page, epilog=EPILOG)
def show(name: str = typer.Argument(metavar="NAME", help="A recipe.")) -> None:
    """Print a recipe, to read or to start your own from, and every key that a recipe, --config and --set take."""
    if name not in recipes():
        from mmkit.errors import nearest

        raise UsageError(f"no recipe {name!r}", hint=nearest(name, recipes()))
    text = recipes()[name].read_text(encoding="utf-8").rstrip()
    keys = [f"# {key} = {_default(default)}  # {doc}" for key, default, doc in documented() if key not in WRITTEN]
    console.product(
        "\n".join([text, "", "# every key (of --set too), its default (…: automatic, or off) and what it is:", *keys])
    )


def _default(value: Any) -> str:
    return "…" if value is None else json_text(value)


def documented(cls: Any = Config, path: str = "") -> Iterator[tuple[str, Any, str]]:
    """(key, default, documentation) of every key, in order; None: automatic, or off."""
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[f.name]):
            yield from documented(hints[f.name], f"{path}{f.name}.")
        elif f.metadata.get("inline"):
            for name, row in f.metadata["inline"]().items():
                yield from documented(row.Spec, f"{path}{name}.")
        else:
            yield f"{path}{f.name}", getattr(cls(), f.name), f.metadata["doc"]
            for row in typing.get_args(hints[f.name]):
                if dataclasses.is_dataclass(row):
                    yield from documented(row, f"{path}{f.name}.{'N' if row is Stage else 'NAME'}.")
