"""From places in the stream to batches of tensors. Threads decode; they hold no state, so resuming is exact."""

from __future__ import annotations

import queue
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from mmkit.data.augment import Augment, choose_caption, draws, drop_words
from mmkit.data.images import load_rgb
from mmkit.data.order import Order, Place
from mmkit.data.pixels import to_tensor
from mmkit.data.shards import Dataset, Group, GroupCache
from mmkit.errors import UserError
from mmkit.files import stable_hash

if TYPE_CHECKING:
    from mmkit.data.tokenizer import Tokenizer

DECODED_LIMIT = 128 << 20  # bytes of decoded pictures kept in memory; a larger dataset is decoded anew each epoch
KNOWN_LIMIT = 1 << 15  # captions whose token ids and keys are kept
AHEAD = 3  # batches prepared before they are asked for


class Loader:
    """Training batches of pictures and captions.

    Each batch is {"id": list[str], "image": uint8 (B, 3, S, S), "text": {"ids", "mask"}, "caption": list[str],
    "keys": {"image": int64 (B,), "text": int64 (B,)}, "epoch": float}: equal keys mark equal pictures,
    or captions that are equal as written.
    A modality with features is delivered as {"pooled": float32 (B, D)} (text beside its tokens), and no picture is read.

    Args:
        data: the dataset, its split and the names of its image and caption columns come from `split`.
        batch_size: samples of a global batch; `rank` of `world` takes its slice of each.
        limit: use only the first rows.
        features: modality -> what its frozen encoder gives, computed before (`mmkit.training.features.Features`).
    """

    def __init__(
        self,
        data: Dataset,
        split: str,
        augment: Augment,
        tokenizer: Tokenizer,
        batch_size: int,
        seed: int = 0,
        workers: int = 2,
        word_dropout: float = 0.0,
        limit: int | None = None,
        rank: int = 0,
        world: int = 1,
        features: dict[str, Any] | None = None,
    ) -> None:
        self.data, self.split, self.augment, self.tokenizer = data, split, augment, tokenizer
        self.batch_size, self.seed, self.workers, self.word_dropout = batch_size, seed, workers, word_dropout
        self.image, self.text = data.column("image"), data.column("text")
        self.rank, self.world, self.features = rank, world, features or {}
        groups = first_rows(data.groups(split), limit)
        self.order = Order(groups, seed, batch_size, self._caption_keys)
        # a batch may span two windows; with less, a picture would cost a row group
        self._cache = GroupCache(data, ["id", self.image, self.text], 2 * self.order.window_bytes)
        self._captions = GroupCache(data, ["id", self.text], 64 << 20)
        self._decoded: dict[tuple[str, int, int], tuple[Any, str, list[str], int]] = {}
        self._decoded_bytes = 0
        self._encoded: dict[str, list[int]] = {}

    @property
    def rows(self) -> int:
        return self.order.rows

    def batches(self, position: int = 0) -> Iterator[dict[str, Any]]:
        """Batches from number `position` on, without end, prepared by a background thread."""
        ready: queue.Queue[Any] = queue.Queue(AHEAD)
        stop = threading.Event()

        def produce() -> None:
            try:
                with ThreadPoolExecutor(self.workers) as pool:
                    for number, places in enumerate(self.order.batches(position), position):
                        if stop.is_set():
                            return
                        share = len(places) // self.world
                        mine = places[self.rank * share : (self.rank + 1) * share]
                        _put(ready, self._collate(self._samples(pool, mine), number), stop)
            except BaseException as e:  # handed to the consumer, which raises it
                _put(ready, e, stop)

        thread = threading.Thread(target=produce, daemon=True, name="loader")
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            thread.join(timeout=10)

    def _samples(self, pool: ThreadPoolExecutor, places: list[Place]) -> list[tuple[Any, ...]]:
        # a task a thread, not a sample: handing over small pictures one by one costs more than decoding them
        size = -(-len(places) // self.workers)
        slices = [places[i : i + size] for i in range(0, len(places), size)]
        return [sample for part in pool.map(lambda part: [self._sample(p) for p in part], slices) for sample in part]

    def _sample(self, place: Place) -> tuple[torch.Tensor, str, str, int, int, torch.Tensor | None]:
        prepared, sample, captions, image_key = self._prepared(place)
        chosen = caption = choose_caption(captions, self.seed, place.epoch, sample)
        if self.word_dropout or isinstance(prepared, Image.Image):  # seeding is not free, and mostly nothing is drawn
            rng = draws(self.seed, place.epoch, sample)
            caption = drop_words(chosen, self.word_dropout, rng)
            if isinstance(prepared, Image.Image):
                prepared = to_tensor(self.augment(prepared, caption, rng))
        image = self.features["image"].pooled(place) if prepared is None else prepared
        text = self.features["text"].pooled(place, captions.index(chosen)) if "text" in self.features else None
        # the key is of the caption as written: with words left out, others look equal, and equal ones do not
        return image, sample, caption, image_key, text_key(chosen), text

    def _prepared(self, place: Place) -> tuple[Image.Image | torch.Tensor | None, str, list[str], int]:
        if "image" in self.features:
            row = self._captions.row(place.group, place.row)
            return None, row["id"], row[self.text], self.features["image"].key(place)
        key = (place.group.file, place.group.index, place.row)
        held = self._decoded.get(key)
        if held is None:
            row = self._cache.row(place.group, place.row)
            image = self.augment.prepare(picture(row, self.image))
            size = 3 * image.width * image.height
            held = (to_tensor(image) if self.augment.still else image, row["id"], row[self.text], image_key(row[self.image]))
            if self._decoded_bytes + size <= DECODED_LIMIT:
                self._decoded_bytes += size
                self._decoded[key] = held
        return held

    def _tokens(self, captions: Sequence[str]) -> dict[str, torch.Tensor]:
        new = [caption for caption in set(captions) if caption not in self._encoded]
        if len(self._encoded) + len(new) > KNOWN_LIMIT:
            self._encoded, new = {}, list(set(captions))
        self._encoded |= zip(new, self.tokenizer.encode(new), strict=True)
        return self.tokenizer.padded([self._encoded[caption] for caption in captions])

    def _caption_keys(self, epoch: int, group: Group) -> list[int]:
        table = self._captions.table(group)
        ids, captions = table.column("id").to_pylist(), table.column(self.text).to_pylist()
        return [
            text_key(choose_caption(c, self.seed, epoch, i))
            for i, c in zip(ids[: group.rows], captions[: group.rows], strict=True)
        ]

    def _collate(self, samples: list[tuple[Any, ...]], number: int) -> dict[str, Any]:
        images, ids, captions, image_keys, text_keys, texts = zip(*samples, strict=True)
        image, text = torch.stack(images), self._tokens(captions)
        return {
            "id": list(ids),
            "caption": list(captions),
            "image": {"pooled": image} if "image" in self.features else image,
            "text": text | {"pooled": torch.stack(texts)} if "text" in self.features else text,
            "keys": {
                "image": torch.from_numpy(np.array(image_keys, dtype=np.int64)),
                "text": torch.from_numpy(np.array(text_keys, dtype=np.int64)),
            },
            "epoch": (number + 1) * self.batch_size / self.rows,
        }


def picture(row: dict[str, Any], column: str) -> Image.Image:
    """The RGB picture of a row, from its bytes or, in a linked dataset, from its path.

    Raises:
        UserError: the picture cannot be read; row and reason are named.
    """
    value = row[column]
    if not value:
        raise UserError("a row without a picture", f"row {row['id']}", "`mmkit prep` rejects such rows")
    try:
        return load_rgb(value["bytes"] if value["bytes"] is not None else value["path"])
    except (OSError, ValueError, UserError) as e:
        raise UserError(f"cannot read a picture ({e})", f"row {row['id']}", "run the same `mmkit prep` again with --force") from e


def image_key(value: dict[str, Any]) -> int:
    """The same for two pictures of the same bytes (or the same linked file)."""
    return stable_hash(value["bytes"] if value["bytes"] is not None else value["path"])


@lru_cache(KNOWN_LIMIT)  # asked for by the order, for the batch, and again in the next epoch
def text_key(caption: str) -> int:
    """The same for two captions that differ in case, spacing or Unicode form only."""
    return stable_hash(" ".join(unicodedata.normalize("NFC", caption).casefold().split()))


def first_rows(groups: list[Group], limit: int | None) -> list[Group]:
    """The row groups that hold the first `limit` rows, the last one cut short."""
    if limit is None:
        return groups
    kept: list[Group] = []
    for group in groups:
        rows = min(group.rows, limit)
        if rows <= 0:
            break
        kept.append(replace(group, rows=rows))
        limit -= rows
    return kept


def _put(ready: queue.Queue[Any], item: Any, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.2)
            return
        except queue.Full:
            continue
