"""What is measured, and on what; how long it takes is not a test's matter."""

from __future__ import annotations

import pytest
import torch

from mmkit.data.shards import open_dataset
from mmkit.metrics import cost
from mmkit.metrics.evaluation import Request
from tests.conftest import coloured_row, write_dataset
from tests.small import small


@pytest.fixture
def data(tmp_path):
    rows = [coloured_row(f"{n}", "red", ["a red picture", "blue"]) for n in range(3)]
    return open_dataset(write_dataset(tmp_path / "data", {"test": rows}))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(cost, "MOST", 1)
    monkeypatch.setattr(cost, "WARM_UP", 0)


def classifier():
    """Compares, and classifies what its fusion makes of both inputs."""
    losses = {"itc": {"kind": "infonce", "anchor": "all"}, "task": {"kind": "classify", "of": "fused"}}
    targets = {"task": {"classes": ["red", "blue"], "many": False}}
    fusion = {"kind": "merged", "inputs": ["image", "text"], "dim": 16, "layers": 1, "heads": 2}
    return small(targets=targets, loss=losses, fusion=fusion)


def test_a_dual_encoder(data, quick):
    model = small()
    (result,) = cost.of_model(model, data, Request("cost", batch_size=4))
    record = result.record
    assert (record["task"], record["n"], record["batch_size"], record["device"]) == ("cost", {"image": 3, "text": 4}, 4, "cpu")
    names = ["parameters", "ms_per_image", "ms_per_text", "ms_per_image_alone", "ms_per_text_alone", "memory_mib"]
    assert [*record["metrics"]] == names
    assert [*record["cost"]] == names[:3]
    assert sum(record["parts"].values()) == record["metrics"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert {"encoder.image", "encoder.text", "project.image", "project.text", "loss.itc"} == record["parts"].keys()


def test_the_whole_way_to_an_answer_is_timed_where_there_is_a_head(data, quick):
    model = classifier()
    (result,) = cost.of_model(model, data, Request("cost", batch_size=2))
    assert {"ms_per_answer", "ms_per_answer_alone"} < result.record["metrics"].keys()
    assert result.record["parts"]["fusion.fused"] > 0
    assert sum(result.record["parts"].values()) == model.parameter_count


def test_few_items_make_a_whole_batch(data, quick, monkeypatch):
    model, sizes = small(), set()
    encoder = model.encoder["image"]
    forward = encoder.embed
    monkeypatch.setattr(encoder, "embed", lambda pixels: sizes.add(len(pixels)) or forward(pixels))
    cost.of_model(model, data, Request("cost", batch_size=7))
    assert sizes == {1, 7}


def test_the_median_of_runs_leaves_the_first_out(monkeypatch):
    moments = iter([0.0, 10.0, 11.0, 20.0, 22.0, 30.0, 33.0, 40.0, 90.0])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(moments))
    monkeypatch.setattr(cost, "WARM_UP", 1)
    monkeypatch.setattr(cost, "MOST", 4)
    monkeypatch.setattr(cost, "SECONDS", 1000.0)
    assert cost.milliseconds(torch.device("cpu"), lambda: None) == 2500


@pytest.mark.skipif(not cost.Path("/proc/self/clear_refs").exists(), reason="no such file here")
def test_memory_is_what_a_run_needs_at_its_peak():
    """64 MiB that are written and given back, also where another run has needed more before."""

    def need(mib):
        return lambda: torch.ones(mib << 18)

    need(200)()
    assert 60 < cost.memory(torch.device("cpu"), need(64)) < 80
