"""Which way a shape moves: the temporal transformer against mean pooling, which sees frames without their order; and memory over
a thousand clips.

    python -m tests.benchmarks.video FOLDER [ways|memory]

`ways` writes GIF files of 32 px and six frames, in which a shape moves left, right, up or down, one class folder each; there and
back have the same frames. It prints the accuracy on unseen scenes, and that between the two ways of an axis alone. A mean of
frames can tell the axis and no more, so 0.5 of four is all it can reach. `memory` prints the peak of resident memory of `prep`,
`train` and `eval` on 250 and on 1,000 MP4 files.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.moving import COLOURS, SHAPES, WAYS, scene, write_gif, write_mp4

SCENES, STEPS = 480, 600
AXES = ({"left", "right"}, {"up", "down"})


def mmkit(folder: Path, *args: object) -> tuple[str, float]:
    """What a command prints, and the peak of its resident memory in MB."""
    command = [sys.executable, "-c", RUN, "mmkit", *map(str, args)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout, int(done.stderr.splitlines()[-1]) / 1024


RUN = """
import resource, sys
from mmkit.cli.app import main
code = main(sys.argv[2:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def ways(folder: Path) -> None:
    rng = random.Random(1)
    for i in range(SCENES):
        way = list(WAYS)[i % len(WAYS)]
        (folder / "ways" / way).mkdir(parents=True, exist_ok=True)
        frames = scene(rng, rng.choice(list(COLOURS)), rng.choice(SHAPES), way, count=6, side=32)
        write_gif(folder / "ways" / way / f"{i:04d}.gif", frames)
    typed = ("--template", "a shape moves {label}", "--splits", "train:0.75,val:0.05,test:0.2")
    mmkit(folder, "prep", "folder", "data", "--source", "ways", *typed)
    for pool in ("temporal", "mean"):
        keys = ("--set", "data.video.frames=6", "--set", f"encoder.video.pool={pool}")
        size = ("--batch-size", 32, "--steps", STEPS, "--lr", 0.002)
        mmkit(folder, "train", "data", "--recipe", "classify", *size, *keys, "--name", pool)
        record: dict[str, Any] = json.loads(mmkit(folder, "eval", "classify", "--model", f"runs/{pool}", "--json")[0])
        print(json.dumps({"pool": pool, "acc1": record["metrics"]["acc1"], "axis": along(folder, pool), "n": record["n"]}))


def along(folder: Path, pool: str) -> dict[str, float]:
    """Share of unseen scenes whose axis is right, and of those the share whose way along it is."""
    import torch

    from mmkit.batch import Batch, Want
    from mmkit.data.shards import open_dataset
    from mmkit.loading import load_model

    model, data = load_model(str(folder / "runs" / pool), "cpu"), open_dataset(folder / "data")
    classes, axis, way, n = model.targets["task"]["classes"], 0, 0, 0
    reader = model.reader("video")
    for row in data.rows("test", ["id", "video", "label"]):
        inputs = {"video": reader.collate([reader.prepare(row["video"])])}
        want = Want("task", "logits")
        with torch.no_grad():
            logits = model(Batch([row["id"]], inputs, {"video": torch.tensor([True])}, {}, {}, {}, 0.0), [want])[want]
        said = classes[int(logits.argmax())]
        n += 1
        axis += any({said, row["label"]} <= names for names in AXES)
        way += said == row["label"]
    return {"axis": round(axis / n, 4), "way_of_right_axis": round(way / max(1, axis), 4)}


def memory(folder: Path) -> None:
    for rows in (250, 1000):
        rng, place = random.Random(0), folder / f"clips-{rows}"
        place.mkdir(parents=True)
        for i in range(rows):
            way, colour, shape = rng.choice(list(WAYS)), rng.choice(list(COLOURS)), rng.choice(SHAPES)
            write_mp4(place / f"{i}.mp4", scene(rng, colour, shape, way, count=60, side=128), rate=25)
            (place / f"{i}.txt").write_text(f"{colour} {shape} {way} {i}")
        data, name = f"data-{rows}", f"run-{rows}"
        peaks = {"prep": mmkit(folder, "prep", "folder", data, "--source", place.name)[1]}
        small = ("--set", "data.video.size=32", "--steps", 60, "--batch-size", 16, "--set", "train.eval_every=100%")
        peaks["train"] = mmkit(folder, "train", data, "--recipe", "nmodal", *small, "--name", name)[1]
        peaks["eval"] = mmkit(folder, "eval", "recall@k", "--data", data, "--model", f"runs/{name}", "--split", "train")[1]
        print(json.dumps({"clips": rows, "peak_MB": {name: round(peak) for name, peak in peaks.items()}}))


if __name__ == "__main__":
    at = Path(sys.argv[1])
    at.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or ("ways", "memory"):
        {"ways": ways, "memory": memory}[name](at)
