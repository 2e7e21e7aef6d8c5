"""Which columns of a table are taken for what, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.columns import Columns, choose, parse
from mmkit.data.schema import Ask, Row
from mmkit.data.sources.table import read
from mmkit.data.tables import open_table
from mmkit.errors import UsageError
from tests import raw


def chosen(root: Path, header: str, *rows: str, typed: tuple[str, ...] = ()) -> Columns:
    """The columns of a CSV table."""
    path = root / "t.csv"
    path.write_text("".join(f"{line}\n" for line in (header, *rows)))
    table = open_table(path)
    return choose(table, table.sample(), parse(typed))


@pytest.mark.parametrize(
    "names",
    [
        ["caption_0", "caption_1", "caption_2"],
        ["caption_1", "caption_2"],
        ["caption", "caption2"],
        ["caption", "caption_2", "captions_3"],
        ["Caption 1", "Caption 2"],
        ["caption1", "caption10", "caption100"],
        ["caption a", "caption b"],
        ["caption.1", "caption.2"],
        ["captions/0", "captions/1"],
        ["captions[0]", "captions[1]"],
        ["1_caption", "2_caption"],
        ["sentence1", "sentence2"],
        ["alt_text_1", "alt_text_2"],
        ["Beschreibung_1", "Beschreibung_2"],
    ],
)
def test_numbered_columns_are_several_captions(tmp_path: Path, names: list[str]) -> None:
    row = ",".join(f"a text in {name}" for name in names)
    assert chosen(tmp_path, f"file,{','.join(names)}", f"0.jpg,{row}").of["caption"] == tuple(names)


@pytest.mark.parametrize(
    ("header", "row", "label"),
    [
        ("file,category", "0.jpg,chirping birds", "category"),
        ("file,Class Name", "0.jpg,hen", "Class Name"),
        ("file,remark", "0.jpg,a hen", None),
        ("file,category,caption", "0.jpg,hen,a hen on a roof", None),
        ("file,category,label", "0.jpg,hen,bird", "label"),
    ],
)
def test_the_only_texts_are_classes_where_they_are_called_so(tmp_path: Path, header: str, row: str, label: str | None) -> None:
    columns = chosen(tmp_path, header, row)
    assert (columns.label, columns.of["caption"][0]) == (label, header.split(",")[-1 if label is None else 1])
    assert chosen(tmp_path, header, row, typed=(f"caption={header.split(',')[1]}",)).label == (
        "label" if label == "label" else None
    )


def test_columns_of_one_name_are_several_captions(tmp_path: Path) -> None:
    columns = chosen(tmp_path, "image,caption,caption,caption", "0.jpg,a b,c d,e f")
    assert columns.of["caption"] == ("caption", "caption.1", "caption.2")
    raw.jpeg(tmp_path / "0.jpg", 0)
    (row,) = read(Ask(tmp_path / "out", tmp_path / "t.csv")).rows
    assert isinstance(row, Row)
    assert row.values["captions"] == ["a b", "c d", "e f"]


def test_columns_that_only_sound_like_captions_are_none(tmp_path: Path) -> None:
    header = "image,caption,caption_id,caption_length,caption_lang,caption_2,caption_3"
    columns = chosen(tmp_path, header, "0.jpg,a dog,c_17,5,en,2,", "1.jpg,two cats,c_18,8,de,3,")
    # a blank one may be filled further down
    assert columns.of["caption"] == ("caption", "caption_3")
    assert "not taken: 'caption_2'" in columns.note


def test_other_texts_are_left_and_said(tmp_path: Path) -> None:
    rows = ("0.jpg,A dog,A dog that runs,blue red", "1.jpg,A cat,A cat asleep,red green")
    columns = chosen(tmp_path, "image,title,description,tags", *rows)
    assert columns.note == "image column 'image', caption column 'description'; not taken: 'title', 'tags'"
    both = chosen(tmp_path, "image,title,description,tags", *rows, typed=("caption=title", "caption=description"))
    assert both.note == "image column 'image', caption columns 'title', 'description'; not taken: 'tags'"
    many = chosen(tmp_path, "image," + ",".join(f"caption_{i}" for i in range(12)), "0.jpg" + ",a b" * 12)
    assert len(many.of["caption"]) == 12
    assert many.note.endswith("'caption_7' and 4 more")


@pytest.mark.parametrize(
    ("header", "rows", "image"),
    [
        ("image,file_name,caption", ["0,a.jpg,a b", "1,b.jpg,c d"], "file_name"),
        ("image,photo_of_it,caption", ["0,a.jpg,a b", "1,b.jpg,c d"], "photo_of_it"),
        ("image,file_name,caption", ["img_1,a.jpg,a b", "img_2,b.jpg,c d"], "file_name"),
        ("image,path,caption", ["0,pictures/a,a b", "1,pictures/b,c d"], "path"),
        ("image,url,caption", ["dogs/0,https://x/a.jpg,a b", "dogs/1,https://x/b.jpg,c d"], "image"),
        ("url,local,caption", ["https://x/a.jpg,a.jpg,a b", "https://x/b.jpg,b.jpg,c d"], "local"),
        ("image,thumb,caption", ["dogs/0,t/a.jpg,a b", "dogs/1,t/b.jpg,c d"], "image"),
        ("image,caption", ["0,a b", "1,c d"], "image"),
        ("Image Path,n,caption", ["a,1,a b", "b,2,c d"], "Image Path"),
    ],
)
def test_numbers_and_links_do_not_win_over_files(tmp_path: Path, header: str, rows: list[str], image: str) -> None:
    assert chosen(tmp_path, header, *rows).files == image


@pytest.mark.parametrize(
    ("header", "rows", "caption"),
    [
        ("image,caption,text", ["0.jpg,5,a dog", "1.jpg,3,two cats"], "text"),
        ("image,caption,words", ["0.jpg,5,a dog", "1.jpg,3,two cats"], "words"),
        ("image,caption,text", ["0.jpg,c_1,a dog", "1.jpg,c_2,two cats"], "text"),
        ("image,caption,text", ["0.jpg,dog,a dog that runs", "1.jpg,cats,two cats asleep"], "caption"),
        ("image,caption,n", ["0.jpg,5,1", "1.jpg,3,2"], "caption"),
        ("image,text,words", ["0.jpg,17,a dog", "1.jpg,18,two cats"], "words"),
        ("image,sku,wort", ["0.jpg,a1,hund", "1.jpg,b2,katze"], "wort"),
        ("image,caption,text", ["0.jpg,nan,a dog", "1.jpg,nan,two cats"], "text"),
    ],
)
def test_numbers_and_ids_do_not_win_over_texts(tmp_path: Path, header: str, rows: list[str], caption: str) -> None:
    assert chosen(tmp_path, header, *rows).of["caption"] == (caption,)


def test_lists_and_objects_of_texts_that_are_left_are_said(tmp_path: Path) -> None:
    row = {
        "image": "0.jpg",
        "caption": "hash",
        "keywords": ["lb", "sign"],
        "names": {"zh": "井号"},
        "boxes": [[0, 1]],
        "n": {"a": 1},
    }
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    table = open_table(tmp_path / "t.jsonl")
    assert choose(table, table.sample(), {}).left == ("keywords", "names")


def test_columns_without_a_name_are_not_one_family(tmp_path: Path) -> None:
    assert chosen(tmp_path, "0.jpg,a long caption of words,x y", "1.jpg,another of them,z z").of["caption"] == ("column 2",)
    assert chosen(tmp_path, ",image,caption", "0,0.jpg,a b").of["caption"] == ("caption",)


def test_a_column_for_each_role(tmp_path: Path) -> None:
    header, row = "Label,art,part,key,image,caption", "x y,cat,train,7,0.jpg,a b"
    columns = chosen(tmp_path, header, row, typed=("label=art", "split=part", "id=key"))
    assert (columns.label, columns.split, columns.id) == ("art", "part", "key")
    assert "id column 'key', split column 'part', label column 'art'; not taken: 'Label'" in columns.note
    assert chosen(tmp_path, header, row).label == "Label"
    assert chosen(tmp_path, header, row, typed=("caption=Label",)).label is None


@pytest.mark.parametrize(
    ("typed", "what"),
    [
        (["caption"], "not a role and a column"),
        (["=title"], "no such role of a column: , --column =title"),
        (["capton=title"], "no such role of a column: capton"),
        (["image=a", "image=b"], "two columns for one image"),
    ],
)
def test_a_column_that_is_typed_wrongly(typed: list[str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        parse(typed)


def test_a_name_with_an_equals_sign() -> None:
    assert parse(["caption=a=b", "caption=c"]) == {"caption": ["a=b", "c"]}


def test_a_key_that_first_occurs_far_down_a_json_table(tmp_path: Path) -> None:
    raw.jpeg(tmp_path / "0.jpg", 0)
    rows: list[dict[str, Any]] = [{"image": "0.jpg", "caption": "a b"}] * 60
    rows += [{"image": "0.jpg", "caption": "a b", "caption_2": "c d", "label": "cat"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    last = read(Ask(tmp_path / "out", tmp_path / "t.jsonl")).rows[-1]
    assert isinstance(last, Row)
    assert (last.values["captions"], last.values["label"]) == (["a b", "c d"], "cat")


@pytest.mark.parametrize("name", ["split", "Split ", "partition", "subset", "data_split", "Set", "Usage", "phase"])
def test_a_column_of_words_for_splits(tmp_path: Path, name: str) -> None:
    rows = ("1.jpg,a b,Training", "2.jpg,c d,", "3.jpg,e f,PublicTest")
    assert chosen(tmp_path, f"image,caption,{name}", *rows).split == name.strip()


@pytest.mark.parametrize("words", [("1", "0"), ("winter", "train"), ("True", "False")])
def test_other_columns_called_so_are_no_splits(tmp_path: Path, words: tuple[str, str]) -> None:
    assert chosen(tmp_path, "image,caption,set", f"1.jpg,a b,{words[0]}", f"2.jpg,c d,{words[1]}").split is None


def test_a_split_column_that_is_blank_is_said(tmp_path: Path) -> None:
    raw.jpeg(tmp_path / "0.jpg", 0)
    (tmp_path / "t.csv").write_text("image,caption,split\n0.jpg,a b,\n")
    assert read(Ask(tmp_path / "out", tmp_path / "t.csv")).note.endswith("; 'split' is blank in all rows")


def test_two_columns_of_scores_are_named_as_not_taken(tmp_path: Path) -> None:
    rows = [f"{i}.jpg,a text,{i / 7},{i}" for i in range(4)]
    columns = chosen(tmp_path, "file,text,valence,rating", *rows)
    assert (columns.target, columns.left) == (None, ("valence", "rating"))
    assert chosen(tmp_path, "file,text,valence,rating", *rows, typed=("target=rating",)).left == ("valence",)
