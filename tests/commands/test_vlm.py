"""A vision-language checkpoint of transformers as `--model`, as a user types it; and what is said of hallucination."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import COLOURS, coloured_row, write_dataset
from tests.speaking import git, llava

Invoke = Callable[..., Any]
CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def place(asked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with red.png, ./runs/captions and ./runs/answers, the checkpoints ./llava and ./git, ./things, whose captions name
    some, and ./pope.jsonl."""
    folder = tmp_path_factory.mktemp("vlm")
    (folder / "red.png").symlink_to(asked / "red.png")
    for name in ("captions", "answers"):
        shutil.copytree(asked / "runs" / name, folder / "runs" / name)
    llava(folder / "llava")
    git(folder / "git")
    questions = [{"id": "q", "question": "what colour is it?", "answers": ["red"], "type": "colour"}]
    rows = [coloured_row(colour, colour, [f"a {colour} dog"]) | {"questions": questions} for colour in COLOURS]
    columns = {"image": "image", "captions": "text", "label": "label", "questions": "questions"}
    write_dataset(folder / "things", {"train": rows, "test": rows}, columns)
    for colour in COLOURS:
        Image.new("RGB", (8, 8), COLOURS[colour]).save(folder / f"{colour}.jpg")
    lines = [
        {"question_id": i, "image": f"{colour}.jpg", "text": f"Is there a {thing} in the image?", "label": label}
        for i, (colour, thing, label) in enumerate((c, t, y) for c in COLOURS for t, y in (("dog", "yes"), ("cat", "no")))
    ]
    (folder / "pope.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize("model", ["./llava", "./git"])
def test_captions_and_answers(model: str, place: Path, invoke: Invoke) -> None:
    outcome = invoke("caption", "red.png", "red.jpg", "--model", model, *CPU, cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert [list(one) for one in outcome.lines] == [["image", "caption", "score"]] * 2
    two = invoke("caption", "red.png", "--model", model, "--top", 2, *CPU, cwd=place).lines
    assert len(two) == 2
    outcome = invoke("answer", "red.png", "what colour is it?", "--model", model, *CPU, cwd=place)
    assert outcome.code == 0, outcome.stderr
    (one,) = outcome.lines
    assert list(one) == ["image", "question", "answer", "probability"] and 0 < one["probability"] < 1
    stdin = json.dumps({"id": 1, "image": "red.png", "question": "what colour is it?"})
    assert invoke("answer", "-", "--model", model, *CPU, cwd=place, stdin=stdin).lines == [{"id": 1} | one]


def test_what_is_drawn(place: Path, invoke: Invoke) -> None:
    for model in ("./llava", "runs/captions"):
        draw = ["caption", "red.png", "--model", model, "--temperature", 1.5, "--top-p", 0.95, "--top", 2, *CPU]
        first = invoke(*draw, "--seed", 3, cwd=place)
        assert first.code == 0, first.stderr
        assert first.lines == invoke(*draw, "--seed", 3, cwd=place).lines
        assert first.lines != invoke(*draw, "--seed", 4, cwd=place).lines


def test_one_table_with_what_was_trained(place: Path, invoke: Invoke) -> None:
    run = ("--model", "runs/captions", "--model", "./llava", "--data", "things", *CPU)
    outcome = invoke("eval", "caption", "hallucination", *run, cwd=place)
    assert outcome.code == 0, outcome.stderr
    records = outcome.lines
    assert [(one["model"], one["task"]) for one in records] == [
        ("runs/captions", "captioning"),
        ("runs/captions", "hallucination"),
        ("./llava", "captioning"),
        ("./llava", "hallucination"),
    ], [one["model"] for one in records]
    assert records[2]["n"] == {"image": 3, "text": 3} and records[2]["precision"] == "float32"
    assert records[2]["asked"] == "Describe the image in one short sentence."
    assert set(records[3]["interval"]) == set(records[3]["metrics"])
    assert records[3]["chance"] == {"CHAIRi": 0.0, "CHAIRs": 0.0}, "always `a red dog`, and there is a dog on each"
    rows = pq.read_table(next((place / "runs/captions/eval").glob("things-test-hallucination.rows.parquet"))).to_pydict()
    assert len(rows["caption"]) == 3
    table = invoke("eval", "vqa", *run[2:], "--format", "md", cwd=place)
    assert table.code == 0 and "vqa accuracy" in table.stdout, table.stderr


def test_a_column_of_questions_may_have_any_name(place: Path, invoke: Invoke, tmp_path: Path) -> None:
    questions = [{"id": "q", "question": "what colour is it?", "answers": ["red"], "type": "colour"}]
    rows = [coloured_row(colour, colour) | {"asked": questions} for colour in COLOURS]
    write_dataset(tmp_path / "data", {"test": rows}, {"image": "image", "captions": "text", "asked": "questions"})
    outcome = invoke("eval", "vqa", "--model", place / "llava", "--data", "data", *CPU, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert outcome.lines[0]["n"]["answers"] == len(COLOURS)


def test_things_that_are_not_there(place: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmkit.decoding import Written

    said = {"red": "a dog and a man", "green": "two dogs", "blue": "a cat, a cat and a dog"}
    monkeypatch.setattr(
        "mmkit.metrics.caption.generate", lambda *args, **how: [[Written(text, -1.0, (1,), True)] for text in said.values()]
    )
    record = invoke("eval", "hallucination", "--model", "./git", "--data", "things", *CPU, cwd=place).lines[0]
    assert record["metrics"] == {"CHAIRi": 3 / 6, "CHAIRs": 2 / 3}
    assert record["counts"] == {"mentions": 6, "not_held": 3, "things": 80}
    assert record["truth"] == ["captions", "label"]
    (place / "mine.txt").write_text("animal, dog, cat\n")
    own = invoke("eval", "hallucination", "--model", "./git", "--data", "things", "--synonyms", "mine.txt", *CPU, cwd=place)
    assert own.lines[0]["metrics"] == {"CHAIRi": 0.0, "CHAIRs": 0.0}


@pytest.mark.parametrize("model", ["./llava", "./git", "runs/answers"])
def test_pope(model: str, place: Path, invoke: Invoke) -> None:
    outcome = invoke("eval", "hallucination", "--data", "pope.jsonl", "--model", model, *CPU, cwd=place)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert record["n"] == {"questions": 6, "pictures": 3} and record["dataset"] == "pope"
    assert record["chance"]["pope_accuracy"] == 0.5 and record["chance"]["pope_yes"] == 1
    assert {"pope_accuracy", "pope_yes"} <= set(record["metrics"]) == set(record["interval"])


FAULTS = [
    (["eval", "recall@k", "--model", "./git", "--data", "things"], 1, "is not measured by recall@k", "mmkit eval caption"),
    (["embed", "things", "--model", "./git"], 1, "a checkpoint of git, not a whole CLIP, SigLIP or CLAP", "mmkit caption"),
    (["caption", "red.png", "--model", "runs/captions", "--prompt", "a"], 1, "the model reads no prompt", "--prompt is of"),
    (["caption", "red.png", "--beams", "2", "--top-p", "0.9"], 2, "--beams looks for the likeliest text", "leave --beams out"),
    (["caption", "red.png", "--top-p", "0"], 2, "--top-p 0 leaves no token", "leave it out"),
    (["answer", "red.png", "what?", "--model", "./git", "--prompt", "yes"], 1, "the prompt has no {}", "Question: {} Answer:"),
    (["eval", "recall@k", "--synonyms", "a.txt"], 2, "--synonyms is of hallucination", ""),
    (["eval", "hallucination", "--data", "absent.jsonl", "--model", "./git"], 1, "absent.jsonl", ""),
    (["eval", "hallucination", "--data", "pope.jsonl", "--model", "runs/captions"], 1, "was not trained to answer", ""),
]


@pytest.mark.parametrize(("args", "code", "what", "hint"), FAULTS, ids=[" ".join(fault[0][:4]) for fault in FAULTS])
def test_faults_are_one_line(args: list[str], code: int, what: str, hint: str, place: Path, invoke: Invoke) -> None:
    outcome = invoke(*args, cwd=place)
    assert outcome.code == code
    assert what in outcome.stderr and hint in outcome.stderr
