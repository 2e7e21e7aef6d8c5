"""Every recipe resolves and builds at every --size, without memory; at base the papers' models have the papers' sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit import losses
from mmkit.config import SIZES, Config, resolve
from mmkit.data.modalities import MODALITIES
from mmkit.data.shards import open_dataset
from mmkit.model import Model, build_encoders
from mmkit.training import auto
from mmkit.training.inputs import resolve_inputs
from tests.core import RECIPES, small_losses, whole_dataset

ROWS = 16  # a batch, of any size: the papers' are larger than the data


@pytest.fixture(scope="module")
def data(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_dataset(run / "data", tmp_path_factory.mktemp("data") / "data")


def built(recipe: str, size: str, data: Path, *levels: dict[str, Any], vocabulary: bool = False) -> tuple[Config, Model]:
    """A recipe's configuration and its model on the meta device.

    Args:
        vocabulary: as large as configured, and not as the few captions of a test give it.
    """
    found = open_dataset(data)
    level = {"size": size, "data": {"path": str(data)}, "train": {"batch_size": ROWS}, "loss": small_losses(recipe)}
    config, _ = resolve_inputs(resolve(recipe, None, [level, *levels]), found)
    auto.resolve_data(config, found)
    targets = {name: losses.loss_class(name, table).learn(table, found, config) for name, table in config.loss.items()}
    readers = {}
    for name in config.encoder:
        row = MODALITIES[modality := config.modality_of(name)]
        wanted = {key: getattr(config.data[modality], key, None) for key in ("vocab_size", "context")}
        columns = [column for column, kind in found.columns.items() if kind in row.KINDS]
        readers[name], _ = row.learn(config.data[modality], found, columns, None)
        if vocabulary and wanted["vocab_size"]:
            given = {"vocab_size": wanted["vocab_size"], "context": wanted["context"] or 77}
            readers[name].given = lambda given=given: given
    with torch.device("meta"):
        auto.resolve_frozen(config, build_encoders(config, readers), found)
        return config, Model(config, readers, targets)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_builds_at_every_size(recipe: str, size: str, data: Path) -> None:
    config, model = built(recipe, size, data)
    assert model.parameter_count and config.size == size
    for name in model.embedded:
        width = model.encoder[model.encoder_of(name)].dim
        projected = model.project[model.encoder_of(name)](torch.empty(2, width, device="meta"))
        assert projected.shape == (2, model.dim)


# of the published models: openai/clip-vit-base-patch16, google/siglip-base-patch16-224, whose attention pool is not ours
PUBLISHED = {"clip": 149_620_737, "siglip": 203_155_970 - 7_087_104}


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_at_base_a_model_is_as_large_as_the_published_one(recipe: str, data: Path) -> None:
    _, model = built(recipe, "base", data, {"data": {"image": {"size": 224}}}, vocabulary=True)
    assert model.parameter_count == pytest.approx(PUBLISHED[recipe], rel=0.01)


def test_flava_at_base_is_as_large_as_the_released_model(data: Path) -> None:
    _, model = built("flava", "base", data, {"data": {"image": {"size": 224}}}, vocabulary=True)
    parts = {"image": model.encoder["image"], "text": model.encoder["text"], "multimodal": model.fusion["fused"]}
    # transformers' FlavaModel() without the poolers: each encoder, and the multimodal one with the two layers before it
    published = {"image": 85_799_424, "text": 108_893_184, "multimodal": 42_529_536 + 2 * 590_592}
    found = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    assert found == pytest.approx(published, rel=0.01)


def test_the_papers_own_keys_hold_at_base(data: Path) -> None:
    filip, model = built("filip", "base", data)
    assert model.dim == 256 and filip.encoder["image"]["patch"] == 32 and filip.train.betas == [0.9, 0.999]
    clip, _ = built("clip", "base", data)
    assert (clip.encoder["image"]["stem"], clip.encoder["image"]["pool"], clip.train.weight_decay) == ("linear", "cls", 0.2)
    siglip, model = built("siglip", "base", data)
    assert (model.loss["itc"].logit_bias.shape, siglip.loss["itc"]["bias"]) == ((), -10.0)
    assert resolve("clip", None, [{"size": "base"}]).train.batch_size == 32768


@pytest.mark.parametrize(("size", "width"), [("tiny", 64), ("small", 256), ("base", 640), ("large", 1024)])
def test_align_projects_the_text_alone(size: str, width: int, data: Path) -> None:
    config, model = built("align", size, data)
    assert model.dim == width and config.project.kind == {"image": "none", "text": "linear"}
    assert [name for name, _ in model.project.named_parameters()] == ["text.weight"]
    # the pictures of the test are of 48 pixels, and at base they are brought to the paper's size
    assert model.reader("image").given()["size"] == (289 if size == "base" else 48)
