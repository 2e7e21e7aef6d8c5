"""The command line: the list of commands, and the one place where an exception becomes a line and an exit code."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from typing import Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import SETTINGS, GroupPage
from mmkit.errors import Exit, UsageError, UserError, nearest

# heading -> command, which is a module under mmkit.cli -> its one-line help, in the order a newcomer meets them.
# A module is imported when its command is named: `mmkit --help` imports none of them.
PARTS = {
    "Start here": {
        "demo": "The whole path on generated scenes, with a report.",
    },
    "Data": {
        "prep": "Prepare a dataset folder from coco, flickr, a table, a folder or generated scenes.",
    },
    "Train": {
        "train": "Train a model; prints the run folder.",
        "recipes": "List and show the recipes.",
    },
    "Evaluate": {
        "eval": "Measure a model: recall@k, zero-shot, classify, vqa, caption, cost.",
        "compare": "Whether B is better than A, on the same queries.",
        "ablate": "What each part of a recipe is worth: a grid of runs, compared.",
    },
    "Search and ask": {
        "embed": "Embed a dataset; prints the written file.",
        "retrieve": "Search images with a sentence, or texts with an image.",
        "predict": "The probability of each text, or of a classifier's classes, for an image.",
        "answer": "Answer a question about an image.",
        "caption": "A caption of each image.",
        "generate": "Pictures of a text, by a model that makes them.",
        "attn-viz": "What a model looks at in an image and a text.",
    },
    "Look inside": {
        "umap": "A map of the shared space: in the terminal, as a figure, a page or coordinates.",
        "contribution": "How much each modality contributes to what a model decides.",
        "report": "One page about a run: figures, a map, examples, attention, the data.",
    },
}
COMMANDS = {name: text for listed in PARTS.values() for name, text in listed.items()}


class Lazy(GroupPage):
    """A group whose commands are imported only when they are named."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mmkit.cli.{cmd_name.replace('-', '_')}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UsageError(f"no such command {args[0]!r}", hint=nearest(args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def commands_by_heading(self, ctx: Any) -> dict[str, dict[str, str]]:
        return PARTS


EPILOG = """\b
Examples:
  mmkit demo
  mmkit prep coco ./data && mmkit train --amp && mmkit eval recall@k
  mmkit retrieve "a red dress" | head
"""

app = typer.Typer(add_completion=True, rich_markup_mode=None)


def _version(value: bool) -> None:
    if value:
        from mmkit import __version__

        print(__version__)
        raise typer.Exit


@app.callback(cls=Lazy, epilog=EPILOG, context_settings=SETTINGS, invoke_without_command=True)
def root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="The version."),
) -> None:
    """Train, evaluate and inspect multimodal models on your own data."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), color=context.color)
        raise typer.Exit(Exit.USAGE)


def main(args: list[str] | None = None) -> int:
    """Run one invocation and return its exit code: the only exception handler of mmkit."""
    args = sys.argv[1:] if args is None else args
    # known before anything is parsed: a mistake in the words themselves is reported as JSON, too
    console.as_json = "--json" in args[: args.index("--") if "--" in args else None]
    try:
        _require_utf8(args)
        code = typer.main.get_command(app)(args=args, prog_name="mmkit", standalone_mode=False)
        sys.stdout.flush()
        return int(code or Exit.DONE)
    except BrokenPipeError:
        return _reader_has_enough()
    except SystemExit as e:
        # Typer turns a closed stdout into exit code 1
        if isinstance(e.__context__, BrokenPipeError):
            return _reader_has_enough()
        raise
    except (KeyboardInterrupt, typer.Abort):
        return Exit.INTERRUPTED
    except typer.Exit as e:
        return e.exit_code
    except Exception as e:  # every failure becomes one line here; --debug shows the traceback
        if console.debug:
            raise
        error = _as_user_error(e)
        _print(error)
        return error.code


def _require_utf8(args: list[str]) -> None:
    """Python keeps the bytes of a word that is no text as lone surrogates, which nothing could print or write again."""
    for number, word in enumerate(args, 1):
        try:
            word.encode()
        except UnicodeEncodeError as e:
            shown = os.fsencode(word).decode(errors="backslashreplace")
            hint = "a text: iconv -f latin1 -t utf-8; a file: give it another name"
            raise UsageError("not UTF-8", f"argument {number}: {shown}", hint) from e


def _reader_has_enough() -> int:
    """`| head` closed stdout: done, and the interpreter's own flush at exit stays quiet too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.DONE


def _as_user_error(e: Exception) -> UserError:
    if isinstance(e, UserError):
        return e
    if hasattr(e, "format_message") and hasattr(e, "exit_code"):  # Typer's own usage errors
        command = getattr(getattr(e, "ctx", None), "command_path", "mmkit")
        message = " ".join(e.format_message().split()).rstrip(".")
        if guess := re.fullmatch(r"(No such command '.*')\. (Did you mean) '(.*)'\?", message):
            return UserError(guess[1], hint=f"{guess[2].lower()} {guess[3]}?", code=Exit(e.exit_code))
        return _bad_value(e, command) or UserError(message, hint=f"see {command} --help", code=Exit(e.exit_code))
    if isinstance(e, MemoryError):
        return UserError("out of memory", hint="lower --batch-size or --workers")
    if isinstance(e, OSError):
        from mmkit.files import disk_error

        return disk_error(e, e.filename or "output") if e.errno == 28 else UserError(e.strerror or str(e), str(e.filename or ""))
    return UserError(
        f"{type(e).__name__}: {' '.join(str(e).split())}", hint="this is a bug of mmkit; --debug shows the traceback"
    )


def _bad_value(e: Any, command: str) -> UsageError | None:
    """The value of an option that is no number, or out of its bounds, in words of ours: Typer's are those of pydantic."""
    option = max(getattr(getattr(e, "param", None), "opts", ()), key=len, default="")
    found: list[Any] = getattr(e.__context__, "errors", list)()
    if not option.startswith("--") or len(found) != 1:
        return None
    bounds = found[0].get("ctx", {})
    needs = {
        "int_parsing": "a whole number",
        "float_parsing": "a number",
        "greater_than_equal": f"at least {bounds.get('ge', 0):,.10g}",
        "less_than_equal": f"at most {bounds.get('le', 0):,.10g}",
    }.get(found[0]["type"])
    return UsageError(f"{found[0]['input']} is not {needs}", option, f"see {command} --help") if needs else None


def _print(error: UserError) -> None:
    if console.as_json:
        line = json.dumps({"error": error.what, "where": error.where, "hint": error.hint}, ensure_ascii=False)
    else:
        line = f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else "")
    print(line, file=sys.stderr, flush=True)
