from __future__ import annotations

import io
import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from mmkit.errors import UsageError
from mmkit.views import charts, style
from mmkit.views.groups import largest
from mmkit.views.scatter import space_map


def rows(steps=50, every=10):
    trained = [{"step": s, "train/loss": 4.0 / s, "train/loss_at_chance": 4.852} for s in range(1, steps + 1)]
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
    points, modality, _ = vectors(5)
    return {
        "curve": charts.training_curve(rows(), 128),
        "curve without val": charts.training_curve(rows()[:50]),
        "curve of nothing": charts.training_curve([]),
        "bars": charts.recall_bars(record()),
        "bars in the dark": charts.recall_bars(record(0.01), style.DARK),
        "confusion": charts.confusion(*confused(5)),
        "map": space_map(points[:, :2], largest("modality", modality), modality, np.arange(10).reshape(5, 2), note="a note"),
    }


def test_every_figure_is_written_in_every_format(tmp_path):
    for name, figure in drawn().items():
        style.save(figure, tmp_path / f"{name}.png")
        width, height = Image.open(tmp_path / f"{name}.png").size
        assert (width, height) == tuple(round(v * style.DPI) for v in figure.get_size_inches())
    style.save(figure, tmp_path / "map.svg")
    assert ET.parse(tmp_path / "map.svg").getroot().tag.endswith("svg")
    style.save(figure, tmp_path / "map.pdf")
    assert (tmp_path / "map.pdf").read_bytes().startswith(b"%PDF")
    style.save(figure, tmp_path / "map.html", "A <map>")
    page = (tmp_path / "map.html").read_text()
    assert "<title>A &lt;map&gt;</title>" in page
    assert page.count('src="data:image/svg+xml;base64,') == 1


def test_a_figure_is_not_blank_and_the_same_twice():
    png = style.encode(charts.recall_bars(record()), ".png")
    assert len(Image.open(io.BytesIO(png)).convert("RGB").getcolors(1 << 24)) > 20
    assert Image.open(io.BytesIO(png)).info["Software"] == "mmkit"
    twice = [style.encode(charts.recall_bars(record()), ".svg") for _ in range(2)]
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
        style.save(charts.recall_bars(record()), tmp_path / "x.bmp")
    assert not list(tmp_path.iterdir())


def confused(classes, others=0, count=100):
    """Counts of classes whose neighbour is taken for the next one, and of classes that are always told apart."""
    total = classes + others
    counts = np.diag(np.full(total, count))
    np.fill_diagonal(counts[:classes, 1:], count // 10)
    return counts, [f"class {i}" for i in range(total)]


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_the_cells_of_a_confusion_hold_their_counts():
    axes = charts.confusion(
        np.array([[8, 2, 0], [0, 12400, 0], [0, 0, 0]]), ["a $cat$", "dog", "none\nseen"], note="a note"
    ).axes[0]
    assert labels(axes.xaxis) == labels(axes.yaxis) == ["a $cat$", "dog", "none seen"]
    assert {text.get_text(): text.get_position() for text in axes.texts} == {
        "8": (0.5, 0.5),
        "2": (1.5, 0.5),
        "12k": (1.5, 1.5),
    }
    assert axes.get_xlabel() == "predicted class\na note"
    # a hue for right and one for wrong, the stronger the larger the share; a class without rows has no colour
    colours = axes.collections[0].get_array()
    assert (colours[0, 0, :3] != colours[0, 1, :3]).any()
    assert colours[1, 1, 3] > colours[0, 0, 3] > colours[0, 1, 3] > 0
    assert not colours[2, :, 3].any()


def test_of_many_classes_the_most_confused_are_shown():
    counts, names = confused(30, others=20)
    axes = charts.confusion(counts, names).axes[0]
    assert labels(axes.xaxis) == names[:40]
    assert "the 40 most confused of 50 classes" in axes.get_xlabel()
    # the order of the names stays
    axes = charts.confusion(counts[::-1, ::-1], names[::-1]).axes[0]
    assert labels(axes.xaxis)[-30:] == names[29::-1]


@pytest.mark.parametrize("classes", [1, 2, 6, 7, 16, 17, 40])
@pytest.mark.parametrize("name", ["", " with a long name"])
def test_labels_and_counts_of_a_confusion_do_not_overlap(classes, name):
    counts, names = confused(classes, count=99949)
    figure = charts.confusion(counts, [f"{one}{name}" for one in names])
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    boxes = [label.get_window_extent() for label in axes.xaxis.get_ticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    boxes = [label.get_window_extent() for label in axes.yaxis.get_ticklabels()]
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(boxes))
    cell = axes.bbox.width / classes
    assert all(text.get_window_extent().width < cell for text in axes.texts)
    assert bool(axes.texts) == (classes <= charts.MOST_COUNTED)
    assert all(box.x0 > 0 and box.y0 > 0 for box in boxes)


def test_a_confusion_needs_a_name_for_each_class():
    for shape in ((2, 3), (3, 3), (2,)):
        with pytest.raises(ValueError, match="for 2 names"):
            charts.confusion(np.zeros(shape, int), ["a", "b"])


def test_predicted_numbers_stand_beside_true_ones():
    target = np.linspace(-3, 3, 9000)
    figure = charts.predicted(target, target * 0.5, note="runs/a on data test")
    (axes,) = figure.axes
    assert axes.get_xlim() == axes.get_ylim()
    points = axes.collections[0].get_offsets()
    assert len(points) <= charts.MOST_POINTS
    assert np.allclose(points[:, 1], points[:, 0] * 0.5)
    assert axes.get_xlabel() == "true\none of 3 of 9,000 rows\nruns/a on data test"
    with pytest.raises(ValueError, match="numbers of shape"):
        charts.predicted(target, target[1:])
