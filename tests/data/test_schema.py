"""The Arrow schema is the one that Hugging Face `datasets` writes for the same features."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmkit.data.schema import Picture, Row, arrow_schema, columns_of, leaves
from tests.raw import jpeg

COLUMNS = ["id", "image", "captions", "label", "questions", "regions"]


def test_datasets_reads_our_features_back() -> None:
    datasets = pytest.importorskip("datasets")
    text, number = datasets.Value("string"), datasets.Value("float32")
    question = {"id": text, "question": text, "answers": datasets.List(text), "type": text}
    floats = datasets.List(datasets.List(number))
    regions = {"boxes": floats, "phrases": datasets.List(text), "features": floats, "scores": datasets.List(number)}
    wanted = datasets.Features(
        {
            "id": text,
            "image": datasets.Image(),
            "captions": datasets.List(text),
            "label": text,
            "questions": datasets.List(question),
            "regions": regions,
        }
    )
    schema = arrow_schema(COLUMNS)
    assert datasets.Features.from_arrow_schema(schema) == wanted
    assert schema.remove_metadata() == wanted.arrow_schema.remove_metadata()
    assert json.loads(schema.metadata[b"huggingface"]) == json.loads(wanted.arrow_schema.metadata[b"huggingface"])


def test_leaves_are_parquet_paths() -> None:
    assert leaves(arrow_schema(["id", "image", "captions"])) == ["id", "image.bytes", "image.path", "captions.list.element"]


def test_only_columns_that_a_row_fills_exist(tmp_path: Path) -> None:
    image = Picture.file(jpeg(tmp_path / "a.jpg", 1))
    assert columns_of([Row("a", image, ["x"], "")]) == ["id", "image", "captions"]
    assert columns_of([Row("a", image, ["x"], ""), Row("b", image, ["x"], "", label="cat")]) == [
        "id",
        "image",
        "captions",
        "label",
    ]


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="x"):
        Picture.file(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        Picture.file(tmp_path)
