"""Columns beside one of each modality: depth beside pictures, a second sensor; from a table to a model and its answers."""

from __future__ import annotations

import io
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmkit.config import parse_set, resolve
from mmkit.data.columns import parse
from mmkit.data.schema import Ask, Row
from mmkit.data.shards import open_dataset
from mmkit.data.sources.table import read
from mmkit.errors import UsageError, UserError
from mmkit.training.inputs import resolve_inputs, seen_by

COLUMNS = ["caption=said", "imu=imu", "radar=radar", "depth=far"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Six rows: pictures, depth in millimetres, two sensors of other channels, of which some lack."""
    lines: list[dict[str, Any]] = []
    for i in range(6):
        Image.new("RGB", (16, 16), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
        Image.fromarray(np.full((16, 16), 1000 * i + 1, np.uint16)).save(tmp_path / f"{i}-far.png")
        moves = [[float(i + t) for t in range(8)]] * 3
        line = {"image": f"{i}.png", "said": f"number {i}", "imu": moves, "radar": moves[:1], "far": f"{i}-far.png"}
        lines.append(line | ({"far": None} if i == 4 else {"radar": None} if i == 5 else {}))
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_what_a_column_holds_says_its_modality(table: Path) -> None:
    source = read(Ask(table.parent / "out", table), column=COLUMNS)
    row = next(row for row in source.rows if isinstance(row, Row))
    assert row.kinds == {"imu": "series", "radar": "series", "depth": "image"}
    assert list(row.values) == ["image", "captions", "imu", "radar", "depth"]
    assert row.picture is row.values["image"] and row.values["depth"].path.endswith("0-far.png")
    assert "depth column 'far'" in source.note


@pytest.mark.parametrize("word", ["captoin=said", "lable=said", "text=said", "captions=said", "questions=said", "Depth Map=far"])
def test_a_misspelt_role_is_none_of_ones_own(word: str) -> None:
    with pytest.raises(UsageError, match="no such role"):
        parse([word])


@pytest.mark.parametrize("word", ["depth=far", "imu=a", "image_left=a", "image2=a", "thermal=a"])
def test_any_other_name_is(word: str) -> None:
    name, _, column = word.partition("=")
    assert parse([word]) == {name: [column]}


@pytest.mark.parametrize(
    ("column", "what"),
    [(["depth=said"], "holds nothing to make a column"), (["depth=far", "depth=image"], "two columns for one depth")],
)
def test_a_column_that_can_be_none_is_one_line(table: Path, column: list[str], what: str) -> None:
    with pytest.raises(UserError, match=what):
        read(Ask(table.parent / "out", table), column=["caption=said", *column])


def test_from_a_table_to_answers(table: Path, invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(table.parent)
    invoke("prep", "table", "data", "--source", table.name, "--splits", "train:1", *(w for c in COLUMNS for w in ("--column", c)))
    data = open_dataset("data")
    assert data.columns == {"image": "image", "captions": "text", "imu": "series", "radar": "series", "depth": "image"}
    own = "loss.itc.scales=pair", "loss.itc.anchor=image", "data.depth.size=8", "encoder.depth.layers=1"
    sets = [word for one in own for word in ("--set", one)]
    run = invoke("train", "data", "--recipe", "nmodal", "--size", "tiny", "--steps", "2", *sets, "--name", "r").stdout.strip()
    lines = [
        json.loads(line) for line in invoke("eval", "recall@1", "--data", "data", "--model", run, "--json").stdout.splitlines()
    ]
    names = {name for line in lines for name in line["n"]}
    assert names == {"image", "text", "series", "radar", "depth"} and len(lines) == 10
    assert next(line["n"] for line in lines if set(line["n"]) == {"radar", "depth"}) == {"radar": 5, "depth": 5}
    scales = json.loads((Path(run) / "metrics.jsonl").read_text().splitlines()[1])
    assert sum(key.startswith("train/logit_scale/image-") for key in scales) == 4
    asked = "retrieve", "depth=0-far.png", "--in", "data", "--model", run, "--find", "imu", "--figure", "sheet.png", "--json"
    answers = [json.loads(line) for line in invoke(*asked).stdout.splitlines()]
    assert len(answers) == 6 and {answer["modality"] for answer in answers} == {"series"}
    assert Image.open("sheet.png").convert("RGB").getcolors(1 << 16)
    found = json.loads(
        invoke("retrieve", "0.png", "--in", "data", "--model", run, "--find", "depth", "--top", "1", "--json").stdout
    )
    assert found["path"].endswith("-far.png")
    invoke("ablate", "--from", run, "--drop", "depth", "-o", "without", "--quiet")
    cells = [json.loads(line) for line in invoke("ablate", "-o", "without", "--json").stdout.splitlines()]
    assert [(cell["drop"], cell["error"]) for cell in cells] == [([], None), (["depth"], None)]
    told = "radar-text/text_retrieval_recall@1", "depth-text/text_retrieval_recall@1"
    assert [[key in cell["metrics"] for key in told] for cell in cells] == [[True, True], [True, False]]
    pair = "--set", 'loss.itc.between=["image", "depth"]', "--set", "loss.itc.anchor=depth"
    shown = invoke("train", "data", "--recipe", "nmodal", "--size", "tiny", *pair, "--dry-run").stdout
    assert set(tomllib.loads(shown)["input"]) == {"image", "depth"}


def test_each_reads_its_own_columns_and_keys(table: Path, invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(table.parent)
    invoke("prep", "table", "data", "--source", table.name, "--splits", "train:1", *(w for c in COLUMNS for w in ("--column", c)))
    data = open_dataset("data")
    config, _ = resolve_inputs(resolve("nmodal", None, [parse_set("data.depth.size=8"), parse_set("data.image.size=12")]), data)
    assert {name: one.encoder for name, one in config.input.items()} == {
        n: n for n in ("image", "text", "series", "radar", "depth")
    }
    assert (config.spec("depth").size, config.spec("image").size) == (8, 12)
    assert seen_by("radar", config, data).columns_of("series") == ["radar"]
    assert seen_by("series", config, data).columns_of("series") == ["imu"]


def test_depth_may_be_an_array_where_it_is_said_to_be_a_picture(
    table: Path, invoke: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    lines = [json.loads(line) for line in table.read_text().splitlines()]
    for i, line in enumerate(lines):
        np.save(f"{i}.npy", np.linspace(0, 1 + i, 16 * 20).reshape(16, 20))
        line["far"] = f"{i}.npy"
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["prep", "table", "data", "--source", table.name, "--splits", "train:1", "--column", "caption=said"]
    invoke(*words, "--column", "depth:image=far")
    (row, *_) = open_dataset("data").rows("train", ["depth"])
    drawn = Image.open(io.BytesIO(row["depth"]["bytes"]))
    assert drawn.size == (20, 16) and drawn.getextrema()[0] == (0, 255)
    assert open_dataset("data").columns["depth"] == "image"
    invoke(*words[:2], "other", *words[3:], "--column", "depth=far")
    assert open_dataset("other").columns["depth"] == "series"  # as a file of numbers is unless it is said
    with pytest.raises(UsageError, match="no modality 'imag'"):
        parse(["depth:imag=far"])


def test_equal_maps_beside_pictures_are_no_leak(tmp_path: Path, invoke: Any) -> None:
    rows = []
    for i, split in enumerate(("train", "train", "test", "test")):
        Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
        rows.append({"image": f"{i}.png", "far": "far.png", "caption": f"scene {i}", "split": split})
    Image.new("L", (8, 8), 7).save(tmp_path / "far.png")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = invoke("prep", "table", "data", "--source", "t.jsonl", "--column", "depth=far", "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    same = open_dataset(tmp_path / "data").manifest["audit"]["duplicate_images"]
    assert (same["within_splits"], same["across_splits"]) == (0, 0)
