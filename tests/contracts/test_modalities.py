"""Every row of MODALITIES keeps what the table says of it: stored again it is the same, and a blank is a valid input."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.config import build
from mmkit.data.modalities import MODALITIES
from mmkit.data.shards import open_dataset
from mmkit.encoders import build as build_encoder
from tests.core import whole_dataset


@pytest.fixture(scope="module")
def data(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_dataset(whole_dataset(run / "data", tmp_path_factory.mktemp("data") / "data"))


@pytest.mark.parametrize("name", list(MODALITIES))
def test_a_row(name: str, data: Any) -> None:
    row, spec = MODALITIES[name], build({"data": {name: {}}}).data[name]
    reasons = row.fill(spec, data, "tiny", {}) | row.settle(spec, data, still=False)
    reader, learnt = row.learn(spec, data, [row.COLUMN], None)
    assert all(isinstance(reason, str) for reason in (reasons | learnt).values())
    cells = [one[row.COLUMN] for one in data.rows("train", [row.COLUMN], 5)]
    items = [item for cell in cells for item in row.items(cell)]
    assert row.items(None) == []
    prepared = [reader.prepare(item) for item in items]
    assert reader.still and len({reader.key(item) for item in items}) > 1
    encoder = build_encoder(name, name, {"kind": row.ENCODER}, reader.given()).eval()
    with torch.no_grad():
        together = encoder(**reader.collate([*prepared, reader.blank]))
        alone = [encoder(**reader.collate([one])).pooled for one in prepared]
    assert together.mask.dtype == torch.bool and together.tokens.shape[:2] == together.mask.shape
    assert together.pooled.isfinite().all() and together.pooled.size(1) == encoder.dim
    # what stands beside an item in a batch changes nothing of it
    assert torch.allclose(together.pooled[:-1], torch.cat(alone), atol=1e-5)
    assert reader.made_of() == reader.over(reader.spec).made_of()
    assert set(row.TRAINING) <= set(spec.__dataclass_fields__)


DRAWN: dict[str, Any] = {
    "image": {"augment": ["crop", "colour"]},
    "text": {"word_dropout": 0.5},
    "series": {"jitter": 1.0},
    "audio": {"seconds": 0.05, "augment": ["crop", "mask"]},
    "video": {"augment": ["crop"]},
}


def test_nothing_is_drawn_of_the_others() -> None:
    assert all(not row.TRAINING and row.Reader.still for name, row in MODALITIES.items() if name not in DRAWN)


@pytest.mark.parametrize("name", list(DRAWN))
def test_what_is_drawn_hangs_on_the_seed_alone(name: str, data: Any) -> None:
    row = MODALITIES[name]
    spec = build({"data": {name: DRAWN[name]}}).data[name]
    row.fill(spec, data, "tiny", {})
    reader = row.learn(spec, data, [row.COLUMN], None)[0].over(spec)
    assert not reader.still
    item = next(item for one in data.rows("train", [row.COLUMN]) for item in row.items(one[row.COLUMN]))
    one, again, other = (reader.draw(reader.prepare(item), random.Random(seed), []) for seed in (1, 1, 5))
    first, second, third = (reader.collate([x]) for x in (one, again, other))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(first[key].shape != third[key].shape or not torch.equal(first[key], third[key]) for key in first)
