"""Winoground and SugarCrepe in the layouts of their authors, scored by a model whose vectors are known."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmkit.errors import UserError
from mmkit.metrics import pairs
from mmkit.metrics.evaluation import Request
from mmkit.ragged import Ragged
from tests.small import small

# a picture's vector is its colour; "grey" lies nearer to blue, "pale" too and nearer than blue to red
SAID = {"red": [1, 0, 0], "blue": [0, 0, 1], "grey": [0.5, 0, 0.6], "pale": [0.9, 0, 0.95], "nothing": [0, 1, 0]}
# text score, image score, group score by hand
FOUR = [
    ("red", "blue", "Object", (1, 1, 1)),
    ("red", "red", "Object", (0, 0, 0)),  # a tie is wrong
    ("red", "grey", "Relation", (1, 1, 1)),
    ("pale", "blue", "Relation", (1, 0, 0)),
    ("blue", "red", "", (0, 0, 0)),
]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    def known(model: Any, name: str, items: list[Any], batch_size: int) -> np.ndarray:
        if name == "text":
            return np.array([SAID[item] for item in items], np.float32)
        return np.array([np.asarray(item, np.float32).reshape(3, -1).mean(1) for item in items], np.float32)

    monkeypatch.setattr(pairs, "vectors", known)
    found = small()
    monkeypatch.setattr(found.reader("text"), "prepare", str)
    monkeypatch.setattr(found.reader("image"), "prepare", pixels)
    return found


def pixels(item: dict[str, Any]) -> np.ndarray:
    with Image.open(io.BytesIO(item["bytes"]) if item["bytes"] else item["path"]) as picture:
        return np.asarray(picture.convert("RGB")).transpose(2, 0, 1) / 255


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def winoground(folder: Path) -> Path:
    """examples.jsonl beside the folder of pictures, which it names without their suffix."""
    (folder / "data" / "images").mkdir(parents=True)
    rows = []
    for i, (first, second, tag, _) in enumerate(FOUR):
        for j, colour in enumerate(("red", "blue")):
            (folder / "data" / "images" / f"ex_{i}_img_{j}.png").write_bytes(picture(colour))
        row = {"id": i, "image_0": f"ex_{i}_img_0", "image_1": f"ex_{i}_img_1", "caption_0": first, "caption_1": second}
        rows.append(row | {"tag": tag and f"{tag}, finer", "secondary_tag": "", "num_main_preds": 1, "collapsed_tag": tag})
    (folder / "data" / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def sugar_crepe(folder: Path) -> Path:
    (folder / "val2017").mkdir(parents=True)
    for number, colour in enumerate(("red", "blue")):
        (folder / "val2017" / f"00000000000{number}.jpg").write_bytes(picture(colour))

    def example(number: int, right: str, wrong: str) -> dict[str, str]:
        return {"filename": f"00000000000{number}.jpg", "caption": right, "negative_caption": wrong}

    swap = {"0": example(0, "red", "blue"), "1": example(1, "red", "blue"), "7": example(1, "blue", "grey")}
    (folder / "swap_obj.json").write_text(json.dumps(swap))
    (folder / "add_att.json").write_text(json.dumps({"0": example(0, "grey", "red"), "1": example(0, "red", "red")}))
    (folder / "notes.json").write_text('{"made": "by hand"}')
    return folder


def measured(model: Any, path: Path, **asked: Any) -> Any:
    (result,) = pairs.of_files(model, path, Request("pairs", **asked))
    return result


def test_winoground_by_hand(model: Any, tmp_path: Path) -> None:
    result = measured(model, winoground(tmp_path / "w"))
    scores = np.array([one[3] for one in FOUR], float)
    record = result.record
    expected = dict(zip(("text_acc", "image_acc", "acc"), scores.mean(0), strict=True))
    for tag, rows in (("Object", slice(0, 2)), ("Relation", slice(2, 4))):
        expected |= {f"{name}/{tag}": value for name, value in zip(list(expected)[:3], scores[rows].mean(0), strict=True)}
    assert record["metrics"] == pytest.approx(expected)
    assert {name: record["chance"][name] for name in ("text_acc", "image_acc", "acc")} == {
        "text_acc": 0.25,
        "image_acc": 0.25,
        "acc": 1 / 6,
    }
    assert record["n"] == {"examples": 5} and record["dataset"] == "w" and record["by"] == "cosine"
    assert [result.rows[name] for name in ("text_acc", "image_acc", "acc")] == scores.T.tolist()
    assert all(low <= record["metrics"][name] <= high for name, (low, high) in record["interval"].items())
    assert measured(model, tmp_path / "w" / "data" / "examples.jsonl", limit=3).record["n"] == {"examples": 3}


def test_chance_is_that_of_scores_in_random_order() -> None:
    rng = np.random.default_rng(0)
    examples = [
        (SimpleNamespace(id=str(i), subset="", texts=("", ""), pictures=(0, 0)), rng.random((2, 2))) for i in range(20000)
    ]
    whole, _ = pairs._winoground(examples)  # type: ignore[arg-type]
    assert {name: one.mean() for name, one in whole.items()} == pytest.approx(pairs.CHANCE, abs=0.01)


def test_parquet_with_its_pictures_says_the_same(model: Any, tmp_path: Path) -> None:
    folder = winoground(tmp_path / "w") / "data"
    rows = [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]
    for row in rows:
        for name in ("image_0", "image_1"):
            row[name] = {"bytes": (folder / "images" / f"{row[name]}.png").read_bytes(), "path": f"{row[name]}.png"}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test-00000.parquet")
    ours, theirs = measured(model, tmp_path / "test-00000.parquet"), measured(model, folder)
    assert ours.record["metrics"] == theirs.record["metrics"]
    with pytest.raises(UserError, match="an example stands there twice"):
        measured(model, tmp_path)


def test_sugar_crepe_by_hand(model: Any, tmp_path: Path) -> None:
    result = measured(model, sugar_crepe(tmp_path / "s"))
    # right: red, and blue rather than grey; wrong: blue called red, grey for red, and a tie
    assert result.record["metrics"] == pytest.approx({"acc": (2 / 3 + 0) / 2, "acc/add_att": 0, "acc/swap_obj": 2 / 3})
    assert set(result.record["chance"].values()) == {0.5}
    assert result.record["counts"] == {"add_att": 2, "swap_obj": 3}
    assert result.rows["acc/swap_obj"] == [None, None, 1, 0, 1] and result.rows["acc/add_att"] == [0, 0, None, None, None]
    assert set(result.record["interval"]) == {"acc/add_att", "acc/swap_obj"}


def test_both_in_one_folder_are_two_results(model: Any, tmp_path: Path) -> None:
    winoground(tmp_path / "w"), sugar_crepe(tmp_path / "s")
    found = pairs.of_files(model, tmp_path, Request("pairs"))
    assert [result.record["dataset"] for result in found] == [f"{tmp_path.name}/{name}" for name in ("winoground", "sugar_crepe")]
    assert len({result.stem for result in found}) == 2


def test_pictures_may_lie_elsewhere(model: Any, tmp_path: Path) -> None:
    sugar_crepe(tmp_path / "s")
    (tmp_path / "s" / "val2017").rename(tmp_path / "photos")
    with pytest.raises(UserError, match="no picture 000000000000") as caught:
        measured(model, tmp_path / "s")
    assert caught.value.where.endswith("add_att.json example 0") and "--image-root" in caught.value.hint
    assert measured(model, tmp_path / "s", image_root=tmp_path).record["n"] == {"examples": 5}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "000000000000.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="2 pictures are called 000000000000"):
        measured(model, tmp_path / "s", image_root=tmp_path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "not valid JSON"),
        ("[]", "no examples of pairs"),
        ('{"0": {"filename": "a.jpg", "caption": "a", "negative_caption": " "}}', "a caption is empty"),
        ('{"0": {"filename": "a.jpg", "caption": "a", "negative_caption": "b"}}', "the picture cannot be read"),
    ],
)
def test_files_that_are_wrong_are_one_line(model: Any, tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "swap.json").write_text(content)
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=what):
        measured(model, tmp_path)


def test_items_of_several_vectors_are_compared_by_late_interaction() -> None:
    random = np.random.default_rng(0)
    a, b = ([random.normal(size=(n, 3)).astype(np.float32) for n in sizes] for sizes in ((2, 3), (1, 4)))
    unit = [[x / np.linalg.norm(x, axis=1, keepdims=True) for x in side] for side in (a, b)]
    asked = np.array([(0, 0), (1, 1), (0, 1)])
    expected = [(unit[0][i] @ unit[1][j].T).max(1).mean() for i, j in asked]
    assert pairs.cosines(Ragged.of(a, 3), Ragged.of(b, 3), asked) == pytest.approx(expected, abs=1e-6)
