"""The forest plot of an ablation: everything is within the picture, and nothing lies over anything."""

from __future__ import annotations

import itertools

from mmkit.views.ablation import Panel, forest

NAMES = ["whole", "loss.itc.kind=sigmoid, encoder.image.layers=12, augment=[]", "x" * 70, "without image"]
PANEL = Panel(
    "image R@1", ["0.431 ± 0.020", "0.3", "failed", "0.5 ± 0.1"], [None, (0.02, [-0.01, 0.05]), None, (0.1, [0.08, 0.12])]
)


def test_no_label_is_clipped_and_none_lies_over_another():
    figure = forest(NAMES, [PANEL, PANEL])
    figure.draw_without_rendering()
    whole = figure.bbox
    for axes in figure.axes:
        labels = [label.get_window_extent() for label in axes.get_yticklabels()]
        boxes = [*labels, *(text.get_window_extent() for text in axes.texts), axes.title.get_window_extent()]
        boxes.append(figure.axes[-1].xaxis.label.get_window_extent())
        for box in boxes:
            assert whole.x0 <= box.x0 and box.x1 <= whole.x1, box
            assert whole.y0 <= box.y0 and box.y1 <= whole.y1, box
        for upper, lower in itertools.pairwise(labels):
            assert upper.y0 >= lower.y1
        assert all(text.get_window_extent().x0 >= axes.bbox.x1 for text in axes.texts)


def test_filled_where_the_interval_leaves_zero_out():
    figure = forest(NAMES, [PANEL])
    points = {round(float(line.get_xdata()[0]), 3): line for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert points[0.02].get_markerfacecolor() != points[0.02].get_markeredgecolor()
    assert points[0.1].get_markerfacecolor() == points[0.1].get_markeredgecolor()
