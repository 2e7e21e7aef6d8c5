"""THE training loop: one for every system."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmkit.config import Config
from mmkit.data.loader import Loader
from mmkit.errors import UserError
from mmkit.model import WEIGHTS, Model
from mmkit.training.run import checkpoints, load_optimizer, point_latest, read_state, save_checkpoint, save_weights, truncate_log
from mmkit.training.schedule import learning_rate, make_optimizer
from mmkit.training.step import gradients, world

LOG = "metrics.jsonl"
Row = dict[str, Any]


class Interrupted(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM); it is saved and can be resumed."""


@dataclass
class Hooks:
    """What the loop is given, so that it imports no other verb."""

    evaluate: Callable[[Model], Row] | None = None  # val metrics; None without a val split
    report: Callable[[Row], None] = lambda row: None  # one row of metrics.jsonl, as it is written
    stop: Callable[[], bool] = lambda: False  # asked after every step
    view: dict[str, Any] = field(default_factory=dict)


def train(config: Config, folder: Path, model: Model, loader: Loader, hooks: Hooks) -> Row:
    """Train `model` to `train.steps`, from the newest checkpoint in `folder` if there is one.

    Returns:
        The final state: step, best (mean recall on val, or None), best_step.

    Raises:
        UserError: the loss is not finite; step, sample ids and the last good checkpoint are named.
        Interrupted: `hooks.stop` said so; a checkpoint of the last step is on disk.
    """
    steps, every = _int(config.train.steps), config.train
    optimizer = make_optimizer(model, config.train)
    state = _restore(folder, model, optimizer)
    main = world()[0] == 0
    if main:
        truncate_log(folder / LOG, state["step"])
    batches = loader.batches(state["step"])
    model.train()
    clock = _Clock()
    try:
        for step in range(state["step"], steps):
            # learning rate, and the one source of chance in the model: both are functions of the step
            lr = learning_rate(step, steps, _int(every.warmup), every.lr or 0.0)
            for group in optimizer.param_groups:
                group["lr"] = lr
            torch.manual_seed(_seed(config.train.seed, step))

            # forward and backward
            batch = clock.timed("load", lambda: to_device(next(batches), model.device))
            losses = clock.timed("model", lambda: gradients(model, batch, every.accumulate, every.precision or "fp32"))
            loss = losses["loss"].item()
            if not math.isfinite(loss):
                raise _not_finite(folder, step + 1, batch)

            # clip, step, clamp
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), every.clip or math.inf)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            for objective in model.loss.values():
                objective.clamp()

            # log, evaluate, save
            done = step + 1
            state["step"] = done
            stopping = hooks.stop()
            if main and (done % _int(every.log_every) == 0 or done in (1, steps) or stopping):
                _log(folder, hooks, _row(done, batch, losses, lr, float(norm), model, clock.rates(every.batch_size or 0)))
            if main and hooks.evaluate and (done % _int(every.eval_every) == 0 or done == steps):
                clock.timed("evaluate", lambda: _evaluate(folder, model, hooks, state))
            if main and (done % _int(every.checkpoint_every) == 0 or done == steps or stopping):
                clock.timed("save", lambda: _save(folder, model, optimizer, state, has_val=hooks.evaluate is not None))
            if stopping and done < steps:
                raise Interrupted(str(folder))
            if every.patience and state["since_best"] >= every.patience:
                _save(folder, model, optimizer, state, has_val=True)
                break
    finally:
        _close(batches)
        model.eval()
    return state


def _restore(folder: Path, model: Model, optimizer: torch.optim.Optimizer) -> Row:
    found = checkpoints(folder)
    if not found:
        return {"step": 0, "best": None, "best_step": None, "since_best": 0}
    from mmkit.model import load_weights

    load_weights(model, found[-1] / WEIGHTS)
    load_optimizer(found[-1], model, optimizer)
    return read_state(found[-1])


def _evaluate(folder: Path, model: Model, hooks: Hooks, state: Row) -> None:
    assert hooks.evaluate is not None
    model.eval()
    metrics = hooks.evaluate(model)
    model.train()
    recalls = [v for k, v in metrics.items() if "_recall@" in k]
    mean = sum(recalls) / len(recalls)
    better = state["best"] is None or mean > state["best"]
    state["since_best"] = 0 if better else state["since_best"] + 1
    if better:
        state["best"], state["best_step"] = mean, state["step"]
        save_weights(model, folder / WEIGHTS)
    _log(folder, hooks, {"step": state["step"], "val/mean_recall": mean, **{f"val/{k}": v for k, v in metrics.items()}})


def _save(folder: Path, model: Model, optimizer: torch.optim.Optimizer, state: Row, has_val: bool) -> None:
    save_checkpoint(folder, model, optimizer, state)
    # without val the last weights are the model; with val they stand in until the first evaluation
    if not has_val or state["best"] is None:
        save_weights(model, folder / WEIGHTS)
    point_latest(folder)


def _row(step: int, batch: Row, losses: dict[str, torch.Tensor], lr: float, norm: float, model: Model, rates: Row) -> Row:
    row = {"step": step, "epoch": round(batch["epoch"], 4), "train/loss": losses["loss"].item()}
    row |= {f"train/loss/{name}": value.item() for name, value in losses.items() if name != "loss"}
    row |= {"train/lr": lr, "train/grad_norm": norm}
    for objective in model.loss.values():
        row["train/logit_scale"] = objective.logit_scale.exp().item()
        if hasattr(objective, "logit_bias"):
            row["train/logit_bias"] = objective.logit_bias.item()
    return row | rates


def _log(folder: Path, hooks: Hooks, row: Row) -> None:
    with open(folder / LOG, "a", encoding="utf-8") as f:
        f.write(json.dumps(row) + "\n")
    hooks.report(row)


def _not_finite(folder: Path, step: int, batch: Row) -> UserError:
    good = checkpoints(folder)
    ids = ", ".join(batch["id"][:8]) + (", …" if len(batch["id"]) > 8 else "")
    last = f"the last good checkpoint is {good[-1]}" if good else "there is no checkpoint yet"
    return UserError(f"the loss is not finite at step {step}", f"samples {ids}", f"{last}; try a lower --lr or --set train.clip=0.5")


def to_device(batch: Row, device: torch.device) -> Row:
    """The batch with its tensors on `device`."""

    def move(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(device, non_blocking=True)
        return {k: move(v) for k, v in value.items()} if isinstance(value, dict) else value

    return move(batch)


def _seed(seed: int, step: int) -> int:
    from mmkit.files import stable_hash

    return stable_hash(f"{seed} {step} {world()[0]}") & (2**63 - 1)


def _int(value: Any) -> int:
    assert isinstance(value, int), "durations are steps by now"
    return value


def _close(batches: Iterator[Row]) -> None:
    batches.close()  # type: ignore[attr-defined]  # a generator: ends the loader's threads


class _Clock:
    """Seconds spent in each part since the last row."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.steps = 0

    def timed(self, part: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        self.spent[part] = self.spent.get(part, 0.0) + time.perf_counter() - start
        self.steps += part == "model"
        return result

    def rates(self, batch_size: int) -> Row:
        """samples/s of training proper (no evaluation, no saving), and the share of time spent waiting for the loader."""
        load, model = self.spent.get("load", 0.0), self.spent.get("model", 0.0)
        row = {
            "train/samples_per_second": round(self.steps * batch_size / max(1e-9, load + model), 2),
            "train/loader_share": round(load / max(1e-9, load + model), 4),
        }
        self.spent, self.steps = {}, 0
        return row
