"""Quotes, line breaks and separators in captions: no row is lost or joined, whatever wrote the table."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.cells import DAMAGED
from mmkit.data.tables import open_table

CAPTIONS = [
    *("line one\nline two", "plain", 'say "hi" now', '"quoted" at the start', 'ends with "quote"', '5" screen, new'),
    *("comma, and; semi", "tab\there? no", "a | b", "émile’s café", "image 3.jpg is here\nand 4.jpg too"),
]
OPEN = "a quote that opens in this row is not closed in it"


def cells(root: Path, name: str, text: str) -> list[list[str]]:
    """The rows of the table, and the reason where one could not be read."""
    (root / name).write_text(text, newline="")
    return [[row[DAMAGED]] if DAMAGED in row else list(row.values()) for _, row in open_table(root / name).rows()]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("t.csv", {}),
        ("t.csv", {"delimiter": ";", "quoting": csv.QUOTE_ALL}),
        ("t.csv", {"delimiter": "|"}),
        ("t.tsv", {"delimiter": "\t"}),
        ("t.csv", {"doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL}),
    ],
)
def test_what_a_csv_writer_wrote_comes_back(tmp_path: Path, name: str, form: dict[str, Any], newline: str) -> None:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=newline, **form)
    rows = [[f"{i}.jpg", caption] for i, caption in enumerate(CAPTIONS)]
    writer.writerows([["image", "caption"], *rows])
    assert cells(tmp_path, name, file.getvalue()) == rows


@pytest.mark.parametrize(("name", "separator"), [("t.tsv", "\t"), ("t.csv", ","), ("t.csv", ";"), ("t.txt", "|")])
@pytest.mark.parametrize("caption_first", [True, False])
def test_a_file_that_quotes_nothing_keeps_its_quotes(tmp_path: Path, name: str, separator: str, caption_first: bool) -> None:
    captions = ["plain", '"quoted" start', 'only " one', 'ends"', '"open never closed', "fine", '"a" and "b"', "x"]
    rows = [[caption, f"{i}.jpg"] if caption_first else [f"{i}.jpg", caption] for i, caption in enumerate(captions)]
    header = ["caption", "image"] if caption_first else ["image", "caption"]
    text = "".join(separator.join(row) + "\n" for row in [header, *rows])
    assert cells(tmp_path, name, text) == rows
    assert open_table(tmp_path / name).note.endswith("quotes are plain characters")


def test_a_quoted_row_among_many_plain_quotes(tmp_path: Path) -> None:
    plain = "".join(f'{i}.jpg,"word" {i}\n' for i in range(5))
    rows = cells(tmp_path, "t.csv", f'image,caption\n{plain}6.jpg,"a, b"\n7.jpg,"line one\nline two"\n')
    assert rows[0] == ["0.jpg", '"word" 0']
    assert rows[5:] == [["6.jpg", "a, b"], ["7.jpg", "line one\nline two"]]


def test_a_lone_quote_among_quoted_cells_costs_its_own_row_only(tmp_path: Path) -> None:
    text = '0.jpg,"a, b"\n1.jpg,"lone\n2.jpg,"c, d"\n3.jpg,"two\nlines"\n4.jpg,"word" starts\n5.jpg,ends"\n6.jpg,"e ""f"""\n'
    assert cells(tmp_path, "t.csv", f"image,caption\n{text}") == [
        *(["0.jpg", "a, b"], [OPEN], ["2.jpg", "c, d"], ["3.jpg", "two\nlines"], ["4.jpg", '"word" starts']),
        *(["5.jpg", 'ends"'], ["6.jpg", 'e "f"']),
    ]
    last = cells(tmp_path, "t.csv", 'image,caption\n0.jpg,"a, b"\n1.jpg,"lone')
    assert last == [["0.jpg", "a, b"], [OPEN]]


def test_two_lone_quotes_do_not_join_the_rows_between_them(tmp_path: Path) -> None:
    text = 'image,caption\n0.jpg,"a, b"\n1.jpg,"lone\n2.jpg,x\n3.jpg,ends"\n4.jpg,y\n'
    assert cells(tmp_path, "t.csv", text) == [["0.jpg", "a, b"], [OPEN], ["2.jpg", "x"], ["3.jpg", 'ends"'], ["4.jpg", "y"]]


def test_a_lone_quote_at_the_top_of_a_long_table(tmp_path: Path) -> None:
    rows = "".join(f"{i}.jpg,cat {i}\n" for i in range(1, 3000))
    found = cells(tmp_path, "t.csv", f'image,caption\n0.jpg,"lone\n{rows}')
    assert found[0] == ["0.jpg", '"lone']
    assert len(found) == 3000


def test_quotes_escaped_by_a_backslash(tmp_path: Path) -> None:
    text = '0.jpg,"say \\"hi\\", now"\n1.jpg,"5\\" wide"\n2.jpg,plain\n3.jpg,"ends \\""\n'
    assert cells(tmp_path, "t.csv", f"image,caption\n{text}") == [
        *(["0.jpg", 'say "hi", now'], ["1.jpg", '5" wide'], ["2.jpg", "plain"], ["3.jpg", 'ends "'])
    ]
    windows = '"C:\\img\\0.jpg","a, b"\n"C:\\dir\\","d"\n'
    assert cells(tmp_path, "t.csv", f"image,caption\n{windows}") == [["C:\\img\\0.jpg", "a, b"], ["C:\\dir\\", "d"]]


def test_a_space_before_the_quote(tmp_path: Path) -> None:
    assert cells(tmp_path, "t.csv", 'image, caption\n0.jpg, "a cat, asleep"\n1.jpg, "b"\n')[0] == ["0.jpg", "a cat, asleep"]


def test_separators_at_the_end_of_lines_and_blank_lines(tmp_path: Path) -> None:
    assert cells(tmp_path, "t.csv", "image,caption\n0.jpg,a,\n\n1.jpg,b,,\n,,\n") == [["0.jpg", "a"], ["1.jpg", "b"]]


def test_the_separator_that_sets_off_the_pictures(tmp_path: Path) -> None:
    assert cells(tmp_path, "t.csv", "0.jpg,a; b\n1.jpg,c; d\n") == [["0.jpg", "a; b"], ["1.jpg", "c; d"]]
