from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest
from jinja2 import UndefinedError

from mmkit.views.charts import confusion
from mmkit.views.groups import largest
from mmkit.views.page import photo, render
from mmkit.views.report import Report, Shown, html, write_report
from mmkit.views.scatter import space_map
from mmkit.views.sheet import Strip, Tile
from tests.views.test_charts import confused, record, rows, vectors
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


def classified():
    """A result of `eval classify`."""
    return record() | {"metrics": {"acc1": 0.75, "macro_f1": 0.5}, "chance": {"acc1": 0.25}, "n": {"image": 8}}


@pytest.fixture(scope="module")
def full() -> Report:
    both, modality, _ = vectors(6)
    pairs, by = np.arange(12).reshape(6, 2), largest("modality", modality)
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
        findings=[("the loss is stuck", "--lr 1e-4")],
        records=[record(0.913) | {"interval": {"image_retrieval_recall@1": [0.88, 0.94]}}, classified()],
        confusion=Shown(lambda theme: confusion(*confused(3), theme), "confusion"),
        strips=[("Found", [found]), ("Missed", [missed]), ("The other way round", [asked]), ("Nothing", [])],
        marks="what the marks mean",
        map=Shown(
            lambda theme: space_map(both[:, :2], by, modality, pairs, theme),
            "a map",
            ["the gap is 0.5"],
        ),
        attention=[Shown(lambda theme: confusion(*confused(2), theme), "attention")],
        contribution=Shown(lambda theme: confusion(*confused(2), theme), "contribution", ["both count"]),
        audit=[["rows in train", "9,000", "LEAK: none"]],
        config="[train]\nlr = 0.001\n",
        commands=[("mmkit train", "go on")],
        footer="the end",
    )


def test_the_page_is_one_file_that_loads_nothing(full):
    page = Page(html(full))
    assert page.loads
    assert all(value.startswith("data:image/") for value in page.loads)
    # six charts, each for light and for dark; four pictures
    assert sum(value.startswith("data:image/svg+xml") for value in page.loads) == 12
    assert sum(value.startswith("data:image/png") for value in page.loads) == 4
    assert "url(" not in html(full)
    assert "@import" not in html(full)


def test_every_section_and_figure_is_there(full):
    page = Page(html(full))
    assert page.titles == [
        "A & B",
        "What was done",
        "What the doctor says",
        "How often does it find the right one?",
        "How well does it answer?",
        "What it takes for what",
        "See for yourself",
        "Found",
        "Missed",
        "The other way round",
        "How it learned",
        "A map of what it learned",
        "What it looks at",
        "What each input contributes",
        "The data",
        "From the training split",
        "Its audit",
        "The model",
        "Go on with your own data",
    ]
    for text in (
        "0.913 [0.880, 0.940]",
        "the loss is stuck",
        "0.750",
        "what the marks mean",
        "the gap is 0.5",
        "LEAK: none",
        "lr = 0.001",
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


def test_what_equal_captions_leave_possible_stands_beside_a_recall():
    shared = record(0.2) | {"caption_ceiling": {"image_retrieval_recall@1": 0.25, "text_retrieval_recall@1": 1.0}}
    page = Page(html(Report(title="T", records=[shared])))
    assert "0.200 of at most 0.250" in page.text and page.text.count("of at most ") == 1 and "Of at most: " in page.text
    assert "most" not in Page(html(Report(title="T", records=[record(0.2)]))).text


def test_items_are_counted_by_what_they_are_called():
    both = {name.replace("image", "audio"): 0.5 for name in record(0.2)["metrics"]}
    of_sounds = record(0.2) | {"n": {"audio": 37, "text": 40}, "metrics": both, "chance": both}
    assert "37 sounds and 40 texts" in Page(html(Report(title="T", records=[of_sounds]))).text


def test_it_is_written_whole(full, tmp_path):
    write_report(full, tmp_path / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert Page((tmp_path / "report.html").read_text()).titles[0] == "A & B"


def test_a_large_picture_is_shrunk_and_a_map_of_one_kind_is_drawn():
    assert photo(square(size=(2000, 1000)))[1:] == (320, 160, False)
    assert photo(square())[1:] == (48, 48, True)
    points, modality, _ = vectors(3)
    texts = modality == "text"
    one = largest("modality", modality[texts])
    assert space_map(points[texts, :2], one, modality[texts], np.empty((0, 2), int)).axes


def test_what_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError, match="strips"):
        render("answers.html", title="t")


def test_shell_lines_stand_as_they_are_typed():
    lines = [("mmkit prep folder ./a", "first"), ("mmkit train", ""), ('mmkit retrieve "a <dog>"', "last")]
    text = Page(html(Report(title="t", commands=lines))).text
    assert '# first\nmmkit prep folder ./a\nmmkit train\n# last\nmmkit retrieve "a <dog>"' in text
