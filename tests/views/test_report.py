from __future__ import annotations

from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from mmkit.views.charts import space_map
from mmkit.views.page import photo, render
from mmkit.views.projection import modality_gap
from mmkit.views.report import Report, SpaceMap, html, write_report
from mmkit.views.sheet import Strip, Tile
from tests.views.test_charts import record, rows, vectors
from tests.views.test_sheet import square

VOID = {"meta", "img", "source", "br"}


class Page(HTMLParser):
    """What a page holds: its text, the headings, and what it loads; fails where tags do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text, self.titles, self.loads = "", [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "srcset", "href", "data")]
        assert tag not in ("script", "link", "iframe")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.titles.append(data)


@pytest.fixture(scope="module")
def full() -> Report:
    both, modality, ids = vectors(6)
    found = Strip(Tile("a <blue> square"), [Tile("", square(), 0.51, True)])
    missed = Strip(Tile("a red circle"), [Tile("", square("red"), 0.42, False)], "its picture came at place 9")
    asked = Strip(Tile("", square()), [Tile("a green cross", None, 0.33, True)])
    return Report(
        title="A & B",
        kicker="mmkit demo",
        lead="A lead.",
        steps=[("Drew scenes", "3 s")],
        stats=[("90.0%", "found", "chance 0.003")],
        splits={"train": 9000, "test": 300},
        data_note="Scenes.",
        samples=[Tile("a sample", square())],
        model=[("parameters", "256,849")],
        rows=rows(),
        batch_size=128,
        record=record(0.913),
        right=[found],
        wrong=[missed],
        reverse=[asked],
        map=SpaceMap(both[:, :2], modality, ids, "PCA", modality_gap(both, modality, ids)),
        commands=[("mmkit train", "go on")],
        footer="the end",
    )


def test_the_page_is_one_file_that_loads_nothing(full):
    page = Page(html(full))
    assert page.loads
    assert all(value.startswith("data:image/") for value in page.loads)
    # three charts, each for light and for dark; four pictures
    assert sum(value.startswith("data:image/svg+xml") for value in page.loads) == 6
    assert sum(value.startswith("data:image/png") for value in page.loads) == 4
    assert "url(" not in html(full)
    assert "@import" not in html(full)


def test_every_section_and_figure_is_there(full):
    page = Page(html(full))
    assert page.titles == [
        "A & B",
        "What was done",
        "How often does it find the right one?",
        "See for yourself",
        "Found at once",
        "Not found at once: the hardest cases",
        "The other way round: sentences for a picture",
        "How it learned",
        "A map of what it learned",
        "The data",
        "From the training split",
        "The model",
        "Go on with your own data",
    ]
    for text in (
        "0.913",
        "0.010",
        "150.5",
        "9,000",
        "256,849",
        "a <blue> square",
        "✓ 0.510",
        "✗ 0.420",
        "place 9",
        "mmkit train",
    ):
        assert text in page.text


def test_what_is_not_known_leaves_its_section_out():
    page = Page(html(Report(title="Only a title")))
    assert page.titles == ["Only a title"]
    assert page.loads == []


def test_it_is_written_whole(full, tmp_path):
    write_report(full, tmp_path / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert Page((tmp_path / "report.html").read_text()).titles[0] == "A & B"


def test_a_large_picture_is_shrunk_and_a_map_of_one_kind_is_drawn():
    assert photo(square(size=(2000, 1000)))[1:] == (320, 160, False)
    assert photo(square())[1:] == (48, 48, True)
    points, modality, _ = vectors(3)
    assert space_map(points[:, :2][modality == "text"], modality[modality == "text"]).axes


def test_what_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError, match="strips"):
        render("answers.html", title="t")


def test_shell_lines_stand_as_they_are_typed():
    lines = [("mmkit prep folder ./a", "first"), ("mmkit train", ""), ('mmkit retrieve "a <dog>"', "last")]
    text = Page(html(Report(title="t", commands=lines))).text
    assert '# first\nmmkit prep folder ./a\nmmkit train\n# last\nmmkit retrieve "a <dog>"' in text
