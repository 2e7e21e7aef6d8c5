"""The model card of a run: README.md in the Hub's form, written from what the run itself recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from mmkit.config import Config
from mmkit.data.shards import Dataset
from mmkit.files import write_text
from mmkit.metrics.evaluation import metrics_of
from mmkit.model import Model
from mmkit.talk import VAL, chosen_by, short

README = "README.md"


class Task(NamedTuple):
    """What a model that a metric measures is for: its tag on the Hub, and a command that asks it."""

    tag: str
    use: str


TASKS = {
    "recall@k": Task("retrieval", 'mmkit retrieve "a sentence" --in ./pictures'),
    "classify": Task("classification", "mmkit predict picture.jpg"),
    "vqa": Task("visual-question-answering", 'mmkit answer picture.jpg "what is it?"'),
    "regress": Task("regression", "mmkit predict picture.jpg"),
    "match": Task("image-text-matching", 'mmkit predict picture.jpg "a sentence"'),
    "caption": Task("image-to-text", "mmkit caption picture.jpg"),
}


def write_card(folder: Path, config: Config, model: Model, data: Dataset, rows: list[dict[str, Any]]) -> None:
    """Write the card of a finished run.

    Args:
        rows: of metrics.jsonl.
    """
    head = [
        "---",
        "library_name: mmkit",
        f"tags: [{', '.join(_tags(config, model))}]",
        "---",
        "",
    ]
    write_text(folder / README, "\n".join([*head, *_text(folder, config, model, data, rows)]) + "\n")


def _text(folder: Path, config: Config, model: Model, data: Dataset, rows: list[dict[str, Any]]) -> list[str]:
    batch = f"{config.train.batch_size} {'pairs' if model.embedded else 'rows'}"
    train, splits = config.train, ", ".join(f"{name} {count:,}" for name, count in data.splits.items())
    origin = f", started from {train.init}" if train.init else ""
    return [
        f"# {folder.name}",
        "",
        f"Trained with mmkit {config.run.get('mmkit', '')}, recipe `{config.recipe}`, size {config.size}{origin}.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {modality} encoder | {_encoder(table)} |" for modality, table in config.encoder.items()),
        f"| parameters | {model.parameter_count:,} |",
        *([f"| shared space | {config.project.dim} values, L2-normalised |"] if model.embedded else []),
        *(f"| loss {name} | {table['kind']} |" for name, table in config.loss.items()),
        f"| data | {data.name} ({splits} rows), content {config.data.hash} |",
        f"| licence of the data | {data.manifest.get('license', 'unknown')} |",
        f"| training | {config.run.get('finished')} steps of {batch}, peak rate {train.lr}, seed {train.seed} |",
        f"| weights | {config.run.get('weights')} |",
        "",
        *_measured(rows, mixed=train.interpolate is not None),
        "## Use",
        "",
        "```sh",
        *(f"{line} --model {folder.name}" for line in _uses(model)),
        "```",
    ]


def _encoder(table: dict[str, Any]) -> str:
    source = f" from {table['from']}" if "from" in table else ""
    return f"{table['kind']}{source}"


def _tags(config: Config, model: Model) -> list[str]:
    """The recipe, the modalities of what it reads, and the tasks."""
    tasks = [TASKS[metric].tag for metric in metrics_of(model) if metric in TASKS]
    return list(dict.fromkeys([Path(config.recipe).stem, "-".join(model.modalities), *tasks, "mmkit"]))


def _uses(model: Model) -> list[str]:
    """Commands that ask the model, and those that measure it."""
    metrics = metrics_of(model)
    return [TASKS[metric].use for metric in metrics if metric in TASKS] + [f"mmkit eval {m} --data ./data" for m in metrics]


def _measured(rows: list[dict[str, Any]], mixed: bool) -> list[str]:
    """The table of the evaluation whose weights were kept: the last of the best; `mixed`: they were mixed with others since."""
    measured = [row for row in rows if chosen_by(row)]
    if not measured:
        return []
    chosen = f"{VAL}{chosen_by(measured[-1])}"
    best = max(measured, key=lambda row: (row[chosen], row["step"]))
    found = {key.removeprefix(VAL): value for key, value in best.items() if key.startswith(VAL) and "median_rank" not in key}
    mean, chance = found.pop("mean_recall", None), found.pop("chance@1", None)
    lines = [f"| {name} | {short(value)} |" for name, value in found.items() if not name.startswith("-")]
    head = f"## {'Recall' if mean is not None else 'Measured'} on val at step {best['step']}"
    head += ", before the weights were mixed" if mixed else ""
    head += f" (R@1 by chance {chance:.3f})" if chance is not None else ""
    return [head, "", "| metric | value |", "|---|---|", *lines, ""]
