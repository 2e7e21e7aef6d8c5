"""The demo as a newcomer meets it: at most 4 minutes on 2 cores, and R@1 of at least 0.85 both ways on unseen combinations."""

from __future__ import annotations

import json
import time

from tests.conftest import run_mmkit


def test_the_demo_is_good_and_quick(tmp_path):
    start = time.monotonic()
    done = run_mmkit(["demo", "--json"], tmp_path)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    print(f"{seconds:.0f} s", record["seconds"], record["metrics"])
    assert record["n"] == {"image": 300, "text": 300}
    for direction in ("image_retrieval", "text_retrieval"):
        assert record["metrics"][f"{direction}_recall@1"] >= 0.85
        assert record["chance"][f"{direction}_recall@1"] < 0.004
    assert seconds <= 240
