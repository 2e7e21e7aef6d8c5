"""Sounds and words, as a user types it: spoken digits (FSDD) and sounds of ten kinds (ESC-10, five folds).

    python -m tests.benchmarks.sounds FSDD ESC10 OUT [digits speaker fold1 fold2 fold3 fold4 fold5 unseen …]

FSDD and ESC10 are folders with the recordings and a `pairs.jsonl`; each line has `audio`, `captions`, `label` and `speaker` or
`fold`. Every part prints one JSON object; each training is at --size tiny and from scratch.

Measured on 2 cores shared with other work, a training in 40 to 68 seconds (51 to 72 of a processor): `digits` 0.987 of the
300 unseen recordings are called by their word, of ten; `speaker` 0.57 of 500 recordings of a speaker that training never heard.
ESC-10's folds 1 to 5: 0.775, 0.700, 0.800, 0.750, 0.725 of the unseen clips by their name, mean 0.750; by a linear probe 0.825,
0.800, 0.850, 0.763, 0.825, mean 0.813. `unseen`: of a name that training never had none of its 8 clips is among the
8 nearest; with it as one of ten names 0.588 are right.
With data.audio.augment crop and mask alone, the default once: 0.993, 0.58, folds 0.735, probes 0.760; with shift besides all that
is the default 0.990, 0.59, folds 0.768, probes 0.800, but speech turned around is another word. Of fold 1 with
encoder.audio.stem=conv2d and all of it 0.738 and 0.775.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.busy import busy

LENGTH = {"fsdd": ("--steps", 400), "esc10": ("--steps", 400, "--batch-size", 64)}
SPEAKER = "theo"  # held out of training
UNSEEN = "rooster"  # a name held out of training

Line = dict[str, Any]


def mmkit(*words: Any) -> list[Line]:
    """Run a command; its lines of JSON, or what it printed as one."""
    done = subprocess.run([sys.executable, "-m", "mmkit", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = done.stdout.splitlines()
    return [json.loads(line) if line.startswith("{") else {"out": line} for line in lines]


def prepared(source: Path, out: Path, split_of: Callable[[Line], str], name_of: Callable[[Line], str]) -> Path:
    """The dataset of a folder's pairs, each sound with its class name as caption and label."""
    rows = []
    for line in map(json.loads, (source / "pairs.jsonl").read_text().splitlines()):
        row = {"audio": str(source / line["audio"]), "caption": name_of(line), "label": name_of(line), "split": split_of(line)}
        rows += [row] if row["split"] else []
    table = out.with_suffix(".jsonl")
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mmkit("prep", "table", out, "--source", table)
    return out


def trained(data: Path, length: tuple[Any, ...]) -> tuple[str, Line]:
    """The run, and its seconds: on the clock, and of processors, which other work on the machine does not change."""
    began, before = time.time(), busy()
    (line,) = mmkit("train", data, "--recipe", "nmodal", "--size", "tiny", *length, "--name", data.name)
    return line["out"], {"seconds": round(time.time() - began), "cpu_seconds": round(busy() - before)}


def measured(run: str, data: Path, classes: list[str], probe: bool = True) -> Line:
    """Sound to name and, by the linear probe, to class; name to sound: how many of the nearest 1 and 10 are of that name."""
    chosen = ["zero-shot", *(["linear-probe"] if probe else [])]
    records = mmkit("eval", *chosen, "--data", data, "--model", run, "--split", "test", "--json")
    found = {key: record["metrics"][key] for record in records for key in ("acc1", "lp_acc1") if key in record["metrics"]}
    where = ("--in", data, "--split", "test", "--model", run, "--find", "audio", "--top", 10, "--json")
    answers = mmkit("retrieve", *classes, *where)
    label = labels(data)
    right = [(answer["rank"], label[answer["id"]] == answer["query"]) for answer in answers]
    found["name_to_sound_p@1"] = sum(ok for rank, ok in right if rank == 1) / len(classes)
    found["name_to_sound_p@10"] = sum(ok for _, ok in right) / len(right)
    return found


def labels(data: Path) -> dict[str, str]:
    from mmkit.data.shards import open_dataset

    return {row["id"]: row["label"] for row in open_dataset(data).rows("test", ["id", "label"])}


def fsdd(source: Path, out: Path, name: str, split_of: Callable[[Line], str]) -> Line:
    data = prepared(source, out / name, split_of, lambda line: line["captions"][0])
    run, seconds = trained(data, LENGTH["fsdd"])
    return {"part": name, **seconds} | measured(run, data, sorted(set(labels(data).values())), probe=False)


def fold(source: Path, out: Path, n: int) -> None:
    """A fold by a model of the other four."""

    def split_of(line: Line) -> str:
        return "test" if line["fold"] == n else "train"

    data = prepared(source, out / f"fold{n}", split_of, lambda line: line["label"])
    run, seconds = trained(data, LENGTH["esc10"])
    found = measured(run, data, sorted(set(labels(data).values())))
    print(json.dumps({"part": f"fold{n}", **seconds} | found), flush=True)


def unseen(source: Path, out: Path) -> None:
    """A class that no training row has: how many of its sounds in the fifth fold are called by its name, of ten."""

    def split_of(line: Line) -> str:
        return "test" if line["fold"] == 5 else "" if line["label"] == UNSEEN else "train"

    data = prepared(source, out / "unseen", split_of, lambda line: line["label"])
    run, seconds = trained(data, LENGTH["esc10"])
    names = sorted(set(labels(data).values()))
    where = ("--in", data, "--split", "test", "--model", run, "--find", "audio", "--top", 8, "--json")
    answers = mmkit("retrieve", UNSEEN, *where)
    label = labels(data)
    of_it = sum(label[a["id"]] == UNSEEN for a in answers)
    (record,) = mmkit("eval", "zero-shot", "--data", data, "--model", run, "--split", "test", "--json")
    found = {"acc1_of_ten": record["metrics"]["acc1"], "its_sounds_among_the_8_nearest": of_it, "classes": len(names)}
    print(json.dumps({"part": f"unseen name {UNSEEN}", **seconds} | found), flush=True)


def main(fsdd_folder: str, esc10_folder: str, out: str, *parts: str) -> None:
    spoken, sounds, place = Path(fsdd_folder).resolve(), Path(esc10_folder).resolve(), Path(out).resolve()
    place.mkdir(parents=True, exist_ok=True)
    chosen = parts or ("digits", "speaker", *(f"fold{n}" for n in range(1, 6)), "unseen")
    if "digits" in chosen:
        print(json.dumps(fsdd(spoken, place, "digits", lambda line: line["split"])), flush=True)
    if "speaker" in chosen:
        held = fsdd(spoken, place, "speaker", lambda line: "test" if line["speaker"] == SPEAKER else "train")
        print(json.dumps(held), flush=True)
    for n in range(1, 6):
        if f"fold{n}" in chosen:
            fold(sounds, place, n)
    if "unseen" in chosen:
        unseen(sounds, place)


if __name__ == "__main__":
    main(*sys.argv[1:])
