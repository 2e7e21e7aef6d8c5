"""Where a small trained model looks in a series, against where things are; sounds, videos and depth maps are a benchmark."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmkit.explain.asked import ask
from mmkit.explain.attention import explain
from mmkit.explain.faithfulness import faithfulness
from mmkit.loading import load_model
from mmkit.model import Model
from tests import events
from tests.conftest import invoke_mmkit

TRAIN = (
    "train data --recipe nmodal --steps 120 --batch-size 32 --lr 4e-3 --workers 1 --set train.eval_every=1000 --name series "
    "--set encoder.text.dim=32 --set encoder.text.layers=1 --set encoder.series.kind=series --set encoder.series.dim=32 "
    "--set encoder.series.patch=4"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("events")
    events.dataset("series", folder / "data")
    outcome = invoke_mmkit(*TRAIN.split(), cwd=folder)
    assert outcome.code == 0, outcome.stderr
    return load_model(str(folder / "runs/series"), "cpu")


def test_the_map_of_an_event_peaks_in_its_time_and_channel(model: Model) -> None:
    own, other = events.game(model, "series", 20)
    # a quarter of the steps of one of three channels are of either event
    assert own >= 0.35
    assert other < 1 / 12


def test_the_score_hangs_on_what_the_map_shows(model: Model) -> None:
    areas = []
    for number in range(1000, 1008):
        made = events.series(number)
        asked = ask(model, model.reader("series").prepare(made.value), made.names[0])
        found = faithfulness(asked, explain(model, made.value, made.names[0]).grid)
        areas.append((found.deletion, found.random_deletion, found.insertion, found.random_insertion))
    deletion, random_deletion, insertion, random_insertion = np.mean(areas, axis=0)
    assert deletion < random_deletion and insertion > random_insertion


def test_attention_alone_tells_no_channel_apart(model: Model) -> None:
    made = events.series(1000)
    for method in ("attention", "rollout"):
        grid = explain(model, made.value, made.names[0], method).grid
        assert grid.shape == (3, events.STEPS) and np.ptp(grid, axis=0).max() == 0
        # a token is four steps, and its weight stands in each of them
        assert np.ptp(grid.reshape(3, -1, 4), axis=2).max() == 0


def test_a_longer_series_is_drawn_whole_and_read_in_the_middle(model: Model) -> None:
    rng = torch.Generator().manual_seed(0)
    found = explain(model, torch.randn(3, events.STEPS + 40, generator=rng).tolist(), "dip")
    heat = found.spread()
    assert heat.shape == (3, events.STEPS + 40)
    assert not heat[:, :20].any() and not heat[:, -20:].any() and heat[:, 20:-20].any()
