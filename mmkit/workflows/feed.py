"""What a run reads: the training batches of its stages, and the val split that it is measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mmkit.config import Config, Stage
from mmkit.data.loader import Loader, Source, first_rows
from mmkit.data.modalities import MODALITIES
from mmkit.data.shards import Dataset
from mmkit.encode import Pace, chunks, columns_of
from mmkit.errors import ConfigError, nearest
from mmkit.metrics.evaluation import Val, metric, metrics_of
from mmkit.model import Model
from mmkit.talk import Measured, Talk
from mmkit.training.distributed import world
from mmkit.training.features import Cache, Features, check_limit
from mmkit.training.stages import frozen, stages_of

VAL_LIMIT = 2000  # rows of val measured while training; `mmkit eval` measures all
VAL_BYTES = 1 << 30  # that they take, prepared: so many videos would take several times as much
WEIGHED = 8  # of its rows, for how much that is


def loader(config: Config, data: Dataset, model: Model, stages: list[Stage], talk: Talk, cached: bool = True) -> Loader:
    """The training batches of `stages`: features stand for the input of an encoder that learns in none of them.

    Args:
        cached: whether they do; else every item is delivered.
    """
    rank, size = world()
    found = _features(config, data, model, stages, "train", config.data.limit, talk) if cached else {}
    inputs = {
        name: Source(
            str(one.column),
            MODALITIES[str(one.modality)],
            model.reader(name).over(_spec(config, str(one.encoder), stages[0])),
            found.get(name),
        )
        for name, one in model.inputs.items()
    }
    targets = [loss.column for loss in model.loss.values() if loss.column]
    listed = [loss.column for loss in model.loss.values() if loss.column and loss.listed]
    batch, workers = config.train.batch_size or 1, config.data.workers or 1
    seed, limit = config.train.seed, config.data.limit
    return Loader(data, "train", inputs, batch, seed, workers, targets, listed, limit, rank, size)


def _spec(config: Config, encoder: str, stage: Stage) -> Any:
    """How an encoder reads in a stage."""
    spec = config.spec(encoder)
    return spec if stage.augment is None or not hasattr(spec, "augment") else replace(spec, augment=stage.augment)


def evaluation(config: Config, data: Dataset, model: Model, talk: Talk) -> Callable[[Model], Measured] | None:
    """What measures the val split, its items prepared once; None without one.

    Raises:
        ConfigError: `train.select` is nothing that is measured.
    """
    if not data.splits.get("val"):
        return None
    kept = still(config, model, stages_of(config)) if check_limit(config.train.cache_limit) else []
    limit = _val_rows(model, [name for name in model.inputs if name not in kept], data, talk)
    features = _features(config, data, model, stages_of(config), "val", limit, talk)
    pace = Pace(workers=config.data.workers, progress=talk.progress("read val"))
    val = Val(data, "val", limit, features, pace)
    modules = [metric(name) for name in metrics_of(model)]
    names = [name for module in modules for name in module.names(model)]
    if config.train.select not in (None, *names):
        hint = nearest(str(config.train.select), names)
        raise ConfigError(f"train.select = {config.train.select!r} is not measured on val", "train.select", hint=hint)
    measures = [module.during(model, val) for module in modules]

    def evaluate(model: Model) -> Measured:
        found = [measure(model) for measure in measures]
        values = {name: value for one in found for name, value in one.values.items()}
        name = config.train.select or found[0].name
        if name not in values:
            raise ConfigError(
                f"train.select = {name!r} is undefined on this val split", "train.select", hint=nearest(name, values)
            )
        return Measured(name, values[name], {name: values[name], **values})

    return evaluate


def _val_rows(model: Model, names: list[str], data: Dataset, talk: Talk) -> int:
    """How many rows of val a run is measured on, by what these inputs of the first ones weigh."""
    columns = columns_of(model, data, names)
    rows = data.rows("val", list(dict.fromkeys(["id", *columns.values()])), WEIGHED)
    ((_, items),) = chunks(model, columns, rows, Pace(WEIGHED))
    weight = sum(model.reader(name).weight(item.value) for name, own in items.items() for item in own)
    limit, there = VAL_LIMIT, data.splits["val"]
    if weight * there > VAL_BYTES * WEIGHED:
        limit = min(limit, max(1, VAL_BYTES * WEIGHED // weight))
    if limit < min(VAL_LIMIT, there):
        talk.say(f"val is measured on its first {limit:,} of {there:,} rows, which take {VAL_BYTES >> 30} GB of memory")
    return limit


def still(config: Config, model: Model, stages: list[Stage]) -> list[str]:
    """The inputs that give the same in every epoch of `stages`: their encoder learns in none, and nothing is drawn."""
    names = [name for name, _ in model.named_parameters()]
    standing = frozen(config, stages, names)
    altered = {name for loss in model.loss.values() for name in loss.alters()}
    found = []
    for name, one in model.inputs.items():
        specs = [_spec(config, str(one.encoder), stage) for stage in stages]
        if one.encoder in standing and name not in altered and all(model.reader(name).over(spec).still for spec in specs):
            found.append(name)
    return found


def _features(
    config: Config, data: Dataset, model: Model, stages: list[Stage], split: str, limit: int | None, talk: Talk
) -> dict[str, Features]:
    """The cached features of the inputs that are `still`."""
    cache = Cache(check_limit(config.train.cache_limit), config.data.workers or 1, talk)
    if not cache.limit:
        return {}
    groups = first_rows(data.groups(split), limit)
    found = {}
    for name in still(config, model, stages):
        whats = {root.what for want in model.wants() for root in model.roots(want) if root.part == name}
        if "embedded" in whats:  # an early fusion begins before what could be kept
            continue
        tokens = bool(whats & {"tokens", "vectors", "mask"})
        found[name] = cache.features(model, name, data, split, groups, tokens)
    return {name: features for name, features in found.items() if features is not None}
