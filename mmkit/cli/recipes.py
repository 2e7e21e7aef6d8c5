"""mmkit recipes"""

from __future__ import annotations

from json import dumps as json_text
from typing import Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import GroupPage, Page
from mmkit.cli.options import Debug, Json
from mmkit.config import documented, recipe, recipes
from mmkit.errors import UsageError

EPILOG = """\b
Examples:
  mmkit recipes
  mmkit recipes show clip > mine.toml && mmkit train --recipe mine.toml
"""

WRITTEN = ("recipe", "run", "data.hash")  # by train, not by hand

app = typer.Typer(rich_markup_mode=None, add_completion=False)


def _about(name: str) -> str:
    """The first comment line of a recipe."""
    first = recipes()[name].read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip()


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
