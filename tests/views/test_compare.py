from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mmkit.views import style
from mmkit.views.compare import differences

# not every machine has a font for them
pytestmark = pytest.mark.filterwarnings("ignore:Glyph")

ROWS = [
    {"metric": "image_retrieval_recall@1", "a": 0.2, "b": 0.5, "difference": 0.3, "interval": [0.2, 0.4]},
    {"metric": "text_retrieval_recall@10", "a": 0.5, "b": 0.48, "difference": -0.02, "interval": [-0.1, 0.06]},
    {"metric": "mean_per_class_recall", "a": 0.5, "b": 0.3, "difference": -0.2, "interval": [-0.3, -0.1]},
    {"metric": "image_retrieval_median_rank", "a": 12.0, "b": 2.5, "difference": -9.5, "interval": [-11.0, -8.0]},
]
CHANGED = [
    ("a red circle left of a very large and quite blue square", "image_retrieval rank", 120.0, 1.0),
    ("猫" * 40, "acc1", 0, 1),
]


def boxes(figure):
    """What is written, with its place in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [text for text in figure.findobj(match=lambda one: hasattr(one, "get_text")) if text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_visible()]


@pytest.mark.parametrize("theme", [style.LIGHT, style.DARK])
def test_nothing_is_cut_off_and_no_text_lies_on_another(theme):
    figure = differences(ROWS, ("runs/a", "runs/" + "b" * 90), "data test", CHANGED, theme)
    found = boxes(figure)
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in found:
        assert box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1, text
    for i, (text, box) in enumerate(found):
        for other, its in found[i + 1 :]:
            assert not box.shrunk(0.96, 0.7).overlaps(its.shrunk(0.96, 0.7)), (text, other)


def test_metrics_are_points_and_median_ranks_are_text():
    figure = differences(ROWS, ("A", "B"), changed=CHANGED)
    texts = [text for text, _ in boxes(figure)]
    assert {"sentence → picture  R@1", "picture → sentence  R@10", "mean per class recall", "0.200 → 0.500"} <= set(texts)
    assert {"median rank: 12 → 2.5", "-9.5 [-11, -8]", "120 → 1"} <= set(texts)
    (axes,) = [axes for axes in figure.get_axes() if axes.lines]
    points = [line for line in axes.lines if line.get_marker() != "None"]
    assert [float(line.get_xdata()[0]) for line in points] == [0.3, -0.02, -0.2]
    # told apart in grey, too: hollow where it may be chance, a triangle where A is better
    assert [line.get_markerfacecolor() == line.get_color() for line in points] == [True, False, True]
    assert [line.get_marker() for line in points] == ["o", "o", "v"]


def written(metrics, changed):
    rows = [{"metric": metric, "a": 0.2, "b": 0.5, "difference": 0.3, "interval": [0.2, 0.4]} for metric in metrics]
    return {text for text, _ in boxes(differences(rows, ("A", "B"), changed=[("x", changed, 3.0, 1.0)]))}


def test_directions_are_of_what_is_compared():
    metrics = [f"{name}_retrieval_{figure}" for name in ("audio", "text") for figure in ("recall@1", "recall@10", "median_rank")]
    texts = written(metrics, "text_retrieval rank")
    assert {"text → audio  R@1", "audio → text  R@10", "text → audio", "audio → text"} <= texts
    assert not any("picture" in text for text in texts)
    texts = written([f"image-audio/{metric}" for metric in ("image_retrieval_recall@1", "audio_retrieval_recall@1")], "acc1")
    assert {"audio → image  R@1", "image → audio  R@1", "acc1"} <= texts
    assert "text → image  R@5" in written(["image-text/image_retrieval_recall@5"], "image-text/image_retrieval rank")


def test_one_metric_and_nothing_else():
    figure = differences(ROWS[:1], ("A", "B"))
    assert len(figure.get_axes()) == 1
    assert np.isclose(figure.get_size_inches()[0], style.WIDTH)
