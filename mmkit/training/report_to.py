"""Where the rows of metrics.jsonl go besides: experiment trackers, each an optional package."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from mmkit.errors import ConfigError, missing_extra, nearest
from mmkit.files import write_text

WANDB_ID = "wandb-id.txt"
Report = Callable[[dict[str, Any]], None]


def tensorboard(folder: Path) -> Report:
    """Scalars in `<run>/tensorboard`, for `tensorboard --logdir runs`."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def report(row: dict[str, Any]) -> None:
        for key, value in _scalars(row).items():
            writer.add_scalar(key, value, row["step"])
        writer.flush()

    return report


def wandb(folder: Path) -> Report:
    """A Weights & Biases run named like the run folder; its own environment variables say where it goes.

    Its id is drawn once and kept in the folder: a run that is resumed goes on there, and another of the same name is another.
    """
    import wandb as client

    kept = folder / WANDB_ID
    if not kept.exists():
        write_text(kept, f"{uuid4().hex}\n")
    name = kept.read_text(encoding="utf-8").strip()
    run = client.init(project="mmkit", name=folder.name, dir=str(folder), resume="allow", id=name)
    return lambda row: run.log(_scalars(row), step=row["step"])


REPORTERS: dict[str, Callable[[Path], Report]] = {"tensorboard": tensorboard, "wandb": wandb}
PACKAGES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


def check_trackers(names: list[str]) -> None:
    """Check that each is a tracker that mmkit knows.

    Raises:
        ConfigError: an unknown name; the nearest is named.
    """
    for name in names:
        if name not in REPORTERS:
            path = "train.report_to"
            raise ConfigError(f"cannot report to {name!r}", path, where=path, hint=nearest(name, REPORTERS))


def check_packages(names: list[str]) -> None:
    """Check that the trackers' packages are there, before a run folder is made.

    Raises:
        UserError: one is not installed; its extra is named.
    """
    for name in names:
        try:
            importlib.import_module(PACKAGES[name])
        except ImportError:
            raise missing_extra(name, name) from None


def _scalars(row: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in row.items() if isinstance(v, (int, float)) and k not in ("step",) and not k.startswith("run/")}
