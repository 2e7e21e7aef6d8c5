"""Training from options to a finished run folder: resolve, build, measure, train. `mmkit train` and `demo` call it."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmkit import __version__, pretrained
from mmkit.config import Config, build, read_toml, write_toml
from mmkit.data.augment import Augment
from mmkit.data.loader import Loader, first_rows, picture
from mmkit.data.shards import Dataset, open_dataset
from mmkit.data.tokenizer import Tokenizer, train_tokenizer
from mmkit.errors import UserError
from mmkit.files import lock
from mmkit.metrics.ranking import retrieval
from mmkit.model import CONFIG, TOKENIZER, WEIGHTS, Model, from_config, load_weights, pick_device
from mmkit.training import auto, loop, stages
from mmkit.training.features import Cache, Features, check_limit
from mmkit.training.run import checkpoints, find_run, new_run
from mmkit.training.step import gradients, world

VAL_LIMIT = 2000  # rows of val measured while training; `mmkit eval` measures all
CAPTIONS_FOR_BPE = 1_000_000


@dataclass
class Talk:
    """Where a fit reports to; the command line fills it in."""

    say: Callable[[str], None] = lambda text: None
    begin: Callable[[int], None] = lambda steps: None
    report: Callable[[dict[str, Any]], None] = lambda row: None


def start(config: Config, runs: Path, name: str | None, force: bool, device: str, talk: Talk) -> Path:
    """Make a run folder for `config` and train it to the end.

    Returns:
        The run folder.

    Raises:
        UserError: what is wrong with configuration or data.
        loop.Interrupted: stopped by a signal; resumable.
    """
    data = open_dataset(config.data.path)
    reasons = pretrained.resolve(config)
    reasons |= auto.resolve_data(config, data)
    tokenizer = _tokenizer(config, data, reasons)
    names = stages.parameter_names(config, tokenizer)
    stages.check_stages(config, names)
    reasons |= auto.resolve_frozen(config, stages.frozen(config, names))
    torch.manual_seed(config.train.seed)
    model = Model(config, tokenizer)
    _first_weights(config, model, talk)
    model.to(pick_device(device))
    stages.apply_stage(model, config.stage[0] if config.stage else stages.EVERYTHING)
    loader = _loader(config, data, model, talk)
    config.train.precision = config.train.precision or "fp32"
    seconds = _seconds_per_step(config, model, loader)
    val_rows = min(VAL_LIMIT, data.splits.get("val", 0))
    # a forward pass is about a third of a step; val is measured at the start of the run's tenths
    overhead = 10 * val_rows / (config.train.batch_size or 1) * seconds / 3
    reasons |= auto.resolve_length(config, loader.rows, seconds, model.device.type == "cpu", overhead)
    config.run = {"mmkit": __version__, "torch": torch.__version__, "python": platform.python_version(), "automatic": reasons}
    folder = new_run(runs, name, f"{config.recipe}-{data.name}", force)
    tokenizer.save(folder / TOKENIZER)
    write_toml(folder / CONFIG, config)
    _introduce(config, model, folder, reasons, seconds * (config.train.steps or 0) + overhead, talk)  # type: ignore[operator]
    return _run(config, folder, model, loader, data, talk)


def resume(which: str, runs: Path, device: str, talk: Talk) -> Path | None:
    """Go on with an interrupted run exactly where its newest checkpoint is; None where `auto` finds nothing."""
    folder = find_run(which, runs)
    if folder is None:
        return None
    config = build(read_toml(folder / CONFIG), str(folder / CONFIG))
    found = checkpoints(folder)
    if "finished" in config.run:
        talk.say(f"{folder} is finished: nothing to do")
        return folder
    data = open_dataset(config.data.path)
    if data.hash != config.data.hash:
        raise UserError(
            "the dataset is not the one this run was trained on", config.data.path, "train a new run with `mmkit train`"
        )
    torch.manual_seed(config.train.seed)
    model = from_config(config, folder / TOKENIZER)
    if found:
        load_weights(model, found[-1] / WEIGHTS)
    else:
        _first_weights(config, model, talk)
    model.to(pick_device(device))
    talk.say(f"resuming {folder} from {found[-1].name if found else 'its start'} of {config.train.steps} steps")
    return _run(config, folder, model, _loader(config, data, model, talk), data, talk)


def _run(config: Config, folder: Path, model: Model, loader: Loader, data: Dataset, talk: Talk) -> Path:
    assert isinstance(config.train.steps, int)
    talk.begin(config.train.steps)
    with lock(folder), stop_on_signal() as stop:
        hooks = loop.Hooks(evaluate=_evaluation(config, data, model, talk), report=talk.report, stop=stop)
        state = loop.train(config, folder, model, loader, hooks)
    if world()[0] == 0:
        best = state["best_step"]
        weights = f"step {best}, best on val: mean recall {state['best']:.4f}" if best else f"step {state['step']}, the last"
        config.run |= {"finished": state["step"], "weights": weights}
        write_toml(folder / CONFIG, config)
        talk.say(f"{folder}/{WEIGHTS}: {weights}")
    return folder


def _first_weights(config: Config, model: Model, talk: Talk) -> None:
    """What a run starts from: --init's weights, else those of the pretrained encoders."""
    if not config.train.init:
        pretrained.load(model)
        return
    fresh = pretrained.load_init(model, config.train.init)
    if fresh:
        talk.say(f"init      not from {config.train.init}: {', '.join(fresh)}")


def _tokenizer(config: Config, data: Dataset, reasons: dict[str, str]) -> Tokenizer:
    """The pretrained text encoder's or --init's; else train the BPE on the training captions and fix the context to their length."""
    given = pretrained.init_tokenizer(config.train.init, config) if config.train.init else pretrained.text_tokenizer(config)
    if given is not None:
        return given
    column, text = data.column("text"), config.data.text

    def captions() -> Iterator[str]:
        for seen, row in enumerate(data.rows("train", [column], config.data.limit)):
            if seen >= CAPTIONS_FOR_BPE:
                return
            yield from row[column]

    assert text.vocab_size is not None
    tokenizer = Tokenizer(train_tokenizer(captions(), text.vocab_size, text.lowercase), text.context or auto.CONTEXT_LIMIT)
    if text.context is None:
        sample = [c for c, _ in zip(captions(), range(20_000), strict=False)]
        longest = max(tokenizer.lengths(sample))
        text.context = min(auto.CONTEXT_LIMIT, longest + 2)
        reasons["data.text.context"] = f"{text.context} (longest training caption {longest} tokens, at most {auto.CONTEXT_LIMIT})"
        tokenizer = Tokenizer(tokenizer.backend, text.context)
    text.vocab_size = tokenizer.vocab_size
    return tokenizer


def _features(config: Config, data: Dataset, model: Model, split: str, limit: int | None, talk: Talk) -> dict[str, Features]:
    """The cached features of the encoders that learn in no stage, where nothing is drawn about their input."""
    cache = Cache(check_limit(config.train.cache_limit), config.data.workers or 1, talk.say)
    if not cache.limit:
        return {}
    drawn = {"image": bool(config.data.image.augment), "text": config.data.text.word_dropout > 0}
    still = [m for m in stages.frozen(config, [name for name, _ in model.named_parameters()]) if not drawn.get(m)]
    groups = first_rows(data.groups(split), limit)
    found = {m: cache.features(model, m, data, split, groups) for m in still}
    return {m: features for m, features in found.items() if features is not None}


def _loader(config: Config, data: Dataset, model: Model, talk: Talk) -> Loader:
    rank, size = world()
    return Loader(
        data,
        "train",
        Augment(config.data.image, model.pixels),
        model.tokenizer,
        config.train.batch_size or 1,
        config.train.seed,
        config.data.workers or 1,
        config.data.text.word_dropout,
        config.data.limit,
        rank,
        size,
        _features(config, data, model, "train", config.data.limit, talk),
    )


def _seconds_per_step(config: Config, model: Model, loader: Loader) -> float:
    """Time the first batch's forward and backward: the fastest of three, for the first includes warming up."""
    batches = loader.batches()
    batch = loop.to_device(next(batches), model.device)
    loop.close(batches)
    elapsed = []
    for _ in range(3):
        start = time.perf_counter()
        gradients(model, batch, config.train.accumulate, config.train.precision or "fp32")
        model.zero_grad(set_to_none=True)
        elapsed.append(time.perf_counter() - start)
    return min(elapsed)


def _evaluation(config: Config, data: Dataset, model: Model, talk: Talk) -> Callable[[Model], dict[str, float]] | None:
    """Recall on the val split, with its pictures decoded once; None without a val split."""
    if not data.splits.get("val"):
        return None
    column, image = data.column("text"), data.column("image")
    features = _features(config, data, model, "val", VAL_LIMIT, talk)
    images, image_ids, texts, text_ids = [], [], [], []
    for row in data.rows("val", ["id", column] + ([] if "image" in features else [image]), VAL_LIMIT):
        if "image" not in features:
            images.append(model.pixels(picture(row, image)))
        image_ids.append(row["id"])
        texts += row[column]
        text_ids += [row["id"]] * len(row[column])

    def vectors(model: Model, modality: str, encode: Callable[[int], torch.Tensor], count: int, size: int) -> np.ndarray:
        if modality in features:
            with torch.inference_mode():
                parts = [model.vector(modality, {modality: {"pooled": p.to(model.device)}}) for p in features[modality].slices(size)]
        else:
            parts = [encode(i) for i in range(0, count, size)]
        return np.concatenate([part.cpu().numpy() for part in parts])

    def evaluate(model: Model) -> dict[str, float]:
        image_vectors = vectors(model, "image", lambda i: model.encode_images(torch.stack(images[i : i + 64])), len(images), 64)
        text_vectors = vectors(model, "text", lambda i: model.encode_texts(texts[i : i + 256]), len(texts), 256)
        return retrieval(image_vectors, image_ids, text_vectors, text_ids)[0]

    return evaluate


def _introduce(config: Config, model: Model, folder: Path, reasons: dict[str, str], seconds: float, talk: Talk) -> None:
    encoders = " + ".join(f"{m} {t['kind']}" for m, t in config.encoder.items())
    talk.say(f"run       {folder}")
    talk.say(f"model     {config.recipe}, {encoders}, {model.parameter_count:,} parameters")
    talk.say(f"device    {model.device}, {config.train.precision}")
    for key, reason in reasons.items():
        talk.say(f"automatic {key} = {reason}")
    talk.say(f"estimate  {config.train.steps} steps, about {_minutes(seconds)}")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """While open, Ctrl-C and SIGTERM ask the loop to stop after its step; a second one stops at once."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are the caller's
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
