from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmkit.views import style
from mmkit.views.contribution import contribution


def shares(values, names=("image", "text"), removal="shuffle"):
    """What `mmkit contribution` prints, its intervals 0.1 wide; a value is the share of the first modality."""
    found = []
    for method, value in values.items():
        rest = None if value is None else (1 - value) / (len(names) - 1)
        for i, name in enumerate(names):
            share = rest if i else value
            interval = None if share is None else [max(0.0, share - 0.05), min(1.0, share + 0.05)]
            of = None if method == "gradient" else removal
            found.append({"modality": name, "method": method, "removal": of, "share": share, "interval": interval})
    return found


ALL = {"gradient": 0.6, "ablation": 0.8, "shapley": 0.7}


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def bars(figure):
    return [patch.get_width() for patch in figure.axes[0].patches]


def test_a_bar_a_method_and_modality_with_its_figure():
    figure = contribution(shares(ALL), "shuffle", note="runs/a on data test")
    assert bars(figure) == pytest.approx([0.6, 0.4, 0.8, 0.2, 0.7, 0.3])
    assert texts(figure)[:3] == ["Gradient", "0.60", "0.40"]
    assert "Ablation (shuffle)" in texts(figure) and "Shapley (shuffle)" in texts(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["image", "text"] * 3
    assert figure.axes[0].get_xlabel().endswith("runs/a on data test")


def test_only_the_removal_that_is_asked_for_is_drawn():
    figure = contribution(shares(ALL) + shares({"ablation": 0.1, "shapley": 0.2}, removal="mean"), "mean")
    assert bars(figure) == pytest.approx([0.6, 0.4, 0.1, 0.9, 0.2, 0.8])


def test_where_nothing_is_carried_no_bar_is_drawn():
    figure = contribution(shares(ALL | {"shapley": None}), "shuffle")
    assert len(bars(figure)) == 4
    assert texts(figure).count("–") == 2


def test_classes_in_any_script_and_no_more_than_can_be_read():
    by_class = {f"红色的圆 {i}" if i else "赤い丸": (30 - i, shares({"shapley": 0.5})) for i in range(30)}
    figure = contribution(shares(ALL), "shuffle", by_class)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[6:8] == ["赤い丸 (30)", "红色的圆 1 (29)"]
    assert len(labels) == 6 + 20
    assert texts(figure)[-1] == "Shapley (shuffle) by class: the 20 most frequent of 30"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["image", "text"]


@pytest.mark.parametrize("theme", [style.LIGHT, style.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("names", [("image", "text"), ("image", "text", "series", "question", "sound")])
def test_nothing_is_clipped(theme, names):
    by_class = {"a class whose name is far too long to be read": (1200, shares({"shapley": 1.0}, names)), "b": (3, [])}
    figure = contribution(shares(ALL | {"ablation": 1.0}, names), "shuffle", by_class, "a note", theme)
    shown = Image.open(io.BytesIO(style.encode(figure, ".png"))).convert("RGBA")
    ground = Image.new("RGBA", shown.size, "white")
    pixels = np.asarray(Image.alpha_composite(ground, shown).convert("L"))
    edges = np.concatenate([pixels[:2].ravel(), pixels[-2:].ravel(), pixels[:, :2].ravel(), pixels[:, -2:].ravel()])
    assert (edges > 250).all(), "something runs into the edge"


def test_modalities_are_told_apart_without_colour():
    patches = contribution(shares(ALL, ("a", "b", "c")), "shuffle").axes[0].patches
    assert len({patch.get_hatch() for patch in patches}) == 3
