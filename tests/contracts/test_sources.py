"""What every row of SOURCES keeps to; a new source needs one line in RAW."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mmkit.data.images import load_rgb
from mmkit.data.plan import Choices
from mmkit.data.schema import Options, Picture, Row
from mmkit.data.shards import open_dataset
from mmkit.data.sources import SOURCES, reader
from mmkit.data.write import prepare
from tests import raw

# source -> function that lays out raw data in a folder and returns what --source names
RAW: dict[str, Callable[[Path], Path | None]] = {
    "shapes": lambda folder: None,
    "coco": raw.coco,
    "flickr": raw.flickr,
    "table": raw.table,
    "folder": raw.folder,
}

every_source = pytest.mark.parametrize("name", list(SOURCES))


def asked(name: str, folder: Path) -> Options:
    folder.mkdir(exist_ok=True)
    return Options(folder.parent / "data", RAW[name](folder), scenes=20)


@every_source
def test_it_reads_rows_in_a_stable_order(name: str, tmp_path: Path) -> None:
    options = asked(name, tmp_path / "raw")
    source = reader(name)(options)
    rows = [row for row in source.rows if isinstance(row, Row)]
    assert len(rows) >= 10
    assert [row.id for row in rows] == [row.id for row in reader(name)(options).rows]
    assert len({(row.split, row.id) for row in rows}) == len(rows)
    assert source.license
    assert source.note


@every_source
def test_every_row_is_a_picture_with_captions_and_a_place(name: str, tmp_path: Path) -> None:
    for row in reader(name)(asked(name, tmp_path / "raw")).rows:
        assert isinstance(row, Row)
        assert isinstance(row.values["image"], Picture)
        assert row.values["captions"]
        assert all(caption.strip() for caption in row.values["captions"])
        assert row.where
        assert isinstance(load_rgb(row.values["image"].read()), Image.Image)


@every_source
def test_it_becomes_a_dataset_that_datasets_opens(name: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    manifest = prepare(name, asked(name, tmp_path / "raw"), Choices(workers=2), {})
    data = open_dataset(tmp_path / "data")
    assert data.splits["train"] >= 1
    assert data.column("image") == "image"
    assert data.column("text") == "captions"
    loaded = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    assert {split: part.num_rows for split, part in loaded.items()} == data.splits
    assert loaded["train"].column_names == ["id", *manifest["columns"]]
    assert loaded["train"][0]["image"].mode == "RGB"
    assert sum(len(c) for c in loaded["train"]["captions"]) == manifest["splits"]["train"]["captions"]


@every_source
def test_a_missing_source_is_one_clear_error(name: str, tmp_path: Path, invoke: Callable[..., object]) -> None:
    if RAW[name](tmp_path) is None:
        pytest.skip("it reads nothing")
    outcome = invoke("prep", name, tmp_path / "data", "--source", tmp_path / "nope")
    assert outcome.code == 1  # type: ignore[attr-defined]
    first, hint = outcome.stderr.splitlines()  # type: ignore[attr-defined]
    assert first.startswith("error: no such ")
    assert first.endswith(str(tmp_path / "nope"))
    assert hint.startswith("hint: --source ")
    assert not (tmp_path / "data").exists()


@every_source
def test_it_imports_none_of_its_siblings(name: str) -> None:
    module = importlib.import_module(f"mmkit.data.sources.{name}")
    tree = ast.parse(Path(str(module.__file__)).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {f"mmkit.data.sources.{other}" for other in SOURCES if other != name}


@every_source
def test_it_has_a_command_of_its_own(name: str, invoke: Callable[..., object]) -> None:
    outcome = invoke("prep", name, "--help")
    assert outcome.code == 0  # type: ignore[attr-defined]
    assert f"mmkit prep {name}" in outcome.stdout.partition("Examples:")[2]  # type: ignore[attr-defined]
