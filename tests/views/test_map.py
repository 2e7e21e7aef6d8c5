from __future__ import annotations

import numpy as np
import pytest

from mmkit.views.braille import plot
from mmkit.views.groups import bands, largest
from mmkit.views.scatter import space_map
from mmkit.views.style import DARK

NONE = np.empty((0, 2), int)


def test_the_largest_groups_have_a_name_and_the_others_are_one() -> None:
    values = [*"aaabbc", None, *"defghij"]
    groups = largest("label", values)
    assert groups.names == ["a", "b", "c", "d", "e", "f", "g", "3 others", "no label"]
    assert groups.counts == [3, 2, 1, 1, 1, 1, 1, 3, 1]
    assert len(set(groups.colours()[:7])) == len(set(groups.shapes()[:7])) == groups.named == 7
    assert groups.colours()[7] == groups.colours()[8] != groups.colours(DARK)[8]


def test_bands_are_of_equal_size_and_what_has_no_value_is_its_own() -> None:
    groups = bands("similarity", np.array([*np.arange(100) / 100, np.nan]))
    assert groups.counts == [20, 20, 20, 20, 20, 1]
    assert groups.names[0] == "0.00 to 0.20"
    assert groups.names[-1] == "no similarity"
    assert bands("similarity", np.ones(3)).names == ["1.00"]
    near = bands("similarity", np.array([-0.17, -0.004, -0.003, -0.002, -0.001, 0.0]))
    assert "-0.00" not in " ".join(near.names)


@pytest.mark.parametrize("ramp", [False, True])
def test_the_steps_of_a_scale_are_told_apart_in_grey(ramp: bool) -> None:
    from matplotlib.colors import to_rgb

    groups = bands("similarity", np.arange(10.0))
    grey = [np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) for colour in groups.colours(*[DARK] * ramp)]
    assert (np.diff(grey) > 0.08).all()


def test_a_cell_has_the_dots_of_its_points_and_the_colour_of_most() -> None:
    points = np.array([[0, 0], [0, 0], [0, 0], [10, 5], [10, 5], [5, 2.5]])
    groups = largest("label", ["a", "a", "b", "b", "b", "c"])
    lines = plot(points, groups, 20, 12, colour=True)
    drawn = [line for line in lines[:-3] if line]
    # b, the largest group, has the first colour, and the cell above right holds b alone
    assert drawn[0].lstrip().startswith("\x1b[38;5;33m")
    # two of a and one of b share a dot below left
    assert drawn[-1].startswith("\x1b[38;5;202m")
    assert lines[-2].startswith("\x1b[38;5;33m●\x1b[0m b 3")
    plain = plot(points, groups, 20, 12, colour=False)
    drawn = [line.strip() for line in plain[:-3] if line.strip()]
    assert (drawn[0], drawn[-1]) == ("A", "B")
    assert all(len(line) <= 20 for line in plain)


def test_one_group_needs_no_letters_and_many_names_are_broken_into_lines() -> None:
    points = np.random.default_rng(0).normal(size=(30, 2))
    plain = plot(points, largest("point", ["points"] * 30), 30, 10, colour=False)
    assert any(0x2800 < ord(c) < 0x2900 for c in "".join(plain))
    names = [f"クラス {i}" for i in range(6)]
    lines = plot(points, largest("label", names * 5), 30, 10, colour=False)
    legend = lines[lines.index("") + 1 :] if "" in lines else lines
    assert sum("クラス" in line for line in legend) >= 3


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_legend_stands_beside_no_point_and_within_the_figure() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    points = np.random.default_rng(0).normal(size=(90, 2))
    names = ["a very long name of a class that is cut", *(f"分類 {i}" for i in range(8))]
    modality = np.array(["image", "text", "series"] * 30, object)
    figure = space_map(points, largest("label", names * 10), modality, np.array([[0, 1]]), note="one\ntwo", ground=points)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (legend,), (axes,) = figure.legends, figure.axes
    renderer = canvas.get_renderer()
    box, plotted = legend.get_window_extent(renderer), axes.get_window_extent(renderer)
    assert box.y0 >= plotted.y1
    assert 0 <= box.x0 <= box.x1 <= figure.bbox.x1
    assert axes.xaxis.label.get_window_extent(renderer).y0 >= 0
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[-4:] == ["image", "text", "series", "the map  90"]


def drawn(kinds: list[str], by: str) -> tuple[dict[str, set[tuple[object, ...]]], set[tuple[object, ...]]]:
    """The looks (shape, filled, colour) of the points of each modality, which lies at a height of its own, and those of the
    legend (marker, hollow)."""
    points = np.array([[x, 100.0 * y] for x in range(16) for y in range(len(kinds))])
    modality = np.array(kinds * 16, object)
    groups = (
        largest("modality", modality)
        if by == "modality"
        else largest("label", ["ab"[x % 4 > 0] for x in range(16) for _ in kinds])
    )
    figure = space_map(points, groups, modality, NONE)
    looks: dict[str, set[tuple[object, ...]]] = {}
    for one in figure.axes[0].collections:
        if len(one.get_offsets()) and len(one.get_paths()):
            name = kinds[int(np.asarray(one.get_offsets())[0, 1] / 100)]
            shape = one.get_paths()[0].vertices.round(3).tobytes()
            ink = one.get_edgecolor() if not len(one.get_facecolor()) else one.get_facecolor()
            looks.setdefault(name, set()).add((shape, len(one.get_facecolor()) > 0, tuple(ink[0])))
    handles = [one for one in figure.legends[0].legend_handles if one.get_label() in kinds]
    return looks, {(one.get_marker(), one.get_markerfacecolor() == "none") for one in handles}


@pytest.mark.parametrize("kinds", [["image", "text"], ["image", "text", "audio", "series", "video"]])
def test_modalities_are_told_apart_whatever_the_colours_are_of(kinds: list[str]) -> None:
    looks, legend = drawn(kinds, "label")
    shapes = {name: {look[:2] for look in own} for name, own in looks.items()}
    for name, own in shapes.items():
        assert not any(own & other for one, other in shapes.items() if one != name), name
        assert len({look[2] for look in looks[name]}) == 2, "the colour is that of the label"
    assert len(legend) == len(kinds)
    looks, _ = drawn(kinds, "modality")
    assert [len(own) for own in looks.values()] == [1] * len(kinds)
    assert len({look[2] for own in looks.values() for look in own}) == len(kinds)
    # of two the label has a shape, too
    if len(kinds) == 2:
        assert len({shape for shape, _ in shapes["image"]}) == 2
