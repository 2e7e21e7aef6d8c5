"""What every row of SOURCES keeps to; a new source needs one line in RAW."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mmkit.data.modalities import MODALITIES
from mmkit.data.plan import Choices
from mmkit.data.schema import Ask, Picture, Row
from mmkit.data.shards import open_dataset
from mmkit.data.sources import SOURCES, Listed, module_of, reader
from mmkit.data.write import prepare
from tests import raw
from tests.conftest import Outcome

# source -> function that lays out raw data in a folder and returns what --source names
RAW: dict[str, Callable[[Path], Path | None]] = {
    "shapes": lambda folder: None,
    "coco": raw.coco,
    "vqa": raw.vqa,
    "easy-vqa": raw.easy_vqa,
    "nlvr": raw.nlvr,
    "flickr": raw.flickr,
    "msrvtt": raw.msrvtt,
    "table": raw.table,
    "folder": raw.folder,
    "regions": raw.regions,
}
OPTIONS: dict[str, Callable[[Path], dict[str, object]]] = {
    "shapes": lambda folder: {"limit": 20},
    "regions": lambda folder: {"files": folder / "files"},
}

# source -> the column of its files, where it is not that of pictures
FILES = {"msrvtt": "video"}

every_source = pytest.mark.parametrize("name", list(SOURCES))


def asked(name: str, folder: Path) -> Ask:
    folder.mkdir(exist_ok=True)
    return Ask(folder.parent / "data", RAW[name](folder), OPTIONS.get(name, lambda folder: {})(folder))


@every_source
def test_it_reads_rows_in_a_stable_order(name: str, tmp_path: Path) -> None:
    ask = asked(name, tmp_path / "raw")
    source = reader(name)(ask, **ask.options)
    rows = [row for row in source.rows if isinstance(row, Row)]
    assert len(rows) >= 10
    assert [row.id for row in rows] == [row.id for row in reader(name)(ask, **ask.options).rows]
    assert len({(row.split, row.id) for row in rows}) == len(rows)
    assert source.license
    assert source.note


@every_source
def test_every_row_is_a_picture_with_captions_or_questions_and_a_place(name: str, tmp_path: Path) -> None:
    for row in reader(name)(ask := asked(name, tmp_path / "raw"), **ask.options).rows:
        assert isinstance(row, Row)
        column = FILES.get(name, "image")
        assert isinstance(row.values[column], Picture)
        questions = row.values.get("questions", [])
        assert all(question.keys() == {"id", "question", "answers", "type"} for question in questions)
        texts = row.values.get("captions") or [question["question"] for question in questions]
        assert texts
        assert all(text.strip() for text in texts)
        assert row.where
        stored = MODALITIES[column].store(row.values[column].read())
        assert isinstance(MODALITIES[column].picture(stored), Image.Image)


@every_source
def test_it_becomes_a_dataset_that_datasets_opens(name: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    manifest = prepare(name, asked(name, tmp_path / "raw"), Choices(workers=2), {})
    data = open_dataset(tmp_path / "data")
    assert data.splits["train"] >= 1
    column = FILES.get(name, "image")
    assert data.column(column) == column
    assert "captions" in data.columns or "questions" in data.columns
    loaded = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    assert {split: part.num_rows for split, part in loaded.items()} == data.splits
    assert loaded["train"].column_names == ["id", *manifest["columns"]]
    first = loaded["train"][0][column]
    assert isinstance(first, Image.Image) or first["bytes"]
    if "captions" in data.columns:
        assert sum(len(c) for c in loaded["train"]["captions"]) == manifest["splits"]["train"]["captions"]
    for row in loaded["train"] if "questions" in data.columns else ():
        assert row["questions"][0]["question"]


@every_source
def test_a_missing_source_is_one_clear_error(name: str, tmp_path: Path, invoke: Callable[..., Outcome]) -> None:
    if RAW[name](tmp_path) is None:
        pytest.skip("it reads nothing")
    options = [f"--{key}={value}" for key, value in OPTIONS.get(name, lambda folder: {})(tmp_path).items()]
    outcome = invoke("prep", name, tmp_path / "data", "--source", tmp_path / "nope", *options)
    assert outcome.code == 1
    first, hint = outcome.stderr.splitlines()
    assert first.startswith("error: no such ")
    assert first.endswith(str(tmp_path / "nope"))
    assert hint.startswith("hint: --source ")
    assert not (tmp_path / "data").exists()


@every_source
def test_it_imports_none_of_its_siblings(name: str) -> None:
    module = module_of(name)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {listed.module for other, listed in SOURCES.items() if other != name}


@every_source
def test_it_has_a_command_of_its_own(name: str, invoke: Callable[..., Outcome]) -> None:
    outcome = invoke("prep", name, "--help")
    assert outcome.code == 0
    assert f"mmkit prep {name}" in outcome.stdout.partition("Examples:")[2]


def test_a_new_row_is_a_command(tmp_path: Path, invoke: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "dots", Listed("Dots that are counted.", "tests.dots"))
    (tmp_path / "dots.txt").write_text(" ".join(map(str, range(20))))
    assert re.search(r"\n  dots +Dots that are counted\.\n", invoke("prep", "--help").stdout)
    page = invoke("prep", "dots", "--help").stdout
    assert page.startswith("Dots that are counted, a file of their numbers")
    source = page.partition("Source:")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in source.splitlines() if "--" in line] == ["--source", "--word", "--more", "--key"]
    assert all(option in page for option in ("--splits", "--limit", "--resize", "--dry-run", "--json"))
    assert page.endswith("mmkit prep dots --source dots.txt --word spot\n")
    typed = ("--source", "dots.txt", "--word", "spot", "--more", "x y", "--more", "z", "--splits", "train:1", "--limit", "5")
    outcome = invoke("prep", "dots", "data", *typed, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    rows = list(open_dataset(tmp_path / "data").rows())
    assert [row["captions"][1:] for row in rows] == [["x y", "z"]] * 5
    assert all(row["captions"][0] == f"{row['id'].removeprefix('dots-')} spots" for row in rows)
    assert open_dataset(tmp_path / "data").manifest["source"]["options"] == {
        "source": str(tmp_path / "dots.txt"),
        "word": "spot",
        "more": ["x y", "z"],
        "splits": "train:1",
        "limit": 5,
    }
    assert "up to date: reused" in invoke("prep", "dots", "data", *typed, cwd=tmp_path).stderr
    assert "holds the dataset of another command" in invoke("prep", "dots", "data", *typed[:2], cwd=tmp_path).stderr
    assert invoke("prep", "dot").stderr.splitlines()[0] == "error: no such command 'dot'"
