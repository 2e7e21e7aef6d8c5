"""Compressed tables are read as they are; a damaged one is named."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from mmkit.data.schema import Ask, Row
from mmkit.data.sources.table import read
from mmkit.errors import UserError
from tests import raw

CSV = "image,caption\n0.jpg,un café à Orléans\n1.jpg,two dogs\n"
LINES = '{"image": "0.jpg", "caption": "un café à Orléans"}\n{"image": "1.jpg", "caption": "two dogs"}\n'
LIST = "[" + LINES.strip().replace("\n", ",\n") + "]"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i in range(2):
        raw.jpeg(tmp_path / f"{i}.jpg", i)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("t.CSV.GZ", gzip.compress(CSV.encode("cp1252"), mtime=0)),
        ("t.csv.gz", gzip.compress(CSV.encode("utf-16"), mtime=0)),
        ("t.tsv.gz", gzip.compress(CSV.replace(",", "\t").encode(), mtime=0)),
        ("t.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("t.json.gz", gzip.compress(LIST.encode(), mtime=0)),
        ("t.csv.bz2", bz2.compress(CSV.encode())),
        ("t.csv.xz", lzma.compress(CSV.encode())),
        ("t.csv.gz", CSV.encode()),  # unpacked by a browser
        ("t.csv", gzip.compress(CSV.encode(), mtime=0)),
    ],
)
def test_it_is_read_as_it_is(root: Path, name: str, content: bytes) -> None:
    (root / name).write_bytes(content)
    rows = read(Ask(root / "out", root)).rows
    assert [(row.id, row.values["captions"]) for row in rows if isinstance(row, Row)] == [
        ("0.jpg", ["un café à Orléans"]),
        ("1.jpg", ["two dogs"]),
    ]


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz"])
def test_a_truncated_one_is_named(root: Path, name: str) -> None:
    many = LINES * 5000 if "json" in name else CSV + "1.jpg,two dogs\n" * 5000
    (root / name).write_bytes(gzip.compress(many.encode())[:-20])
    with pytest.raises(UserError, match=rf"compressed file is truncated or damaged .*{name}"):
        read(Ask(root / "out", root / name))


def test_a_file_that_is_no_text_is_named(root: Path) -> None:
    # what looks like UTF-16 and is none
    (root / "t.csv").write_bytes("image,caption\n".encode("utf-16-le") + b"\0\xd8a\0" * 100)
    with pytest.raises(UserError, match="not a table: neither text nor Parquet"):
        read(Ask(root / "out", root / "t.csv"))
