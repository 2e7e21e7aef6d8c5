"""What `mmkit ablate` says at its end: the table, in files and on stdout, and the figure."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.cli.console import console
from mmkit.tabular import markdown, short_name
from mmkit.workflows import ablation_table as table

if TYPE_CHECKING:
    from mmkit.workflows.ablation import Ablation
    from mmkit.workflows.ablation_table import Line

MARKDOWN, NUMBERS, FIGURE = "table.md", "table.csv", "ablation.png"
NARROW = 12  # characters


def report(state: Ablation, figure: Path | None, force: bool) -> None:
    """The table in its files and the figure beside, and the product on stdout."""
    from mmkit.files import make_way, write_text

    found = table.lines(state)
    names = table.main_metrics(found)
    columns, rows = table.cells_of(found, names)
    follows = [f"{title} also differs in {_told(keys)}" for title, keys in state.also.items()]
    notes = "".join(f"\n{note}.\n" for note in [_covers(found), *follows])
    write_text(state.folder / MARKDOWN, markdown(columns, rows) + notes)
    write_text(state.folder / NUMBERS, table.table_csv(found))
    target = figure or state.folder / FIGURE
    if any(line.difference for line in found):
        make_way(target, force)
        _draw(found, names, target)
        console.say(f"wrote {target}, {state.folder / MARKDOWN}, {state.folder / NUMBERS}")
    for line in follows:
        console.say(line)
    failed = sum(row["error"] is not None for row in state.rows)
    if failed:
        console.warn(f"{failed} failed; --retry runs them again")
    if console.json:
        for row in state.rows:
            console.record(row)
    elif sys.stdout.isatty():
        _show(found, names, state)


def _told(follows: dict[str, list[Any]], most: int = 4) -> str:
    told = [f"{key} ({'none' if was is None else was} → {'none' if now is None else now})" for key, (was, now) in follows.items()]
    more = f" and {len(told) - most} more (ablation.json)" if len(told) > most else ""
    return ", ".join(told[:most]) + more


def _draw(found: list[Line], names: list[str], target: Path) -> None:
    from mmkit.views.ablation import Panel, forest
    from mmkit.views.fonts import lacking
    from mmkit.views.style import save

    panels = [
        Panel(short_name(name), [table.mean(line, name) for line in found], [line.difference.get(name) for line in found])
        for name in names
    ]
    save(forest([line.title for line in found], panels), target, "ablation")
    for said in lacking(line.title for line in found):
        console.say(said)


def _show(found: list[Line], names: list[str], state: Ablation) -> None:
    several = len(names) > 1
    rows = []
    for line in found:
        metrics = ["\n".join(map(short_name, names))] if several else []
        told = ["\n".join(text(line, name) for name in names) for text in (table.mean, table.difference)]
        seconds = "" if line.seconds is None else f"{line.seconds:,.0f}"
        title = line.title + (f" ({len(line.failed)} failed)" if line.failed and (line.seeds or not names) else "")
        if several and len(title) > NARROW:  # beside several lines of metrics there is room for two of a name
            title = title.replace("=", "\n=", 1)
        rows.append([title, *metrics, *told, table.millions(line.parameters), seconds])
    heads = ["metric", "mean ± std"] if several else [short_name(name) for name in names] or ["metric"]
    console.table(_title(state), ["cell", *heads, "difference", "params", "s"], rows, to_stdout=True, figures=True)
    console.say(_covers(found))


def _title(state: Ablation) -> str:
    count = len(state.grid.seeds)
    return f"{len(state.grid.cells())} cells, {count} seed{'s' if count > 1 else ''} each"


def _covers(found: list[Line]) -> str:
    first = found[0].title
    text = f"difference: to {first}, and the 95 % interval over items drawn again"
    if max(line.seeds for line in found) < 2:
        return f"{text}; how much a training differs by chance it does not cover: --seeds 3"
    return f"{text}; ± is between seeds, over which the items' figures are averaged"
