"""What a user can get wrong with eval, embed, retrieve and predict: one line each, with where, a hint and the exit code."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from mmkit.cli.queries import query_lines
from mmkit.errors import UserError
from mmkit.vectors_writer import EmbeddingsWriter
from tests.conftest import coloured_row, write_dataset


@pytest.fixture
def folder(colours, colour_model):
    """A folder to type commands in, with ./data and files that are wrong in one way each."""
    folder = colours.parent
    with EmbeddingsWriter(folder / "other.arrow", 3, {"model": "runs/other", "model_hash": "other"}) as writer:
        writer.write(["a"], "image", np.ones((1, 3), np.float32), ["test"])
    (folder / "cut.arrow").write_bytes((folder / "other.arrow").read_bytes()[:300])
    with EmbeddingsWriter(folder / "apart.arrow", 3) as writer:
        writer.write(["a"], "image", np.ones((1, 3), np.float32))
        writer.write(["b"], "text", np.ones((1, 3), np.float32))
    with EmbeddingsWriter(folder / "diverged.arrow", 3) as writer:
        writer.write(["a"], "image", np.full((1, 3), np.nan, np.float32))
        writer.write(["a"], "text", np.ones((1, 3), np.float32))
    write_dataset(folder / "sounds", {"train": [{"id": "1", "captions": ["a bell"]}]}, {"captions": "text"})
    row = coloured_row("bad", "red")
    write_dataset(folder / "corrupt", {"train": [row | {"image": {"bytes": row["image"]["bytes"][:40], "path": "bad.png"}}]})
    damaged = write_dataset(folder / "damaged", {"train": [coloured_row("r", "red")]})
    shard = damaged / "train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])
    (folder / "nothing").mkdir()
    (folder / "note.txt").write_text("no picture")
    return folder


FAULTS = [
    (["eval", "recal@k"], 2, "unknown metric 'recal@k'", "did you mean recall@k?"),
    (["eval", "recall@k", "./data"], 2, "unknown metric './data'", "a dataset is --data ./data"),
    (["eval", "recall@0"], 2, "k is a whole number, 1 or more, recall@0", "known: recall@k, recall@10"),
    (["eval", "recall@five"], 2, "k is a whole number, 1 or more, recall@five", "recall@10"),
    (["eval", "vqa@5"], 2, "cannot read 'vqa@5'", "known: vqa"),
    (["eval"], 2, "Missing argument", "mmkit eval --help"),
    (["eval", "recall@k", "--embeddings", "cut.arrow", "--data", "data"], 2, "--embeddings needs no --model", "leave --data out"),
    (["eval", "recall@k", "--data", "absent"], 1, "no such dataset folder, absent", "mmkit prep"),
    (["eval", "recall@k", "--split", "dev2"], 1, "no split 'dev2', ", "splits: train, test"),
    (["eval", "recall@k", "--data", "sounds"], 1, "the dataset has no image column, ", "it has: text"),
    (["eval", "recall@k", "--data", "corrupt"], 1, "the image of row bad cannot be read", "prepare the dataset again"),
    (["eval", "recall@k", "--data", "damaged"], 1, "truncated or damaged", "mmkit prep"),
    (["eval", "recall@k", "--embeddings", "absent.arrow"], 1, "no such embeddings file, absent.arrow", "mmkit embed"),
    (["eval", "recall@k", "--embeddings", "cut.arrow"], 1, "truncated, or not an embeddings file", "mmkit embed"),
    (["eval", "recall@k", "--embeddings", "other.arrow"], 1, "nothing to rank images for, other.arrow", "there are: image"),
    (["eval", "recall@k", "--embeddings", "other.arrow", "--split", "val"], 1, "no split 'val', other.arrow", "splits: test"),
    (["eval", "recall@k", "--embeddings", "apart.arrow"], 1, "no image shares an id with a text", "carry the same id"),
    (["eval", "recall@k", "--embeddings", "diverged.arrow"], 1, "vector 0 is not finite", "diverged"),
    (
        ["eval", "recall@k", "-o", "r.xlsx"],
        2,
        "results cannot be written as .xlsx, r.xlsx",
        "-o r.json, .md, .csv or .tex, or -o -",
    ),
    (
        ["eval", "recall@k", "-o", "nothing"],
        2,
        "results cannot be written as a file without suffix, nothing",
        "-o nothing.json, .md, .csv or .tex, or -o - for stdout",
    ),
    (["trian"], 2, "no such command 'trian'", "did you mean train?"),
    (["embed", "-o", "nothing"], 2, "embeddings cannot be written as a file without suffix", ".arrow .parquet .npy"),
    (["retrieve", ""], 2, "the query is empty", "mmkit retrieve"),
    (["retrieve", "./nothing"], 2, "the query is a folder, ./nothing", "--in ./nothing"),
    (["retrieve", "a dog", "--in", "nope"], 1, "nothing to search there, nope", "an embeddings file or a folder of pictures"),
    (["predict", "nothing", "a dog"], 1, "this is a folder, not a file, nothing", "--in nothing"),
    (["embed", "-o", "e.csv"], 2, "embeddings cannot be written as .csv", ".arrow .parquet .npy"),
    (["embed", "nothing"], 1, "not a dataset folder", "mmkit prep"),
    (["retrieve", "a dog", "--in", "other.arrow"], 1, "made by runs/other, the query by", "--model runs/other"),
    (["retrieve", "a dog", "--in", "nothing"], 1, "not a dataset folder", "mmkit prep"),
    (["retrieve", "dog.jpg"], 1, "no such image, dog.jpg", ""),
    (["retrieve", "note.txt"], 1, "cannot be read as an image", ""),
    (["retrieve", "a dog", "--find", "sound"], 2, "the model has nothing called 'sound' to find, --find", "known: image, text"),
    (["retrieve", "a dog", "--top", "0"], 2, "0 is not at least 1, --top", "mmkit retrieve --help"),
    (["predict", "note.txt", "a dog"], 1, "cannot be read as an image", ""),
    (["predict", "absent.jpg", "a dog"], 1, "no such file, absent.jpg", ""),
    (["retrieve", "-", "red"], 2, "- reads the queries from stdin, all of them", "leave - out"),
    (["retrieve", "red", "-"], 2, "- reads the queries from stdin, all of them", "leave - out"),
    (["retrieve", "caf\udce9"], 2, "not UTF-8, argument 2: caf\\xe9", "iconv -f latin1 -t utf-8"),
    (["predict", "note.txt", "a", "caf\udce9"], 2, "not UTF-8, argument 4: caf\\xe9", "iconv -f latin1 -t utf-8"),
    (["predict", "note.txt", "a dog", " "], 2, "a text is empty", "mmkit predict note.txt"),
    (["embed", "--device", "foo"], 2, "no such device 'foo', --device", "cuda:1"),
    (["embed", "--device", "cpu:x"], 2, "no such device 'cpu:x', --device", "cuda:1"),
    (["prep", "shapes", "--seed", "99999999999999999999"], 2, "--seed", "mmkit prep shapes --help"),
    (["demo", "--seed", "-1"], 2, "--seed", "mmkit demo --help"),
    (["train", "--seed", "99999999999999999999"], 2, "--seed", "mmkit train --help"),
    (["predict", "note.txt"], 2, "which texts?", "mmkit predict"),
]


@pytest.mark.parametrize(("args", "code", "message", "hint"), FAULTS, ids=[ascii(" ".join(args)) for args, *_ in FAULTS])
def test_one_line_a_hint_and_an_exit_code(folder, invoke, args, code, message, hint):
    outcome = invoke(*args, cwd=folder)
    error, *rest = outcome.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert outcome.code == code
    assert outcome.stdout == ""
    assert len(rest) == bool(hint)
    if hint:
        assert rest[0].startswith("hint: ")
        assert hint in rest[0]


def test_with_json_the_error_is_an_object(folder, invoke):
    outcome = invoke("eval", "recall@k", "--embeddings", "cut.arrow", "--json", cwd=folder)
    assert json.loads(outcome.stderr)["where"] == "cut.arrow"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("red", "not valid JSON"),
        ("[]", "not a JSON object, stdin line 2"),
        ('{"id": 1}', "no text or image in the object, stdin line 2, id 1"),
        ('{"id": "q", "text": null, "image": null}', "no text or image in the object, stdin line 2, id q"),
        ('{"text": "a", "image": "a.png"}', "both text and image in the object, stdin line 2"),
        ('{"text": ["a"]}', "text is not a string, stdin line 2"),
        ('{"text": " "}', "text is empty, stdin line 2"),
        ('{"id": [1], "text": "a"}', "the id is neither a string nor a number, stdin line 2"),
        ('{"text": "half a pair: \\ud800"}', "not valid JSON"),
        ('{"id": NaN, "text": "a"}', "not valid JSON"),
        ('{"id": 7, "image": "absent.png"}', "no such image, absent.png, stdin line 2, id 7"),
        ('{"id": 7, "image": "nothing"}', "this is a folder, not an image, nothing, stdin line 2, id 7"),
    ],
)
def test_a_bad_line_on_stdin_is_named(folder, invoke, line, message):
    outcome = invoke("retrieve", "-", "--top", 1, cwd=folder, stdin='{"text": "red"}\n' + line + "\n")
    assert outcome.code == 1
    assert len(outcome.lines) == 1, "the line before it is answered"
    assert message in outcome.stderr
    assert "stdin line 2" in outcome.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 2, "image": "red.png", "texts": "a cat"}', "texts is not a list of strings, stdin line 2, id 2"),
        ('{"id": 2, "image": "red.png", "texts": ["a", 1]}', "texts is not a list of strings, stdin line 2, id 2"),
        ('{"id": 2, "image": "red.png", "texts": ["a", " "]}', "one of the texts is empty, stdin line 2, id 2"),
        ('{"id": 2, "image": "red.png"}', "the line names no texts, stdin line 2, id 2"),
        ('{"id": 2, "image": 5, "texts": ["a"]}', "image is not a string, stdin line 2, id 2"),
        ('{"id": 2, "texts": ["a"]}', "no image in the object, stdin line 2, id 2"),
        ('{"id": 2, "image": "absent.png", "texts": ["a"]}', "no such image, absent.png, stdin line 2, id 2"),
    ],
)
def test_a_bad_line_of_predict_is_named(folder, invoke, line, message):
    Image.new("RGB", (8, 8), "red").save(folder / "red.png")
    outcome = invoke("predict", "-", cwd=folder, stdin='{"image": "red.png", "texts": ["red"]}\n' + line + "\n")
    assert outcome.code == 1
    assert len(outcome.lines) == 1, "the line before it is answered"
    assert f"error: {message}" in outcome.stderr


def test_a_line_that_is_not_utf8_is_named_after_those_before_it():
    lines = query_lines(io.TextIOWrapper(io.BytesIO(b'{"text": "red"}\n{"text": "caf\xe9"}\n'), "utf-8"))
    assert next(lines).query == {"text": "red"}
    with pytest.raises(UserError, match="not UTF-8, stdin line 2"):
        next(lines)


def test_an_unreadable_image_is_named_once(folder, invoke):
    outcome = invoke("retrieve", "note.txt", cwd=folder)
    assert outcome.stderr.count("note.txt") == 1


@pytest.mark.parametrize("kind", ["folder", "pipe"] if hasattr(os, "mkfifo") else ["folder"])
def test_embeddings_go_into_a_regular_file(folder, invoke, kind):
    target = folder / "target.arrow"
    target.mkdir() if kind == "folder" else os.mkfifo(target)
    outcome = invoke("embed", "-o", "target.arrow", cwd=folder)
    assert outcome.code == 1
    assert kind in outcome.stderr
    assert target.is_dir() or target.is_fifo()


def test_a_mistake_in_the_words_is_json_too(folder, invoke):
    outcome = invoke("eval", "--nope", "--json", cwd=folder)
    assert outcome.code == 2
    assert "--nope" in json.loads(outcome.stderr)["error"]


def test_a_model_without_an_image_encoder(folder, colour_model, invoke):
    Image.new("RGB", (8, 8), "red").save(folder / "red.png")
    del colour_model.inputs["image"]
    for args in (["predict", "red.png", "red"], ["retrieve", "red.png"], ["retrieve", "red.png", "--find", "text"]):
        outcome = invoke(*args, cwd=folder)
        assert outcome.code == 1
        assert "the model has no image encoder" in outcome.stderr, args


class Diverged(torch.nn.Module):
    def forward(self, x):
        return x * torch.nan


COMMANDS_OF_A_MODEL = [
    ["embed"],
    ["eval", "recall@k"],
    ["retrieve", "red"],
    ["retrieve", "red", "--figure", "out.png"],
    ["retrieve", "red.png"],
    ["predict", "red.png", "red", "blue"],
]


@pytest.mark.parametrize("args", COMMANDS_OF_A_MODEL, ids=" ".join)
def test_a_model_that_has_diverged_is_named(folder, colour_model, invoke, args):
    Image.new("RGB", (8, 8), "red").save(folder / "red.png")
    for project in colour_model.project:
        colour_model.project[project] = Diverged()
    outcome = invoke(*args, cwd=folder)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("error: vector 0 is not finite, runs/colours\nhint: the model has diverged; an earlier")
    assert "runs/colours/checkpoints" in outcome.stderr
    assert not list(folder.glob("**/out.png")) + list(folder.glob("runs/**/*.arrow"))


def test_a_scale_that_has_diverged_is_no_probability(folder, colour_model, invoke):
    Image.new("RGB", (8, 8), "red").save(folder / "red.png")
    torch.nn.init.constant_(colour_model.loss["itc"].logit_scale, torch.nan)
    outcome = invoke("predict", "red.png", "red", "blue", cwd=folder)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "error: a probability is not finite, runs/colours" in outcome.stderr


def test_vectors_on_disk_that_have_diverged_are_not_searched(folder, invoke):
    outcome = invoke("retrieve", "red", "--in", "diverged.arrow", cwd=folder)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "error: vector 0 is not finite, diverged.arrow" in outcome.stderr


def test_a_full_disk_leaves_the_last_result(folder, invoke, monkeypatch):
    import errno

    import mmkit.vectors_writer

    assert invoke("embed", cwd=folder).code == 0
    path = folder / "runs/colours/embeddings/data-all.arrow"
    before = path.read_bytes()

    def full(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mmkit.vectors_writer.EmbeddingsWriter, "_finish", full)
    Image.new("RGB", (8, 8)).save(folder / "nothing" / "a.png")
    outcome = invoke("retrieve", "red", "--in", "nothing", cwd=folder)
    assert outcome.code == 1
    assert "the disk is full" in outcome.stderr
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".*"))
