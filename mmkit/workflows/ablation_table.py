"""The rows of an ablation as a table: a line a cell, over its seeds, beside the first cell. No torch here.

Shapes: n items (queries, rows or questions), the same in every cell; S seeds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmkit import bootstrap
from mmkit.metrics.items import read_items
from mmkit.tabular import short_name
from mmkit.workflows.ablation import CELL, CELLS, Ablation, Row, told_of
from mmkit.workflows.ablation_cells import Cell

# the row of a job and its tables, as `told_of` reads them
Told = tuple[Row, list[tuple[str, Path]]]


@dataclass(frozen=True)
class Line:
    """A cell over its seeds.

    Args:
        mean, std: metric -> over seeds; std is that of a sample, and not there for one seed.
        values: metric -> of each seed.
        difference: metric -> mean of this cell minus that of the first, and its 95 % interval over items.
        seeds: that are done; failed: their reasons.
    """

    title: str
    cell: Cell
    mean: dict[str, float] = field(default_factory=dict)
    std: dict[str, float] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    difference: dict[str, tuple[float, list[float]]] = field(default_factory=dict)
    parameters: int | None = None
    seconds: float | None = None
    seeds: int = 0
    failed: tuple[str, ...] = ()


def lines(ablation: Ablation) -> list[Line]:
    """A line a cell of the grid, in its order."""
    cells, names = ablation.grid.cells(), ablation.names()
    told: list[list[Told]] = [[] for _ in cells]
    for name, (cell, _) in names.items():
        if (ablation.folder / CELLS / name / CELL).is_file():
            told[cells.index(cell)].append(told_of(ablation.folder, name))
    first = _figures(told[0])
    return [_line(cell, told[i], first if i else {}) for i, cell in enumerate(cells)]


def main_metrics(found: Sequence[Line]) -> list[str]:
    """The metrics that a table has room for: not those of one type of item, and of several k the smallest."""
    names = list(dict.fromkeys(name for line in found for name in line.mean))
    compared = {name for line in found for name in line.difference}
    names = [name for name in names if name in compared] or names
    first: dict[str, tuple[int, str]] = {}
    for name in names:
        if name.partition("/")[0] in names and "/" in name:
            continue
        stem, _, k = name.partition("@")
        if stem not in first or int(k or 0) < first[stem][0]:
            first[stem] = (int(k or 0), name)
    return [name for _, name in first.values()]


def _line(cell: Cell, told: Sequence[Told], first: Mapping[str, Figures]) -> Line:
    rows = [row for row, _ in told]
    done = [row for row in rows if row["error"] is None]
    names = dict.fromkeys(name for row in done for name in row["metrics"])
    values = {name: [row["metrics"][name] for row in done if row["metrics"].get(name) is not None] for name in names}
    values = {name: found for name, found in values.items() if found}
    return Line(
        cell.short,
        cell,
        {name: float(np.mean(found)) for name, found in values.items()},
        {name: float(np.std(found, ddof=1)) for name, found in values.items() if len(found) > 1},
        values,
        _differences(_figures(told), first) if first else {},
        done[0]["parameters"] if done else None,
        float(np.mean([row["seconds"] for row in done])) if done else None,
        len(done),
        tuple(row["error"] for row in rows if row["error"] is not None),
    )


# the key of each item -> its sample and its mean over seeds
Figures = dict[str, tuple[str, float]]


def _figures(told: Sequence[Told]) -> dict[str, Figures]:
    """metric -> its figures over the seeds that are done."""
    sums: dict[str, dict[str, list[float]]] = {}
    samples: dict[str, str] = {}
    for prefix, path in (pair for _, tables in told for pair in tables):
        items = read_items(path)
        samples |= zip(items.keys, items.ids, strict=True)
        for name, values in items.values.items():
            found = sums.setdefault(f"{prefix}{name}", {})
            for key, value in zip(items.keys, values.tolist(), strict=True):
                if value == value:  # an item that is none of this metric's is nan
                    found.setdefault(key, []).append(value)
    return {name: {key: (samples[key], sum(v) / len(v)) for key, v in found.items()} for name, found in sums.items()}


def _differences(own: Mapping[str, Figures], first: Mapping[str, Figures]) -> dict[str, tuple[float, list[float]]]:
    """metric -> mean over items of this cell minus the first, with its interval over samples that are drawn again."""
    found = {}
    for name, figures in own.items():
        keys = [key for key in figures if key in first.get(name, {})]
        if not keys:
            continue
        values = np.array([figures[key][1] - first[name][key][1] for key in keys])
        groups = bootstrap.numbers([figures[key][0] for key in keys])
        interval = bootstrap.interval(bootstrap.means(values[:, None], groups)[:, 0])
        found[name] = (float(values.mean()), interval)
    return found


def cells_of(found: Sequence[Line], names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of text: of each metric its mean ± std and the difference to the first cell with its interval."""
    columns = ["cell", "seeds"]
    for name in names:
        columns += [short_name(name), "difference"]
    rows = []
    for line in found:
        row = [line.title, str(line.seeds) + (f" ({len(line.failed)} failed)" if line.failed else "")]
        for name in names:
            row += [mean(line, name), difference(line, name)]
        rows.append([*row, f"{line.parameters:,}" if line.parameters else "", f"{line.seconds:,.0f}" if line.seconds else ""])
    return [*columns, "parameters", "seconds"], rows


def millions(count: int | None) -> str:
    """A number of parameters, short."""
    return "" if count is None else f"{count / 1e6:.2f} M" if count < 1e8 else f"{count / 1e6:,.0f} M"


def mean(line: Line, name: str) -> str:
    """The mean of a metric, and its deviation between seeds where there are several."""
    if name not in line.mean:
        return "failed" if line.failed and not line.seeds else ""
    return f"{line.mean[name]:.3f}" + (f" ± {line.std[name]:.3f}" if name in line.std else "")


def difference(line: Line, name: str) -> str:
    """The difference to the first cell with its interval; empty for that itself."""
    if name not in line.difference:
        return ""
    value, (low, high) = line.difference[name]
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def table_csv(found: Sequence[Line]) -> str:
    """Every metric in numbers: a line a cell and metric."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["cell", "metric", "seeds", "mean", "std", "difference", "low", "high", "parameters", "seconds"])
    for line in found:
        for name, mean in line.mean.items():
            value, ends = line.difference.get(name, ("", ["", ""]))
            std = line.std.get(name, "")
            writer.writerow(
                [line.cell.title, name, len(line.values[name]), mean, std, value, *ends, line.parameters, line.seconds]
            )
    return sink.getvalue()
