"""Each preset of `mmkit train --tune` on real data: recall on test, seconds of processor time, and the parameters that learn.

    python -m tests.benchmarks.tune MOBILENET.safetensors MINILM COCO_MINI EMOJI_NOTO OUT [DATA-PRESET]

MOBILENET: MobileNetV2 with its batch norm folded in (tests/parity/test_mobilenet.py); MINILM: a transformers folder; COCO_MINI:
111 COCO photos in the official layout; EMOJI_NOTO: emoji PNGs with `captions.jsonl`, of which those without skin tones are taken.
OUT gets the datasets, the runs, and table.md. What is there already is not made again. DATA-PRESET: the runs alone that begin so,
and no table.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from mmkit.tabular import markdown
from mmkit.tune import tunes
from tests.conftest import invoke_mmkit
from tests.parity.test_mobilenet import convert

STEPS, BATCH = {"coco_mini": 40, "emoji_noto": 60}, {"coco_mini": 26, "emoji_noto": 32}
PIXELS = 96  # a step through MobileNetV2 at 224 takes five times as long
SCORES = [f"{way}_retrieval_recall@{k}" for way in ("image", "text") for k in (1, 5, 10)]


def main(mobilenet: Path, minilm: Path, coco: Path, emoji: Path, out: Path, only: str = "") -> None:
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "mobilenet").exists():
        convert(load_file(mobilenet), out / "mobilenet")
    if not (out / "coco_mini").exists():
        mmkit("prep", "coco", "coco_mini", "--source", coco, cwd=out)
    if not (out / "emoji_noto").exists():
        lines = [json.loads(line) for line in (emoji / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
        rows = [{"image": row["image"], "caption": row["captions"][0]} for row in lines if not row["skin_tone"]]
        (out / "emoji.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        mmkit("prep", "table", "emoji_noto", "--source", "emoji.jsonl", "--image-root", emoji, cwd=out)
    wanted = [(name, data) for data in STEPS for name in tunes() if f"{data}-{name}".startswith(only)]
    found = [measure(name, data, minilm, out) for name, data in wanted]
    if only:
        return
    text = markdown(list(found[0]), [list(map(str, row.values())) for row in found])
    (out / "table.md").write_text(text + "\n")
    print(text)


def measure(name: str, data: str, minilm: Path, out: Path) -> dict[str, Any]:
    """One preset on one dataset."""
    run, saved = f"{data}-{name}", out / f"{data}-{name}.json"
    if saved.exists():
        return json.loads(saved.read_text())
    start = time.process_time()
    words = ["--image-encoder", "mobilenet", "--text-encoder", minilm, "--tune", name, "--steps", STEPS[data], "--name", run]
    words += ["--batch-size", BATCH[data], "--set", f"data.image.size={PIXELS}"]
    said = mmkit("train", data, *words, "--force", cwd=out)
    seconds = time.process_time() - start
    (record,) = [json.loads(line) for line in mmkit("eval", "recall@k", "--data", data, "--model", f"runs/{run}", cwd=out)[0]]
    row = {"data": data, "--tune": name, "learn": re.search(r"parameters, ([\d,]+) learn", said[1])[1]}  # type: ignore[index]
    row |= {"mean recall": f"{sum(record['metrics'][score] for score in SCORES) / len(SCORES):.3f}"}
    row |= {score: f"{record['metrics'][score]:.3f}" for score in SCORES if score.endswith("@1")}
    row |= {"CPU seconds": f"{seconds:.0f}", "n": record["n"]["image"]}
    saved.write_text(json.dumps(row))
    return row


def mmkit(*words: Any, cwd: Path) -> tuple[list[str], str]:
    """Lines of stdout, and stderr."""
    outcome = invoke_mmkit(*words, cwd=cwd)
    print(outcome.stderr, file=sys.stderr)
    assert outcome.code == 0, outcome.stderr
    return outcome.stdout.splitlines(), outcome.stderr


if __name__ == "__main__":
    main(*(Path(word).resolve() for word in sys.argv[1:6]), *sys.argv[6:])
