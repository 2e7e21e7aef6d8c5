from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from mmkit.errors import UsageError
from mmkit.views import fonts, sheet
from mmkit.views.sheet import Strip, Tile


def square(colour="blue", size=(48, 48)):
    return Image.new("RGB", size, colour)


def has(picture, colour):
    return (np.asarray(picture) == ImageColor.getrgb(colour)).all(-1).any()


def test_a_grid_of_pictures_with_captions():
    plain = sheet.contact_sheet([square()] * 5, ["a blue square"] * 5, columns=3)
    assert plain.width == 3 * sheet.CELL + 4 * sheet.GAP
    assert has(plain, "blue")
    assert not has(plain, sheet.RIGHT)
    assert sheet.contact_sheet([square()] * 5, ["a blue square"] * 5, columns=3, title="A batch").height > plain.height
    taller = sheet.contact_sheet([square()] * 5, ["a blue square", *["a very long caption " * 5] * 4], columns=3)
    assert taller.height > plain.height


def test_right_and_wrong_are_framed():
    marked = sheet.contact_sheet([square()] * 2, ["", ""], right=[True, False])
    assert has(marked, sheet.RIGHT)
    assert has(marked, sheet.WRONG)
    assert Tile(score=0.5, right=True).verdict == "✓ 0.500"


def test_only_what_stands_before_the_right_answer_is_wrong():
    assert sheet.verdicts([False, True, False]) == [False, True, None]
    assert sheet.verdicts([False, False]) == [False, False]
    assert sheet.verdicts([]) == []


def test_one_label_a_picture_and_no_picture_at_all():
    with pytest.raises(ValueError, match="2 pictures, 1 labels"):
        sheet.contact_sheet([square()] * 2, ["one"])
    assert sheet.contact_sheet([], []).size == (sheet.GAP * 2 + sheet.CELL, sheet.GAP)


def test_pictures_are_fitted_whatever_their_shape():
    assert sheet.fit(square(), 160).size == (144, 144)  # a whole factor
    assert sheet.fit(square(size=(1000, 500)), 160).size == (160, 80)
    assert sheet.fit(square(size=(100, 2)), 160).size == (160, 3)
    assert sheet.fit(Image.new("L", (10, 10)), 160).mode == "RGB"


STRIPS = [
    Strip(Tile("a blue square"), [Tile("", square(), 0.5, True), Tile("x", square("red"), 0.4)], "a note"),
    Strip(Tile("photo.png", square("green", (30, 60))), [Tile("某种很长的文字" * 20, None, 0.1, False)]),
]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".pdf", ".html"])
def test_answers_are_saved_by_suffix(tmp_path, suffix):
    path = tmp_path / f"answers{suffix}"
    sheet.save_answers(STRIPS, path, "Answers")
    data = path.read_bytes()
    if suffix == ".pdf":
        assert data.startswith(b"%PDF")
    elif suffix == ".html":
        assert data.startswith(b"<!doctype html>")
    else:
        assert Image.open(path).size == sheet.answer_sheet(STRIPS).size
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_unknown_suffix_is_a_usage_error(tmp_path):
    for name in ("answers.txt", "answers"):
        with pytest.raises(UsageError, match="cannot draw"):
            sheet.save_answers(STRIPS, tmp_path / name)


def test_lines_break_at_spaces_and_between_east_asian_characters():
    face = fonts.font("", 14)
    width = round(face.getlength("a small red"))
    assert fonts.wrap("a small red circle at the top", face, width, 3)[0] == "a small red"
    assert fonts.wrap("", face, width, 3) == []
    long = fonts.wrap("w" * 200, face, width, 3)
    assert len(long) == 3
    assert long[-1].endswith("…")
    chinese = fonts.wrap("红色的狗在海滩上奔跑" * 3, face, width, 2)
    assert len(chinese) == 2
    assert all(face.getlength(line) <= width for line in [*long, *chinese])


def test_east_asian_text_takes_a_font_that_has_it():
    found = fonts.installed(fonts.CJK)
    name = fonts.font("红", 14).path
    assert name == found if found else str(name).endswith("DejaVuSans.ttf")
    assert str(fonts.font("red", 14).path).endswith("DejaVuSans.ttf")
