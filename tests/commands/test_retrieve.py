from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image

from tests.conftest import COLOURS, coloured_row, write_dataset

KEYS = ["query", "rank", "score", "id", "modality", "text", "path"]


@pytest.fixture
def photos(tmp_path):
    """A plain folder of one picture a colour, in a subfolder, with a file that is no picture."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name, rgb in COLOURS.items():
        Image.new("RGB", (8, 8), rgb).save(folder / "deep" / f"{name}.png")
    (folder / "broken.jpg").write_text("no picture")
    return folder


def test_a_sentence_finds_images(colours, colour_model, invoke):
    outcome = invoke("retrieve", "something blue", "--top", 2, "--split", "test", cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    assert [list(answer) for answer in outcome.lines] == [KEYS, KEYS]
    first = outcome.lines[0]
    assert (first["query"], first["rank"], first["id"], first["modality"]) == ("something blue", 1, "blue", "image")
    assert first["text"] is first["path"] is None
    assert first["score"] > outcome.lines[1]["score"]


def test_an_image_finds_texts(colours, colour_model, photos, invoke):
    picture = photos / "deep" / "green.png"
    answers = invoke("retrieve", picture, "--top", 2, cwd=colours.parent).lines
    assert {a["text"] for a in answers} == {"a green picture", "all of it is green"}
    assert answers[0]["query"] == str(picture)
    answers = invoke("retrieve", picture, "--find", "image", "--top", 1, cwd=colours.parent).lines
    assert (answers[0]["modality"], answers[0]["id"]) == ("image", "green")


def test_several_queries_and_texts_from_a_text(colours, colour_model, invoke):
    answers = invoke("retrieve", "red", "green", "--find", "text", "--top", 1, "--split", "test", cwd=colours.parent).lines
    assert [(a["query"], a["text"]) for a in answers] == [("red", "a red picture"), ("green", "a green picture")]


def test_a_plain_folder_of_images(colour_model, photos, invoke):
    outcome = invoke("retrieve", "red", "--in", photos, "--top", 5, cwd=photos.parent)
    assert outcome.code == 0, outcome.stderr
    assert len(outcome.lines) == 3
    assert outcome.lines[0]["id"] == "deep/red.png"
    assert outcome.lines[0]["path"] == str(photos / "deep" / "red.png")
    assert "1 files could not be read as images" in outcome.stderr
    assert len(list((colour_model.folder / "embeddings").glob("photos-*.arrow"))) == 1
    # a new picture is seen by the next search
    Image.new("RGB", (8, 8), COLOURS["red"]).save(photos / "another.png")
    assert len(invoke("retrieve", "red", "--in", photos, cwd=photos.parent).lines) == 4


def test_linked_images_have_their_path(colour_model, photos, invoke, tmp_path):
    rows = [
        coloured_row(name, name) | {"image": {"bytes": None, "path": str(photos / "deep" / f"{name}.png")}} for name in COLOURS
    ]
    write_dataset(tmp_path / "linked", {"train": rows})
    answers = invoke("retrieve", "green", "--in", tmp_path / "linked", "--top", 1, cwd=tmp_path).lines
    assert answers[0]["path"] == str(photos / "deep" / "green.png")


def test_an_embeddings_file(colours, colour_model, invoke):
    path = invoke("embed", "-o", "e.parquet", cwd=colours.parent).stdout.strip()
    answers = invoke("retrieve", "blue", "--in", path, "--top", 1, cwd=colours.parent).lines
    assert answers[0]["id"] == "blue"


def test_lines_on_stdin_are_answered_one_by_one(colours, colour_model, photos, invoke):
    lines = [{"id": 1, "text": "red"}, {"id": "x", "image": str(photos / "deep" / "blue.png")}]
    stdin = "\n".join(map(json.dumps, lines)) + "\n\n"
    answers = invoke("retrieve", "-", "--top", 1, "--split", "test", cwd=colours.parent, stdin=stdin).lines
    assert [(a["query_id"], a["modality"]) for a in answers] == [(1, "image"), ("x", "text")]
    assert [a["id"] for a in answers] == ["red", "blue"]


def test_a_null_on_a_line_is_no_field(colours, colour_model, photos, invoke):
    line = json.dumps({"id": None, "text": None, "image": str(photos / "deep" / "blue.png")})
    (answer,) = invoke("retrieve", "-", "--top", 1, "--split", "test", cwd=colours.parent, stdin=line).lines
    assert (answer["id"], "query_id" in answer) == ("blue", False)


def test_a_word_that_is_also_a_folder_is_a_sentence(colours, colour_model, invoke):
    (colours.parent / "red").mkdir()
    (answer,) = invoke("retrieve", "red", "--top", 1, "--split", "test", cwd=colours.parent).lines
    assert answer["query"] == answer["id"] == "red"


def test_a_query_is_answered_before_the_next_is_read(run):
    command = [sys.executable, "-m", "mmkit", "retrieve", "-", "--top", "1", "--split", "test"]
    with subprocess.Popen(command, cwd=run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for text in ("a red circle", "a blue square"):
            process.stdin.write(json.dumps({"text": text}) + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["query"] == text
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_reader_that_has_enough_ends_it_quietly(run):
    line = f"{sys.executable} -m mmkit retrieve 'a red circle' 'a blue circle' --top 100 | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=run, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_a_table_for_people(colours, colour_model, invoke, monkeypatch):
    monkeypatch.setattr("mmkit.cli.console.Console.json", False)
    outcome = invoke("retrieve", "something blue", "--find", "text", "--split", "test", "--top", 1, cwd=colours.parent)
    assert "something blue" in outcome.stdout
    assert "a blue picture" in outcome.stdout
