from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mmkit.config import build, read_toml, write_toml
from mmkit.vectors import read_embeddings
from tests.conftest import COLOURS, coloured_row, write_dataset


def test_prints_the_path_of_all_splits(colours, colour_model, invoke):
    outcome = invoke("embed", cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == "runs/colours/embeddings/data-all.arrow\n"
    found = read_embeddings(colours.parent / outcome.stdout.strip())
    assert sorted(set(found.split)) == ["test", "train"]
    assert (found.modality == "image").sum() == 4
    assert (found.modality == "text").sum() == 7
    assert found.label[found.rows("text", "test")].tolist() == ["red", "red", "green", "green", "blue", "blue"]
    assert found.text[found.rows("text", "test")].tolist()[:2] == ["a red picture", "all of it is red"]
    assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1)
    assert found.meta is not None
    assert found.meta["model_hash"] == "colours"
    assert found.meta["data"] == str(colours)
    assert found.meta["normalised"] is True


def test_a_file_that_is_up_to_date_is_reused(colours, colour_model, invoke):
    path = colours.parent / invoke("embed", "--split", "test", cwd=colours.parent).stdout.strip()
    assert path.name == "data-test.arrow"
    first = os.stat(path).st_ino
    invoke("embed", "--split", "test", cwd=colours.parent)
    assert os.stat(path).st_ino == first
    colour_model.hash = "another"
    invoke("embed", "--split", "test", cwd=colours.parent)
    assert os.stat(path).st_ino != first
    assert read_embeddings(path).meta["model_hash"] == "another"


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: setattr(config.data["image"], "resample", "nearest"),
        lambda config: setattr(config.data["image"], "mean", [0.1, 0.1, 0.1]),
        lambda config: config.encoder["text"].update(causal=False),
        "tokenizer",
    ],
    ids=["resample", "mean", "encoder", "tokenizer"],
)
def test_another_preprocessing_is_another_file(run, invoke, tmp_path, edit):
    """The weights of a run are the same after an edit; the vectors are not."""
    shutil.copytree(run / "runs" / "latest", tmp_path / "run")

    def embed(*args):
        return invoke("embed", run / "data", "--model", "run", "--split", "test", *args, cwd=tmp_path)

    path = tmp_path / embed().stdout.strip()
    assert embed("-o", "mine.arrow").code == 0
    before = os.stat(path).st_ino
    if edit == "tokenizer":
        tokenizer = tmp_path / "run" / "tokenizer.json"
        tokenizer.write_text(tokenizer.read_text().replace('"Lowercase"', '"NFKC"'))
    else:
        config = build(read_toml(tmp_path / "run" / "config.toml"))
        edit(config)
        write_toml(tmp_path / "run" / "config.toml", config)
    assert embed().code == 0
    after = os.stat(path).st_ino
    assert after != before
    embed()
    assert os.stat(path).st_ino == after
    assert "was not made by this model from this data, mine.arrow" in embed("-o", "mine.arrow").stderr
    searched = invoke("retrieve", "red", "--in", "mine.arrow", "--model", "run", cwd=tmp_path)
    assert "prepared pictures or texts otherwise when it made these embeddings, mine.arrow" in searched.stderr


def test_batches_do_not_change_the_file(colours, colour_model, invoke):
    one = invoke("embed", "--batch-size", 1, "-o", "one.arrow", cwd=colours.parent)
    all_ = invoke("embed", "--workers", 1, "-o", "all.arrow", cwd=colours.parent)
    assert (one.stdout, all_.stdout) == ("one.arrow\n", "all.arrow\n")
    by_key = [
        {(i, m, t): tuple(v) for i, m, t, v in zip(e.ids, e.modality, e.text, e.vectors, strict=True)}
        for e in (read_embeddings(colours.parent / name) for name in ("one.arrow", "all.arrow"))
    ]
    assert by_key[0] == by_key[1]


def test_out_refuses_what_it_did_not_make(colours, colour_model, invoke):
    target = colours.parent / "mine.arrow"
    target.write_text("notes")
    outcome = invoke("embed", "-o", "mine.arrow", cwd=colours.parent)
    assert outcome.code == 1
    assert "was not made by this model from this data, mine.arrow" in outcome.stderr
    assert target.read_text() == "notes"
    assert invoke("embed", "-o", "mine.arrow", "--force", cwd=colours.parent).code == 0
    assert (colours.parent / "mine.arrow.old-1").read_text() == "notes"


@pytest.mark.parametrize("text", ["{}", '["a", "b"]', "not json", '{"id": ["a"]}'])
def test_a_json_of_others_beside_an_npy_is_kept(colours, colour_model, invoke, text):
    notes = colours.parent / "v.json"
    notes.write_text(text)
    outcome = invoke("embed", "-o", "v.npy", cwd=colours.parent)
    assert outcome.code == 1
    assert "error: the file exists and is not one that mmkit wrote, v.json" in outcome.stderr
    assert notes.read_text() == text and not (colours.parent / "v.npy").exists()
    assert invoke("embed", "-o", "v.npy", "--force", cwd=colours.parent).code == 0
    assert (colours.parent / "v.json.old-1").read_text() == text
    assert len(read_embeddings(colours.parent / "v.npy")) == 11
    # its own it reuses, and goes on without asking where the vectors are gone
    assert invoke("embed", "-o", "v.npy", cwd=colours.parent).code == 0
    (colours.parent / "v.npy").unlink()
    assert invoke("embed", "-o", "v.npy", cwd=colours.parent).code == 0
    assert not (colours.parent / "v.json.old-2").exists()


def test_force_moves_both_files_of_an_npy_aside(colours, colour_model, invoke):
    invoke("embed", "-o", "v.npy", cwd=colours.parent)
    colour_model.hash = "another"
    assert invoke("embed", "-o", "v.npy", cwd=colours.parent).code == 1
    assert invoke("embed", "-o", "v.npy", "--force", cwd=colours.parent).code == 0
    assert {p.name for p in colours.parent.glob("v.*")} == {"v.npy", "v.json", "v.npy.old-1", "v.json.old-1"}


def test_a_dash_pours_the_file_on_stdout(run, tmp_path):

    command = [
        sys.executable,
        "-m",
        "mmkit",
        "embed",
        "--limit",
        "5",
        "-o",
        "-",
        "--model",
        str(run / "runs" / "latest"),
        str(run / "data"),
    ]
    poured = subprocess.run(command, cwd=tmp_path, capture_output=True).stdout
    assert pa.ipc.open_file(poured).read_all().num_rows >= 10


def test_json_names_the_file(colours, colour_model, invoke):
    assert invoke("embed", "--json", cwd=colours.parent).lines == [{"embeddings": "runs/colours/embeddings/data-all.arrow"}]


def test_a_trained_run_into_parquet_and_npy(run, invoke, tmp_path):
    for name in ("e.parquet", "e.npy"):
        outcome = invoke("embed", run / "data", "--model", run / "runs/latest", "--split", "test", "-o", tmp_path / name)
        assert outcome.code == 0, outcome.stderr
        found = read_embeddings(Path(outcome.stdout.strip()))
        assert len(found) == 600
        assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)


def test_mapped_columns(tmp_path, colour_model, invoke):
    rows = [coloured_row(name, name) for name in COLOURS]
    rows = [{"id": row["id"], "photo": row["image"]["bytes"], "words": row["captions"][0], "kind": row["label"]} for row in rows]
    write_dataset(tmp_path / "data", {"train": rows}, {"photo": "image", "words": "text", "kind": "label"})
    found = read_embeddings(tmp_path / invoke("embed", cwd=tmp_path).stdout.strip())
    assert found.label[found.rows("image")].tolist() == list(COLOURS)
    assert found.text[found.rows("text")].tolist() == [f"a {name} picture" for name in COLOURS]


def test_another_treatment_of_pictures_is_another_file(run, invoke, tmp_path, monkeypatch):
    """Pictures of a plain folder are treated while they are embedded."""
    shutil.copytree(run / "runs" / "latest", tmp_path / "run")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "photos" / "red.png")

    def search():
        assert invoke("retrieve", "red", "--in", "photos", "--model", "run", cwd=tmp_path).code == 0
        (path,) = (tmp_path / "run" / "embeddings").glob("photos-*.arrow")
        return os.stat(path).st_ino

    before = search()
    assert search() == before
    monkeypatch.setattr("mmkit.data.modalities.image.TREATMENT", "transparent is black")
    assert search() != before
