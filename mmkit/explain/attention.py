"""What a model looks at: which patches of a picture, stretches of a sound or frames of a video, and which words of a text, its
score comes from.

H heads, N tokens, D width; h and w patches
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mmkit.data.canvas import Canvas
from mmkit.errors import UsageError, nearest
from mmkit.explain import fused
from mmkit.explain.asked import Asked, ask, can_be_looked_at
from mmkit.explain.maps import METHODS, Maps
from mmkit.explain.seen import Layer, look
from mmkit.explain.words import tokens_of, words_of
from mmkit.model import Model

EMPTY = np.empty((0, 0, 0, 0), np.float32)
MUCH = 0.5  # share of a picture; a crop that keeps less is said


@dataclass(frozen=True)
class Word:
    """A word as it is read, its weight, and where it has one its own map of what is looked at."""

    text: str
    weight: float
    grid: np.ndarray | None = None


@dataclass(frozen=True)
class Explanation:
    """What a model looked at.

    Args:
        method: one of METHODS; layer, head: as they were asked for.
        score: of the pair, or of the answer; kind: cosine, late interaction, logit, number (in the units of the data),
            log-probability or norm (nothing was asked).
        answer: the class or answer that was predicted, or asked for, or the text that the model wrote.
        looked: the input that is looked at; canvas: the item as it is drawn, with the part of it that the model saw.
        grid: weight of each patch (h, w) of a picture, from the top left of what the model saw; of what goes over time (A, T): of
            mel bands, the lowest first, or channels, at each step; of each patch of each frame of a video (n, h, w).
        tokens: the tokenizer's own; text: their weights (M,).
        layers, text_layers: attention (L, H, N, N) of the encoders, empty where they give none.
        fusion_layers: that of a fusion (L, H, N, M), in the order of its tokens.
        notes: what the reader should know of the maps.
        heads: the grid of every layer and head of the encoder (L, H, h, w), where they were asked for.
    """

    method: str
    score: float
    kind: str
    answer: str | None
    looked: str
    canvas: Canvas
    grid: np.ndarray
    words: list[Word] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    text: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    layers: np.ndarray = field(default_factory=lambda: EMPTY)
    text_layers: np.ndarray = field(default_factory=lambda: EMPTY)
    fusion_layers: np.ndarray = field(default_factory=lambda: EMPTY)
    notes: tuple[str, ...] = ()
    layer: int | None = None
    head: int | None = None
    heads: np.ndarray = field(default_factory=lambda: EMPTY)

    def spread(self, grid: np.ndarray | None = None) -> np.ndarray:
        """A map, by default the whole score's, in the canvas's own cells: pixels, frames and bands, steps and channels."""
        return self.canvas.spread(self.grid if grid is None else grid)

    def peak(self) -> list[float]:
        """Where the map weighs most; see `Canvas.peak`."""
        return self.canvas.peak(self.grid)


def explain(
    model: Model,
    item: Any,
    text: str | None = None,
    method: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    each_word: bool = False,
    each_head: bool = False,
    looked: str | None = None,
    beside: Mapping[str, Any] | None = None,
) -> Explanation:
    """Which patches of a picture, stretches of a sound or a series, or frames of a video, and which words of a text, a model's
    score comes from.

    Args:
        item: what is looked at, as a row holds it.
        text: what it is compared with, the question that is answered, a class of a classifier, or what a captioner might write.
            None: the item alone, or what is written of it.
        method, layer, head: of `Maps`.
        each_word: make a map for each word, too: where the method relates no word to a patch, the map of the word
            alone as the text.
        each_head: make a map of every layer and head, too.
        looked: the input that is looked at; by default the first that can be.
        beside: further inputs and an item of each, as a row holds them: a head is shown all that it reads; without a text and a
            head `item` is compared with the first.

    Raises:
        UserError: the model has not what the method takes; what works is named. Or the item cannot be read.
        UsageError: no such method, layer or head.
    """
    if method is not None and method not in METHODS:
        raise UsageError(f"no method {method!r}", "--method", nearest(method, METHODS))
    name = looked or can_be_looked_at(model)[0]
    canvas = model.reader(name).canvas(item)
    others = {other: model.reader(other).prepare(value) for other, value in (beside or {}).items()}
    asked = ask(model, model.reader(name).prepare(item), text, name, others)
    text = text if asked.foretold is None else asked.foretold
    seen = look(asked)
    tokens, spans = _tokens(asked, text or "", len(seen.tokens.get(asked.words or "", ())))
    words = words_of(text or "", spans)
    maps = Maps(asked, seen, [number for _, numbers in words for number in numbers], method, layer, head)
    grid, weights = maps.picture(), maps.text()
    maps.notes += _missing(asked)
    if (share := canvas.seen() * canvas.share) < MUCH:
        maps.notes.append(f"the model takes the middle {100 * share:.2g}% of the {name}; the rest is cut away")
    grids = _word_grids(maps, words) if each_word else [None] * len(words)
    if words and not (text or "").rstrip().endswith(words[-1][0]):
        maps.notes.append(f"the model reads {len(tokens)} tokens, and so nothing behind {words[-1][0]!r}")
    return Explanation(
        maps.method,
        seen.score,
        asked.kind,
        asked.answer,
        name,
        canvas,
        grid,
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


def _missing(asked: Asked) -> list[str]:
    """What is said of inputs that the model reads and that were not given."""
    if not asked.missing:
        return []
    names = " and ".join(asked.missing)
    if asked.kind == "norm":
        return [f"shown is the {asked.looked} by itself: without {names}, which the model reads, too, it decides nothing"]
    return [f"the {asked.kind} is that without {names}, which the model reads, too"]


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
    alone = [ask(asked.model, asked.items[asked.looked], word, asked.looked) for word, _ in words]
    return [Maps(one, look(one), method=maps.method).picture() for one in alone]


def _stacked(layers: Sequence[Layer]) -> np.ndarray:
    """(L, H, N, M); empty where the layers are of several shapes."""
    if len({layer.weights.shape for layer in layers}) != 1:
        return EMPTY
    return torch.stack([layer.weights for layer in layers]).float().cpu().numpy()
