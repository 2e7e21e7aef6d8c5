"""Folders of tables: what is one table in shards and splits, what is not, and metadata beside pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmkit.data.data_files import data_files, metadata_files
from mmkit.data.schema import Ask, Row, Source
from mmkit.data.sources import reader
from mmkit.errors import UserError
from tests import raw
from tests.conftest import Outcome

Invoke = Callable[..., Outcome]


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("file_name,text\n1.jpg,a b\n")
    return root


def parts(root: Path) -> list[tuple[str, str | None]]:
    return [(part.path.relative_to(root).as_posix(), part.split) for part in data_files(root)]


@pytest.mark.parametrize(
    "files",
    [
        {"data/test-00000-of-00001.parquet": "test", "data/train-00000-of-00002.parquet": "train"},
        {"test-00000-of-00001.parquet": "test", "train-00000-of-00001.parquet": "train"},
        {"data/train-00000-of-00001-a09b74b3ef9c3b56.parquet": "train", "data/validation-00000-of-00001-b1.parquet": "val"},
        {"data/testA-00000-of-00001.parquet": "testa", "data/train-00000-of-00001.parquet": "train"},
        {"default/partial-train/0000.parquet": "train", "default/test/0000.parquet": "test"},
        {"en/test-00000-of-00001.parquet": "test", "en/train-00000-of-00001.parquet": "train"},
        {"test.csv": "test", "train.csv": "train", "val.jsonl": "val"},
        {"testData.csv": "test", "trainData.csv": "train"},
        {"Testing.csv": "test", "Training.csv": "train", "valid.csv": "val"},
        {"captions_train2017.csv": "train", "captions_val2017.csv": "val"},
        {"test/pairs.tsv": "test", "train/pairs.tsv": "train"},
        {"test.json": "test", "train.json": "train"},
        {"shard_000.jsonl": None, "shard_001.jsonl": None},
        {"part-00000-9a-c000.snappy.parquet": None, "part-00001-9a-c000.snappy.parquet": None},
        {"data/train-00000-of-00002.parquet": None, "data/train-00001-of-00002.parquet": None},
        {"train.csv.gz": None},
        {"lists/pairs.csv": None},
        {"metadata.csv": None},
        {"test/metadata.jsonl": "test", "train/metadata.csv": "train"},
        {"cats/metadata.csv": None, "dogs/metadata.csv": None},
    ],
)
def test_shards_and_splits_of_one_table(tmp_path: Path, files: dict[str, str | None]) -> None:
    touched(tmp_path, *(file for file in files if "jsonl" not in file or "metadata" not in file))
    for file in files:
        if file.endswith("metadata.jsonl"):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text('{"file_name": "1.jpg", "text": "a b"}\n')
    touched(tmp_path, "README.md", "notes.txt", "dataset_infos.json", ".cache/x.csv", "a/b/c/d/too_deep.csv")
    assert parts(tmp_path) == list(files.items())


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (["captions.csv", "prices.csv"], "not exactly one table in the folder: captions.csv, prices.csv"),
        (
            ["de/train-00000-of-00001.parquet", "en/train-00000-of-00001.parquet"],
            "not exactly one table in the folder: de/train-",
        ),
        (["sample_submission.csv", "test.csv", "train.csv"], "not exactly one table in the folder: sample_submission.csv, test"),
        (["train.csv", "train.parquet"], "the same table in several formats: train.csv, train.parquet"),
        (["metadata.csv", "metadata.jsonl"], "the same table in several formats: metadata.csv, metadata.jsonl"),
        (["README.md"], "not exactly one table in the folder: none"),
    ],
)
def test_files_that_are_not_one_table_are_named(tmp_path: Path, files: list[str], what: str) -> None:
    touched(tmp_path, *files)
    (tmp_path / "metadata.jsonl").exists() and (tmp_path / "metadata.jsonl").write_text('{"file_name": "1.jpg"}\n')
    with pytest.raises(UserError) as e:
        data_files(tmp_path)
    assert str(e.value).startswith(what)
    assert "--source" in e.value.hint


def test_the_hint_names_the_training_rows(tmp_path: Path) -> None:
    touched(tmp_path, "sample_submission.csv", "test.csv", "train.csv")
    with pytest.raises(UserError) as e:
        data_files(tmp_path)
    assert e.value.hint == f"--source {tmp_path / 'train.csv'}   reads that one alone"


def test_hints_are_quoted_and_name_no_prose(tmp_path: Path) -> None:
    touched(tmp_path / "a set", "cats.csv", "dogs.csv")
    with pytest.raises(UserError) as e:
        data_files(tmp_path / "a set")
    assert e.value.hint == f"--source '{tmp_path}/a set/cats.csv'   reads that one alone"
    touched(tmp_path / "prose", "README.txt", "features.txt")
    with pytest.raises(UserError, match=r"not exactly one table in the folder: README\.txt, features\.txt") as e:
        data_files(tmp_path / "prose")
    assert e.value.hint == "--source names the table"


@pytest.mark.parametrize(("kind", "above"), [("table", False), ("folder", False), ("table", True), ("folder", True)])
def test_the_splits_of_one_table_are_read_and_what_lies_beside_them_is_named_as_in_common_voice(
    tmp_path: Path, kind: str, above: bool
) -> None:
    corpus = tmp_path / "corpus" / "en"
    for i, split in enumerate(("train", "dev", "test", "validated", "other")):
        raw.jpeg(corpus / "clips" / f"{i}.jpg", i)
        (corpus / f"{split}.tsv").write_text(f"path\tsentence\n{i}.jpg\ta text of {split}\n")
    (corpus / "clip_durations.tsv").write_text("clip\tduration\n0.jpg\t12\n")
    source = reader(kind)(Ask(tmp_path / "out", corpus.parent if above else corpus))
    splits = {row.split: row.values["captions"] for row in source.rows if isinstance(row, Row)}
    assert splits == {split: [f"a text of {word}"] for split, word in (("train", "train"), ("val", "dev"), ("test", "test"))}
    assert f"; paths start from {corpus / 'clips'}" in source.note
    assert all(name in source.note.partition("; left out: ")[2] for name in ("clip_durations.tsv", "other.tsv", "validated.tsv"))


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    touched(tmp_path, "lists/pairs.csv")
    (tmp_path / "lists" / "up").symlink_to(tmp_path)
    assert parts(tmp_path) == [("lists/pairs.csv", None)]


def test_metadata_without_a_file_name_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("key,value\nauthor,Ann\n")
    assert metadata_files(tmp_path) == []
    touched(tmp_path, "metadata.csv")
    assert len(metadata_files(tmp_path)) == 1


def test_a_table_is_no_folder_of_pictures(tmp_path: Path) -> None:
    touched(tmp_path, "metadata.csv")
    with pytest.raises(UserError, match="a file, not a folder of pictures") as e:
        reader("folder")(Ask(tmp_path / "out", tmp_path / "metadata.csv"))
    assert e.value.hint == f"mmkit prep table --source {tmp_path / 'metadata.csv'}   reads tables"


def shard(path: Path, numbers: range, **columns: list[object]) -> None:
    """Pictures with their bytes and a list of two captions each, as the Hub has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": raw.encoded(raw.picture(i)), "path": f"{i}.jpg"} for i in numbers]
    captions = [[f"cap {i} a", f"cap {i} b"] for i in numbers]
    pq.write_table(pa.table({"image": images, "caption": captions} | columns), path)


def rows_of(source: Source) -> list[tuple[str, str | None, list[str]]]:
    return [(row.id, row.split, row.values["captions"]) for row in source.rows if isinstance(row, Row)]


def test_parquet_of_the_hub_is_one_table_with_its_splits(tmp_path: Path) -> None:
    for name, numbers in (
        ("train-00000-of-00002", range(2)),
        ("train-00001-of-00002", range(2, 4)),
        ("test-00000-of-00001", range(4, 5)),
    ):
        shard(tmp_path / "data" / f"{name}.parquet", numbers)
    for folder in (tmp_path, tmp_path / "data"):
        source = reader("table")(Ask(tmp_path / "out", folder))
        assert source.note.startswith("3 files of one table, splits test (1), train (2); test-00000-of-00001.parquet: Parquet")
        assert [(row, split) for row, split, _ in rows_of(source)] == [
            ("4.jpg", "test"),
            *((f"{i}.jpg", "train") for i in range(4)),
        ]
        assert rows_of(source)[1][2] == ["cap 0 a", "cap 0 b"]


def test_the_files_of_a_table_have_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("image,caption,n\n1.jpg,a b,1\n")
    (tmp_path / "test.csv").write_text("caption,image\nc d,2.jpg\n")
    for i in (1, 2):
        raw.jpeg(tmp_path / f"{i}.jpg", i)
    source = reader("table")(Ask(tmp_path / "out", tmp_path))
    assert rows_of(source) == [("2.jpg", "test", ["c d"]), ("1.jpg", "train", ["a b"])]
    (tmp_path / "train.csv").write_text("image,text\n1.jpg,a b\n")
    with pytest.raises(UserError, match=r"no column 'caption', which test\.csv has: not one table, .*train\.csv") as e:
        reader("table")(Ask(tmp_path / "out", tmp_path))
    assert e.value.hint.startswith(f"--source {tmp_path / 'test.csv'} ")


def test_rows_without_a_name_have_ids_of_their_own_in_each_file(tmp_path: Path) -> None:
    for n in range(2):
        pictures = [raw.encoded(raw.picture(10 * n + i)) for i in range(2)]
        pq.write_table(pa.table({"image": pictures, "caption": ["a b", "c d"]}), tmp_path / f"shard{n}.parquet")
    ids = [row for row, _, _ in rows_of(reader("table")(Ask(tmp_path / "out", tmp_path)))]
    assert ids == [f"shard{n}.parquet row {i}" for n in range(2) for i in (1, 2)]


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_metadata_beside_pictures(tmp_path: Path, kind: str) -> None:
    for i in range(3):
        raw.jpeg(tmp_path / "images" / f"{i}.jpg", i)
    lines = [{"file_name": f"images/{i}.jpg", "text": f"real caption {i}"} for i in range(2)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = reader(kind)(Ask(tmp_path / "out", tmp_path))
    assert rows_of(source) == [(f"images/{i}.jpg", None, [f"real caption {i}"]) for i in range(2)]
    assert "metadata.jsonl: JSON" in source.note
    assert ("pictures in none of its rows, left out: 1" in source.note) == (kind == "folder")


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_metadata_of_each_split(tmp_path: Path, kind: str) -> None:
    for split in ("train", "test"):
        raw.jpeg(tmp_path / split / "1.jpg", len(split))
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text\n1.jpg,a b\n")
    (tmp_path / "test" / "metadata.jsonl").write_text('{"file_name": "1.jpg", "text": "c d"}\n')
    source = reader(kind)(Ask(tmp_path / "out", tmp_path))
    assert rows_of(source) == [("test/1.jpg", "test", ["c d"]), ("train/1.jpg", "train", ["a b"])]


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_metadata_on_top_of_folders_that_are_splits(tmp_path: Path, kind: str) -> None:
    for split in ("train", "validation"):
        raw.jpeg(tmp_path / split / "1.jpg", len(split))
    (tmp_path / "metadata.csv").write_text("file_name,caption\ntrain/1.jpg,a b\nvalidation/1.jpg,c d\n")
    source = reader(kind)(Ask(tmp_path / "out", tmp_path))
    assert [(row, split) for row, split, _ in rows_of(source)] == [("train/1.jpg", "train"), ("validation/1.jpg", "val")]
    assert "official splits train, validation" in source.note


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_labels_without_captions(tmp_path: Path, kind: str) -> None:
    for i in range(2):
        raw.jpeg(tmp_path / f"{i}.jpg", i)
    (tmp_path / "metadata.csv").write_text("file_name,label\n0.jpg,big_dog\n1.jpg,cat\n")
    source = reader(kind)(Ask(tmp_path / "out", tmp_path))
    assert [row.values["captions"] for row in source.rows if isinstance(row, Row)] == [["a photo of big dog"], ["a photo of cat"]]
    assert "no captions but 'a photo of {label}' with label column 'label'" in source.note
    (tmp_path / "metadata.csv").write_text("file_name,label\n0.jpg,1\n1.jpg,0\n")
    rows = reader(kind)(Ask(tmp_path / "out", tmp_path)).rows
    # numbers make no captions
    assert [row.values.keys() - {"image"} for row in rows if isinstance(row, Row)] == [{"label"}] * 2


def test_a_table_in_a_subfolder_names_pictures_from_the_top(tmp_path: Path) -> None:
    raw.jpeg(tmp_path / "images" / "1.jpg", 1)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "pairs.csv").write_text("image,caption\nimages/1.jpg,a b\n")
    assert rows_of(reader("table")(Ask(tmp_path / "out", tmp_path))) == [("images/1.jpg", None, ["a b"])]


def test_the_column_whose_values_are_files_is_that_of_the_pictures(tmp_path: Path) -> None:
    raw.jpeg(tmp_path / "10.jpg", 1)
    (tmp_path / "t.csv").write_text("wer,was,n\n10,a b,3\n")
    assert rows_of(reader("table")(Ask(tmp_path / "out", tmp_path / "t.csv"))) == [("10.jpg", None, ["a b"])]


def test_a_dataset_of_mmkit_is_a_table(tmp_path: Path, invoke: Invoke) -> None:
    source = raw.table(tmp_path / "raw", 12)
    assert invoke("prep", "table", tmp_path / "one", "--source", source).code == 0
    outcome = invoke("prep", "table", tmp_path / "two", "--source", tmp_path / "one", "--resize", 16)
    assert outcome.code == 0, outcome.stderr
    made = [json.loads((tmp_path / name / "dataset.json").read_text())["splits"] for name in ("one", "two")]
    one, two = ({name: (split["rows"], split["captions"]) for name, split in splits.items()} for splits in made)
    assert one == two
    # what lies in OUT is the product, not the source
    assert "error: not exactly one table in the folder: none" in invoke("prep", "table", tmp_path / "one", "--force").stderr
