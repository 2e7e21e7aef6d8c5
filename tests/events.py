"""Sounds, series, videos and pairs of pictures in which two things are there and a text, or another input, names one of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from tests.conftest import write_dataset
from tests.core import wav

PITCHES = {"low": 250, "middle": 600, "high": 1300, "shrill": 2700}
COLOURS = {"red": (220, 40, 40), "green": (40, 170, 70), "blue": (50, 80, 220), "yellow": (240, 200, 40)}
EVENTS = {"bump": 1.0, "dip": -1.0, "shake": np.pi / 2, "buzz": np.pi}
RATE, SECONDS, TONE = 16_000, 1.2, 0.3
STEPS, EVENT = 96, 24
SIDE, SQUARE, FRAMES = 32, 10, 8


class Planted(NamedTuple):
    """A value as a row holds it; and of each of its two things the text or item that names it and where it is.

    `spans`: begin and end in seconds or steps, and where a place is known also the least and the greatest of the other axes.
    """

    value: Any
    names: list[Any]
    spans: list[tuple[float, ...]]


def _two(rng: np.random.Generator, names: Any) -> list[str]:
    return [str(name) for name in rng.choice(list(names), 2, replace=False)]


def sound(number: int) -> Planted:
    """Two tones, one in either half, in noise. Spans: begin and end in seconds, and its pitch in Hz."""
    rng = np.random.default_rng(number)
    names, values, spans = _two(rng, PITCHES), rng.normal(0, 0.02, int(SECONDS * RATE)), []
    for half, name in enumerate(names):
        begin = half * SECONDS / 2 + rng.uniform(0, SECONDS / 2 - TONE)
        at = int(begin * RATE)
        time = np.arange(int(TONE * RATE)) / RATE
        values[at : at + len(time)] += 0.4 * np.sin(2 * np.pi * PITCHES[name] * time)
        spans.append((begin, begin + TONE, float(PITCHES[name])))
    return Planted({"bytes": wav(values, RATE), "path": None}, names, spans)


def series(number: int) -> Planted:
    """Two events, one in either half, each in one of three channels of noise. Spans: begin and end in steps, and the channel."""
    rng = np.random.default_rng(number)
    names, values, spans = _two(rng, EVENTS), rng.normal(0, 0.2, (3, STEPS)), []
    for half, name in enumerate(names):
        begin, channel = half * STEPS // 2 + int(rng.integers(0, STEPS // 2 - EVENT + 1)), int(rng.integers(3))
        shape = EVENTS[name]
        time = np.arange(EVENT)
        values[channel, begin : begin + EVENT] += 2 * (np.cos(shape * time) if shape > 1 else shape)
        spans.append((begin, begin + EVENT, channel))
    return Planted(values.tolist(), names, spans)


def video(number: int) -> Planted:
    """A square of one colour in the first half and of another in the second, each at its own place. Spans: begin and end in
    frames, then left, top, right, bottom in pixels."""
    rng = np.random.default_rng(number)
    names, frames, spans = _two(rng, COLOURS), [], []
    for half, name in enumerate(names):
        x, y = (int(rng.integers(0, SIDE - SQUARE)) for _ in range(2))
        for _ in range(FRAMES // 2):  # noise of its own in each: a GIF joins frames that are alike
            picture = Image.fromarray(rng.normal(90, 8, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8))
            ImageDraw.Draw(picture).rectangle((x, y, x + SQUARE, y + SQUARE), fill=COLOURS[name])
            frames.append(picture)
        spans.append((half * FRAMES // 2, (half + 1) * FRAMES // 2, x, y, x + SQUARE, y + SQUARE))
    sink = io.BytesIO()
    frames[0].save(sink, "GIF", save_all=True, append_images=frames[1:], duration=100, disposal=2)
    return Planted({"bytes": sink.getvalue(), "path": None}, names, spans)


def depth(number: int) -> Planted:
    """A picture of two squares, left and right, and for either the depth map that shows it alone: how near a square is goes with
    its colour. Spans: left, top, right, bottom in pixels."""
    rng = np.random.default_rng(number)
    pixels, spans, maps = rng.normal(90, 8, (SIDE, SIDE, 3)), [], []
    for half, name in enumerate(_two(rng, COLOURS)):
        x = int(rng.integers(0, SIDE // 2 - SQUARE + 1)) + half * SIDE // 2
        y = int(rng.integers(0, SIDE - SQUARE + 1))
        pixels[y : y + SQUARE, x : x + SQUARE] = COLOURS[name]
        far = np.full((SIDE, SIDE), 20.0)
        far[y : y + SQUARE, x : x + SQUARE] = 70 + 60 * list(COLOURS).index(name)
        maps.append(_png(far))
        spans.append((x, y, x + SQUARE, y + SQUARE))
    return Planted(_png(pixels), maps, spans)


def _png(pixels: np.ndarray) -> dict[str, Any]:
    sink = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(sink, "PNG")
    return {"bytes": sink.getvalue(), "path": None}


MADE = {"audio": sound, "series": series, "video": video}


def dataset(kind: str, folder: Path, train: int = 300, val: int = 30) -> Path:
    """A dataset folder of one of MADE with both names as captions, or of `depth`, whose maps are a second column."""
    rows = []
    for number in range(train + val):
        made = depth(number) if kind == "depth" else MADE[kind](number)
        if kind == "depth":
            rows.append({"id": f"r{number}", "image": made.value, "depth": made.names[number % 2]})
        else:
            rows.append({"id": f"r{number}", kind: made.value, "captions": made.names})
    columns = {"image": "image", "depth": "image"} if kind == "depth" else {kind: kind, "captions": "text"}
    write_dataset(folder, {"train": rows[:train], "val": rows[train:]}, columns)
    return folder


def holds(kind: str, peak: list[float], span: tuple[float, ...]) -> bool:
    """Whether a map peaks on a thing: in its time and, where it has one, its pitch (by a fourth), channel or box."""
    if kind == "depth":
        return span[0] <= peak[0] <= span[2] and span[1] <= peak[1] <= span[3]
    if kind == "audio":
        return span[0] <= peak[0] <= span[1] and abs(np.log(peak[1] / span[2])) < np.log(4 / 3)
    if kind == "series":
        return span[0] <= peak[0] < span[1] and peak[1] - 1 == span[2]
    frame = round(peak[0] * 10)
    return span[0] <= frame < span[1] and span[2] <= peak[1] <= span[4] and span[3] <= peak[2] <= span[5]


def game(model: Any, kind: str, count: int, method: str | None = None) -> tuple[float, float]:
    """The pointing game (arXiv:1608.00507, section 4.1) over `count` unseen values: the share of maps that peak on the thing that
    is named, and on the other one."""
    from mmkit.explain.attention import explain

    found = []
    for number in range(1000, 1000 + count):
        made = depth(number) if kind == "depth" else MADE[kind](number)
        for i, name in enumerate(made.names):
            other = {"depth": name} if kind == "depth" else {}
            named = explain(model, made.value, None if other else name, method, looked="image" if other else kind, beside=other)
            found.append([holds(kind, named.peak(), made.spans[j]) for j in (i, 1 - i)])
    own, others = np.mean(found, axis=0)
    return float(own), float(others)
