"""Features of regions from an encoder's map and from a detector."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmkit.batch import Batch, Want
from mmkit.data.shards import open_dataset
from mmkit.errors import UserError
from mmkit.loading import load_model
from mmkit.regions.encoder import OnMap


@pytest.fixture(scope="module")
def wide() -> bytes:
    """A picture of 60 x 30, its left half red."""
    image = Image.new("RGB", (60, 30), (20, 20, 200))
    image.paste((220, 20, 20), (0, 0, 30, 30))
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def test_a_cell_of_the_grid_is_its_patch(run: Path) -> None:
    """A grid as fine as the encoder's map: the mean over a box is near the patch it covers."""
    model = load_model(str(run / "runs" / "latest"), "cpu")
    row = next(open_dataset(run / "data").rows("test"))
    pixels = model.readers["image"].collate([model.readers["image"].prepare(row["image"])])
    tokens = model(Batch(["a"], {"image": pixels}), [Want("image", "tokens")])[Want("image", "tokens")][0]
    found = OnMap(str(run / "runs" / "latest"), 6)(row["image"]["bytes"], None)
    assert found is not None and found["width"] == 48 and len(found["boxes"]) == len(tokens) == 36
    features = torch.tensor(np.array(found["features"]))
    nearest = torch.cdist(features, tokens.detach()).argmin(1)
    assert torch.equal(nearest, torch.arange(36))


def test_own_boxes_are_squeezed_with_the_picture(run: Path, wide: bytes) -> None:
    one = OnMap(str(run / "runs" / "latest"))
    assert one(wide, None) is None and one(wide, {"boxes": []}) is None
    own = {"boxes": [[0.0, 0.0, 30.0, 30.0], [30.0, 0.0, 60.0, 30.0], [0.0, 0.0, 60.0, 30.0]], "phrases": ["red", "blue", "all"]}
    found = one(wide, own)
    assert found is not None and found["boxes"] == own["boxes"] and found["phrases"] == own["phrases"]
    red, blue, both = np.array(found["features"])
    assert np.allclose((red + blue) / 2, both, atol=0.15 * np.abs(red - blue).max())
    assert (found["width"], found["height"]) == (60, 30)


def test_a_checkpoint_of_transformers_gives_a_map(tmp_path: Path, wide: bytes) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.MobileNetV2Config(image_size=64, depth_multiplier=0.35)
    transformers.MobileNetV2Model(config).save_pretrained(tmp_path / "net")
    transformers.MobileNetV2ImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}).save_pretrained(
        tmp_path / "net"
    )
    found = OnMap(str(tmp_path / "net"), 2)(wide, None)
    assert found is not None and np.array(found["features"]).shape == (4, 1280)
    assert found["boxes"][3] == [30, 15, 60, 30]


@pytest.fixture(scope="module")
def detr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("detr")
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = transformers.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, num_queries=14,
        encoder_ffn_dim=16, decoder_ffn_dim=16, id2label={0: "cat", 1: "dog", 2: "cup"}, **sizes,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.DetrForObjectDetection(config).save_pretrained(folder)
    transformers.DetrImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    return folder


def test_a_query_of_a_detector_is_a_region(detr: Path, wide: bytes) -> None:
    from transformers import DetrForObjectDetection, DetrImageProcessorPil

    from mmkit.regions.detector import LEAST, Detr

    found = Detr(str(detr), threshold=0.0, top=12)(wide, None)
    assert found is not None and len(found["boxes"]) == 12
    model = DetrForObjectDetection.from_pretrained(detr).eval()
    processor = DetrImageProcessorPil.from_pretrained(detr)
    with torch.no_grad():
        out = model(**processor(Image.open(io.BytesIO(wide)), return_tensors="pt"))
    (theirs,) = processor.post_process_object_detection(out, threshold=0.0, target_sizes=[(30, 60)])
    order = theirs["scores"].argsort(descending=True)[:12]
    assert np.allclose(found["scores"], theirs["scores"][order], atol=1e-6)
    assert np.allclose(found["boxes"], theirs["boxes"][order].clamp(min=0), atol=1e-3)
    assert np.allclose(found["features"], out.last_hidden_state[0, order], atol=1e-6)
    assert found["phrases"] == [model.config.id2label[i] for i in theirs["labels"][order].tolist()]
    assert np.allclose(np.sum(found["soft_labels"], 1), 1, atol=1e-6) and np.array(found["soft_labels"]).shape == (12, 3)
    assert found["phrases"][0] == model.config.id2label[int(np.argmax(found["soft_labels"][0]))]
    few = Detr(str(detr), threshold=1.0)(wide, None)
    assert few is not None and len(few["boxes"]) == LEAST


def test_what_is_no_detector_is_said(tmp_path: Path, run: Path) -> None:
    from mmkit.regions.detector import Detr

    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="a checkpoint of bert, not of DETR"):
        Detr(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(UserError, match="the detector cannot be read"):
        Detr(str(tmp_path))


def test_the_command_as_typed(run: Path, detr: Path, tmp_path: Path, invoke: Callable[..., Any]) -> None:
    typed = ("prep", "regions", "own", "--source", run / "data", "--encoder", run / "runs" / "latest")
    outcome = invoke(*typed, "--limit", 40, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "values each" in outcome.stderr and outcome.stdout == "own\n"
    before = {row["id"]: row for row in open_dataset(run / "data").rows()}
    for row in open_dataset(tmp_path / "own").rows():
        own = before[row["id"]]["regions"]
        assert row["regions"]["boxes"] == own["boxes"] and row["regions"]["phrases"] == own["phrases"]
        assert len(row["regions"]["features"]) == len(own["boxes"])
        assert row["questions"] == before[row["id"]]["questions"] and row["image"]["bytes"] == before[row["id"]]["image"]["bytes"]
    assert "up to date: reused" in invoke(*typed, "--limit", 40, cwd=tmp_path).stderr
    outcome = invoke(
        *("prep", "regions", "found", "--source", "own", "--detector", detr, "--threshold", 0.5, "--quiet"), cwd=tmp_path
    )
    assert outcome.code == 0, outcome.stderr
    row = next(open_dataset(tmp_path / "found").rows())
    assert len(row["regions"]["boxes"]) == 10 and len(row["regions"]["soft_labels"][0]) == 3
    args = ("train", "found", "--recipe", "uniter", "--steps", 2, "--batch-size", 4, "--name", "kl")
    losses = ("--set", "loss.mrc.kind=mrc-kl", "--set", "loss.mrc.of=fused.regions", "--set", "loss.mrc.share=4")
    assert invoke(*args, *losses, cwd=tmp_path).code == 0
    outcome = invoke("train", run / "data", "--recipe", "uniter", "--steps", 2, cwd=tmp_path)
    assert outcome.code == 1
    assert outcome.stderr.splitlines()[-2:] == [
        f"error: the dataset has no regions column, {run / 'data'}",
        "hint: mmkit prep regions OUT --source DATA --encoder RUN   computes them",
    ]
    # boxes stand in a column of the same name, and are not measured as if they were regions
    outcome = invoke("eval", "loss", "--model", "runs/kl", "--data", run / "data", cwd=tmp_path)
    assert outcome.code == 1 and "the dataset has no regions column" in outcome.stderr
    # what only matches shares out the probability of a match
    outcome = invoke("contribution", "--model", "runs/kl", "--data", "found", cwd=tmp_path)
    shares = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert outcome.code == 0 and "probability of a match" in outcome.stderr
    assert {one["modality"] for one in shares} == {"text", "regions"}


def test_what_is_missing_is_one_line(run: Path, tmp_path: Path, invoke: Callable[..., Any]) -> None:
    typed = ("prep", "regions", tmp_path / "out", "--source")
    for args, said in (
        ((run / "data",), "error: nothing to take features from"),
        ((run / "data", "--encoder", "runs/none"), "error: no such"),
        ((tmp_path / "nothing", "--encoder", run / "runs" / "latest"), "error: no such dataset"),
        ((run / "data", "--detector", run / "runs" / "latest"), "error: "),
    ):
        outcome = invoke(*typed, *args)
        assert outcome.code in (1, 2) and outcome.stderr.startswith(said), outcome.stderr
        assert not (tmp_path / "out").exists()
