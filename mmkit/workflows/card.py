"""The model card of a run: README.md in the Hub's form, written from what the run itself recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmkit.config import Config
from mmkit.data.shards import Dataset
from mmkit.files import write_text
from mmkit.model import Model

README = "README.md"


def write_card(folder: Path, config: Config, model: Model, data: Dataset, rows: list[dict[str, Any]]) -> None:
    """Write the card of a finished run.

    Args:
        rows: of metrics.jsonl.
    """
    head = [
        "---",
        "library_name: mmkit",
        f"tags: [{', '.join(dict.fromkeys([Path(config.recipe).stem, 'image-text', 'retrieval', 'mmkit']))}]",
        "---",
        "",
    ]
    write_text(folder / README, "\n".join([*head, *_text(folder, config, model, data, rows)]) + "\n")


def _text(folder: Path, config: Config, model: Model, data: Dataset, rows: list[dict[str, Any]]) -> list[str]:
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
        f"| shared space | {config.project.dim} values, L2-normalised |",
        *(f"| loss {name} | {table['kind']} |" for name, table in config.loss.items()),
        f"| data | {data.name} ({splits} rows), content {config.data.hash} |",
        f"| licence of the data | {data.manifest.get('license', 'unknown')} |",
        f"| training | {config.run.get('finished')} steps of {train.batch_size} pairs, peak rate {train.lr}, seed {train.seed} |",
        f"| weights | {config.run.get('weights')} |",
        "",
        *_recall(rows),
        "## Use",
        "",
        "```sh",
        f'mmkit retrieve "a sentence" --in ./pictures --model {folder.name}',
        f"mmkit eval recall@k --data ./data --model {folder.name}",
        "```",
    ]


def _encoder(table: dict[str, Any]) -> str:
    source = f" from {table['from']}" if "from" in table else ""
    return f"{table['kind']}{source}"


def _recall(rows: list[dict[str, Any]]) -> list[str]:
    """The table of the evaluation whose weights were kept: the last of the best."""
    measured = [row for row in rows if "val/mean_recall" in row]
    if not measured:
        return []
    best = max(measured, key=lambda row: (row["val/mean_recall"], row["step"]))
    found = {key.removeprefix("val/"): value for key, value in best.items() if "_recall@" in key}
    lines = [f"| {name} | {value:.3f} |" for name, value in found.items()]
    chance = f" (R@1 by chance {best['val/chance@1']:.3f})" if "val/chance@1" in best else ""
    return [f"## Recall on val at step {best['step']}{chance}", "", "| metric | value |", "|---|---|", *lines, ""]
