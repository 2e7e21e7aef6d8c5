"""`mmkit prep`: raw data to a dataset folder, one subcommand a source; and `prep audit`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from mmkit.cli.console import console
from mmkit.cli.help import GroupPage, Page
from mmkit.cli.options import Data, Debug, Json, Quiet
from mmkit.cli.prep_options import SOURCE, Out, SourceAt, of_all, of_raw_data
from mmkit.data.sources import SOURCES, module_of
from mmkit.errors import UsageError, UserError, nearest

if TYPE_CHECKING:
    from mmkit.data.plan import Choices
    from mmkit.data.schema import Ask

AFTERWARDS = {"audit": "The audit of a prepared dataset again."}
# what a source calls the option that --source may give as a URL, too; from where a file comes changes no result
MIRROR = "base_url"


class Sources(GroupPage):
    """The commands of the sources, each made of its module when it is named, and those that come afterwards."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*SOURCES, *AFTERWARDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return command_of(cmd_name) if cmd_name in SOURCES else super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            raise UsageError(f"no such command {args[0]!r}", hint=nearest(args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

    def commands_by_heading(self, ctx: Any) -> dict[str, dict[str, str]]:
        return {"Sources": {name: listed.help for name, listed in SOURCES.items()}, "Afterwards": AFTERWARDS}


app = typer.Typer(rich_markup_mode=None, add_completion=False)

EPILOG = """\b
Examples:
  mmkit prep shapes
  mmkit prep coco ./data --source ~/coco
  mmkit prep audit ./data
"""


@app.callback(cls=Sources, epilog=EPILOG, invoke_without_command=True)
def prep(context: typer.Context) -> None:
    """Prepare a dataset folder: pictures with their captions as Parquet shards, rejects, an audit and a card.

    A rerun of the same command continues where it stopped. What you keep in OUT is never changed or deleted.
    Pictures become upright 8-bit RGB: 10, 12, 14 and 16 bits by their depth, floats and 32-bit integers stretched.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), color=context.color)


@app.command(
    cls=Page,
    rich_help_panel="Afterwards",
    short_help=AFTERWARDS["audit"],
    epilog="""\b
Examples:
  mmkit prep audit
  mmkit prep audit ./coco
  mmkit prep audit ./data --json | jq .duplicate_images
""",
)
def audit(data: Data = Path("data"), json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Counts, lengths, duplicates, leaks and class balance of a prepared dataset; it reports, it changes nothing."""
    from mmkit.cli.progress import bars
    from mmkit.data.audit import audit as run_audit
    from mmkit.data.audit import table as lines
    from mmkit.data.shards import open_dataset

    with bars() as progress:
        found, _ = run_audit(open_dataset(data), progress("audited"))
    if console.json:
        console.record(found)
    else:
        console.table(f"audit of {data}", ["", "count", "remark"], lines(found), to_stdout=True)


def command_of(name: str) -> Any:
    """The command of a source: its own options are the keywords of its `read`, the others are shared."""
    module = module_of(name)
    own = list(_options(module.read))[1:]
    reads = not getattr(module, "GENERATED", False)
    shared = [*(_options(of_raw_data) if reads else ()), *_options(of_all)]
    taken = {option.name for option in own}

    def run(**typed: Any) -> None:
        _run(name, typed, [option.name for option in own])

    parameters = [
        inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=Path("data"), annotation=Out),
        *([inspect.Parameter("source", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=SourceAt)] if reads else []),
        *own,
        *(option for option in shared if option.name not in taken),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__doc__ = module.__doc__
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    examples = "".join(f"\n  {line}" for line in module.EXAMPLES)
    alone.command(name, cls=Page, epilog=f"\b\nExamples:{examples}\n")(run)
    return typer.main.get_command(alone)


def _options(function: Any) -> Iterator[inspect.Parameter]:
    """The parameters of a function as those of a command; where they name no heading, they stand under Source."""
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        kind, *found = get_args(parameter.annotation) if get_args(parameter.annotation) else (None,)
        if found and isinstance(found[0], typer.models.OptionInfo) and found[0].rich_help_panel is None:
            option = copy(found[0])
            option.rich_help_panel = SOURCE
            parameter = parameter.replace(annotation=Annotated[kind, option])
        yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _run(kind: str, typed: dict[str, Any], own: list[str]) -> None:
    """Prepare with one source and print the folder (or show what would be prepared)."""
    from mmkit.cli.progress import bars
    from mmkit.data.audit import table as lines
    from mmkit.data.schema import Ask
    from mmkit.data.write import prepare

    out, given = typed["out"], typed.get("source")
    if MIRROR in own and given and "://" in given:
        typed |= {"source": None, MIRROR: given}
    source = _local(typed.get("source"))
    if out.exists() and not out.is_dir():
        read_it = f"mmkit prep {kind} ./data --source {out}   reads it" if "source" in typed else ""
        raise UserError("OUT is a file, not the folder of a dataset", str(out), read_it or "choose another name")
    choices = _choices({name: value for name, value in typed.items() if name not in own})
    with bars() as progress:
        ask = Ask(out, source, {name: typed[name] for name in own}, say=console.say, progress=progress)
        if typed["dry_run"]:
            _show(kind, ask, choices)
            return
        try:
            manifest = prepare(kind, ask, choices, _settings(typed, own, source), typed["force"])
        except KeyboardInterrupt:
            console.say("interrupted; the same command continues where this one stopped")
            raise
    if console.as_json:
        console.record({"path": str(out), "splits": {n: s["rows"] for n, s in manifest["splits"].items()}} | manifest["audit"])
        return
    console.table(f"audit of {out}", ["", "count", "remark"], lines(manifest["audit"]))
    console.product(str(out))


def _choices(typed: dict[str, Any]) -> Choices:
    """What is done to the rows of any source."""
    from mmkit.data import splits
    from mmkit.data.plan import Choices

    on_error, resize, link = typed.get("on_error", "skip"), typed.get("resize"), typed.get("link", False)
    if on_error not in ("skip", "fail"):
        raise UsageError(f"no such way to handle errors: {on_error}", "--on-error", "known: fail, skip")
    if link and resize:
        raise UsageError(
            "--link leaves the pixels where they are, --resize changes them", "--link --resize", "leave one of them out"
        )
    shares = splits.parse(typed["splits"]) if typed.get("splits") else None
    workers = typed["workers"] or os.cpu_count() or 1
    return Choices(shares, resize, typed.get("limit"), link, on_error == "fail", workers)


def _local(source: str | None) -> Path | None:
    if source and "://" in source:
        raise UsageError("this source reads files and folders, not URLs", f"--source {source}", "download it first")
    return Path(source).expanduser() if source else None


def _settings(typed: dict[str, Any], own: list[str], source: Path | None) -> dict[str, Any]:
    """What was typed that changes the result, as dataset.json keeps it; a path is the same however it is typed."""
    named = {name: typed.get(name) for name in ("source", *own, "splits", "resize", "limit", "link") if name != MIRROR}
    named |= {"source": source}
    plain = {name: os.path.abspath(value) if isinstance(value, Path) else value for name, value in named.items()}
    return {name: value for name, value in plain.items() if value is not None and value is not False and value != []}


def _show(kind: str, ask: Ask, choices: Choices) -> None:
    """Three decoded samples and the counts; nothing is written."""
    from mmkit.data.preview import preview

    seen = preview(kind, ask, choices)
    if console.as_json:
        console.record({"splits": seen.splits, "rejected": len(seen.rejects), "samples": [s.record for s in seen.samples]})
        return
    for sample in seen.samples:
        console.say(f"\n{sample.split}/{sample.id}  {sample.size}".rstrip())
        if console.live and sample.image:
            _draw(sample.image)
        for caption in sample.shown.get("captions", ()):
            console.say(f"  {caption}")
        for name in ("label", "target"):
            if name in sample.shown:
                console.say(f"  {name} {sample.shown[name]}")
        for asked in sample.shown.get("questions", ()):
            console.say(f"  {asked['question']} {', '.join(dict.fromkeys(asked['answers']))}".rstrip())
    counts = ", ".join(f"{name} {n:,}" for name, n in seen.splits.items())
    console.say(f"\nwould prepare {counts} rows; {len(seen.rejects):,} rejected so far; nothing was written")
    for reject in seen.rejects[:5]:
        console.say(f"  rejected {reject.id}: {reject.reason}, {reject.where}")


def _draw(image: Any) -> None:
    """A small rendition in half-block characters on stderr."""
    from rich.console import Console as Rich
    from rich.text import Text

    from mmkit.data.preview import blocks

    rich = Rich(stderr=True)
    for line in blocks(image):
        text = Text("  ")
        for upper, lower in line:
            text.append("▀", f"rgb({upper[0]},{upper[1]},{upper[2]}) on rgb({lower[0]},{lower[1]},{lower[2]})")
        rich.print(text)
