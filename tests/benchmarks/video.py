"""Which way a shape moves: the temporal transformer against mean pooling, which sees frames without their order; captions that
say it; and memory over a thousand clips.

    python -m tests.benchmarks.video FOLDER [ways|captions|memory]

`ways` writes GIF files of 32 px and six frames, in which a shape moves left, right, up or down, one class folder each; there and
back have the same frames. It prints the accuracy on unseen scenes, and that between the two ways of an axis alone. A mean of
frames can tell the axis and no more, so 0.5 of four is all it can reach. `captions` trains a flamingo over the frames and a small
language model of the captions, both frozen, and prints the share of unseen scenes whose caption is right word for word, and what
`mmkit caption` says of one. `memory` prints the peak of resident memory of `prep`, `train` and `eval` on 250 to 2,000 MP4 files:
it rises until the loader keeps all that it may of decoded clips (`DECODED_LIMIT`), and no further.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.moving import COLOURS, SHAPES, WAYS, scene, write_folder, write_gif, write_mp4

SCENES, MOVING, STEPS = 480, 720, 600
CLIPS = (250, 500, 1000, 2000)
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


def captions(folder: Path) -> None:
    write_folder(folder / "moving", MOVING, seed=1)
    mmkit(folder, "prep", "folder", "clip-data", "--source", "moving", "--splits", "train:0.75,val:0.1,test:0.15")
    frames = ("--set", "data.video.frames=6", "--set", "data.video.size=32", "--set", "encoder.video.pool=mean")
    words = ("--set", "encoder.text.causal=true", "--set", "encoder.text.pool=eos", "--set", "encoder.text.layers=2")
    lm = ("--set", "loss.lm.kind=lm", "--set", "loss.lm.of=text", "--set", "data.text.context=32")
    common = ("--batch-size", 32, "--lr", 0.002)
    mmkit(folder, "train", "clip-data", "--recipe", "nmodal", *frames, *words, *lm, *common, "--steps", 200, "--name", "seen")
    sees = ("--set", 'fusion.inputs=["video","text"]', "--set", "encoder.video.pool=patches")
    said = ("--init", "runs/seen", *sees, *common, "--steps", STEPS, "--name", "says")
    mmkit(folder, "train", "clip-data", "--recipe", "flamingo", *said)
    asked = ("--data", "clip-data", "--model", "runs/says", "--json")
    record: dict[str, Any] = json.loads(mmkit(folder, "eval", "caption", *asked)[0])
    print(json.dumps({name: record[name]["exact_match"] for name in ("metrics", "chance")} | {"n": record["n"]}))
    print(mmkit(folder, "caption", "moving/00000.gif", "--model", "runs/says", "--json")[0].strip())
    print((folder / "moving/00000.txt").read_text())


def memory(folder: Path) -> None:
    rng, place = random.Random(0), folder / "clips"
    place.mkdir(parents=True)
    for i in range(max(CLIPS)):
        way, colour, shape = rng.choice(list(WAYS)), rng.choice(list(COLOURS)), rng.choice(SHAPES)
        write_mp4(place / f"{i}.mp4", scene(rng, colour, shape, way, count=24, side=128), rate=25)
        (place / f"{i}.txt").write_text(f"{colour} {shape} {way} {i}")
    for rows in CLIPS:
        data, name = f"data-{rows}", f"run-{rows}"
        peaks = {"prep": mmkit(folder, "prep", "folder", data, "--source", place.name, "--limit", rows)[1]}
        # every clip once or more, and as large as makes the decoded ones more than the loader keeps
        small = ("--batch-size", 16, "--steps", max(60, rows // 16), "--set", "train.eval_every=100%")
        peaks["train"] = mmkit(folder, "train", data, "--recipe", "nmodal", *small, "--name", name)[1]
        peaks["eval"] = mmkit(folder, "eval", "recall@k", "--data", data, "--model", f"runs/{name}", "--split", "train")[1]
        print(json.dumps({"clips": rows, "peak_MB": {name: round(peak) for name, peak in peaks.items()}}), flush=True)


if __name__ == "__main__":
    at = Path(sys.argv[1])
    at.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or ("ways", "captions", "memory"):
        {"ways": ways, "captions": captions, "memory": memory}[name](at)
