"""A run before its first step: options resolved against the data, the model built, a batch measured."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mmkit import __version__, foreign, losses
from mmkit.batch import Batch, Want
from mmkit.config import Config
from mmkit.data.loader import Loader
from mmkit.data.modalities import MODALITIES
from mmkit.data.shards import Dataset, open_dataset
from mmkit.durations import in_words
from mmkit.errors import UserError
from mmkit.loading import (
    RUN_VERSION,
    init_readers,
    load_init,
    made_readers,
    pick_device,
)
from mmkit.model import Model, build_encoders
from mmkit.talk import Talk
from mmkit.training import auto, distributed, loop, lora, stages
from mmkit.training.distributed import world
from mmkit.training.inputs import resolve_inputs, seen_by
from mmkit.training.measure import Cost, measure
from mmkit.training.names import check_names
from mmkit.training.report_to import check_packages
from mmkit.workflows import feed, finish


@dataclass
class Plan:
    """A run that is resolved and built, and has not begun."""

    config: Config
    data: Dataset
    model: Model
    loader: Loader
    reasons: dict[str, str]
    first_batch: Batch
    cost: Cost
    seconds: float
    first: dict[str, torch.Tensor]  # see finish.first_weights


def plan(config: Config, device: str, talk: Talk, dry: bool = False, readers_of: Path | None = None) -> Plan:
    """Resolve everything that is automatic, build the model and measure one step.

    Args:
        dry: write nothing, not even the features of frozen encoders: they are computed of the first batch only.
        readers_of: a run whose tokenizers are taken where they read as configured, instead of new ones.

    Raises:
        UserError: what is wrong with configuration or data, or the batch does not fit in memory.
    """
    config, of_size = auto.sized(config, on_cpu=pick_device(device).type == "cpu")
    check_names(config)
    check_packages(config.train.report_to)
    data = open_dataset(config.data.path)
    config, reasons = resolve_inputs(config, data)
    reasons = of_size | reasons
    check_names(config)
    reasons |= foreign.resolve(config)
    reasons |= auto.resolve_data(config, data)
    distributed.check_batch(config.train.batch_size or 1)
    targets = _targets(config, data, [key.partition(".")[2] for key in reasons if key.startswith("without.")])
    readers = _readers(config, data, reasons, readers_of)
    # which encoders learn decides what the projections are, and so the names that patterns may match
    with torch.device("meta"):
        built = build_encoders(config, readers)
        reasons |= stages.resolve_top(config, built)
        lora.attach(built, config)
    reasons |= auto.resolve_frozen(config, built, data)
    stages.check_patterns(config, _names(config, readers, targets))
    torch.manual_seed(config.train.seed)
    model = Model(config, readers, targets)
    check(model)
    first = finish.first_weights(config, model, first_weights(config, model, talk))
    lora.attach(model.encoder, config)
    place(model, config, device)
    stages.apply_stage(model, stages.largest(config, model))
    loader = feed.loader(config, data, model, stages.stages_of(config), talk, cached=not dry)
    batches = loader.batches()
    batch = next(batches)
    loop.close(batches)
    measured = batch.to(model.device)
    encoding = 0.0
    if dry:
        measured, encoding = _encode_still(config, model, measured)
        encoding *= loader.rows / batch.rows
    cost = measure(model, measured, config.train)
    config.train.precision = cost.precision
    if config.train.amp:
        reasons["train.precision"] = f"{cost.precision} ({cost.reason})"
    val_rows = min(feed.VAL_LIMIT, data.splits.get("val", 0))
    # a forward pass is about a third of a step; val is measured at each tenth of the run
    overhead = 10 * val_rows / (config.train.batch_size or 1) * cost.seconds / 3
    reasons |= auto.resolve_length(config, loader.rows, cost.seconds, model.device.type == "cpu", overhead)
    assert isinstance(config.train.steps, int)
    made_by = {"format": RUN_VERSION, "mmkit": __version__, "torch": torch.__version__, "python": platform.python_version()}
    config.run = {**made_by, "automatic": reasons}
    seconds = cost.seconds * config.train.steps + overhead + encoding
    return Plan(config, data, model, loader, reasons, batch, cost, seconds, first)


def _names(config: Config, readers: dict[str, Any], targets: dict[str, Any]) -> list[str]:
    """The names of the parameters that `config` will have, without making them."""
    with torch.device("meta"):
        model = Model(config, readers, targets)
        lora.attach(model.encoder, config)
    return [name for name, _ in model.named_parameters()]


def check(model: Model) -> None:
    """Whether the model can answer what its losses want, and the processes share a batch as they need it.

    Raises:
        UserError: it cannot.
    """
    for objective in model.loss.values():
        distributed.check_batch(model.config.train.batch_size or 1, objective.group)
        objective.needs(model)
        model.check([*objective.wants(), *objective.sees()])


def _targets(config: Config, data: Dataset, lacking: list[str]) -> dict[str, Any]:
    """What each loss learns of the training rows: classes, answers.

    Args:
        lacking: kinds of columns that the data lacks and the recipe would rather train on.

    Raises:
        UserError: the data lacks what a loss learns from.
    """
    try:
        return {n: losses.loss_class(n, table).learn(table, data, config) for n, table in config.loss.items()}
    except UserError as error:
        if not lacking:
            raise
        hint = f"{error.hint}; the recipe is for {' and '.join(lacking)}"
        raise UserError(f"no {' and no '.join(lacking)}, and {error.what}", error.where, hint, error.code) from None


def _readers(config: Config, data: Dataset, reasons: dict[str, str], run: Path | None) -> dict[str, Any]:
    """encoder -> Reader: of --init, of the checkpoint that it comes from, of a run, or learnt from the training rows."""
    readers = init_readers(config.train.init, config) if config.train.init else {}
    made = made_readers(run, config) if run else {}
    for name, table in config.encoder.items():
        row, spec = MODALITIES[config.modality_of(name)], config.spec(name)
        if name in readers:
            continue
        if foreign.is_foreign(table):
            readers[name] = row.foreign(spec, foreign.open_checkpoint(table["from"]))
            continue
        if name in made:
            readers[name] = made[name]
            continue
        # of all that could be read: a later stage, which may read captions as this one and questions too, keeps the tokenizer
        seen = seen_by(name, config, data)
        columns = [column for column, kind in seen.columns.items() if kind in row.KINDS]
        readers[name], found = row.learn(spec, seen, columns, config.data.limit)
        reasons |= {f"{config.spec_path(name)}.{key}": reason for key, reason in found.items()}
    return readers


def first_weights(config: Config, model: Model, talk: Talk) -> list[str]:
    """What a run starts from: --init's weights, else those of the pretrained encoders; the names of those that none gave."""
    fresh = load_init(model, config.train.init) if config.train.init else list(model.state_dict())
    wanted = [n for n in model.encoder if all(f"encoder.{n}.{k}" in fresh for k in model.encoder[n].state_dict())]
    loaded = tuple(f"encoder.{name}." for name in foreign.load(model, wanted))
    if fresh and config.train.init:
        talk.say(f"init      not from {config.train.init}: {', '.join(stages.gathered(fresh, list(model.state_dict())))}")
    drawn = [name for name in fresh if not name.startswith(loaded)]
    for objective in model.loss.values():
        objective.begins(model, drawn)
    return drawn


@torch.no_grad()
def _encode_still(config: Config, model: Model, batch: Batch) -> tuple[Batch, float]:
    """Put features in the place of what still encoders read, as a run would find them; and the seconds it took."""
    start = time.perf_counter()
    found = dict(batch.inputs)
    for name in feed.still(config, model, stages.stages_of(config)) if config.train.cache_limit else []:
        wants = [Want(name, what) for what in ("pooled", "tokens", "mask")]
        found[name] = {want.what: value for want, value in model(batch, wants).items()}
    return replace(batch, inputs=found), time.perf_counter() - start


def place(model: Model, config: Config, device: str) -> None:
    model.to(pick_device(device))
    if config.train.grad_checkpoint:
        model.checkpoint_activations()


def introduce(made: Plan, folder: Path | None, talk: Talk) -> None:
    """What will happen and why, before the first step."""
    config, model = made.config, made.model
    encoders = " + ".join(f"{m} {t['kind']}" for m, t in config.encoder.items())
    learn = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if folder:
        talk.say(f"run       {folder}")
    talk.say(f"model     {config.recipe}, {encoders}, {model.parameter_count:,} parameters, {learn:,} learn")
    parts = f" in {config.train.accumulate} parts" if config.train.accumulate > 1 else ""
    ranks = f" on {world()[1]} processes" if world()[1] > 1 else ""
    talk.say(f"batch     {config.train.batch_size} samples{parts}{ranks}")
    talk.say(f"device    {model.device}, {made.cost.precision}: {made.cost.reason}")
    for key, reason in made.reasons.items():
        talk.say(f"automatic {key} = {reason}")
    talk.say(f"memory    about {max(0.1, made.cost.bytes / 1e9):.1f} GB for weights, optimizer and activations")
    talk.say(f"estimate  {config.train.steps} steps, about {in_words(made.seconds)}")
