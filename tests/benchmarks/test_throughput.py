"""Samples/s of the whole training loop, loader included, against a bare torch loop on tensors already in memory.

Run it on an idle machine: python -m pytest tests/benchmarks/test_throughput.py -s
"""

import itertools
import json
import statistics
import time

import pytest
import torch

from mmkit.config import build, read_toml
from mmkit.data.augment import Augment
from mmkit.data.loader import Loader
from mmkit.data.shards import open_dataset
from mmkit.losses.contrastive import infonce
from mmkit.model import from_config

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
        vectors = model(batch, ("image.vector", "text.vector"))
        loss = infonce(vectors["image.vector"], vectors["text.vector"], scale.exp())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += batch["image"].size(0)
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
    config = build(read_toml(run / "config.toml"))
    data = open_dataset(folder / "data")
    model = from_config(config, run / "tokenizer.json")
    loader = Loader(data, "train", Augment(config.data.image, model.pixels), model.tokenizer, config.train.batch_size)
    batches = loader.batches()
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
