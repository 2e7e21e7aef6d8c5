from __future__ import annotations

import json

import pytest

QUESTION = "what colour is the circle?"
KEYS = ["image", "question", "answer", "probability"]


def test_the_most_probable_answer(asked, invoke):
    outcome = invoke("answer", "red.png", QUESTION, "--model", "runs/answers", cwd=asked)
    assert outcome.code == 0, outcome.stderr
    (answer,) = outcome.lines
    assert list(answer) == KEYS
    assert (answer["image"], answer["question"]) == ("red.png", QUESTION)
    classes = json.loads((asked / "runs/answers/targets.json").read_text())["task"]["classes"]
    assert answer["answer"] in classes
    every = invoke("answer", "red.png", QUESTION, "--model", "runs/answers", "--top", 1000, cwd=asked).lines
    assert sorted(one["answer"] for one in every) == sorted(classes)
    assert sum(one["probability"] for one in every) == pytest.approx(1)
    assert every[0] == answer
    assert [one["probability"] for one in every] == sorted((one["probability"] for one in every), reverse=True)


def test_the_question_and_the_picture_are_both_read(asked, invoke):
    def probability(*args):
        return invoke("answer", *args, "--model", "runs/answers", cwd=asked).lines[0]["probability"]

    from PIL import Image

    Image.new("RGB", (8, 8), "blue").save(asked / "blue.png")
    assert len({probability(*args) for args in (("red.png", QUESTION), ("blue.png", QUESTION), ("red.png", "is it?"))}) == 3


def test_lines_on_stdin(asked, invoke):
    lines = [{"id": 7, "image": "red.png", "question": QUESTION}, {"image": "red.png", "question": "how many?"}]
    stdin = "".join(json.dumps(line) + "\n" for line in lines)
    answers = invoke("answer", "-", "--model", "runs/answers", "--top", 2, cwd=asked, stdin=stdin).lines
    assert [(a.get("id"), a["question"]) for a in answers] == [(7, QUESTION)] * 2 + [(None, "how many?")] * 2
    (alone,) = invoke("answer", "red.png", QUESTION, "--model", "runs/answers", cwd=asked).lines
    assert answers[0]["probability"] == pytest.approx(alone["probability"])


def test_a_table_for_people(asked, invoke, monkeypatch):
    monkeypatch.setattr("mmkit.cli.console.Console.json", False)
    stdout = invoke("answer", "red.png", QUESTION, "--model", "runs/answers", cwd=asked).stdout
    assert QUESTION in " ".join(stdout.split()) and "probability" in stdout


FAULTS = [
    (["-", "what?"], 2, "- reads the questions from stdin, all of them", "leave - out"),
    (["red.png"], 2, "which question?", "mmkit answer red.png"),
    (["red.png", " "], 2, "the question is empty", "mmkit answer red.png"),
    (["absent.png", "what?"], 1, "no such image, absent.png", ""),
    (["runs", "what?"], 1, "this is a folder, not an image, runs", "--in runs"),
    (["note.txt", "what?"], 1, "cannot be read as an image", ""),
    (["red.png", "what?", "--top", "0"], 2, "0 is not at least 1, --top", "mmkit answer --help"),
    (["red.png", "what?", "--model", "runs/classes"], 1, "the model was not trained to answer questions", "its losses: classify"),
]


@pytest.mark.parametrize(("args", "code", "message", "hint"), FAULTS, ids=[" ".join(args) for args, *_ in FAULTS])
def test_one_line_a_hint_and_an_exit_code(asked, invoke, args, code, message, hint):
    (asked / "note.txt").write_text("no picture")
    outcome = invoke("answer", *args, *([] if "--model" in args else ["--model", "runs/answers"]), cwd=asked)
    error, *rest = outcome.stderr.splitlines()
    assert (outcome.code, outcome.stdout) == (code, "")
    assert error.startswith("error: ") and message in error
    assert len(rest) == bool(hint)
    assert hint in "".join(rest)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 2, "image": "red.png"}', "no question in the object, stdin line 2, id 2"),
        ('{"id": 2, "image": "red.png", "question": " "}', "question is empty, stdin line 2, id 2"),
        ('{"id": 2, "question": "what?"}', "no image in the object, stdin line 2, id 2"),
        ('{"id": 2, "image": "absent.png", "question": "what?"}', "no such image, absent.png, stdin line 2, id 2"),
        ("red.png", "not valid JSON"),
    ],
)
def test_a_bad_line_is_named_after_those_before_it(asked, invoke, line, message):
    stdin = '{"image": "red.png", "question": "what?"}\n' + line + "\n"
    outcome = invoke("answer", "-", "--model", "runs/answers", cwd=asked, stdin=stdin)
    assert outcome.code == 1
    assert len(outcome.lines) == 1
    assert message in outcome.stderr
