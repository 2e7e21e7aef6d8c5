"""The Arrow schema is the one that Hugging Face `datasets` writes for the same features."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmkit.data.modalities import MODALITIES
from mmkit.data.schema import EXTRA, Picture, Row, arrow_schema, features_of, leaves
from tests.raw import jpeg

TEXT = {"dtype": "string", "_type": "Value"}
FEATURES = {"id": TEXT} | {m.COLUMN: m.FEATURE for m in MODALITIES.values()} | EXTRA


def test_datasets_reads_our_features_back() -> None:
    datasets = pytest.importorskip("datasets")
    text, number = datasets.Value("string"), datasets.Value("float32")
    question = {"id": text, "question": text, "answers": datasets.List(text), "type": text}
    floats = datasets.List(datasets.List(number))
    regions = {"boxes": floats, "phrases": datasets.List(text), "features": floats, "scores": datasets.List(number)}
    regions |= {"width": number, "height": number, "soft_labels": floats}
    wanted = datasets.Features(
        {
            "id": text,
            "image": datasets.Image(),
            "captions": datasets.List(text),
            "audio": datasets.Audio(decode=False),
            "series": floats,
            "regions": regions,
            "video": datasets.Video(decode=False),
            "label": text,
            "target": number,
            "references": datasets.List(text),
            "questions": datasets.List(question),
        }
    )
    schema = arrow_schema(FEATURES)
    assert datasets.Features.from_arrow_schema(schema) == wanted
    assert schema.remove_metadata() == wanted.arrow_schema.remove_metadata()
    assert json.loads(schema.metadata[b"huggingface"]) == json.loads(wanted.arrow_schema.metadata[b"huggingface"])


def test_leaves_are_parquet_paths() -> None:
    schema = arrow_schema({name: FEATURES[name] for name in ("id", "image", "captions")})
    assert list(leaves(schema)) == ["id", "image.bytes", "image.path", "captions.list.element"]


def test_only_columns_that_a_row_fills_exist_in_a_fixed_order(tmp_path: Path) -> None:
    image = Picture.file(jpeg(tmp_path / "a.jpg", 1))
    plain = Row("a", {"captions": ["x"], "image": image, "label": None}, "")
    assert list(features_of([plain])) == ["id", "image", "captions"]
    labelled = features_of([plain, Row("b", {"label": "cat", "series": [[0.0]]}, "")])
    assert list(labelled) == ["id", "image", "captions", "series", "label"]
    assert labelled["label"] == TEXT
    assert features_of([plain, Row("b", {"label": ["cat"]}, "")])["label"] == {"feature": TEXT, "_type": "List"}


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="x"):
        Picture.file(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        Picture.file(tmp_path)
