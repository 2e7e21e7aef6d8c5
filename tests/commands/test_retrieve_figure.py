from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageColor

from mmkit.views.sheet import RIGHT, WRONG
from tests.conftest import COLOURS
from tests.views.test_report import Page


def has(path, colour):
    return (np.asarray(Image.open(path).convert("RGB")) == ImageColor.getrgb(colour)).all(-1).any()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".pdf"])
def test_a_sheet_by_suffix(colours, colour_model, invoke, suffix):
    path = colours.parent / f"out{suffix}"
    outcome = invoke("retrieve", "red", "blue", "--split", "test", "--figure", path, cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    assert len(outcome.lines) == 6
    assert f"wrote {path}" in outcome.stderr
    if suffix == ".png":
        # nobody knows which are right
        assert has(path, f"#{COLOURS['blue'][0]:02x}{COLOURS['blue'][1]:02x}{COLOURS['blue'][2]:02x}")
        assert not has(path, RIGHT)
    assert path.stat().st_size > 500


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".pdf", ".html"])
def test_a_figure_of_ours_is_replaced_and_a_file_of_others_is_not(colours, colour_model, invoke, suffix):
    folder, path = colours.parent, colours.parent / f"out{suffix}"
    ask = ["retrieve", "red", "--split", "test", "--figure", path.name]
    for _ in range(2):
        outcome = invoke(*ask, cwd=folder)
        assert outcome.code == 0, outcome.stderr
    if suffix in (".png", ".jpg"):
        Image.new("RGB", (4, 4)).save(path)
    else:
        path.write_text("<!doctype html><p>mmkit")
    before = path.read_bytes()
    refused = invoke(*ask, "--model", "absent", cwd=folder)
    assert (refused.code, refused.stdout) == (1, "")
    assert f"error: the file exists and is not one that mmkit wrote, {path.name}\nhint: --force moves" in refused.stderr
    assert path.read_bytes() == before
    assert invoke(*ask, "--force", cwd=folder).code == 0
    assert path.with_name(f"{path.name}.old-1").read_bytes() == before
    assert invoke(*ask, cwd=folder).code == 0


def test_a_page_that_loads_nothing(colours, colour_model, invoke):
    outcome = invoke("retrieve", "red", "--split", "test", "--figure", "out.html", cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    page = Page((colours.parent / "out.html").read_text())
    assert len(page.loads) == 3
    assert all(value.startswith("data:image/png") for value in page.loads)
    assert f"{outcome.lines[0]['score']:.3f}" in page.text


def test_queries_whose_id_is_in_the_gallery_are_judged(colours, colour_model, invoke):
    # the red picture comes first, the green one second or third: red is wrong, green is right
    stdin = json.dumps({"id": "green", "text": "something red"})
    outcome = invoke("retrieve", "-", "--split", "test", "--figure", "out.png", cwd=colours.parent, stdin=stdin)
    assert outcome.code == 0, outcome.stderr
    assert has(colours.parent / "out.png", RIGHT)
    assert has(colours.parent / "out.png", WRONG)


def test_an_image_query_and_texts_as_answers(colours, colour_model, invoke, tmp_path):
    Image.new("RGB", (30, 20), COLOURS["green"]).save(tmp_path / "photo.png")
    outcome = invoke("retrieve", "photo.png", "--figure", "out.html", "--top", 2, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    page = Page((tmp_path / "out.html").read_text())
    assert len(page.loads) == 1
    assert "a green picture" in page.text


def test_a_plain_folder_of_images(colour_model, invoke, tmp_path):
    (tmp_path / "photos").mkdir()
    for name, rgb in COLOURS.items():
        Image.new("RGB", (8, 8), rgb).save(tmp_path / "photos" / f"{name}.png")
    outcome = invoke("retrieve", "red", "--in", "photos", "--figure", "out.html", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert len(Page((tmp_path / "out.html").read_text()).loads) == 3


def test_an_unknown_suffix_is_refused_before_anything_is_done(invoke, tmp_path):
    outcome = invoke("retrieve", "red", "--figure", "out.gif", cwd=tmp_path)
    assert outcome.code == 2
    assert "error: cannot draw a .gif, out.gif" in outcome.stderr
