"""Regions as a column holds them and as an encoder reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mmkit.data.cells import Blank
from mmkit.data.modalities import regions
from mmkit.data.plan import Choices
from mmkit.data.schema import Ask
from mmkit.data.shards import open_dataset
from mmkit.data.write import prepare
from mmkit.errors import UserError

BOXES = [[0.0, 0.0, 10.0, 20.0], [5.0, 10.0, 20.0, 20.0], [0.0, 0.0, 20.0, 40.0]]


def cell(**other: Any) -> dict[str, Any]:
    features = np.arange(12.0).reshape(3, 4).tolist()
    return {"boxes": BOXES, "features": features, "scores": [0.2, 0.9, 0.5], "width": 20.0, "height": 40.0} | other


def reader(**keys: Any) -> regions.Reader:
    return regions.Reader(regions.Spec(**{"features": 4, "labels": 0, **keys}))


def test_a_box_is_seven_shares_of_the_picture() -> None:
    found = reader().collate([reader().prepare(cell())])
    wanted = torch.tensor([0.25, 0.25, 1, 0.5, 0.75, 0.25, 0.1875])  # x1, y1, x2, y2, w, h, w * h
    assert torch.allclose(found["boxes"][0, 1], wanted)
    assert found["features"].shape == (1, 3, 4) and found["mask"].all()


def test_shorter_rows_are_filled_up_and_masked() -> None:
    one = reader()
    short = cell(boxes=BOXES[:1], features=[[1.0] * 4], scores=None)
    found = one.collate([one.prepare(short), one.prepare(cell()), one.blank])
    assert found["mask"].tolist() == [[True, False, False], [True] * 3, [True, False, False]]
    assert not found["features"][0, 1:].any() and not found["features"][2].any()


def test_the_surest_regions_are_kept_with_all_that_is_theirs() -> None:
    one = reader(most=2, labels=2)
    soft = [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    found = one.prepare(cell(soft_labels=soft))
    assert found["features"].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]] and found["labels"].tolist() == soft[1:]
    assert found["boxes"][1].tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert reader(most=2).prepare(cell(scores=None))["features"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]], "as they come"


def test_what_is_hidden_shows_nothing_and_stays_where_it_is() -> None:
    one = reader()
    tensors = one.collate([one.prepare(cell()), one.blank])
    assert torch.equal(one.units(tensors, None), tensors["mask"])
    hidden = torch.tensor([[False, True, False], [True, False, False]])
    found = one.hide(tensors, hidden, [])
    assert not found["features"][0, 1].any() and torch.equal(found["features"][0, [0, 2]], tensors["features"][0, [0, 2]])
    assert torch.equal(found["boxes"], tensors["boxes"]) and tensors["features"][0, 1].any(), "the clean batch is as it was"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"features": [[1.0]] * 3}, "regions of 3 x 1 values where the model reads 4 a region"),
        ({"width": None}, "regions without the width and height of their picture"),
    ],
)
def test_what_cannot_be_read_is_said(other: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        reader().prepare(cell(**other))
    with pytest.raises(UserError, match="without the probabilities of the 7 classes"):
        reader(labels=7).prepare(cell())


def test_stored_again_it_is_the_same() -> None:
    once = regions.store(cell())
    again = regions.store(once)
    assert once.keys() == again.keys() == regions.FEATURE.keys()
    assert all(np.array_equal(once[key], again[key]) for key in ("boxes", "features", "scores"))
    assert regions.is_one(once) and not regions.is_one({"boxes": BOXES, "features": None}) and regions.items(None) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"features": [[1.0], [2.0]]}, "3 boxes, but features of the shape 2 x 1"),
        ({"boxes": [[1.0, 2.0]] * 3}, "3 boxes, but boxes of the shape 3 x 2"),
        ({"scores": [1.0, float("nan"), 0.0]}, "the scores of the regions are not finite"),
        ({"features": [[1.0], [1.0, 2.0], []]}, "the features of the regions are not 2 axes of numbers"),
        ({"phrases": ["a"]}, "3 boxes, but 1 phrases"),
    ],
)
def test_what_cannot_be_stored_is_said(other: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        regions.store(cell(**other))
    with pytest.raises(Blank):
        regions.store({"boxes": []})


def test_boxes_without_features_are_no_input(tmp_path: Any) -> None:
    prepare("shapes", Ask(tmp_path / "data", None, {"limit": 20}), Choices(), {})
    data = open_dataset(tmp_path / "data")
    assert data.columns["regions"] == "boxes" and not data.columns_of("regions")
    row = next(data.rows("test"))["regions"]
    assert (row["width"], row["height"]) == (48, 48) and row["features"] is None
    with pytest.raises(UserError, match="no regions column") as caught:
        data.column("regions")
    assert "mmkit prep regions" in caught.value.hint
