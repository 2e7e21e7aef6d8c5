"""A small trained model points at what a word names, and its map is what its score hangs on. The whole game is a benchmark."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmkit.data.canvas import on_picture
from mmkit.explain.asked import ask
from mmkit.explain.attention import explain
from mmkit.explain.faithfulness import faithfulness
from mmkit.loading import from_run, load_model, run_config
from mmkit.model import Model
from tests.conftest import invoke_mmkit, write_dataset
from tests.pointing import Target, chance, others

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 190, 40),
    "blue": (50, 60, 230),
    "yellow": (235, 220, 40),
    "white": (240, 240, 240),
    "cyan": (40, 210, 220),
}
SIDE, SQUARE = 32, 10
TRAIN = (
    "train --steps 250 --batch-size 32 --lr 5e-3 --set encoder.image.patch=4 --set encoder.image.dim=32 "
    "--set data.image.size=48 --set encoder.text.dim=32 --set encoder.text.layers=1 --set train.eval_every=1000 --workers 1"
)


def scene(number: int) -> tuple[bytes, list[Target]]:
    """Two squares of unlike colours on dark noise, none over the other."""
    rng = np.random.default_rng(number)
    pixels = rng.normal(70, 8, (SIDE, SIDE, 3))
    names = [str(name) for name in rng.choice(list(COLOURS), 2, replace=False)]
    tops, lefts = rng.integers(0, SIDE - SQUARE + 1, 2), (rng.integers(0, 6), rng.integers(16, SIDE - SQUARE + 1))
    for name, top, left in zip(names, tops, lefts, strict=True):
        pixels[top : top + SQUARE, left : left + SQUARE] = np.array(COLOURS[name]) + rng.normal(0, 5, 3)
    sink = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(sink, "PNG")
    item = {"bytes": sink.getvalue(), "path": None}
    boxes = [[float(v) for v in (left, top, left + SQUARE, top + SQUARE)] for top, left in zip(tops, lefts, strict=True)]
    return sink.getvalue(), [Target(item, name, box) for name, box in zip(names, boxes, strict=True)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pointing")
    rows = []
    for number in range(320):
        data, wanted = scene(number)
        rows.append({"id": f"s{number}", "image": {"bytes": data, "path": None}, "captions": [one.text for one in wanted]})
    columns = {"image": "image", "captions": "text"}
    write_dataset(folder / "data", {"train": rows[:300], "val": rows[300:]}, columns)
    outcome = invoke_mmkit(*TRAIN.split(), cwd=folder)
    assert outcome.code == 0, outcome.stderr
    return folder / "runs/latest"


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load_model(str(run), "cpu")


@pytest.fixture(scope="module")
def wanted() -> list[Target]:
    return [one for number in range(1000, 1040) for one in scene(number)[1]]


def test_the_map_of_a_colour_peaks_on_its_square(model: Model, run: Path, wanted: list[Target]) -> None:
    assert chance(wanted, SIDE) == pytest.approx((SQUARE / SIDE) ** 2)
    found, other = own_and_other(model, wanted)
    assert found >= 0.45
    assert other < 0.2


def test_a_map_of_random_weights_knows_no_word(run: Path, wanted: list[Target]) -> None:
    """It peaks on what stands out, with some weights on either square and with others on the ground, whatever the text says."""
    each = []
    for seed in range(6):
        torch.manual_seed(seed)
        each.append(own_and_other(from_run(run_config(run), run).eval(), wanted))
    own, other = np.mean(each, axis=0)
    assert own < 0.25
    assert abs(own - other) < 0.05


def own_and_other(model: Model, wanted: list[Target]) -> tuple[float, float]:
    """The share of maps that peak in the box of what the text says, and in that of the other square."""
    peaks = [explain(model, one.item, one.text).peak() for one in wanted]
    own, other = ([one.holds(*peak) for one, peak in zip(boxes, peaks, strict=True)] for boxes in (wanted, others(wanted)))
    return float(np.mean(own)), float(np.mean(other))


def test_a_word_of_a_text_lights_its_own_square(model: Model) -> None:
    both = [scene(number)[1] for number in range(1000, 1020)]
    found = []
    for one, other in both:
        words = explain(model, one.item, f"{one.text} {other.text}", each_word=True).words
        assert [word.text for word in words] == [one.text, other.text]
        for target, word in zip((one, other), words, strict=True):
            assert word.grid is not None and word.grid.shape == (12, 12)
            y, x = np.unravel_index(on_picture(word.grid, (0, 0, SIDE, SIDE), (SIDE, SIDE)).argmax(), (SIDE, SIDE))
            found.append(target.holds(int(x), int(y)))
    assert np.mean(found) >= 0.4


def test_the_score_hangs_on_the_patches_of_the_map(model: Model, wanted: list[Target]) -> None:
    areas = []
    for one in wanted[:40:2]:
        asked = ask(model, model.reader("image").prepare(one.item), one.text)
        found = faithfulness(asked, explain(model, one.item, one.text).grid)
        areas.append((found.deletion, found.random_deletion, found.insertion, found.random_insertion))
    deletion, random_deletion, insertion, random_insertion = np.mean(areas, axis=0)
    assert deletion < random_deletion and insertion > random_insertion
    assert insertion > deletion
