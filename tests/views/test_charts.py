from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from mmkit.errors import UsageError
from mmkit.views import charts
from mmkit.views.projection import flat, modality_gap


def rows(steps=50, every=10):
    trained = [{"step": s, "train/loss": 4.0 / s} for s in range(1, steps + 1)]
    names = [f"val/{direction}_recall@1" for direction in charts.DIRECTIONS]
    return trained + [{"step": s, **dict.fromkeys(names, s / steps)} for s in range(every, steps + 1, every)]


def record(k1=0.9):
    ks = {"recall@1": k1, "recall@5": 0.95, "recall@10": 1.0, "median_rank": 1.0}
    metrics = {f"{direction}_{name}": value for direction in charts.DIRECTIONS for name, value in ks.items()}
    chance = {name: 0.01 if "recall" in name else 150.5 for name in metrics}
    return {"metrics": metrics, "chance": chance, "split": "test", "n": {"image": 300, "text": 300}}


def vectors(pairs=20, seed=0):
    rng = np.random.default_rng(seed)
    both = rng.normal(size=(2 * pairs, 8)).astype(np.float32)
    modality = np.array(["image", "text"] * pairs, object)
    ids = np.repeat([f"r{i}" for i in range(pairs)], 2).astype(object)
    return both / np.linalg.norm(both, axis=1, keepdims=True), modality, ids


def drawn():
    points, modality, ids = vectors(5)
    return {
        "curve": charts.training_curve(rows(), 128),
        "curve without val": charts.training_curve(rows()[:50]),
        "curve of nothing": charts.training_curve([]),
        "bars": charts.recall_bars(record()),
        "bars in the dark": charts.recall_bars(record(0.01), charts.DARK),
        "map": charts.space_map(points[:, :2], modality, note="a note", ids=ids),
    }


def test_every_figure_is_written_in_every_format(tmp_path):
    for name, figure in drawn().items():
        charts.save(figure, tmp_path / f"{name}.png")
        width, height = Image.open(tmp_path / f"{name}.png").size
        assert (width, height) == tuple(round(v * charts.DPI) for v in figure.get_size_inches())
    charts.save(figure, tmp_path / "map.svg")
    assert ET.parse(tmp_path / "map.svg").getroot().tag.endswith("svg")
    charts.save(figure, tmp_path / "map.pdf")
    assert (tmp_path / "map.pdf").read_bytes().startswith(b"%PDF")
    charts.save(figure, tmp_path / "map.html", "A <map>")
    page = (tmp_path / "map.html").read_text()
    assert "<title>A &lt;map&gt;</title>" in page
    assert page.count('src="data:image/svg+xml;base64,') == 1


def test_a_figure_is_not_blank_and_the_same_twice():
    png = charts.encode(charts.recall_bars(record()), ".png")
    assert len(Image.open(io.BytesIO(png)).convert("RGB").getcolors(1 << 24)) > 20
    assert Image.open(io.BytesIO(png)).info["Software"] == "mmkit"
    twice = [charts.encode(charts.recall_bars(record()), ".svg") for _ in range(2)]
    assert twice[0] == twice[1]


def test_the_curve_has_the_level_of_guessing_and_labelled_axes():
    figure = charts.training_curve(rows(), 128)
    loss, recall = figure.axes
    assert any("ln 128 = 4.85" in text.get_text() for text in loss.texts)
    assert [loss.get_ylabel(), recall.get_ylabel(), recall.get_xlabel()] == [
        "training loss (nats)",
        "R@1 on val (share)",
        "training step",
    ]


def test_an_unknown_suffix_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"cannot draw a \.bmp"):
        charts.save(charts.recall_bars(record()), tmp_path / "x.bmp")
    assert not list(tmp_path.iterdir())


def test_few_rows_are_projected_by_pca():
    points, method = flat(vectors(5)[0])
    assert (points.shape, method) == ((10, 2), "PCA")
    assert flat(np.ones((1, 8), np.float32))[0].shape == (1, 2)


def test_umap_is_the_same_for_the_same_seed():
    some = vectors(12)[0]
    first, method = flat(some)
    assert method.startswith("UMAP")
    np.testing.assert_array_equal(first, flat(some)[0])


def test_the_modality_gap_of_known_vectors():
    flat_x, flat_y = [1.0, 0.0], [0.0, 1.0]
    both = np.array([flat_x, flat_y, flat_x, flat_x])
    gap = modality_gap(both, np.array(["image", "text", "image", "text"]), np.array(["a", "a", "b", "b"]))
    # the mean picture is (1, 0), the mean sentence (0.5, 0.5)
    assert gap.distance == pytest.approx(0.5**0.5)
    assert (gap.matching, gap.other) == (0.5, 0.5)
