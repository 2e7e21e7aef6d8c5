"""The run folder: its name, the `latest` pointer, and checkpoints that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmkit.config import read_toml
from mmkit.errors import UserError
from mmkit.files import move_aside, write_text, writing
from mmkit.loading import CONFIG, WEIGHTS, other_runs, pointed
from mmkit.model import Model

KEPT = 2  # checkpoints


def new_run(runs: Path, name: str | None, stem: str, force: bool = False) -> Path:
    """Make a run folder: `runs/<name>`, or the next free `runs/<stem>-<n>`.

    Raises:
        UserError: `name` exists and not `force`; with `force` it is moved aside, never deleted.
    """
    runs.mkdir(parents=True, exist_ok=True)
    if name:
        folder = runs / name
        if folder.exists():
            if not force:
                raise UserError(
                    "the run exists", str(folder), f"choose another --name, --resume {folder}, or --force moves it aside"
                )
            _set_aside(folder)
        folder.mkdir(parents=True)
        return folder
    n = 1
    while True:
        try:
            # mkdir is atomic: two runs that start at once get different numbers
            (folder := runs / f"{stem}-{n}").mkdir()
            return folder
        except FileExistsError:
            n += 1


def _set_aside(folder: Path) -> None:
    latest = folder.parent / "latest"
    was_latest = latest.exists() and pointed(latest).resolve() == folder.resolve()
    aside = move_aside(folder)
    if was_latest:  # until the new run has weights, it still names some that load
        point_latest(aside)


def point_latest(folder: Path) -> None:
    """Let `latest` beside the run name it: a relative symlink replaced by rename, or a text file where symlinks are refused."""
    latest = folder.parent / "latest"
    temporary = folder.parent / f".latest.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(folder.name, target_is_directory=True)
        os.replace(temporary, latest)
    except (OSError, NotImplementedError):
        write_text(latest, folder.name + "\n")


def find_run(name: str, runs: Path) -> Path | None:
    """The run that `--resume NAME` means: a folder; for `latest` and `auto` the newest if it is not finished, else `latest`.

    A run that was interrupted before its first checkpoint is not what `runs/latest` names yet. None where `auto` finds nothing.

    Raises:
        UserError: there is nothing to resume.
    """
    path = Path(name)
    if name in ("latest", "auto"):
        path = runs / "latest"
        begun = sorted((p for p in runs.glob(f"*/{CONFIG}") if p.parent.name != "latest"), key=lambda p: p.stat().st_mtime)
        if begun and "finished" not in read_toml(begun[-1]).get("run", {}):
            return begun[-1].parent
    if path.name == "latest" and path.exists():
        path = path.parent / pointed(path).resolve().name
    if (path / CONFIG).exists():
        return path
    if name == "auto":
        return None
    raise UserError("nothing to resume", str(path), other_runs(path) or "begin with `mmkit train`")


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written; only for who holds the run's lock."""
    for left in (*folder.glob(".*.partial"), *(folder / "checkpoints").glob(".*.partial")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """The run's whole checkpoints, oldest first."""
    return sorted(p for p in (folder / "checkpoints").glob("step-*") if p.name[5:].isdigit())


def save_weights(model: Model, path: Path) -> None:
    """Write the weights whole or not at all."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    with writing(path) as temporary:
        _save_tensors(tensors, temporary)


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as e:  # hides the OSError: a full disk
        number = re.search(r"os error (\d+)", str(e))
        raise OSError(int(number[1]) if number else errno.EIO, os.strerror(int(number[1])) if number else str(e)) from e


def save_checkpoint(folder: Path, model: Model, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> Path:
    """Write `checkpoints/step-N/` whole (beside, then renamed) and drop all but the newest two.

    Args:
        state: JSON: `step` and whatever else the loop needs to go on exactly.
    """
    target = folder / "checkpoints" / f"step-{state['step']:08d}"
    temporary = target.with_name(f".{target.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_weights(model, temporary / WEIGHTS)
    with writing(temporary / "optimizer.safetensors") as path:
        _save_tensors(_optimizer_tensors(model, optimizer), path)
    write_text(temporary / "state.json", json.dumps(state) + "\n")
    if target.exists():  # a checkpoint of the same step, from before a resumption
        shutil.rmtree(target)
    temporary.rename(target)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return target


def load_optimizer(checkpoint: Path, model: Model, optimizer: torch.optim.Optimizer) -> None:
    """Restore AdamW's moments by parameter name; parameters that do not learn have none.

    Raises:
        UserError: the file is damaged.
    """
    path = checkpoint / "optimizer.safetensors"
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as e:
        raise _damaged(path, e) from e
    for name, p in model.named_parameters():
        if f"{name}:step" in tensors and p.requires_grad:
            # the fused AdamW walks memory, so the moments must lie in it like the parameter does (channels_last weights)
            moments = {k: torch.empty_like(p).copy_(tensors[f"{name}:{k}"]) for k in ("exp_avg", "exp_avg_sq")}
            optimizer.state[p] = {"step": tensors[f"{name}:step"].to(p.device), **moments}


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The JSON state of a checkpoint.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return json.loads((checkpoint / "state.json").read_text())
    except (OSError, ValueError) as e:
        raise _damaged(checkpoint / "state.json", e) from e


def _damaged(path: Path, e: Exception) -> UserError:
    return UserError(f"the checkpoint is damaged ({e})", str(path), f"remove {path.parent}: --resume goes on from the one before")


def _optimizer_tensors(model: Model, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {}
    for name, p in model.named_parameters():
        for key, value in optimizer.state.get(p, {}).items():
            tensors[f"{name}:{key}"] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors


def truncate_log(path: Path, step: int) -> None:
    """Drop the lines of `metrics.jsonl` after `step`: they are written again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (json.JSONDecodeError, KeyError):
            break  # the line that was being written when the run was killed
    write_text(path, "".join(line + "\n" for line in kept))
