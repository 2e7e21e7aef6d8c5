"""What is captured of a CLIP and a SigLIP checkpoint is transformers' own attention, and looking changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mmkit.batch import Batch, Want
from mmkit.explain.asked import ask
from mmkit.explain.attention import explain
from mmkit.explain.seen import look
from mmkit.layers import capture
from mmkit.loading import load_model
from mmkit.model import Model

TEXT = "a red circle"


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: Any) -> Path:
    return request.getfixturevalue(f"{request.param}_folder")


@pytest.fixture
def model(folder: Path) -> Model:
    return load_model(str(folder), "cpu")


@pytest.fixture
def batch(model: Model, picture: Callable[..., Image.Image]) -> Batch:
    pixels = model.readers["image"].pixels(picture(50, 40))
    return Batch([""], {"image": {"pixels": pixels[None]}, "text": model.readers["text"].collate([TEXT])})


def test_it_is_what_transformers_gives_in_both_encoders(folder: Path, model: Model, batch: Batch) -> None:
    from transformers import AutoModel

    with capture(model) as maps, torch.no_grad():
        model(batch, [Want("image"), Want("text")])
        pixels = model.encoder["image"].normalise(batch.inputs["image"]["pixels"])
    theirs = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids, mask = batch.inputs["text"]["ids"], batch.inputs["text"]["mask"].long()
    given = {} if "siglip" in theirs.config.model_type else {"attention_mask": mask}
    with torch.no_grad():
        expected = {
            "image": theirs.vision_model(pixels, output_attentions=True).attentions,
            "text": theirs.text_model(ids, output_attentions=True, **given).attentions,
        }
    for name, layers in expected.items():
        ours = [calls[0] for path, calls in maps.items() if path.startswith(f"encoder.{name}.")]
        assert len(ours) == len(layers) == 2
        for own, their in zip(ours, layers, strict=True):
            assert own.shape == their.shape
            assert (own - their).abs().max() < 1e-6
            assert torch.allclose(own.sum(-1), torch.ones(()), atol=1e-5)


def test_looking_changes_no_output_and_nothing_stays(model: Model, batch: Batch) -> None:
    wants = [Want("image"), Want("text"), Want("image", "tokens")]
    before = model(batch, wants)
    with capture(model):
        within = model(batch, wants)
    after = model(batch, wants)
    for want in wants:
        assert (within[want] - before[want]).abs().max() < 1e-5
        assert torch.equal(after[want], before[want])
    bodies = [encoder.body for encoder in model.encoder.values()]
    assert {body.config._attn_implementation for body in bodies} == {"sdpa"}
    assert not any(module._forward_hooks for body in bodies for module in body.modules())


def test_every_layer_has_a_gradient_of_the_score(model: Model, picture: Callable[..., Image.Image]) -> None:
    seen = look(ask(model, model.readers["image"].pixels(picture(50, 40)), TEXT))
    for name in ("image", "text"):
        assert len(seen.layers[name]) == 2
        assert all(layer.gradient is not None and layer.gradient.any() for layer in seen.layers[name])


@pytest.mark.parametrize("method", ["relevance", "attention", "rollout"])
def test_patches_and_words_are_explained(model: Model, picture: Callable[..., Image.Image], tmp_path: Path, method: str) -> None:
    picture(50, 40).save(tmp_path / "a.png")
    found = explain(model, {"bytes": None, "path": str(tmp_path / "a.png")}, TEXT, method, each_word=True)
    assert found.grid.shape == (4, 4) and found.grid.max() > 0
    assert found.spread().shape == (40, 50)
    assert [word.text for word in found.words] == ["a", "red", "circle"]
    assert all(word.weight >= 0 for word in found.words) and any(word.weight > 0 for word in found.words)
    assert len(found.tokens) == len(found.text) == found.text_layers.shape[-1]
    assert found.layers.shape[:2] == (2, 4)
    assert all((word.grid is not None) == (method == "relevance") for word in found.words)
