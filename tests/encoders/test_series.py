"""From a measured series to tokens: what the Reader makes of it, and an encoder that padding does not reach."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmkit.data.modalities import series
from mmkit.data.modalities.series import Reader, Spec
from mmkit.data.shards import open_dataset
from mmkit.encoders import build
from mmkit.errors import UserError
from tests.conftest import write_dataset

KINDS = {"series": "series"}
FACTS: dict[str, Any] = {"channels": 2, "length": 10, "mean": [0.0, 5.0], "std": [1.0, 2.0]}


def reader(**keys: Any) -> Reader:
    return Reader(Spec(**FACTS | keys))


def measured(steps: int, channels: int = 2) -> list[list[float]]:
    return np.random.default_rng(steps).normal(1, 1, (channels, steps)).tolist()


def encoder(pool: str = "mean", **keys: Any) -> Any:
    torch.manual_seed(0)
    table = {"kind": "series", "dim": 16, "layers": 2, "heads": 2, "patch": 4, "pool": pool}
    return build("series", "series", table, FACTS | keys).eval()


def test_a_batch_is_as_long_as_its_longest_and_knows_what_is_measured() -> None:
    items = [measured(n) for n in (3, 7, 5)]
    found = reader().collate([reader().prepare(item) for item in items])
    assert found["values"].shape == (3, 2, 7) and found["values"].dtype == torch.float32
    assert found["mask"].sum(1).tolist() == [3, 7, 5]
    for values, mask, item in zip(found["values"], found["mask"], items, strict=True):
        assert torch.allclose(values[:, mask], torch.tensor(item))
        assert mask.tolist() == sorted(mask.tolist(), reverse=True)


def test_of_a_longer_series_the_middle_is_seen() -> None:
    values = [list(range(16)), list(range(100, 116))]
    assert reader().prepare(values).tolist() == [list(range(3, 13)), list(range(103, 113))]


@pytest.mark.parametrize(("item", "shape"), [(measured(5, 3), "3 x 5"), ([1.0, 2.0], "2")])
def test_another_number_of_channels_is_refused(item: Any, shape: str) -> None:
    with pytest.raises(UserError, match=f"a series of {shape} values where the model has 2 channels"):
        reader().prepare(item)


def test_what_is_drawn_is_seeded_and_in_the_scale_of_each_channel() -> None:
    jittered = reader(jitter=0.1, length=4000)
    assert reader().still and not jittered.still
    zeros = torch.zeros(2, 4000)
    one, again, other = (jittered.draw(zeros, random.Random(seed), []) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.std(1).tolist() == pytest.approx([0.1, 0.2], rel=0.1)
    # a model that is trained reads without it
    assert all(made.still for made in (series.load(jittered.spec, None, "series"), series.foreign(jittered.spec, None)))  # type: ignore[arg-type]
    assert jittered.made_of() == reader(length=4000).made_of()


def test_equal_series_have_equal_keys() -> None:
    one = measured(5)
    assert reader().key(one) == reader().key(np.array(one, np.float32).tolist()) != reader().key(measured(6))


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_padding_changes_nothing(pool: str) -> None:
    one, made = encoder(pool), reader()
    items = [made.prepare(measured(n)) for n in (3, 9, 6, 10)]
    whole = one(**made.collate(items))
    assert whole.pooled.shape == (4, 16)
    assert whole.mask.sum(1).tolist() == [n + (pool == "cls") for n in (1, 3, 2, 3)]
    for i, item in enumerate(items):
        alone = one(**made.collate([item]))
        assert torch.allclose(alone.pooled[0], whole.pooled[i], atol=1e-6)
        assert torch.allclose(alone.tokens[0][alone.mask[0]], whole.tokens[i][whole.mask[i]], atol=1e-6)
    given = made.collate(items[:3])
    bait = torch.where(given["mask"][:, None], given["values"], torch.tensor(1e4))
    assert torch.allclose(one(bait, given["mask"]).pooled, whole.pooled[:3], atol=1e-6)


def gradient(one: Any, given: dict[str, Tensor]) -> Tensor:
    values = given["values"].clone().requires_grad_()
    one(values, given["mask"]).pooled.square().sum().backward()
    assert values.grad is not None
    return values.grad


def test_every_measured_step_counts_and_no_other() -> None:
    given = reader().collate([reader().prepare(measured(n)) for n in (3, 9)])
    reached = gradient(encoder(), given).any(1)
    assert torch.equal(reached, given["mask"])


def test_channels_are_brought_to_one_scale() -> None:
    item = torch.tensor(measured(10))
    plain = encoder(mean=[0.0, 0.0], std=[1.0, 1.0])
    scaled = item * torch.tensor([1.0, 2.0])[:, None] + torch.tensor([0.0, 5.0])[:, None]
    one, mask = encoder(), torch.ones(1, 10, dtype=torch.bool)
    assert torch.allclose(one(scaled[None], mask).pooled, plain(item[None], mask).pooled, atol=1e-5)
    assert not {"mean", "std"} & set(one.state_dict()), "they are configuration, and no weights"


def test_a_blank_is_a_series_that_encoders_take() -> None:
    given = reader().collate([reader().blank, reader().prepare(measured(7))])
    assert torch.isfinite(encoder()(**given).pooled).all()


def test_channels_length_and_scale_are_those_of_the_training_rows(tmp_path: Path) -> None:
    rows = [{"id": str(n), "series": [[float(n), n + 1.0, n + 2.0][: 2 + n], [7.0] * min(3, 2 + n)]} for n in range(3)]
    write_dataset(tmp_path / "data", {"train": [*rows, {"id": "none", "series": None}]}, {"series": "series"})
    spec = Spec()
    reasons = series.fill(spec, open_dataset(tmp_path / "data"), "tiny", {})
    seen = np.concatenate([row["series"][0] for row in rows])
    assert (spec.channels, spec.length) == (2, 3)
    assert spec.mean == pytest.approx([seen.mean(), 7]) and spec.std == pytest.approx([seen.std(), 1])
    assert reasons["length"].startswith("3 (longest of 3 training rows 3")
    write_dataset(tmp_path / "bare", {"train": [{"id": "none", "series": None}, rows[0] | {"series": []}]}, {"series": "series"})
    with pytest.raises(UserError, match="no training row has a series"):
        series.fill(Spec(), open_dataset(tmp_path / "bare"), "tiny", {})


@pytest.mark.parametrize("lengths", [(12, 12, 12), (3, 9, 20)])
def test_arrays_whose_first_axis_is_time_are_the_same_series(lengths: tuple[int, ...], tmp_path: Path) -> None:
    items = [np.array(measured(n)) for n in lengths]
    specs, read = [], []
    for name, rows in (("of", items), ("turned", [x.T for x in items])):
        write_dataset(tmp_path / name, {"train": [{"id": str(i), "series": x.tolist()} for i, x in enumerate(rows)]}, KINDS)
        spec = Spec()
        reasons = series.fill(spec, open_dataset(tmp_path / name), "tiny", {})
        assert ("time comes first" in reasons["channels"]) == (name == "turned")
        specs.append(spec)
        read.append([Reader(spec).prepare(x.tolist()) for x in rows])
    assert all((spec.channels, spec.length) == (2, max(lengths)) for spec in specs)
    assert specs[0].mean == pytest.approx(specs[1].mean) and specs[0].std == pytest.approx(specs[1].std)
    assert all(torch.equal(a, b) for a, b in zip(*read, strict=True))
    turned = Reader(specs[0])
    assert np.array_equal(turned.canvas(items[0].T).pictures[0], turned.canvas(items[0]).pictures[0])


def test_what_channels_are_is_not_guessed_where_it_is_said_or_not_clear(tmp_path: Path) -> None:
    rows = [{"id": str(n), "series": np.zeros((12, 2)).tolist()} for n in range(3)]
    write_dataset(tmp_path / "data", {"train": rows}, KINDS)
    spec = Spec(channels=12)
    assert "channels" not in series.fill(spec, open_dataset(tmp_path / "data"), "tiny", {})
    assert Reader(spec).prepare(rows[0]["series"]).shape == (12, 2)
    assert (
        not series.time_first([(6, 4)])
        and not series.time_first([(1, 100), (2, 100)])
        and not series.time_first([(3, 9), (3, 2)])
    )


def test_a_file_is_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(4.0))
    np.save(tmp_path / "two.npy", np.arange(8.0).reshape(2, 4))
    assert series.of_file(str(tmp_path / "one.npy")) == [[0, 1, 2, 3]]
    assert series.of_file(str(tmp_path / "two.npy")) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    (tmp_path / "no.npy").write_text("no")
    with pytest.raises(ValueError, match="pickle"):
        series.of_file(str(tmp_path / "no.npy"))
