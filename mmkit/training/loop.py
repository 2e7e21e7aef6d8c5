"""THE training loop: one for every system."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mmkit.batch import Batch
from mmkit.config import Config, Stage
from mmkit.data.loader import Loader
from mmkit.errors import UserError, is_out_of_memory
from mmkit.loading import WEIGHTS, load_weights
from mmkit.model import Model
from mmkit.talk import VAL, Measured, Talk
from mmkit.training.distributed import agreed, world
from mmkit.training.measure import does_not_fit
from mmkit.training.run import checkpoints, load_optimizer, point_latest, read_state, save_checkpoint, save_weights, truncate_log
from mmkit.training.schedule import learning_rate, make_optimizer, next_optimizer
from mmkit.training.stages import apply_stage, frozen, stage_at, stages_of
from mmkit.training.step import gradients

LOG = "metrics.jsonl"
Row = dict[str, Any]


class Interrupted(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM); it is saved and can be resumed."""


Evaluate = Callable[[Model], Measured]


def train(
    config: Config,
    folder: Path,
    model: Model,
    loaders: Callable[[Stage], Loader],
    talk: Talk,
    evaluate: Evaluate | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Row:
    """Train `model` to `train.steps`, from the newest checkpoint in `folder` if there is one.

    Args:
        talk: told every step, and with 0 seconds before the first; and each row of metrics.jsonl, as it is written.
        evaluate: measures val, or raises FloatingPointError; None without a val split.
        stop: asked after every step.
        loaders: the loader of a stage, asked for at its beginning: it may run what is frozen now with the weights of now.

    Returns:
        The final state: step, best (the score on val, or None), best_step, select (what was measured).

    Raises:
        UserError: the loss is not finite; step, sample ids and the last good checkpoint are named.
        Interrupted: `stop` said so; a checkpoint of the last step is on disk.
    """
    run = _Run(config, folder, model, loaders, talk, evaluate)
    try:
        while not run.over:
            lr = run.begin_step()
            batch = run.load()
            values = run.gradients(batch)
            norms = run.update(batch)
            run.log(batch, values, lr, norms)
            stopping = agreed(stop())
            run.evaluate(batch)
            run.save(batch, stopping)
            if stopping and not run.over:
                raise Interrupted(str(folder))
    finally:
        close(run.batches)
        model.eval()
    return run.state


class _Run:
    """A run between two steps; each of its steps is a function of its number and the weights alone."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        model: Model,
        loaders: Callable[[Stage], Loader],
        talk: Talk,
        evaluate: Evaluate | None,
    ) -> None:
        self.config, self.folder, self.model, self.loaders = config, folder, model, loaders
        self.talk, self.measure = talk, evaluate
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
                _log(folder, talk, _facts(config, model))
        self.batches = loaders(self.stage).batches(step)
        model.train()
        self.clock = _Clock()
        self.begun = time.perf_counter()
        self.over = step >= self.steps or self._without_patience()
        talk.step(step, 0.0)

    def begin_step(self) -> float:
        """Turn to the stage of the step that comes, its learning rate and its chance; returns the rate."""
        step, keys, self.begun = self.state["step"], self.keys, time.perf_counter()
        if stage_at(self.config, step) is not self.stage:
            self.stage = stage_at(self.config, step)
            apply_stage(self.model, self.stage)
            self.optimizer = next_optimizer(self.optimizer, self.model, keys)
            close(self.batches)
            self.batches = self.loaders(self.stage).batches(step)
        lr = learning_rate(step, self.steps, _int(keys.warmup), self.stage.lr or keys.lr or 0.0)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        torch.manual_seed(_seed(keys.seed, step))  # the one source of chance in the model
        return lr

    def load(self) -> Batch:
        with self.clock("load"):
            return next(self.batches).to(self.model.device)

    def gradients(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Forward and backward; fills the gradients and returns the losses."""
        draw = f"{self.keys.seed} {self.state['step']}"
        try:
            with self.clock("model"):
                values = gradients(self.model, batch, self.keys.accumulate, self.keys.precision or "fp32", draw)
        except RuntimeError as e:
            if not is_out_of_memory(e):
                raise
            # what was measured first fitted; this batch is larger, or another program took memory
            raise does_not_fit(batch, self.keys, batch.rows // (2 * self.keys.accumulate)) from None
        if not math.isfinite(values["loss"].item()):
            raise _not_finite(self.folder, self.state["step"] + 1, batch)
        return values

    def update(self, batch: Batch) -> Row:
        """Clip, step and clamp; returns the norms of the gradients."""
        step, model = self.state["step"], self.model
        with self.clock("model"):
            norms = _norms(model) if self._logs(step + 1) else {}
            norms["train/grad_norm"] = float(torch.nn.utils.clip_grad_norm_(model.parameters(), self.keys.clip or math.inf))
            if not math.isfinite(norms["train/grad_norm"]):
                raise _not_finite(self.folder, step + 1, batch, "gradient")
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            for objective in model.loss.values():
                objective.after_step()
        self.state["step"] = step + 1
        self.clock.steps += 1
        return norms

    def log(self, batch: Batch, values: dict[str, torch.Tensor], lr: float, norms: Row) -> None:
        done = self.state["step"]
        if self._logs(done):
            row = _row(done, batch, values, self.model, lr, norms) | self.clock.rates(self.keys.batch_size or 0)
            _log(self.folder, self.talk, row)
        self.talk.step(done, time.perf_counter() - self.begun)

    def evaluate(self, batch: Batch) -> None:
        """Measure val and keep the best weights, where it is due; the last step is the last."""
        done = self.state["step"]
        self.over = done == self.steps
        if done % _int(self.keys.eval_every) and not self.over:
            return
        if self.main and self.measure:
            try:
                _log(self.folder, self.talk, _evaluate(self.folder, self.model, self.measure, self.state))
            except FloatingPointError:
                raise _not_finite(self.folder, done, batch) from None
        self.over = agreed(self.over or self._without_patience())

    def save(self, batch: Batch, stopping: bool) -> None:
        """Write a checkpoint where it is due."""
        if self.main and (self.state["step"] % _int(self.keys.checkpoint_every) == 0 or self.over or stopping):
            self._check_weights(batch)
            _save(self.folder, self.model, self.optimizer, self.state, has_val=self.measure is not None)

    @torch.no_grad()
    def _check_weights(self, batch: Batch) -> None:
        """A checkpoint is one to go back to, so its weights must give finite vectors: a step too far shows one forward later."""
        self.model.eval()
        found = self.model(batch.split(self.keys.accumulate)[0], self.model.clean_wants())
        self.model.train()
        if not all(v.isfinite().all() for v in found.values()):
            raise _not_finite(self.folder, self.state["step"], batch, "model's output")

    def _logs(self, step: int) -> bool:
        return self.main and (step % _int(self.keys.log_every) == 0 or step in (1, self.steps))

    def _without_patience(self) -> bool:
        return bool(self.keys.patience) and self.state["since_best"] >= self.keys.patience


def _restore(folder: Path, model: Model) -> Row:
    found = checkpoints(folder)
    if not found:
        return {"step": 0, "best": None, "best_step": None, "since_best": 0}
    load_weights(model, found[-1] / WEIGHTS)
    return read_state(found[-1])


def _evaluate(folder: Path, model: Model, evaluate: Evaluate, state: Row) -> Row:
    """Measure val and keep the weights if they are the best; returns the row for the log."""
    model.eval()
    found = evaluate(model)
    model.train()
    best = state["best"]
    state["since_best"] = 0 if best is None or found.score > best else state["since_best"] + 1
    # of equal ones the latest: where val is small or easy, the first to reach the top has learnt least
    if best is None or found.score >= best:
        state |= {"best": found.score, "best_step": state["step"], "select": found.name}
        save_weights(model, folder / WEIGHTS)
    return {"step": state["step"], **{f"{VAL}{k}": v for k, v in found.values.items()}}


def _save(folder: Path, model: Model, optimizer: torch.optim.Optimizer, state: Row, has_val: bool) -> None:
    save_checkpoint(folder, model, optimizer, state)
    # without val the last weights are the model; with val they stand in until the first evaluation
    if not has_val or state["best"] is None:
        save_weights(model, folder / WEIGHTS)
    point_latest(folder)


def _facts(config: Config, model: Model) -> Row:
    """What the doctor must know of the run, logged once as the row of step 0."""
    losses = list(model.loss.values())
    contexts = [reader.given()["context"] for reader in model.readers.values() if "context" in reader.given()]
    return {
        "step": 0,
        "run/steps": config.train.steps,
        "run/warmup": config.train.warmup,
        "run/batch_size": config.train.batch_size,
        "run/context": max(contexts, default=None),
        "run/frozen": frozen(config, stages_of(config), [name for name, _ in model.named_parameters()]),
        "run/random": [] if config.train.init else [m for m, t in config.encoder.items() if "from" not in t],
        "run/max_scale": max((loss.max_scale for loss in losses if hasattr(loss, "max_scale")), default=None),
    }


def _row(step: int, batch: Batch, values: dict[str, torch.Tensor], model: Model, lr: float, norms: Row) -> Row:
    row: Row = {"step": step, "epoch": round(batch.epoch, 4)}
    row |= {f"train/{name}": value.item() for name, value in values.items()}
    row |= {"train/lr": lr, **norms}
    for objective in model.loss.values():
        row |= {f"train/{name}": value for name, value in objective.log().items()}
    for name, said in batch.said.items():
        # an input that is not the usual one of its modality is named beside what is said of it
        suffix = "" if name == model.inputs[name].modality else f"/{name}"
        row |= {f"train/{key}{suffix}": value for key, value in model.reader(name).log(batch.inputs[name], said).items()}
        there, keys = batch.has(name), batch.keys[name]
        keys = keys if there is None else keys[there]
        row[f"train/equal_captions{suffix}"] = 1 - keys.unique().numel() / max(1, keys.numel())
    return row


def _norms(model: Model) -> Row:
    """Gradient norm of each encoder that learns."""
    norms = {}
    for name, encoder in model.encoder.items():
        grads = [p.grad for p in encoder.parameters() if p.grad is not None]
        if any(p.requires_grad for p in encoder.parameters()):
            norms[f"train/grad_norm/{name}"] = float(torch.nn.utils.get_total_norm(grads)) if grads else 0.0
    return norms


def _log(folder: Path, talk: Talk, row: Row) -> None:
    with open(folder / LOG, "a", encoding="utf-8") as f:
        f.write(json.dumps(row) + "\n")
    talk.report(row)


def _not_finite(folder: Path, step: int, batch: Batch, what: str = "loss") -> UserError:
    good = checkpoints(folder)
    ids = ", ".join(batch.ids[:8]) + (", …" if batch.rows > 8 else "")
    last = f"the last good checkpoint is {good[-1]}" if good else "there is no checkpoint yet"
    return UserError(
        f"the {what} is not finite at step {step}", f"samples {ids}", f"{last}; try a lower --lr or --set train.clip=0.5"
    )


def _seed(seed: int, step: int) -> int:
    from mmkit.files import stable_hash

    return stable_hash(f"{seed} {step} {world()[0]}") & (2**63 - 1)


def _int(value: Any) -> int:
    assert isinstance(value, int), "durations are steps by now"
    return value


def close(batches: Iterator[Batch]) -> None:
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

    def rates(self, batch_size: int) -> Row:
        """samples/s of training proper (no evaluation, no saving), and the share of time spent waiting for the loader."""
        load, model = self.spent.get("load", 0.0), self.spent.get("model", 0.0)
        row = {
            "train/samples_per_second": round(self.steps * batch_size / max(1e-9, load + model), 2),
            "train/loader_share": round(load / max(1e-9, load + model), 4),
        }
        self.spent, self.steps = {}, 0
        return row
