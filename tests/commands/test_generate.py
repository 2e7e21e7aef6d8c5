"""`mmkit generate` as a user types it: a sheet or a folder, in what order, and what it says of a model that cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mmkit.talk import Talk
from mmkit.workflows import fit
from tests.conftest import Outcome
from tests.core import smallest, whole_dataset


@pytest.fixture(scope="module")
def place(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that makes pictures, of a discrete VAE that was trained before, and one that compares."""
    folder = tmp_path_factory.mktemp("generate")
    data = whole_dataset(run / "data", folder / "data")
    fit.start(smallest("dalle", data), folder / "runs", "dalle", False, "cpu", Talk())
    (folder / "clip").symlink_to((run / "runs" / "latest").resolve())
    return folder


def test_a_sheet_and_a_folder(place: Path, invoke: Callable[..., Outcome]) -> None:
    args = ["generate", "a red circle", "--model", "runs/dalle", "--seed", 1]
    found = invoke(*args, "--n", 3, "-o", "sheet.png", cwd=place)
    assert found.code == 0, found.stderr
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert [set(row) for row in rows] == [{"text", "rank", "score", "seed", "path"}] * 3
    assert [row["rank"] for row in rows] == [1, 2, 3] and {row["path"] for row in rows} == {"sheet.png"}
    assert sorted((row["score"] for row in rows), reverse=True) == [row["score"] for row in rows]
    with Image.open(place / "sheet.png") as sheet:
        assert sheet.width > 3 * 100
    again = invoke(*args, "--n", 3, "-o", "pictures", cwd=place)
    assert [json.loads(line)["score"] for line in again.stdout.splitlines()] == [row["score"] for row in rows]
    names = ["1.png", "2.png", "3.png"]
    assert sorted(path.name for path in (place / "pictures").glob("*.png")) == names
    with Image.open(place / "pictures" / "1.png") as picture:
        assert picture.size == (16, 16)
    (place / "own.png").write_bytes(b"of somebody else")
    refused = invoke(*args, "-o", "own.png", cwd=place)
    assert refused.code != 0 and "--force" in refused.stderr


def test_another_model_puts_them_in_order(place: Path, invoke: Callable[..., Outcome]) -> None:
    args = ["generate", "a red circle", "--model", "runs/dalle", "--n", 4]
    found = invoke(*args, "--rerank", "clip", "-o", "ranked", "--json", cwd=place)
    assert found.code == 0, found.stderr
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores, reverse=True) and all(-1 <= score <= 1 for score in scores)
    first = invoke("predict", rows[0]["path"], "a red circle", "--model", "clip", "--json", cwd=place)
    assert json.loads(first.stdout)["score"] == pytest.approx(scores[0], abs=1e-4)


def test_what_cannot_be_is_one_line(place: Path, invoke: Callable[..., Outcome]) -> None:
    for args, said in (
        (["a red circle", "--model", "clip"], "error: the model was not trained to make pictures"),
        ([" ", "--model", "runs/dalle"], "error: the text is empty"),
        (["a", "--model", "runs/dalle", "--rerank", "codes/dvae", "-o", "x.png"], "error: the model compares nothing"),
        (["-", "--model", "runs/dalle", "-o", "x.png"], "error: - reads one text from stdin, not 2"),
        (["a", "--model", "runs/dalle", "-o", "x.html"], "error: a sheet of pictures is no page"),
    ):
        found = invoke("generate", *args, cwd=place, stdin="a red circle\na blue square\n")
        assert found.code in (1, 2) and found.stderr.startswith(said), found.stderr
        assert len(found.stderr.strip().splitlines()) <= 2 and not (place / "x.png").exists()


def test_a_text_from_stdin_and_one_that_is_too_long(place: Path, invoke: Callable[..., Outcome]) -> None:
    args = ["--model", "runs/dalle", "--n", 1, "--json", "--quiet"]
    read, typed = (
        invoke("generate", text, *args, "-o", f"{text[0]}.png", cwd=place, stdin="a red circle\n")
        for text in ("-", "a red circle")
    )
    assert not read.stderr and json.loads(read.stdout) == json.loads(typed.stdout) | {"path": "-.png"}
    long = invoke("generate", "a red circle " * 60, *args, "-o", "long.png", cwd=place)
    assert long.code == 0 and "the model reads" in long.stderr and "tokens of a text; cut off: " in long.stderr
