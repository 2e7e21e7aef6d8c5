"""Mid fusion on the official split of easy-VQA (github.com/vzhou842/easy-VQA), beside a model that reads the question alone.

Run it on an idle machine: MMKIT_EASY_VQA=FOLDER python -m pytest tests/benchmarks/test_easy_vqa.py -s
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

STEPS = 3000
SECONDS = 600


def test_answers_of_drawn_shapes(invoke: Any, tmp_path: Any) -> None:
    source = os.environ.get("MMKIT_EASY_VQA")
    if not source:
        pytest.skip("MMKIT_EASY_VQA names no folder that holds train/questions.json")
    assert invoke("prep", "easy-vqa", "data", "--source", source, cwd=tmp_path).code == 0
    found = {}
    for name, keys, steps in ("both", (), STEPS), ("question", ("--set", "loss.task.of=question"), 300):
        start = time.perf_counter()
        words = ("train", "--recipe", "vqa", "--steps", steps, "--batch-size", 64, "--name", name, *keys)
        trained = invoke(*words, cwd=tmp_path)
        assert trained.code == 0, trained.stderr
        seconds = time.perf_counter() - start
        (record,) = invoke("eval", "vqa", "--model", f"runs/{name}", cwd=tmp_path).lines
        found[name] = {"seconds": round(seconds), **record["metrics"]}
    print(json.dumps(found, indent=1))
    assert found["both"]["vqa_accuracy"] >= 0.90
    assert found["question"]["vqa_accuracy"] < 0.75
    assert found["both"]["seconds"] < SECONDS
