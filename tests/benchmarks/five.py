"""Five modalities in one space: pictures, captions, tones, motion and depth of the same scenes, each missing in some rows.

    python -m tests.benchmarks.five OUT [--scenes 6000] [--steps 700 and other options of train]

The scenes are those of `mmkit prep shapes`. What is in a scene is in every modality: of each object a tone for its colour, its
shape and its place, louder for a large one (WAV); a stretch of motion with two swinging channels for colour and shape, two that
stand where the object stands and one that is as wide as its size; and its outline in a map of distances in millimetres, nearer
or further by its colour (16-bit PNG). Captions, tones, motion and depth lack in 30 % of the rows each, pictures in 10 %. All
are trained against pictures alone, so that no loss ever sees, say, tones with captions. Prints one JSON object: recall@1 of
every two both ways, with chance, the size of the galleries and the seconds of training; draws OUT/map.png and a sheet of answers
of each modality to another, OUT/audio-series.png and so on.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import random
import subprocess
import sys
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mmkit.data.scenes import CELL, COLOURS, SHAPES, SIDE

RATE, TONE = 16_000, 0.12  # samples a second, and seconds of a tone
STEPS = 24  # of motion, an object
FAR, NEAREST, APART = 5_000, 800, 450  # mm: the ground, the nearest colour, and from each colour to the next
MISSING = {"image": 0.1, "caption": 0.3, "tones": 0.3, "motion": 0.3, "depth": 0.3}
ANCHOR = "image"

Thing = tuple[bool, int, int, int]  # large, colour, shape, place
Box = Sequence[float]


def thing_of(phrase: str, box: Box) -> Thing:
    """An object of a scene by its phrase, `a small red circle`, and its box (x1, y1, x2, y2) in pixels."""
    _, size, colour, shape = phrase.split()
    column, row = (int((box[i] + box[i + 2]) / 2 // CELL) for i in (0, 1))
    return size == "large", list(COLOURS).index(colour), SHAPES.index(shape), 3 * row + column


def tones(things: Sequence[Thing], rng: np.random.Generator) -> bytes:
    """A WAV of three tones an object: colour from 300 Hz up, shape from 1,200 Hz up, place from 2,500 Hz up."""
    time_ = np.arange(round(RATE * TONE)) / RATE
    found = []
    for large, colour, shape, place in things:
        for hertz in (300 * 2 ** (colour / 6), 1200 * 2 ** (shape / 6), 2500 * 2 ** (place / 9)):
            tone = np.sin(2 * np.pi * hertz * rng.uniform(0.995, 1.005) * time_ + rng.uniform(0, 6.28))
            found.append((0.6 if large else 0.2) * np.hanning(len(time_)) * tone)
    values = np.concatenate(found)
    values += rng.normal(0, 0.005, len(values))
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((values.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return sink.getvalue()


def motion(things: Sequence[Thing], rng: np.random.Generator) -> np.ndarray:
    """Six channels over time, (6, 24 an object)."""
    found = []
    at = np.arange(STEPS) / STEPS
    for large, colour, shape, place in things:
        row, column = divmod(place, 3)
        turns = [np.sin(2 * np.pi * (n + 1) * at + rng.uniform(-0.3, 0.3)) for n in (colour, shape)]
        still = [np.full(STEPS, float(value)) for value in (row - 1, column - 1, large)]
        found.append(np.stack([*turns, *still, np.zeros(STEPS)]))
    values = np.concatenate(found, axis=1)
    return (values + rng.normal(0, 0.1, values.shape)).astype(np.float32)


def depth(things: Sequence[Thing], boxes: Sequence[Box], rng: np.random.Generator) -> bytes:
    """A PNG of 16 bits: distances in millimetres."""
    values = np.full((SIDE, SIDE), float(FAR)) - np.linspace(0, 400, SIDE)[:, None]
    for (_, colour, shape, _), (x1, y1, x2, y2) in zip(things, boxes, strict=True):
        mask = Image.new("1", (SIDE, SIDE))
        brush, third = ImageDraw.Draw(mask), (x2 - x1) / 3
        if SHAPES[shape] == "circle":
            brush.ellipse((x1, y1, x2, y2), fill=1)
        elif SHAPES[shape] == "square":
            brush.rectangle((x1, y1, x2, y2), fill=1)
        elif SHAPES[shape] == "triangle":
            brush.polygon(((x1, y2), (x2, y2), ((x1 + x2) / 2, y1)), fill=1)
        else:
            brush.rectangle((x1 + third, y1, x2 - third, y2), fill=1)
            brush.rectangle((x1, y1 + third, x2, y2 - third), fill=1)
        values[np.asarray(mask)] = NEAREST + APART * colour
    values += rng.normal(0, 30, values.shape)
    sink = io.BytesIO()
    Image.fromarray(values.round().astype(np.uint16)).save(sink, "PNG")
    return sink.getvalue()


def write_table(shapes: Path, folder: Path) -> Path:
    """The table of the scenes of a dataset, with files beside it; a row keeps its split.

    Returns:
        The path of the table, JSONL: id, split, image, caption, tones, motion, depth.
    """
    from mmkit.data.shards import open_dataset

    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in open_dataset(shapes).rows(columns=["id", "image", "captions", "regions"]):
        rng, chance = np.random.default_rng(len(lines)), random.Random(f"missing-{row['id']}")
        boxes = row["regions"]["boxes"]
        things = [thing_of(*both) for both in zip(row["regions"]["phrases"], boxes, strict=True)]
        files = {
            "image": (".png", row["image"]["bytes"]),
            "tones": (".wav", tones(things, rng)),
            "depth": ("-depth.png", depth(things, boxes, rng)),
        }
        line: dict[str, Any] = {"caption": row["captions"][0], "motion": motion(things, rng).round(3).tolist()}
        for name, (ending, data) in files.items():
            (folder / f"{row['id']}{ending}").write_bytes(data)
            line[name] = f"{row['id']}{ending}"
        line = {name: line[name] if chance.random() >= share else None for name, share in MISSING.items()}
        lines.append({"id": row["id"], "split": row["split"]} | line)
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return table


def mmkit(*words: Any) -> list[str]:
    """Run a command; the lines that it prints."""
    done = subprocess.run([sys.executable, "-m", "mmkit", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.splitlines()


def draw(place: Path, raw: Path, data: Path, run: str) -> None:
    """A sheet of answers among tones, motion, depth, pictures and captions to one query of each, and a map of all."""
    lines = [json.loads(line) for line in (raw / "table.jsonl").read_text().splitlines()]
    whole = next(line for line in lines if line["split"] == "test" and all(line[name] is not None for name in MISSING))
    np.save(raw / "motion.npy", np.array(whole["motion"], np.float32))
    asked = {
        "image": raw / whole["image"],
        "text": whole["caption"],
        "audio": raw / whole["tones"],
        "series": raw / "motion.npy",
        "depth": f"depth={raw / whole['depth']}",
    }
    where = ("--in", data, "--split", "test", "--model", run, "--top", 5, "--force")
    for query, found in zip(asked, [*list(asked)[1:], next(iter(asked))], strict=True):
        mmkit("retrieve", asked[query], "--find", found, *where, "--figure", place / f"{query}-{found}.png")
    mmkit("umap", data, "--split", "test", "--model", run, "--color", "modality", "-o", place / "map.png", "--force")


def main(out: str, scenes: int, settings: Sequence[str]) -> None:
    place = Path(out).resolve()
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)  # so that runs lie there
    shapes, raw, data = place / "shapes", place / "raw", place / "data"
    mmkit("prep", "shapes", shapes, "--limit", scenes)
    table = write_table(shapes, raw)
    columns = ("image=image", "caption=caption", "audio=tones", "series=motion", "depth=depth")
    mmkit("prep", "table", data, "--source", table, *itertools.chain(*(("--column", column) for column in columns)))
    began = time.time()
    (run,) = mmkit("train", data, "--recipe", "nmodal", "--size", "tiny", "--set", f"loss.itc.anchor={ANCHOR}", *settings)
    seconds = time.time() - began
    found: dict[str, Any] = {"scenes": scenes, "seconds": round(seconds), "recall@1": {}, "chance@1": {}, "n": {}}
    for record in map(json.loads, mmkit("eval", "recall@1", "--data", data, "--model", run, "--split", "test", "--json")):
        pair = "-".join(record["n"])
        for key in ("recall@1", "chance@1"):
            values = record["metrics" if key == "recall@1" else "chance"]
            found[key][pair] = [round(values[f"{name}_retrieval_recall@1"], 3) for name in record["n"]]
        found["n"] |= record["n"]
    draw(place, raw, data, run)
    print(json.dumps(found))


if __name__ == "__main__":
    words = argparse.ArgumentParser()
    words.add_argument("out")
    words.add_argument("--scenes", type=int, default=6000)
    known, rest = words.parse_known_args()
    main(known.out, known.scenes, rest)
