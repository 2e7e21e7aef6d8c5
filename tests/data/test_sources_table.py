"""Tables: what is detected in the forms that people have, and what is refused with the place named."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmkit.data.plan import Choices, make_plan
from mmkit.data.schema import Ask, Reject, Row, Source
from mmkit.data.sources.table import read
from mmkit.data.spool import Spool
from mmkit.errors import UserError
from tests import raw


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Pictures 0.jpg to 3.jpg."""
    for i in range(4):
        raw.jpeg(tmp_path / f"{i}.jpg", i)
    return tmp_path


def found(root: Path, name: str, content: str | bytes, **options: object) -> Source:
    path = root / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(Ask(root / "out", path), **options)  # type: ignore[arg-type]


def texts(source: Source) -> list[tuple[str, list[str]]]:
    return [(row.id, row.values["captions"]) for row in source.rows if isinstance(row, Row)]


EXPECTED = [("0.jpg", ["a cat, asleep"]), ("1.jpg", ["two dogs"])]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'image,caption\n0.jpg,"a cat, asleep"\n1.jpg,two dogs\n'),
        ("t.csv", "filename;title\n0.jpg;a cat, asleep\n1.jpg;two dogs\n"),
        ("t.tsv", "path\ttext\n0.jpg\ta cat, asleep\n1.jpg\ttwo dogs\n"),
        ("t.txt", "0.jpg|a cat, asleep\n1.jpg|two dogs\n"),
        ("t.csv", 'n,wer,was\n1,0.jpg,"a cat, asleep"\n2,1.jpg,two dogs\n'),
        ("t.csv", "\ufeffimage\tcaption\r\n0.jpg\ta cat, asleep\r\n1.jpg\ttwo dogs\r\n"),
        ("t.csv", "image\tcaption\n0.jpg\ta cat, asleep\n1.jpg\ttwo dogs\n".encode("utf-16")),
        ("t.csv", "image\tcaption\n0.jpg\ta cat, asleep\n1.jpg\ttwo dogs\n".encode("utf-16-le")),
        ("t.jsonl", '{"file_name": "0.jpg", "text": "a cat, asleep"}\n\n{"file_name": "1.jpg", "text": ["two dogs"]}\n'),
        (
            "t.json",
            json.dumps([{"img": "0.jpg", "captions": ["a cat, asleep"]}, {"img": "1.jpg", "captions": [{"raw": "two dogs"}]}]),
        ),
    ],
)
def test_form_header_and_columns_are_detected(root: Path, name: str, content: str | bytes) -> None:
    assert texts(found(root, name, content)) == EXPECTED


def test_what_was_detected_is_said(root: Path) -> None:
    note = found(root, "t.csv", "photo;split;words\n0.jpg;train;a b\n").note
    assert note == "t.csv: separated by semicolon, utf-8, a header; image column 'photo', caption column 'words', 'split' column"


def test_id_split_and_label_columns(root: Path) -> None:
    source = found(root, "t.csv", "id,image,caption,label,split\n7,0.jpg,a b,cat,validation\n8,1.jpg,c d,,train\n")
    assert [(r.id, r.values["label"], r.split) for r in source.rows if isinstance(r, Row)] == [
        ("7", "cat", "validation"),
        ("8", None, "train"),
    ]


def test_a_list_in_a_cell_and_a_key_of_an_object(root: Path) -> None:
    assert texts(found(root, "t.csv", 'image,captions\n0.jpg,"[""a"", ""b""]"\n')) == [("0.jpg", ["a", "b"])]
    line = {"image": "0.jpg", "caption": "hash", "names": {"zh": "井号"}}
    assert texts(found(root, "t.jsonl", json.dumps(line), column=["caption=names.zh"])) == [("0.jpg", ["井号"])]


def test_columns_as_typed(root: Path) -> None:
    content = "a,b,c\n0.jpg,1.jpg,x y z\n"
    assert texts(found(root, "t.csv", content, column=["image=b", "caption=c"])) == [("1.jpg", ["x y z"])]
    assert texts(found(root, "t.csv", "0.jpg,x y,z z\n", column=["caption=3"])) == [("0.jpg", ["z z"])]
    with pytest.raises(UserError, match="no column 'capton'") as e:
        found(root, "t.csv", content, column=["caption=capton"])
    assert e.value.hint == "columns: a, b, c"


@pytest.mark.parametrize(("content", "missing"), [("a,b\n1,2\n", "image"), ("image,n\n0.jpg,\n", "caption")])
def test_no_column_found_names_those_there_are(root: Path, content: str, missing: str) -> None:
    with pytest.raises(UserError, match=f"no {missing} column found") as e:
        found(root, "t.csv", content)
    assert f"--column {missing}=NAME" in e.value.hint
    assert content.split("\n")[0].replace(",", ", ") in e.value.hint


def test_image_root(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("tables")
    (source,) = found(other, "t.csv", "image,caption\n0.jpg,a b\n", image_root=root).rows
    assert isinstance(source, Row)
    assert source.values["image"].path == str(root / "0.jpg")


def test_parquet_with_bytes_structs_or_paths(root: Path) -> None:
    data = [(root / f"{i}.jpg").read_bytes() for i in range(2)]
    forms = {
        "bytes": data,
        "struct": [{"bytes": d, "path": None} for d in data],
        "struct path": [{"bytes": None, "path": f"{i}.jpg"} for i in range(2)],
        "path": ["0.jpg", "1.jpg"],
    }
    for form, images in forms.items():
        pq.write_table(pa.table({"image": images, "caption": ["a b", "c d"]}), root / "t.parquet")
        rows = [row for row in read(Ask(root / "out", root / "t.parquet")).rows if isinstance(row, Row)]
        assert [row.values["image"].read() for row in rows] == data, form
        assert [row.values["captions"] for row in rows] == [["a b"], ["c d"]]


def test_a_parquet_file_that_datasets_wrote(root: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = {"image": [str(root / "0.jpg"), str(root / "1.jpg")], "text": ["a b", "c d"]}
    made = datasets.Dataset.from_dict(data).cast_column("image", datasets.Image())
    made.to_parquet(str(root / "t.parquet"))
    rows = [row for row in read(Ask(root / "out", root / "t.parquet")).rows if isinstance(row, Row)]
    assert [row.values["captions"] for row in rows] == [["a b"], ["c d"]]
    assert rows[0].values["image"].read() == (root / "0.jpg").read_bytes()


def test_cp1252_where_it_is_sure(root: Path) -> None:
    source = found(root, "t.csv", "image,caption\n0.jpg,un café à Orléans\n1.jpg,naïve façade\n".encode("cp1252"))
    assert texts(source) == [("0.jpg", ["un café à Orléans"]), ("1.jpg", ["naïve façade"])]
    assert "cp1252" in source.note


WESTERN_TEXTS = [
    "„Anführung“",
    "‚a‘ ‹b›",
    "1º de mayo",
    "2ª planta",
    "10 m² 3 cm³",
    "1½ Tassen",
    "20±2 °C 5×4",
    "5 µm ©Foto ®™",
    "• Punkt¹ †",
]


@pytest.mark.parametrize("text", WESTERN_TEXTS)
def test_ordinary_signs_do_not_stop_a_file_from_being_cp1252(root: Path, text: str) -> None:
    assert texts(found(root, "t.csv", f"image,caption\n0.jpg,{text}; été\n".encode("cp1252"))) == [("0.jpg", [f"{text}; été"])]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1250", "mały pies biegnie"),
        ("cp1250", "oraş şi casă"),
        ("cp1250", "ľudia na ulici"),
        ("iso8859-2", "żółta łódź na wodzie"),
        ("iso8859-2", "ľudia na ulici"),
        ("cp1254", "şehir ışıkları"),
        ("cp1251", "красный круг"),
        ("shift-jis", "赤い丸"),
        ("big5", "紅色圓形"),
    ],
)
def test_letters_of_other_encodings_are_not_taken_for_signs(root: Path, encoding: str, text: str) -> None:
    assert "utf-8" in found(root, "t.csv", f"image,caption\n0.jpg,{text}\n1.jpg,plain\n".encode(encoding)).note


def test_another_encoding_is_not_guessed(root: Path) -> None:
    source = found(root, "t.csv", "image,caption\n0.jpg,红色圆形\n1.jpg,plain text\n".encode("gbk"))
    assert "utf-8" in source.note
    assert [text.isascii() for _, (text,) in texts(source)] == [False, True]
    with pytest.raises(UserError, match=r"wrong encoding: the header is not UTF-8, .*t\.csv row 1"):
        found(root, "t.csv", "图像,标题\n0.jpg,红色圆形\n".encode("gbk"))


def test_a_damaged_row_of_utf8_does_not_change_the_encoding(root: Path) -> None:
    source = found(root, "t.csv", "image,caption\n0.jpg,红色\n1.jpg,caf".encode() + b"\xe9\n")
    assert "utf-8" in source.note
    assert texts(source)[0] == ("0.jpg", ["红色"])


def test_rejects_name_file_row_and_reason(root: Path) -> None:
    content = "image,caption\nnope.jpg,a b\n,c d\nhttp://x/y.jpg,e f\n0.jpg,g, h\n1.jpg,i j\n2.jpg,k l\n3.jpg,m n\n"
    rejects = make_plan(found(root, "t.csv", content), Choices(), print).rejects
    assert [r.where.rpartition("t.csv ")[2] for r in rejects] == ["row 2", "row 3", "row 4", "row 5"]
    reasons = [f"missing file {root / 'nope.jpg'}", "no image in the row", "is a URL", "more cells than columns"]
    assert all(reason in r.reason for reason, r in zip(reasons, rejects, strict=True))


def test_a_folder_with_one_table(root: Path) -> None:
    (root / "pairs.csv").write_text("image,caption\n0.jpg,a b\n")
    (root / "README.txt").write_text("prose")
    (root / "train-00000-of-00001.parquet").write_text("ours")
    assert len(read(Ask(root)).rows) == 1
    (root / "more.csv").write_text("image,caption\n0.jpg,a b\n")
    with pytest.raises(UserError, match=r"not exactly one table in the folder: more\.csv, pairs\.csv"):
        read(Ask(root))


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("t.csv", "", "the table is empty"),
        ("t.csv", "just prose\n", "no columns found"),
        ("t.jsonl", '\n{"image": \n{"caption": \n', r"not valid JSON .*t\.jsonl row 2"),
        ("t.json", '["0.jpg", "1.jpg"]', r"not a JSON object, .*t\.json row 1"),
        ("t.csv", "image,caption\n", r"the table has no rows, .*t\.csv"),
        ("t.jsonl", "[]", "the table is empty"),
        ("t.parquet", "PAR1 and then nothing", r"the Parquet file is truncated or damaged .*t\.parquet"),
    ],
)
def test_what_is_no_table_is_named(root: Path, name: str, content: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        found(root, name, content)


def test_a_quote_that_is_not_closed_costs_its_own_row_only(root: Path) -> None:
    swallowed = found(root, "t.csv", 'image,caption\n0.jpg,"a b\n1.jpg,c d\n2.jpg,"e, f"\n3.jpg,g h\n')
    assert texts(swallowed) == [("1.jpg", ["c d"]), ("2.jpg", ["e, f"]), ("3.jpg", ["g h"])]
    rejects = [(r.where.rpartition("t.csv ")[2], r.reason) for r in swallowed.rows if isinstance(r, Reject)]
    assert rejects == [("row 2", "a quote that opens in this row is not closed in it")]
    several_lines = found(root, "t.csv", 'image,caption\n0.jpg,"a b,\nc, d"\n1.jpg,"e\n\nf"\n')
    assert texts(several_lines) == [("0.jpg", ["a b,\nc, d"]), ("1.jpg", ["e\n\nf"])]
    for name, tab in (("t.csv", ","), ("t.tsv", "\t")):
        before = found(root, name, f'caption{tab}image\n"a\nb"{tab}0.jpg\nc d{tab}1.jpg\n"e\nf"{tab}2.jpg\n')
        assert texts(before) == [("0.jpg", ["a\nb"]), ("1.jpg", ["c d"]), ("2.jpg", ["e\nf"])]


def test_one_open_quote_among_closed_ones_costs_a_tsv_one_row(root: Path) -> None:
    source = found(root, "t.tsv", 'image\tcaption\n0.jpg\t"a b"\n1.jpg\t"c d\n2.jpg\t"e f"\n3.jpg\t"g h"\n')
    assert texts(source) == [("0.jpg", ["a b"]), ("2.jpg", ["e f"]), ("3.jpg", ["g h"])]


def test_quotes_that_do_not_balance_are_characters_in_a_table_with_tabs(root: Path) -> None:
    for end in ('1.jpg\t"c d\n', '1.jpg\t"c d', "1.jpg\te f\n"):
        source = found(root, "t.tsv", f'image\tcaption\n0.jpg\t"a b\n{end}')
        assert texts(source) == [("0.jpg", ['"a b']), ("1.jpg", [end.strip()[6:]])]
        assert source.note.startswith("t.tsv: separated by tab, utf-8, a header, quotes are plain characters")
    assert texts(found(root, "t.tsv", 'image\tcaption\n0.jpg\ta b\n1.jpg\t"c')) == [("0.jpg", ["a b"]), ("1.jpg", ['"c'])]
    balanced = found(root, "t.tsv", 'image\tcaption\n0.jpg\t"a\tb ""c""\nd"\n1.jpg\t5" e\n')
    assert texts(balanced) == [("0.jpg", ['a\tb "c"\nd']), ("1.jpg", ['5" e'])]


def test_a_json_line_that_is_none_is_a_reject(root: Path) -> None:
    good = '{"image": "0.jpg", "caption": "a b"}\n'
    source = found(root, "t.jsonl", good + '{"image": "1.jpg", \n[1]\n' + good.replace("0", "2"))
    assert texts(source) == [("0.jpg", ["a b"]), ("2.jpg", ["a b"])]
    assert [(r.where.rpartition(" ")[2], r.reason[:14]) for r in source.rows if isinstance(r, Reject)] == [
        ("2", "not valid JSON"),
        ("3", "not a JSON obj"),
    ]


def test_a_column_called_caption_or_image_is_what_it_says(root: Path) -> None:
    assert texts(found(root, "t.csv", "image,caption\n0.jpg,this is cat.jpg\n1.jpg,dog.png\n")) == [
        ("0.jpg", ["this is cat.jpg"]),
        ("1.jpg", ["dog.png"]),
    ]
    source = found(root, "t.csv", "path,Image,Caption,text\nx,0.jpg,n.jpg,a long text of words\ny,1.jpg,m.jpg,another\n")
    assert texts(source) == [("0.jpg", ["n.jpg"]), ("1.jpg", ["m.jpg"])]


def test_a_column_called_caption_or_image_may_begin_with_blank_rows(root: Path) -> None:
    blank = "".join(f"ab-{i},,{i} Euro\n" for i in range(60))
    source = found(root, "t.csv", f"sku,caption,price,image\n{blank.replace(' Euro', ' Euro,0.jpg')}x,a b,1 Euro,1.jpg\n")
    assert "image column 'image', caption column 'caption'" in source.note
    assert texts(source)[-1] == ("1.jpg", ["a b"])
    # one that is filled and has a usual name is surer than a blank one
    filled = found(root, "t.csv", "image,thumb,caption,title\n" + ",0.jpg,,a b\n" * 60)
    assert "image column 'thumb', caption column 'title'" in filled.note


@pytest.mark.parametrize(
    ("cell", "captions"),
    [
        ("['a dog', \"a dog's bone\"]", ["a dog", "a dog's bone"]),
        ("['a',\n 'b']", ["a", "b"]),
        ("[a caption in brackets]", ["[a caption in brackets]"]),
        ("['a' 'b']", ["a", "b"]),
        ("['a', 1]", ["['a', 1]"]),
        ("['a', [" + "[" * 9000 + "]", ["['a', [" + "[" * 9000 + "]"]),
        ("[__import__('os')]", ["[__import__('os')]"]),
    ],
)
def test_a_list_as_pandas_writes_it(root: Path, cell: str, captions: list[str]) -> None:
    quoted = cell.replace('"', '""')
    assert texts(found(root, "t.csv", f'image,captions\n0.jpg,"{quoted}"\n')) == [("0.jpg", captions)]


def test_the_classes_of_a_parquet_file_that_datasets_wrote(root: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    data = pa.table({"image": ["0.jpg", "1.jpg", "2.jpg"], "caption": ["a b", "c d", "e f"], "label": [1, 0, -1]})
    note = json.dumps({"info": {"features": features}})
    pq.write_table(data.replace_schema_metadata({"huggingface": note}), root / "t.parquet")
    rows = read(Ask(root / "out", root / "t.parquet")).rows
    assert [row.values["label"] for row in rows if isinstance(row, Row)] == ["dog", "cat", None]


def test_a_missing_picture_names_the_path_and_where_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "lists").mkdir()
    monkeypatch.chdir(root)
    source = found(root, "lists/t.csv", "image,caption\n0.jpg,a b\nnope.jpg,c d\n")
    reasons = [row.reason for row in source.rows if isinstance(row, Reject)]
    assert reasons == [
        f"missing file {root}/lists/0.jpg; it is there with --image-root .",
        f"missing file {root}/lists/nope.jpg",
    ]


def test_zero_is_an_id_a_class_and_a_split(root: Path) -> None:
    data = {"id": [0, 1], "image": ["0.jpg", "1.jpg"], "caption": ["a b", "c d"], "label": [0, None], "split": [0, 1]}
    pq.write_table(pa.table(data), root / "t.parquet")
    rows = [row for row in read(Ask(root / "out", root / "t.parquet")).rows if isinstance(row, Row)]
    assert [(row.id, row.values["label"], row.split) for row in rows] == [("0", "0", "0"), ("1", None, "1")]


def test_embedded_pictures_that_share_a_path_have_ids_of_their_own(root: Path) -> None:
    data = [(root / f"{i}.jpg").read_bytes() for i in (0, 1, 0)]
    images = [{"bytes": d, "path": "image.jpg"} for d in data]
    pq.write_table(pa.table({"image": images, "caption": ["a b", "c d", "e f"]}), root / "t.parquet")
    rows = [row for row in read(Ask(root / "out", root / "t.parquet")).rows if isinstance(row, Row)]
    assert [row.id for row in rows] == ["image.jpg", f"image.jpg {rows[1].key[:12]}", "image.jpg"]
    assert [row.values["image"].read() for row in rows] == data


def test_dots_in_the_names_of_parquet_columns(root: Path) -> None:
    data = {"meta": [{"file": "0.jpg"}], "caption.en": ["a b"], "caption": ["c d"]}
    pq.write_table(pa.table(data), root / "t.parquet")
    column = ["image=meta.file", "caption=caption.en"]
    (row,) = read(Ask(root / "out", root / "t.parquet"), column=column).rows
    assert isinstance(row, Row)
    assert (row.id, row.values["captions"]) == ("0.jpg", ["a b"])


def test_pictures_are_copied_where_they_will_be_needed_and_read_in_any_order(root: Path) -> None:
    out = root / "deep" / "out"
    spool = Spool(out)
    pictures = []
    for data in (b"one", b"two", b"three"):
        pictures.append(spool.add(data))
        assert pictures[0].read() == b"one"
    assert [picture.read() for picture in pictures] == [b"one", b"two", b"three"]
    assert not out.parent.exists()
    assert sorted(path.name for path in root.iterdir()) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_a_folder_of_pictures_with_texts_is_no_table(root: Path) -> None:
    for i in range(4):
        (root / f"{i}.txt").write_text("a b")
    with pytest.raises(UserError, match="no table in the folder, but pictures with text files") as e:
        read(Ask(root / "out", root))
    assert f"mmkit prep folder --source {root}" in e.value.hint
    (root / "pairs.csv").write_text("image,caption\n0.jpg,a b\n")
    assert len(read(Ask(root / "out", root)).rows) == 1
    for i in range(60):
        (root / f"{i:02d}.csv").write_text("x")
    with pytest.raises(UserError, match=r": 00\.csv, 01\.csv, 02\.csv, 03\.csv, 04\.csv and 56 more"):
        read(Ask(root / "out", root))


def test_absolute_paths_below_the_table_do_not_name_the_machine(root: Path) -> None:
    absolute = found(root, "t.csv", f"image,caption\n{root}/0.jpg,a cat\n{root}/1.jpg,two dogs\n")
    assert [row.id for row in absolute.rows if isinstance(row, Row)] == ["0.jpg", "1.jpg"]


def test_paths_of_another_machine_find_their_pictures_and_that_is_said(root: Path) -> None:
    for name in ("D:\\data\\0.jpg", "/home/ann/0.JPG", ".\\0", "0.jpg"):
        source = found(root, "t.csv", f"filepath,title\n{name},a b\n")
        assert texts(source) == [("0.jpg", ["a b"])]
        assert ("1 of 1 paths" in source.note) == (name != "0.jpg")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "image_id,caption\n1,a b\n2,c d\n"),
        ("t.csv", "image_id,caption\n1.0,a b\n2.0,c d\n"),
        ("t.jsonl", '{"image_id": 1, "caption": "a b"}\n{"image_id": 2.0, "caption": "c d"}\n'),
    ],
)
def test_the_numbers_of_pictures(root: Path, name: str, content: str) -> None:
    assert texts(found(root, name, content)) == [("1.jpg", ["a b"]), ("2.jpg", ["c d"])]


def test_a_path_that_fits_two_pictures_is_a_reject_that_names_both(root: Path) -> None:
    raw.jpeg(root / "0.jpeg", 7)
    source = found(root, "t.csv", "image,caption\n0,a b\n1,c d\n")
    assert [(r.where.rpartition(" ")[2], r.reason) for r in source.rows if isinstance(r, Reject)] == [
        ("2", "2 files fit 0: 0.jpeg and 0.jpg")
    ]
    raw.jpeg(root / "a.jpg", 8)
    several = found(root, "t.csv", "image,caption\n/x/cats/a.jpg,a b\n/x/dogs/a.jpg,c d\n1.jpg,e f\n")
    assert texts(several) == [("1.jpg", ["e f"])]
