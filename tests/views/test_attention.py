"""Weights as they are drawn: of one scale, darker the more, in a terminal as wide as it is."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mmkit.data.canvas import Canvas
from mmkit.views.attention import Looked, _colours, as_shares, attention, strength
from mmkit.views.attention_text import RAMP, print_looked
from mmkit.views.style import DARK, LIGHT, encode

HEAT = np.zeros((20, 40), np.float32)
HEAT[5:10, 30:35] = 2


def looked(words: int = 3) -> Looked:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 40, 3), dtype=np.uint8))
    canvas = Canvas([picture], picture.size, (0.0, 0.0, 40.0, 20.0))
    return Looked(canvas, HEAT, [(f"word{i}", float(i)) for i in range(words)], "a title", "a note")


def printed(width: int, **keys: object) -> list[str]:
    stream = io.StringIO()
    print_looked(looked(), Console(file=stream, width=width, **keys))  # type: ignore[arg-type]
    return stream.getvalue().splitlines()


def test_strength_is_a_share_of_the_greatest_and_spreads_what_is_negative() -> None:
    assert strength(np.array([0.0, 1, 4])).tolist() == [0, 0.25, 1]
    assert strength(np.array([-1.0, 0, 3])).tolist() == [0, 0.25, 1]
    assert strength(np.zeros(2)).tolist() == [0, 0] and not len(strength(np.empty(0)))
    assert as_shares(np.array([1.0, 3])).tolist() == [0.25, 0.75]
    assert as_shares(np.array([-1.0, 3])).tolist() == [-1, 3]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_more_weight_is_darker_in_grey(theme: object) -> None:
    grey = _colours(theme)(np.linspace(0, 1, 9))[:, :3] @ (0.299, 0.587, 0.114)  # type: ignore[arg-type]
    assert (np.diff(grey) < 0).all()


@pytest.mark.parametrize("words", [0, 1, 40])
def test_the_figure_grows_with_its_words(words: int) -> None:
    figure = attention(looked(words))
    height = figure.get_size_inches()[1]
    assert height > (3 if words == 40 else 1.3)
    assert Image.open(io.BytesIO(encode(figure, ".png"))).height == pytest.approx(200 * height, abs=2)


def test_without_colours_the_terminal_shows_a_ramp_of_characters() -> None:
    lines = printed(80, no_color=True)
    assert max(map(len, lines)) <= 80
    heat = [line[42:] for line in lines[1:11]]
    assert heat[3][29:33] == heat[4][29:33] == 4 * RAMP[-1]
    assert not heat[0].strip() and not heat[9].strip()
    assert "\x1b" not in "".join(lines)


def test_with_colours_a_cell_shows_two_rows_of_pixels() -> None:
    lines = printed(80, force_terminal=True, color_system="truecolor")
    cells = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]
    assert cells[1].count("▀") == 76 and max(map(len, cells)) <= 80
    assert "38;2;213;94;0" in "".join(lines), "the greatest weight is vermilion"
