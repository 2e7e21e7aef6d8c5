"""What is automatic: the length of a run, the batch and the rate from the size of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmkit import encoders
from mmkit.config import resolve
from mmkit.data.shards import Dataset
from mmkit.errors import UserError
from mmkit.training import auto
from mmkit.training.names import check_names


def of(rows: int, **train: Any) -> Any:
    config, _ = auto.sized(resolve("clip", None, [{"train": train}] if train else []), True)
    auto.resolve_data(config, dataset(rows))
    return config


def dataset(rows: int) -> Dataset:
    manifest = {"columns": {"image": "image", "captions": "text"}, "splits": {"train": {"rows": rows, "shards": []}}}
    return Dataset("data", manifest, None)


@pytest.mark.parametrize(("rows", "batch"), [(2, 2), (7, 7), (10, 5), (100, 50), (10_000, 128), (1_000_000, 128)])
def test_the_batch_is_at_most_half_of_small_data(rows: int, batch: int) -> None:
    assert of(rows).train.batch_size == batch


def test_a_batch_is_shared_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "world", lambda: (0, 2))
    assert of(26).train.batch_size == 12


def projected(rows: int, widths: tuple[int, int], still: list[str], kind: Any = "linear", **train: Any) -> Any:
    """A resolved configuration over an image and a text encoder of `widths`."""
    config = of(rows, **train)
    config.project.kind = kind
    auto.resolve_projections(config, dict(zip(("image", "text"), widths, strict=True)), still)
    return config


def test_a_smaller_batch_has_a_lower_rate() -> None:
    def rate(rows: int, **train: Any) -> float:
        return projected(rows, (64, 64), [], **train).train.lr

    assert rate(10_000) == 1.5e-3
    assert rate(64) == pytest.approx(1.5e-3 / 2)
    assert rate(10_000, batch_size=512) == 1.5e-3
    assert rate(10_000, init="runs/a") == 1e-5


@pytest.mark.parametrize(("widths", "width"), [((1280, 384), 1664), ((768, 384), 1152), ((192, 128), 512), ((4096, 1024), 2048)])
def test_projections_over_frozen_encoders_are_as_wide_as_both(widths: tuple[int, int], width: int) -> None:
    config = projected(10_000, widths, ["image", "text"], "mlp")
    assert (config.project.dim, config.project.hidden) == (width, width)
    assert config.train.lr == pytest.approx(0.77 / width, rel=0.02)


def test_a_width_that_is_set_stays_and_the_rate_follows_the_hidden_one() -> None:
    config = of(10_000)
    config.project.kind, config.project.dim, config.project.hidden = "mlp", 300, 1024
    auto.resolve_projections(config, {"image": 1280, "text": 384}, ["image", "text"])
    assert (config.project.dim, config.project.hidden) == (300, 1024)
    assert config.train.lr == 7.5e-4


def test_where_an_encoder_learns_the_widths_are_those_of_the_size() -> None:
    config = projected(10_000, (1280, 384), ["image"], "mlp")
    assert (config.project.dim, config.project.hidden, config.train.lr) == (64, 64, 1.5e-3)
    assert projected(10_000, (1280, 384), [], "linear").project.hidden is None


@pytest.mark.parametrize("still", [[], ["image"], ["image", "text"]])
def test_without_a_projection_the_shared_space_is_as_wide_as_the_encoder(still: list[str]) -> None:
    config = projected(10_000, (1280, 384), still, {"image": "none", "text": "linear"})
    assert (config.project.dim, config.project.hidden) == (1280, None)


@pytest.mark.parametrize(("rows", "epochs"), [(100, 100), (1000, 37.2), (10_000, 13.8), (1_000_000, 2)])
def test_small_data_is_passed_more_often(rows: int, epochs: float) -> None:
    config = of(rows)
    auto.resolve_length(config, rows, 1e-6, on_cpu=True)
    assert config.train.steps == max(200, round(epochs * rows / config.train.batch_size)) or (
        config.train.steps * config.train.batch_size / rows == pytest.approx(epochs, rel=0.01)
    )


def test_a_plain_run_on_a_cpu_is_bounded_in_time() -> None:
    config = of(1000)
    reasons = auto.resolve_length(config, 1000, 4.0, on_cpu=True, overhead=80.0)
    assert config.train.steps == (8 * 60 - 80) / 4
    assert "on this CPU" in reasons["train.steps"]
    config = of(1000)
    auto.resolve_length(config, 1000, 4.0, on_cpu=False)
    assert config.train.steps > 100


def test_one_row_is_too_few_and_no_batch_is_named() -> None:
    with pytest.raises(UserError, match="larger than the data, 1 training rows") as e:
        of(1)
    assert "--batch-size" not in e.value.hint
    with pytest.raises(UserError) as e:
        of(50, batch_size=60)
    assert e.value.hint == "--batch-size 50 or less"


def test_a_share_is_no_length_of_a_run() -> None:
    with pytest.raises(UserError, match="a share of the run cannot be its length"):
        of(100, steps="10%")


def test_a_projection_of_no_encoder_is_named() -> None:
    config = resolve("clip", None, [{"project": {"kind": {"imag": "mlp"}}}])
    with pytest.raises(UserError, match="there is no imag encoder"):
        check_names(config)


@pytest.mark.parametrize(("on_cpu", "given", "size"), [(True, None, "tiny"), (False, None, "small"), (False, "tiny", "tiny")])
def test_the_size_is_tiny_on_a_cpu_only(on_cpu: bool, given: str | None, size: str) -> None:
    config, reasons = auto.sized(resolve("clip", None, [{"size": given}] if given else []), on_cpu)
    auto.resolve_data(config, dataset(1000))
    assert (config.size, "size" in reasons) == (size, given is None)
    assert config.encoder["image"]["dim"] == encoders.sizes("vit", size)["dim"]


def test_what_a_recipe_says_of_a_size_holds_where_the_device_decides_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('base = "clip"\n[at.tiny.encoder.image]\nlayers = 0\n[at.small.encoder.image]\nlayers = 5\n')
    for on_cpu, size, layers in ((True, "tiny", 0), (False, "small", 5)):
        config, _ = auto.sized(resolve(str(file), None, []), on_cpu)
        auto.resolve_data(config, dataset(1000))
        assert (config.size, config.encoder["image"]["layers"], config.at) == (size, layers, {})


@pytest.mark.parametrize(("rows", "batch"), [(20, 10), (10_000, 64)])
def test_a_recipe_limits_the_automatic_batch_alone(rows: int, batch: int) -> None:
    assert of(rows, batch_limit=64).train.batch_size == batch
    assert of(10_000, batch_limit=64, batch_size=200).train.batch_size == 200
