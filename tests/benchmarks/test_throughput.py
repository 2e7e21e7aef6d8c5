"""Samples/s of the whole training loop, loader included, against a bare torch loop on tensors already in memory.

Run it on an idle machine: python -m pytest tests/benchmarks/test_throughput.py -s
"""

import itertools
import json
import statistics
import time

import pytest
import torch

from mmkit.batch import Want
from mmkit.data.shards import open_dataset
from mmkit.loading import from_run, run_config
from mmkit.losses.contrastive import infonce
from mmkit.talk import Talk
from mmkit.training.stages import stages_of
from mmkit.workflows import feed

STEPS, WARM, ROUNDS = 240, 10, 5


def bare_loop(model, batches, steps):
    """What anybody would write in a notebook: forward, loss, backward, AdamW; returns samples/s."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scale = model.loss["itc"].logit_scale
    model.train()
    seen, start = 0, 0.0
    for step, batch in zip(range(steps), itertools.cycle(batches), strict=False):
        if step == WARM:
            seen, start = 0, time.perf_counter()
        vectors = model(batch, (Want("image"), Want("text")))
        loss = infonce(*vectors.values(), scale.exp())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += batch.rows
    return seen / (time.perf_counter() - start)


def loop_rate(folder):
    """samples/s of all steps after the first rows: the loader's first epoch, which decodes every picture, included."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rates = [r["train/samples_per_second"] for r in rows if "train/samples_per_second" in r and r["step"] > WARM]
    return statistics.harmonic_mean(rates)


def ratio(invoke, folder, size):
    """The whole loop against the bare one, in turns, for the machine's speed drifts; the median of the rounds."""
    args = ["train", "./data", "--quiet", "--set", "train.eval_every=1000", *size]
    assert invoke(*args, "--steps", 2, "--name", "model", cwd=folder).code == 0
    run = folder / "runs/model"
    config = run_config(run)
    config.data.path = str(folder / "data")
    model = from_run(config, run)
    data = open_dataset(config.data.path)
    batches = feed.loader(config, data, model, stages_of(config), Talk(), cached=False).batches()
    held = [next(batches) for _ in range(8)]
    batches.close()
    ratios = []
    bare = bare_loop(model, held, STEPS // 2)
    for i in range(ROUNDS):
        outcome = invoke(*args, "--steps", STEPS, "--name", f"loop{i}", cwd=folder)
        assert outcome.code == 0, outcome.stderr
        before, bare = bare, bare_loop(model, held, STEPS // 2)
        ours = loop_rate(folder / f"runs/loop{i}")
        ratios.append(2 * ours / (before + bare))
        print(f"\nmmkit {ours:.0f} samples/s, bare loop {before:.0f} and {bare:.0f}, ratio {ratios[-1]:.2f}")
    return statistics.median(ratios)


def test_the_loop_costs_little_on_shapes(invoke, tmp_path):
    assert invoke("prep", "shapes", "data", "--limit", 4000, cwd=tmp_path).code == 0
    assert ratio(invoke, tmp_path, []) >= 0.9


def test_photos_at_224_pixels_are_reported(invoke, tmp_path):
    """Photos need decoding; the ratio is reported without a floor. MMKIT_PHOTOS names a COCO folder."""
    import os

    source = os.environ.get("MMKIT_PHOTOS")
    if not source:
        pytest.skip("MMKIT_PHOTOS is not set")
    assert invoke("prep", "coco", "data", "--source", source, cwd=tmp_path).code == 0
    assert ratio(invoke, tmp_path, ["--set", "data.image.size=224", "--batch-size", "16"]) > 0
