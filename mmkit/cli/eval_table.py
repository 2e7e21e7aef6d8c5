"""The tables of `mmkit eval`: results side by side for a terminal, or as Markdown, CSV and LaTeX.

A record is one JSON object of a result; a line of several records, of one model on one split, holds the metrics of all of them.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmkit.metrics.evaluation import of_inputs
from mmkit.tabular import is_less, markdown, short_name

Record = Mapping[str, Any]

MARKDOWN, LATEX = "<!-- mmkit eval -->", "% mmkit eval; needs \\usepackage{booktabs}"
CSV_FIRST = ["model", "dataset", "split", "task"]


@dataclass
class Line:
    """The results of one model on one split.

    Args:
        inputs: that they are of, where the model has results of the same task on others.
        ranked: the inputs that were ranked for each other.
        tasks: of its records.
        n: input -> items; parts: what its parameters are of; notes: how things were measured, for people.
    """

    model: str
    dataset: str
    split: str
    inputs: tuple[str, ...] = ()
    ranked: tuple[str, ...] = ()
    tasks: list[str] = field(default_factory=list)
    n: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    interval: dict[str, list[float]] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    nearest: dict[str, float] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def takes(self, record: Record, inputs: tuple[str, ...]) -> bool:
        """Whether a record is of the same model, split and inputs, and measures nothing that is measured here already."""
        same = self.scope == _scope(record) and self.inputs == inputs
        return same and not self.metrics.keys() & record["metrics"].keys()

    @property
    def scope(self) -> tuple[str, str, str]:
        """The model, the dataset and its split."""
        return self.model, self.dataset, self.split

    def of(self, name: str) -> tuple[str, ...]:
        """The inputs that a metric is of, where there may be others."""
        return self.ranked if "_retrieval_" in name else self.inputs

    def add(self, record: Record) -> None:
        self.tasks.append(record["task"])
        if record["task"] != "cost":  # a batch of items says nothing of the split
            self.n |= record["n"]
        if any("_retrieval_" in name for name in record["metrics"]):
            self.ranked = tuple(record["n"])
        for key in ("metrics", "interval", "chance", "nearest", "parts"):
            getattr(self, key).update(record.get(key) or {})
        self.ceiling |= record.get("caption_ceiling") or {}
        self.notes += [line for line in _notes(record) if line not in self.notes]


def lines_of(records: Sequence[Record]) -> list[Line]:
    """One line a model and split; another one for what is measured twice, such as two pairs of inputs, and for each of these."""
    found: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for record in records:
        found.setdefault((*_scope(record), record["task"]), set()).add(tuple(record["n"]))
    lines: list[Line] = []
    for record in records:
        inputs = tuple(record["n"]) if len(found[*_scope(record), record["task"]]) > 1 else ()
        line = next((line for line in lines if line.takes(record, inputs)), None)
        if line is None:
            line = Line(*_scope(record), inputs)
            lines.append(line)
        line.add(record)
    return lines


def _scope(record: Record) -> tuple[str, str, str]:
    return record["model"], record["dataset"], record["split"]


def show(records: Sequence[Record]) -> None:
    """Print the tables on stdout, for a terminal."""
    from mmkit.cli.console import console

    lines = lines_of(records)
    title, columns, rows, notes = one(lines[0]) if len(lines) == 1 else several(lines, shutil.get_terminal_size().columns)
    console.table(title, columns, rows, to_stdout=True)
    for note in notes:
        console.say(note)


Shown = tuple[str, list[str], list[list[str]], list[str]]


def one(line: Line) -> Shown:
    """Title, columns, rows and notes: a metric a row, with its interval, and chance beside."""
    ceiling = line.ceiling if min(line.ceiling.values(), default=1) < 1 else {}
    beside: dict[str, Callable[[str], str]] = {"value": lambda name: figure(line.metrics[name])}
    if line.interval:
        beside["95 % interval"] = lambda name: _ends(line.interval.get(name))
    if line.chance:
        beside["chance"] = lambda name: figure(line.chance.get(name))
    if line.nearest:
        beside["nearest"] = lambda name: figure(line.nearest.get(name))
    if ceiling:
        beside["ceiling"] = lambda name: figure(ceiling.get(name))
    rows = [[name, *(cell(name) for cell in beside.values())] for name in line.metrics]
    for part, count in line.parts.items():
        at = next(i for i, row in enumerate(rows) if row[0] == "parameters") + 1 + [*line.parts].index(part)
        rows.insert(at, [f"  {part}", f"{count:,}", *[""] * (len(beside) - 1)])
    notes = [*line.notes]
    if ceiling:
        notes.append("ceiling: what equal captions on different images leave possible; a tie counts half, chance has no ties")
    return f"{line.model or line.dataset} on {_title([line])}", ["metric", *beside], rows, notes


def several(lines: Sequence[Line], width: int) -> Shown:
    """As `one`: a model a row; or a model a column, where that is too wide and the other is not.

    Of several pairs of inputs each is a row of its own; in a column of a model are all of them, and the metrics name theirs.
    """
    columns, rows = _table(lines, str, str)
    if _wide([columns, *rows]) > width:
        other, others = _table(_joined(lines), str, str)
        turned = [list(row) for row in zip(other, *others, strict=True)]
        if _wide(turned) < _wide([columns, *rows]):
            columns, rows = ["metric", *turned[0][1:]], turned[1:]
    notes = list(dict.fromkeys(note for line in lines for note in line.notes))
    notes += ["in brackets: the 95 % interval"] if any(line.interval for line in lines) else []
    return _title(lines), columns, rows, notes


def rendered(records: Sequence[Record], form: str) -> str:
    """The records as one table: `md`, `csv` or `latex`; in the first and the last the best of each column is bold."""
    return {"md": _markdown, "csv": _csv, "latex": _latex}[form](lines_of(records))


def is_ours(text: str) -> bool:
    """Whether a file holds one of these tables, by its first line."""
    return text.startswith((MARKDOWN, LATEX, ",".join(CSV_FIRST)))


def _notes(record: Record) -> list[str]:
    found = [f"always the most frequent class: {n} {figure(value)}" for n, value in (record.get("majority") or {}).items()]
    if always := record.get("baseline"):
        found.append(f"chance: always {figure(always['always'])}, {always['what']}")
    if "acc2" in record:
        found.append(f"acc2 and f1: {record['acc2']}, 0 is non-negative")
    if record["task"] == "hallucination":
        found += _of_things(record)
    elif "tokenizer" in record:
        found.append(f"chance: always the most frequent caption; words by {record['tokenizer']}, {_beams(record['beams'])}")
    elif "beams" in record:
        found.append(f"answers are written, {_beams(record['beams'])}")
    if asked := record.get("asked"):
        found.append(f"asked: {asked!r}, in {record['precision']}")
    if record.get("nearest"):
        found.append("nearest: the caption of the training row whose encoding is most alike")
    counts = record.get("counts") or {}
    if outside := counts.get("labels_outside_classes") or counts.get("labels_outside_vocabulary"):
        found.append(f"{outside:,} labels are none of the {counts['classes']:,} classes and count as wrong")
    if prompt := record.get("prompt"):
        first, *others = prompt["templates"]
        more = f" and {len(others)} more" if others else ""
        found.append(f"prompts: {first!r}{more}, from {prompt['from']}; classes from {prompt['classes_from']}")
    if nearest := record.get("rerank"):
        found.append(f"the {nearest} nearest of each query in the order of the matching head")
    if by := record.get("by"):
        found.append(f"pairs are scored by {'the matching head' if by == 'match' else by}")
    if memory := record.get("memory"):
        found.append(f"in batches of {record['batch_size']} on {record['device']}; memory: {memory['measured']}")
    return found


def _of_things(record: Record) -> list[str]:
    counts = record["counts"]
    if "mentions" not in counts:
        return ["chance: always yes"]
    of = f"{counts['mentions']:,} mentions of {counts['things']} things ({record['synonyms']})"
    return [f"{of}; true: {' and '.join(record['truth'])}; chance: always the most frequent caption"]


def _beams(count: int) -> str:
    return f"{count} beams" if count > 1 else "the likeliest token at a time"


def _markdown(lines: Sequence[Line]) -> str:
    return f"{MARKDOWN}\n{markdown(*_table(lines, str, '**{}**'.format))}"


def _latex(lines: Sequence[Line]) -> str:
    columns, rows = _table(lines, escaped, "\\textbf{{{}}}".format)
    bare = [" & ".join(cells) + r" \\" for cells in (columns, *rows)]
    inner = [r"\toprule", bare[0], r"\midrule", *bare[1:], r"\bottomrule"]
    return "\n".join([LATEX, f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}", *inner, r"\end{tabular}"]) + "\n"


def _table(lines: Sequence[Line], quoted: Callable[[str], str], bold: Callable[[str], str]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of text, the last row chance."""
    names, best = _metrics(lines), _best(lines)
    rows = []
    for label, line in zip(_labels(lines), lines, strict=True):
        cells = [_cell(line, name) for name in names]
        cells = [
            bold(cell) if line.metrics.get(n) == best.get((n, line.of(n)), object()) else cell
            for n, cell in zip(names, cells, strict=True)
        ]
        rows.append([quoted(label), *cells])
    if chance := _chance(lines):
        rows.append(["chance", *chance])
    return ["model", *(quoted(short_name(name)) for name in names)], rows


def _csv(lines: Sequence[Line]) -> str:
    """Every digit; the ends of an interval and chance are columns of their own."""
    rows: list[dict[str, Any]] = []
    for line in lines:
        row: dict[str, Any] = {"model": line.model, "dataset": line.dataset, "split": line.split, "task": "+".join(line.tasks)}
        row |= {f"n_{name}": count for name, count in line.n.items()}
        for name, value in line.metrics.items():
            low, high = line.interval.get(name, (None, None))
            row |= {name: value} | ({f"{name}_low": low, f"{name}_high": high} if low is not None else {})
            row |= {f"{name}_chance": line.chance[name]} if name in line.chance else {}
        rows.append(row)
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def escaped(text: str) -> str:
    r"""A text as LaTeX sets it.

    >>> print(escaped("runs/a_b 50%"))
    runs/a\_b 50\%
    """
    text = re.sub(r"[\\{}$&#%_]", lambda found: "\\" + found[0] if found[0] != "\\" else r"\textbackslash{}", text)
    return text.replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}")


def figure(value: float | None) -> str:
    """A fraction to three digits, whole numbers whole, others to one or two."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) > 1:
        return f"{value:,.1f}" if value * 10 % 1 < 1e-9 or value >= 10 else f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def _ends(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{figure(interval[0])} to {figure(interval[1])}"


def _cell(line: Line, name: str) -> str:
    value, interval = line.metrics.get(name), line.interval.get(name)
    if value is None or interval is None:
        return figure(value)
    return f"{figure(value)} [{figure(interval[0])}, {figure(interval[1])}]"


def _joined(lines: Sequence[Line]) -> list[Line]:
    """The lines of one model and split as one: where they are of different inputs, the metrics say of which."""
    several, found = _pairs_differ(lines), list[Line]()
    for line in lines:
        named = {name: of_inputs(of) if (several or line.inputs) and (of := line.of(name)) else "" for name in line.metrics}
        own = Line(line.model, line.dataset, line.split, tasks=line.tasks, n=line.n)
        for key in ("metrics", "interval", "chance"):
            part = getattr(line, key)
            getattr(own, key).update({f"{of}{name}": part[name] for name, of in named.items() if name in part})
        same = (one for one in found if one.scope == own.scope and not one.metrics.keys() & own.metrics.keys())
        if (one := next(same, None)) is None:
            found.append(own)
            continue
        for key in ("metrics", "interval", "chance"):
            getattr(one, key).update(getattr(own, key))
    return found


def _pairs_differ(lines: Sequence[Line]) -> bool:
    """Whether metrics of one name are of inputs that were ranked for others in another line."""
    pairs = {(name, line.ranked) for line in lines for name in line.metrics if "_retrieval_" in name}
    return len(pairs) > len(dict(pairs))


def _metrics(lines: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line.metrics))


def _labels(lines: Sequence[Line]) -> list[str]:
    """What each line is called: its model, and what tells it from others of the same: its inputs, its tasks, or both; its inputs
    also where those of others are ranked for others."""
    models = [line.model or line.dataset for line in lines]
    inputs, tasks = [" ".join(line.n) for line in lines], [" ".join(line.tasks) for line in lines]
    told = [inputs, tasks, [f"{task} {name}" for task, name in zip(tasks, inputs, strict=True)]]
    if not _pairs_differ(lines):
        told.insert(0, [""] * len(lines))
    for by in told:
        found = [f"{model} ({word})" if word else model for model, word in zip(models, by, strict=True)]
        if len(set(found)) == len(found):
            return found
    return [f"{label} {i}" for i, label in enumerate(found, 1)]


def _chance(lines: Sequence[Line]) -> list[str]:
    """What chance reaches in each metric, from the least to the most where lines differ; nothing where no line says."""
    found = []
    for name in _metrics(lines):
        values = [line.chance[name] for line in lines if line.chance.get(name) is not None]
        ends = [figure(end) for end in (min(values), max(values))] if values else [""]
        found.append(" to ".join(dict.fromkeys(ends)))
    return found if any(found) else []


def _best(lines: Sequence[Line]) -> dict[tuple[str, tuple[str, ...]], float]:
    """The best value of each metric that several lines have of the same inputs, and not all alike."""
    found: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    for line in lines:
        for name, value in line.metrics.items():
            found.setdefault((name, line.of(name)), []).append(value)
    return {key: (min if is_less(key[0]) else max)(values) for key, values in found.items() if len(set(values)) > 1}


def _title(lines: Sequence[Line]) -> str:
    """What the first of them is of, with the items of all that are of the same."""
    dataset, split = lines[0].dataset, lines[0].split
    n = {name: n for line in lines if (line.dataset, line.split) == (dataset, split) for name, n in line.n.items()}
    counts = ", ".join(f"{count:,} {name.removesuffix('s')}s" for name, count in n.items())
    return f"{dataset} {split}" + (f": {counts}" if counts else "")


def _wide(rows: Sequence[Sequence[str]]) -> int:
    """Characters that Rich needs for these rows, rules and margins included."""
    return 1 + sum(3 + max(map(len, column)) for column in zip(*rows, strict=True))
