"""What a run reads: the training batches of its stages, and the val split that it is measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from mmkit.config import Config, ImageData, Stage
from mmkit.data.augment import Augment
from mmkit.data.loader import Loader, first_rows, picture
from mmkit.data.shards import Dataset
from mmkit.metrics.ranking import retrieval
from mmkit.model import Model
from mmkit.training.distributed import world
from mmkit.training.features import Cache, Features, check_limit
from mmkit.training.stages import frozen, stages_of

VAL_LIMIT = 2000  # rows of val measured while training; `mmkit eval` measures all

Say = Callable[[str], None]
Progress = Callable[[str], Callable[[int, int], None]]


def loader(
    config: Config, data: Dataset, model: Model, stages: list[Stage], say: Say, progress: Progress, cached: bool = True
) -> Loader:
    """The training batches of `stages`: features stand for the input of an encoder that learns in none of them.

    Args:
        cached: whether they do; else every picture and caption is delivered.
    """
    rank, size = world()
    return Loader(
        data,
        "train",
        Augment(_image(config, stages[0]), model.pixels),
        model.tokenizer,
        config.train.batch_size or 1,
        config.train.seed,
        config.data.workers or 1,
        config.data.text.word_dropout,
        config.data.limit,
        rank,
        size,
        _features(config, data, model, stages, "train", config.data.limit, say, progress) if cached else None,
    )


def _image(config: Config, stage: Stage) -> ImageData:
    """How pictures are read in a stage."""
    return config.data.image if stage.augment is None else replace(config.data.image, augment=stage.augment)


def evaluation(
    config: Config, data: Dataset, model: Model, say: Say, progress: Progress
) -> Callable[[Model], dict[str, float]] | None:
    """Recall on the val split, with its pictures decoded once; None without a val split."""
    if not data.splits.get("val"):
        return None
    column, image = data.column("text"), data.column("image")
    features = _features(config, data, model, stages_of(config), "val", VAL_LIMIT, say, progress)
    images, image_ids, texts, text_ids = [], [], [], []
    report, total = progress("read val"), min(VAL_LIMIT, data.splits["val"])
    for seen, row in enumerate(data.rows("val", ["id", column] + ([] if "image" in features else [image]), VAL_LIMIT), 1):
        if "image" not in features:
            images.append(model.pixels(picture(row, image)))
        report(seen, total)
        image_ids.append(row["id"])
        texts += row[column]
        text_ids += [row["id"]] * len(row[column])

    def vectors(model: Model, modality: str, encode: Callable[[int], torch.Tensor], count: int, size: int) -> np.ndarray:
        if modality in features:
            with torch.inference_mode():
                parts = [
                    model.vector(modality, {modality: {"pooled": p.to(model.device)}}) for p in features[modality].slices(size)
                ]
        else:
            parts = [encode(i) for i in range(0, count, size)]
        return np.concatenate([part.cpu().numpy() for part in parts])

    def evaluate(model: Model) -> dict[str, float]:
        image_vectors = vectors(model, "image", lambda i: model.encode_images(torch.stack(images[i : i + 64])), len(images), 64)
        text_vectors = vectors(model, "text", lambda i: model.encode_texts(texts[i : i + 256]), len(texts), 256)
        if not (np.isfinite(image_vectors).all() and np.isfinite(text_vectors).all()):
            raise FloatingPointError("the vectors are not finite")
        metrics, chance, _ = retrieval(image_vectors, image_ids, text_vectors, text_ids)
        return metrics | {"chance@1": chance["image_retrieval_recall@1"]}

    return evaluate


def still(config: Config, model: Model, stages: list[Stage]) -> list[str]:
    """The modalities whose encoder gives the same in every epoch of `stages`: it learns in none, and nothing is drawn."""
    drawn = {"image": any(_image(config, stage).augment for stage in stages), "text": config.data.text.word_dropout > 0}
    return [m for m in frozen(config, stages, [name for name, _ in model.named_parameters()]) if not drawn.get(m)]


def _features(
    config: Config, data: Dataset, model: Model, stages: list[Stage], split: str, limit: int | None, say: Say, progress: Progress
) -> dict[str, Features]:
    """The cached features of the encoders that learn in none of `stages`, where nothing is drawn about their input."""
    cache = Cache(check_limit(config.train.cache_limit), config.data.workers or 1, say, progress)
    if not cache.limit:
        return {}
    groups = first_rows(data.groups(split), limit)
    found = {m: cache.features(model, m, data, split, groups) for m in still(config, model, stages)}
    return {m: features for m, features in found.items() if features is not None}
