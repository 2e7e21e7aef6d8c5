"""THE training loop: one for every system."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmkit.config import Config, Stage
from mmkit.data.loader import Loader
from mmkit.errors import UserError
from mmkit.model import WEIGHTS, Model
from mmkit.training.distributed import agreed, world
from mmkit.training.measure import does_not_fit, is_out_of_memory
from mmkit.training.run import checkpoints, load_optimizer, point_latest, read_state, save_checkpoint, save_weights, truncate_log
from mmkit.training.schedule import learning_rate, make_optimizer, next_optimizer
from mmkit.training.stages import apply_stage, frozen, stage_at, stages_of
from mmkit.training.step import gradients, split

LOG = "metrics.jsonl"
Row = dict[str, Any]


class Interrupted(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM); it is saved and can be resumed."""


@dataclass
class Hooks:
    """What the loop is given, so that it imports no other verb."""

    evaluate: Callable[[Model], Row] | None = None  # val metrics, or FloatingPointError; None without a val split
    report: Callable[[Row], None] = lambda row: None  # one row of metrics.jsonl, as it is written
    step: Callable[[int, float], None] = lambda done, seconds: None  # after every step, and with 0 seconds before the first
    stop: Callable[[], bool] = lambda: False  # asked after every step


def train(config: Config, folder: Path, model: Model, loaders: Callable[[Stage], Loader], hooks: Hooks) -> Row:
    """Train `model` to `train.steps`, from the newest checkpoint in `folder` if there is one.

    Args:
        loaders: the loader of a stage, asked for at its beginning: it may run what is frozen now with the weights of now.

    Returns:
        The final state: step, best (mean recall on val, or None), best_step.

    Raises:
        UserError: the loss is not finite; step, sample ids and the last good checkpoint are named.
        Interrupted: `hooks.stop` said so; a checkpoint of the last step is on disk.
    """
    run = _Run(config, folder, model, loaders, hooks)
    try:
        while not run.over:
            run.after(run.step())
    finally:
        close(run.batches)
        model.eval()
    return run.state


class _Run:
    """A run between two steps; each of its steps is a function of its number and the weights alone."""

    def __init__(self, config: Config, folder: Path, model: Model, loaders: Callable[[Stage], Loader], hooks: Hooks) -> None:
        self.config, self.folder, self.model, self.loaders, self.hooks = config, folder, model, loaders, hooks
        self.keys, self.steps, self.main = config.train, _int(config.train.steps), world()[0] == 0
        self.state = _restore(folder, model)
        step = self.state["step"]
        self.stage = stage_at(config, step)
        apply_stage(model, self.stage)
        self.optimizer = make_optimizer(model, config.train)
        if step:
            load_optimizer(checkpoints(folder)[-1], model, self.optimizer)
        if self.main:
            truncate_log(folder / LOG, step or -1)
            if step == 0:
                _log(folder, hooks, _facts(config, model))
        self.batches = loaders(self.stage).batches(step)
        model.train()
        self.clock = _Clock()
        self.over = step >= self.steps or self._without_patience()
        hooks.step(step, 0.0)

    def step(self) -> Row:
        """The next optimisation step; returns its batch."""
        step, keys, model, begin = self.state["step"], self.keys, self.model, time.perf_counter()
        if stage_at(self.config, step) is not self.stage:
            self._next_stage(step)
        lr = learning_rate(step, self.steps, _int(keys.warmup), self.stage.lr or keys.lr or 0.0)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        torch.manual_seed(_seed(keys.seed, step))  # the one source of chance in the model

        with self.clock("load"):
            batch = to_device(next(self.batches), model.device)
        logging = self.main and ((step + 1) % _int(keys.log_every) == 0 or step + 1 in (1, self.steps))
        with self.clock("model"):
            values = self._gradients(batch)
            norms = _norms(model) if logging else {}
            norms["train/grad_norm"] = float(torch.nn.utils.clip_grad_norm_(model.parameters(), keys.clip or math.inf))
            if not math.isfinite(norms["train/grad_norm"]):
                raise _not_finite(self.folder, step + 1, batch, "gradient")
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            for objective in model.loss.values():
                objective.clamp()
        self.state["step"] = step + 1
        if logging:
            row = _row(step + 1, batch, values, model, lr, norms) | self.clock.rates(keys.batch_size or 0)
            _log(self.folder, self.hooks, row)
        self.hooks.step(step + 1, time.perf_counter() - begin)
        return batch

    def _gradients(self, batch: Row) -> dict[str, torch.Tensor]:
        try:
            values = gradients(self.model, batch, self.keys.accumulate, self.keys.precision or "fp32")
        except RuntimeError as e:
            if not is_out_of_memory(e):
                raise
            # what was measured first fitted; this batch is larger, or another program took memory
            raise does_not_fit(batch, self.keys, len(batch["id"]) // (2 * self.keys.accumulate)) from None
        if not math.isfinite(values["loss"].item()):
            raise _not_finite(self.folder, self.state["step"] + 1, batch)
        return values

    def after(self, batch: Row) -> None:
        """Evaluate, save and stop where it is due after a step."""
        done = self.state["step"]
        stopping = agreed(self.hooks.stop())
        self.over = done == self.steps
        if done % _int(self.keys.eval_every) == 0 or self.over:
            if self.main and self.hooks.evaluate:
                try:
                    _evaluate(self.folder, self.model, self.hooks, self.state)
                except FloatingPointError:
                    raise _not_finite(self.folder, done, batch) from None
            self.over = agreed(self.over or self._without_patience())
        if self.main and (done % _int(self.keys.checkpoint_every) == 0 or self.over or stopping):
            self._check_weights(batch)
            _save(self.folder, self.model, self.optimizer, self.state, has_val=self.hooks.evaluate is not None)
        if stopping and not self.over:
            raise Interrupted(str(self.folder))

    @torch.no_grad()
    def _check_weights(self, batch: Row) -> None:
        """A checkpoint is one to go back to, so its weights must give finite vectors: a step too far shows one forward later."""
        self.model.eval()
        vectors = self.model(split(batch, self.keys.accumulate)[0], self.model.wants())
        self.model.train()
        if not all(v.isfinite().all() for v in vectors.values()):
            raise _not_finite(self.folder, self.state["step"], batch, "model's output")

    def _next_stage(self, step: int) -> None:
        self.stage = stage_at(self.config, step)
        apply_stage(self.model, self.stage)
        self.optimizer = next_optimizer(self.optimizer, self.model, self.keys)
        close(self.batches)
        self.batches = self.loaders(self.stage).batches(step)

    def _without_patience(self) -> bool:
        return bool(self.keys.patience) and self.state["since_best"] >= self.keys.patience


def _restore(folder: Path, model: Model) -> Row:
    found = checkpoints(folder)
    if not found:
        return {"step": 0, "best": None, "best_step": None, "since_best": 0}
    from mmkit.model import load_weights

    load_weights(model, found[-1] / WEIGHTS)
    return read_state(found[-1])


def _evaluate(folder: Path, model: Model, hooks: Hooks, state: Row) -> None:
    assert hooks.evaluate is not None
    model.eval()
    metrics = hooks.evaluate(model)
    model.train()
    recalls = [v for k, v in metrics.items() if "_recall@" in k]
    mean = sum(recalls) / len(recalls)
    best = -1.0 if state["best"] is None else state["best"]
    state["since_best"] = 0 if mean > best else state["since_best"] + 1
    if mean >= best:  # of equal ones the latest: where val is small or easy, the first to reach the top has learnt least
        state["best"], state["best_step"] = mean, state["step"]
        save_weights(model, folder / WEIGHTS)
    _log(folder, hooks, {"step": state["step"], "val/mean_recall": mean, **{f"val/{k}": v for k, v in metrics.items()}})


def _save(folder: Path, model: Model, optimizer: torch.optim.Optimizer, state: Row, has_val: bool) -> None:
    save_checkpoint(folder, model, optimizer, state)
    # without val the last weights are the model; with val they stand in until the first evaluation
    if not has_val or state["best"] is None:
        save_weights(model, folder / WEIGHTS)
    point_latest(folder)


def _facts(config: Config, model: Model) -> Row:
    """What the doctor must know of the run, logged once as the row of step 0."""
    losses = list(model.loss.values())
    return {
        "step": 0,
        "run/steps": config.train.steps,
        "run/warmup": config.train.warmup,
        "run/batch_size": config.train.batch_size,
        "run/context": model.tokenizer.context,
        "run/frozen": frozen(config, stages_of(config), [name for name, _ in model.named_parameters()]),
        "run/random": [] if config.train.init else [m for m, t in config.encoder.items() if "from" not in t],
        "run/max_scale": max((loss.max_scale for loss in losses if hasattr(loss, "max_scale")), default=None),
    }


def _row(step: int, batch: Row, values: dict[str, torch.Tensor], model: Model, lr: float, norms: Row) -> Row:
    row = {"step": step, "epoch": round(batch["epoch"], 4)}
    row |= {f"train/{name}": value.item() for name, value in values.items()}
    row |= {"train/lr": lr, **norms}
    for objective in model.loss.values():
        row["train/logit_scale"] = objective.logit_scale.exp().item()
        if hasattr(objective, "logit_bias"):
            row["train/logit_bias"] = objective.logit_bias.item()
    mask, text = batch["text"]["mask"], batch["keys"]["text"]
    lengths = model.tokenizer.lengths(batch["caption"])
    row["train/truncated"] = sum(length > model.tokenizer.context for length in lengths) / len(lengths)
    row["train/equal_captions"] = 1 - text.unique().numel() / text.numel()
    if model.tokenizer.unknown is not None:
        row["train/unknown"] = (batch["text"]["ids"][mask] == model.tokenizer.unknown).float().mean().item()
    return row


def _norms(model: Model) -> Row:
    """Gradient norm of each encoder that learns."""
    norms = {}
    for modality, encoder in model.encoder.items():
        grads = [p.grad for p in encoder.parameters() if p.grad is not None]
        if any(p.requires_grad for p in encoder.parameters()):
            norms[f"train/grad_norm/{modality}"] = float(torch.nn.utils.get_total_norm(grads)) if grads else 0.0
    return norms


def _log(folder: Path, hooks: Hooks, row: Row) -> None:
    with open(folder / LOG, "a", encoding="utf-8") as f:
        f.write(json.dumps(row) + "\n")
    hooks.report(row)


def _not_finite(folder: Path, step: int, batch: Row, what: str = "loss") -> UserError:
    good = checkpoints(folder)
    ids = ", ".join(batch["id"][:8]) + (", …" if len(batch["id"]) > 8 else "")
    last = f"the last good checkpoint is {good[-1]}" if good else "there is no checkpoint yet"
    return UserError(
        f"the {what} is not finite at step {step}", f"samples {ids}", f"{last}; try a lower --lr or --set train.clip=0.5"
    )


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


def close(batches: Iterator[Row]) -> None:
    """End the threads behind a loader's batches."""
    batches.close()  # type: ignore[attr-defined]  # a generator: ends the loader's threads


class _Clock:
    """Seconds spent in each part since the last row."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.steps = 0

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.spent[part] = self.spent.get(part, 0.0) + time.perf_counter() - start
        self.steps += part == "model"

    def rates(self, batch_size: int) -> Row:
        """samples/s of training proper (no evaluation, no saving), and the share of time spent waiting for the loader."""
        load, model = self.spent.get("load", 0.0), self.spent.get("model", 0.0)
        row = {
            "train/samples_per_second": round(self.steps * batch_size / max(1e-9, load + model), 2),
            "train/loader_share": round(load / max(1e-9, load + model), 4),
        }
        self.spent, self.steps = {}, 0
        return row
