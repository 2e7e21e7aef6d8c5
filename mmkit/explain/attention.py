"""What a model looks at: which patches of a picture and which words of a text its score comes from.

H heads, N tokens, D width; h and w patches
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mmkit.data.images import load_cell
from mmkit.errors import UsageError, nearest
from mmkit.explain import fused
from mmkit.explain.asked import Asked, ask, picture_of
from mmkit.explain.maps import METHODS, Maps
from mmkit.explain.seen import Layer, look
from mmkit.explain.words import tokens_of, words_of
from mmkit.model import Model

EMPTY = np.empty((0, 0, 0, 0), np.float32)
Box = tuple[float, float, float, float]
MUCH = 0.5  # share of a picture; a crop that keeps less is said


@dataclass(frozen=True)
class Word:
    """A word as it is read, its weight, and where it has one its own map of the picture (h, w)."""

    text: str
    weight: float
    grid: np.ndarray | None = None


@dataclass(frozen=True)
class Explanation:
    """What a model looked at.

    Args:
        method: one of METHODS; layer, head: as they were asked for.
        score: of the pair, or of the answer; kind: cosine, late interaction, logit, log-probability or norm (nothing was asked).
        answer: the class or answer that was predicted, or asked for, or the text that the model wrote.
        grid: weight of each patch (h, w), from the top left of what the model saw.
        shown: the part of the picture that it saw: left, top, right, bottom in pixels, beyond the edges where it is filled up.
        size: of the picture, width and height.
        tokens: the tokenizer's own; text: their weights (M,).
        image_layers, text_layers: attention (L, H, N, N) of the encoders, empty where they give none.
        fusion_layers: that of a fusion (L, H, N, M), in the order of its tokens.
        notes: what the reader should know of the maps.
        heads: weight of each patch in every layer and head of the picture's encoder (L, H, h, w), where they were asked for.
    """

    method: str
    score: float
    kind: str
    answer: str | None
    grid: np.ndarray
    shown: Box
    size: tuple[int, int]
    words: list[Word] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    text: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    image_layers: np.ndarray = field(default_factory=lambda: EMPTY)
    text_layers: np.ndarray = field(default_factory=lambda: EMPTY)
    fusion_layers: np.ndarray = field(default_factory=lambda: EMPTY)
    notes: tuple[str, ...] = ()
    layer: int | None = None
    head: int | None = None
    heads: np.ndarray = field(default_factory=lambda: EMPTY)

    def on_picture(self, grid: np.ndarray | None = None) -> np.ndarray:
        """A map (h, w) of patches, by default the whole score's, in the picture's own pixels; see `on_picture`."""
        return on_picture(self.grid if grid is None else grid, self.shown, self.size)

    def peak(self) -> tuple[int, int]:
        """The pixel of the picture, x and y, that weighs most."""
        y, x = np.unravel_index(self.on_picture().argmax(), self.size[::-1])
        return int(x), int(y)


def explain(
    model: Model,
    item: dict[str, Any],
    text: str | None = None,
    method: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    each_word: bool = False,
    each_head: bool = False,
) -> Explanation:
    """Which patches of a picture, and which words of a text, a model's score comes from.

    Args:
        item: the picture as a row holds it, {"bytes", "path"}.
        text: what it is compared with, the question that is answered, a class of a classifier, or what a captioner might write.
            None: the picture alone, or what it does write.
        method, layer, head: of `Maps`.
        each_word: make a map of the picture for each word, too: where the method relates no word to a patch, the map of the word
            alone as the text.
        each_head: make a map of every layer and head, too.

    Raises:
        UserError: the model has not what the method takes; what works is named. Or the picture cannot be read.
        UsageError: no such method, layer or head.
    """
    if method is not None and method not in METHODS:
        raise UsageError(f"no method {method!r}", "--method", nearest(method, METHODS))
    name = picture_of(model)
    picture = load_cell(item)
    asked = ask(model, model.reader(name).prepare(item), text)
    text = text if asked.foretold is None else asked.foretold
    seen = look(asked)
    tokens, spans = _tokens(asked, text or "", len(seen.tokens.get(asked.words or "", ())))
    words = words_of(text or "", spans)
    maps = Maps(asked, seen, [number for _, numbers in words for number in numbers], method, layer, head)
    grid, weights = maps.picture(), maps.text()
    box = model.reader(name).pixels.shown(*picture.size)
    if (share := _share_seen(box, picture.size)) < MUCH:
        maps.notes.append(f"the model sees the middle {share:.0%} of the picture; the rest is cropped away")
    grids = _word_grids(maps, words) if each_word else [None] * len(words)
    if words and not (text or "").rstrip().endswith(words[-1][0]):
        maps.notes.append(f"the model reads {len(tokens)} tokens, and so nothing behind {words[-1][0]!r}")
    return Explanation(
        maps.method,
        seen.score,
        asked.kind,
        asked.answer,
        grid,
        box,
        picture.size,
        [Word(word, float(weights[n].sum()), own) for (word, n), own in zip(words, grids, strict=True)],
        tokens,
        weights,
        _stacked(seen.layers[name]),
        _stacked(seen.layers.get(asked.words or "", [])),
        _stacked(fused.joint(asked, seen)),
        tuple(maps.notes),
        layer,
        head,
        maps.heads() if each_head else EMPTY,
    )


def _share_seen(shown: Box, size: tuple[int, int]) -> float:
    """How much of a picture's area the model saw."""
    sides = [min(end, pixels) - max(begin, 0) for begin, end, pixels in zip(shown[:2], shown[2:], size, strict=True)]
    return sides[0] * sides[1] / (size[0] * size[1])


def _tokens(asked: Asked, text: str, length: int) -> tuple[list[str], list[tuple[int, int]]]:
    return tokens_of(asked.model.reader(asked.words).tokenizer, text, length) if asked.words else ([], [])


def _word_grids(maps: Maps, words: Sequence[tuple[str, list[int]]]) -> list[np.ndarray | None]:
    found = maps.word_grids([numbers for _, numbers in words])
    if found is not None:
        return list(found)
    asked = maps.asked
    if asked.words is None or asked.joined or maps.method not in ("relevance", "gradcam"):
        return [None] * len(words)
    maps.notes.append("a word's own map is that of the word alone as the text")
    alone = [ask(asked.model, asked.items[asked.picture], word) for word, _ in words]
    return [Maps(one, look(one), method=maps.method).picture() for one in alone]


def _stacked(layers: Sequence[Layer]) -> np.ndarray:
    """(L, H, N, M); empty where the layers are of several shapes."""
    if len({layer.weights.shape for layer in layers}) != 1:
        return EMPTY
    return torch.stack([layer.weights for layer in layers]).float().cpu().numpy()


def on_picture(grid: np.ndarray, shown: Box, size: tuple[int, int]) -> np.ndarray:
    """A map of patches (h, w) in a picture's own pixels, (height, width) float32: bilinear between the middles of the patches,
    where the model did not look 0, or the least weight where some are negative.

    Args:
        shown: the part that the patches cover, in pixels; size: of the picture, width and height.
    """
    axes = []
    for count, begin, end, pixels in zip(grid.shape[::-1], shown[:2], shown[2:], size, strict=True):
        at = (np.arange(pixels) + 0.5 - begin) / (end - begin)
        place = np.clip(at * count - 0.5, 0, count - 1)
        low = np.minimum(place.astype(int), max(count - 2, 0))
        axes.append((low, np.minimum(low + 1, count - 1), (place - low).astype(np.float32), (at >= 0) & (at <= 1)))
    (x0, x1, across, in_x), (y0, y1, down, in_y) = axes
    rows = grid[y0] * (1 - down)[:, None] + grid[y1] * down[:, None]
    found = rows[:, x0] * (1 - across) + rows[:, x1] * across
    return np.where(in_y[:, None] & in_x, found, min(0.0, float(grid.min()))).astype(np.float32)
