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


def test_queries_are_added_and_taken_away(colours, colour_model, photos, invoke):
    picture = photos / "deep" / "red.png"
    sums = ["--plus", "a blue picture", "--minus", "a red picture"]
    (best,) = invoke("retrieve", picture, *sums, "--top", 1, "--split", "test", cwd=colours.parent).lines
    assert (best["modality"], best["id"]) == ("image", "blue")
    assert best["query"] == f"{picture} + a blue picture - a red picture"
    (text,) = invoke("retrieve", picture, *sums, "--top", 1, "--split", "test", "--find", "text", cwd=colours.parent).lines
    assert "blue" in text["text"]
    # the sum is of directions: a query added to itself is the query
    same, twice = (
        invoke("retrieve", "a red picture", *more, "--top", 1, cwd=colours.parent).lines[0]["score"]
        for more in ([], ["--plus", "a red picture"])
    )
    assert twice == pytest.approx(same, abs=1e-5)


def test_several_queries_and_texts_from_a_text(colours, colour_model, invoke):
    answers = invoke("retrieve", "red", "green", "--find", "text", "--top", 1, "--split", "test", cwd=colours.parent).lines
    assert [(a["query"], a["text"]) for a in answers] == [("red", "a red picture"), ("green", "a green picture")]


def test_a_plain_folder_of_images(colour_model, photos, invoke):
    outcome = invoke("retrieve", "red", "--in", photos, "--top", 5, cwd=photos.parent)
    assert outcome.code == 0, outcome.stderr
    assert len(outcome.lines) == 3
    assert outcome.lines[0]["id"] == "deep/red.png"
    assert outcome.lines[0]["path"] == str(photos / "deep" / "red.png")
    assert "1 file could not be read: " in outcome.stderr
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
    lines = [
        {"id": 1, "split": "test", "captions": ["green"], "text": "red"},
        {"id": "x", "image": str(photos / "deep" / "blue.png")},
    ]
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


@pytest.fixture
def prepared(photos, colour_model, invoke):
    """./prepared, made by `prep folder` of ./raw with a class folder a colour."""
    raw = photos.parent / "raw"
    for name in COLOURS:
        (raw / name).mkdir(parents=True)
        (photos / "deep" / f"{name}.png").rename(raw / name / "1.png")
    assert invoke("prep", "folder", "prepared", "--source", "raw", cwd=photos.parent).code == 0
    return photos.parent / "prepared"


def test_prepared_images_have_the_path_of_the_original_while_it_is_there(prepared, invoke):
    ask = ["retrieve", "green", "--in", "prepared", "--top", 1]
    original = prepared.parent / "raw" / "green" / "1.png"
    assert [a["path"] for a in invoke(*ask, cwd=prepared.parent).lines] == [str(original)]
    original.unlink()
    assert [a["path"] for a in invoke(*ask, cwd=prepared.parent).lines] == [None]


def test_a_dataset_that_moves_with_its_raw_pictures_keeps_their_paths(prepared, invoke):
    home = prepared.parent
    (home / "raw").rename(home / "all")
    assert invoke("prep", "folder", "all", cwd=home).code == 0
    (home / "all").rename(home / "moved")
    (answer,) = invoke("retrieve", "blue", "--in", "moved", "--top", 1, cwd=home).lines
    assert answer["path"] == str(home / "moved" / "blue" / "1.png")


def test_ids_are_those_of_their_split(tmp_path, colour_model, invoke):
    for split, colour in (("train", "red"), ("test", "blue")):
        (tmp_path / "raw" / split).mkdir(parents=True)
        Image.new("RGB", (8, 8), COLOURS[colour]).save(tmp_path / "raw" / split / f"{colour}.png")
    images = {split: [{"id": 1, "file_name": f"{colour}.png"}] for split, colour in (("train", "red"), ("val", "blue"))}
    (tmp_path / "raw" / "test").rename(tmp_path / "raw" / "val")
    for split, content in images.items():
        captions = [{"image_id": 1, "caption": f"one of {split}"}]
        path = tmp_path / "raw" / f"captions_{split}2017.json"
        path.write_text(json.dumps({"images": content, "annotations": captions}))
    assert invoke("prep", "coco", "data", "--source", "raw", cwd=tmp_path).code == 0
    answers = invoke("retrieve", "red", "blue", "--top", 1, "--save", "found", cwd=tmp_path).lines
    assert [a["path"] for a in answers] == [str(tmp_path / "raw/train/red.png"), str(tmp_path / "raw/val/blue.png")]
    assert len({a["id"] for a in answers}) == 1


def saved(folder):
    """File -> colour in the middle of its picture."""
    names = {str(path.relative_to(folder)): Image.open(path).convert("RGB").getpixel((4, 4)) for path in folder.rglob("*.png")}
    back = {rgb: name for name, rgb in COLOURS.items()}
    return {path: back[rgb] for path, rgb in names.items()}


@pytest.mark.parametrize("gone", [False, True])
def test_save_writes_the_pictures_ranked(prepared, invoke, gone):
    if gone:
        (prepared.parent / "raw").rename(prepared.parent / "elsewhere")
    outcome = invoke("retrieve", "green", "--in", "prepared", "--top", 3, "--save", "found", cwd=prepared.parent)
    assert outcome.code == 0, outcome.stderr
    assert "wrote 3 files to found" in outcome.stderr
    ranked = [f"{a['rank']}-{a['id'].split('/')[0]}_1.png" for a in outcome.lines]
    assert saved(prepared.parent / "found") == dict(zip(ranked, [a["id"].split("/")[0] for a in outcome.lines], strict=True))


def test_save_makes_a_folder_for_each_of_several_queries(prepared, invoke):
    invoke("retrieve", "red", "so blue!", "--in", "prepared", "--top", 1, "--save", "found", cwd=prepared.parent)
    assert saved(prepared.parent / "found") == {"001-red/1-red_1.png": "red", "002-so_blue/1-blue_1.png": "blue"}


def test_save_replaces_nothing_unless_forced(prepared, invoke):
    home = prepared.parent
    ask = ["retrieve", "red", "--in", "prepared", "--top", 1, "--save", "found"]
    (home / "found").mkdir()
    assert invoke(*ask, cwd=home).code == 0  # an empty one is filled
    (home / "found" / "mine.txt").write_text("mine")
    refused = invoke(*ask, "--model", "absent", cwd=home)
    assert (refused.code, refused.stdout) == (1, "")
    assert (
        "error: the folder exists and is not empty, found\nhint: name a new folder; --force moves this one aside"
        in refused.stderr
    )
    assert invoke(*ask, "--force", cwd=home).code == 0
    assert (home / "found.old-1" / "mine.txt").read_text() == "mine"
    assert list(saved(home / "found")) == ["1-red_1.png"]


def test_save_leaves_nothing_behind_when_a_query_fails(prepared, invoke):
    lines = '{"text": "red"}\n{"text": 3}\n'
    outcome = invoke("retrieve", "-", "--in", "prepared", "--save", "found", cwd=prepared.parent, stdin=lines)
    assert outcome.code == 1
    assert not [path for path in prepared.parent.iterdir() if "found" in path.name]


@pytest.mark.parametrize("find", [[], ["--find", "text"]])
def test_save_of_texts_is_refused(prepared, invoke, find):
    query = prepared.parent / "raw" / "red" / "1.png"
    outcome = invoke("retrieve", query, "--in", "prepared", "--save", "found", *find, cwd=prepared.parent)
    assert (outcome.code, (prepared.parent / "found").exists()) == (2, False)
    assert "--save copies files" in outcome.stderr
