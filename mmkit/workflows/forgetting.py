"""What a fine-tuned run still knows of the task of the run that it started from, beside its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.data.checkpoint import is_local
from mmkit.data.shards import Dataset, default_split, open_dataset
from mmkit.embedding import checkpoint_name, model_name
from mmkit.errors import UserError
from mmkit.loading import WEIGHTS, load_model, run_config, run_of
from mmkit.workflows.finish import FINETUNED

if TYPE_CHECKING:
    from mmkit.model import Model

Measure = Callable[["Model", Dataset, str | None], Sequence[dict[str, Any]]]  # the JSON objects of `eval`


def old_task(model: Model, data: Dataset, split: str | None, measure: Measure) -> tuple[list[str], list[list[str]]] | None:
    """The first model, the fine-tuned and the mixed one, each on the data of the first and on `data`: columns and rows of text.

    None where the run started from no other run, or is looked at in the middle.

    Raises:
        UserError: the first run, or its data, is gone.
    """
    train, folder = model.config.train, model.folder
    if folder is None or not train.init or checkpoint_name(model):
        return None
    first = run_of(train.init)
    if first is None:
        if is_local(train.init) and not Path(train.init).exists():
            raise UserError("the run that it started from is not there", train.init)
        return None
    path = run_config(first).data.path
    if "://" not in path and not Path(path).is_dir():
        raise UserError("the data of the run that it started from is not there", path)
    old = open_dataset(path)
    tasks = [(data, split)] if data.hash == old.hash else [(old, default_split(old)), (data, split)]
    models = [("before", load_model(str(train.init), str(model.device)))]
    if (folder / FINETUNED / WEIGHTS).exists():
        models.append(("fine-tuned", load_model(str(folder / FINETUNED), str(model.device))))
    share = train.interpolate
    models.append(("fine-tuned" if share is None else f"{share:g} x fine-tuned + {1 - share:g} x before", model))
    found = [[_headline(measure(one, of, part)) for of, part in tasks] for _, one in models]
    heads = [next((row[i][0] for row in found if row[i][0]), "") for i in range(len(tasks))]
    columns = ["", "", *(f"{of.name} {part or 'all'}: {head}" for (of, part), head in zip(tasks, heads, strict=True))]
    cells = [[_cell(*measured, head) for measured, head in zip(row, heads, strict=True)] for row in found]
    return columns, [[said, model_name(one), *row] for (said, one), row in zip(models, cells, strict=True)]


def _cell(name: str, value: str, head: str) -> str:
    """A figure, with its name where the column is headed by another one: the models need not have learnt the same."""
    return value if name in ("", head) else f"{value} ({name})"


def _headline(records: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The name and value of one figure: the mean recall of retrieval, else the first metric."""
    if not records:
        return "", "–"
    metrics = records[0]["metrics"]
    recalls = [value for name, value in metrics.items() if "_recall@" in name]
    if recalls:
        return "mean recall", f"{sum(recalls) / len(recalls):.3f}"
    name, value = next(iter(metrics.items()))
    return name.replace("_", " "), f"{value:.3f}"
