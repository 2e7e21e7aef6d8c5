"""Models of many inputs: which of them a file or a line of stdin is of, as it is typed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmkit.data.shards import open_dataset
from mmkit.talk import Talk
from mmkit.workflows import fit
from tests.conftest import Outcome, invoke_mmkit
from tests.core import smallest, whole_dataset
from tests.moving import scene, write_gif

Invoke = Callable[..., Outcome]
MANY, MOOD = ("--model", "runs/many"), ("--model", "runs/mood")
FUSED = ("--set", 'fusion.inputs=["text", "audio", "video"]', "--set", "data.video.size=16", "--set", "data.video.frames=3")


@pytest.fixture(scope="module")
def place(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ./data, whose pictures stand there as ./depth, too, and whose series are the column ./imu. ./runs/many has
    all of them as inputs, ./runs/rooms pictures, texts and depth; ./runs/mood predicts a number of words, a sound and a video,
    and ./runs/said tells them apart. A file of each of the first test row; two GIFs, one that moves and one that does not."""
    folder = tmp_path_factory.mktemp("place")
    whole_dataset(run / "data", folder / "data")
    manifest = json.loads((folder / "data/dataset.json").read_text())
    for split in manifest["splits"].values():
        file = folder / "data" / split["shards"][0]["file"]
        table = pq.read_table(file)
        names = ["imu" if name == "series" else name for name in table.column_names]
        pq.write_table(table.rename_columns(names).append_column("depth", table.column("image")), file, row_group_size=16)
    del manifest["columns"]["series"]
    manifest["columns"] |= {"imu": "series", "depth": "image"}
    (folder / "data/dataset.json").write_text(json.dumps(manifest))
    config = smallest("nmodal", folder / "data", {"train": {"steps": 2}})
    fit.start(config, folder / "runs", "many", False, "cpu", Talk())
    for args in (
        ("sentiment", "--name", "mood", *FUSED, "--set", "loss.task.kind=regress"),
        ("sentiment", "--name", "said", *FUSED, "--set", "loss.task.kind=classify"),
        ("nmodal", "--name", "rooms", "--set", 'loss.itc.between=["image", "text", "depth"]'),
    ):
        outcome = invoke_mmkit("train", "data", "--recipe", *args, "--steps", 2, "--batch-size", 8, cwd=folder)
        assert outcome.code == 0, outcome.stderr
    row = next(open_dataset(folder / "data").rows("test"))
    for name, ending in (("image", "png"), ("depth", "png"), ("audio", "wav"), ("video", "gif")):
        (folder / f"{name}.{ending}").write_bytes(row[name]["bytes"])
    np.save(folder / "imu.npy", np.array(row["imu"]))
    np.save(folder / "far.npy", np.random.default_rng(0).random((16, 16), np.float32))
    frames = scene(random.Random(0), "red", "circle", "left")
    write_gif(folder / "moves.gif", frames)
    write_gif(folder / "still.gif", frames[:1])
    return folder


@pytest.mark.parametrize(("file", "kind"), [("moves.gif", "video"), ("still.gif", "image")])
def test_a_gif_that_moves_is_a_video_and_a_still_one_a_picture(place: Path, invoke: Invoke, file: str, kind: str) -> None:
    def scores(query: str) -> list[float]:
        outcome = invoke("retrieve", query, "--find", "text", "--top", 3, "--split", "test", "--model", "runs/many", cwd=place)
        assert outcome.code == 0, outcome.stderr
        return [line["score"] for line in outcome.lines]

    assert scores(file) == scores(f"{kind}={file}")
    assert scores("image=moves.gif") != scores("video=moves.gif")
    (said,) = invoke("predict", file, "a red circle", "--model", "runs/many", cwd=place).lines
    assert said[kind] == file


def test_a_folder_of_gifs_holds_videos_and_pictures(place: Path, invoke: Invoke, tmp_path: Path) -> None:
    for name in ("moves.gif", "still.gif"):
        (tmp_path / name).symlink_to(place / name)
    for find, file in (("video", "moves.gif"), ("image", "still.gif")):
        outcome = invoke("retrieve", "a circle", "--find", find, "--in", tmp_path, "--model", "runs/many", cwd=place)
        assert [line["id"] for line in outcome.lines] == [file], outcome.stderr


def test_series_that_were_files_are_saved(place: Path, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "moves").mkdir()
    for i in range(3):
        rows = [f"{x % (i + 2)},{x / 9:.2f}" for x in range(30)]
        (tmp_path / f"moves/{i}.csv").write_text("\n".join(["x,y", *rows]))
    ask = ("retrieve", "a circle", "--find", "imu", "--top", 2, "--model", place / "runs/many", "--save", "found")
    outcome = invoke(*ask, "--in", "moves", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "wrote 2 files to found" in outcome.stderr
    best = tmp_path / "found" / f"1-{outcome.lines[0]['id']}"
    assert best.read_text() == (tmp_path / "moves" / outcome.lines[0]["id"]).read_text()
    outcome = invoke(*ask, "--in", place / "data", "--split", "test", "--force", cwd=tmp_path)
    assert (outcome.code, "the answers are no files but series" in outcome.stderr) == (2, True)


def test_a_line_names_any_input_by_its_own_name(place: Path, invoke: Invoke) -> None:
    files = {"imu": "imu.npy", "series": "imu.npy", "depth": "depth.png", "audio": "audio.wav", "image": "image.png"}
    lines = "".join(json.dumps({name: file}) + "\n" for name, file in files.items())
    found = invoke("retrieve", "-", "--find", "text", "--top", 1, "--split", "test", *MANY, cwd=place, stdin=lines)
    assert [line["query"] for line in found.lines] == list(files.values()), found.stderr
    said = invoke("predict", "-", "a circle", "a cross", *MANY, cwd=place, stdin=lines)
    assert [next(iter(line.items())) for line in said.lines[::2]] == list(files.items()), said.stderr
    assert invoke("predict", "depth=depth.png", "a circle", "a cross", *MANY, cwd=place).lines == said.lines[4:6]
    assert said.lines[4]["score"] != said.lines[8]["score"], "the same picture, by two encoders"
    for command in ("retrieve", "predict"):
        outcome = invoke(command, "-", *MANY, cwd=place, stdin='{"id": 1, "sound": "audio.wav"}')
        assert " or " in outcome.stderr and "depth" in outcome.stderr and "audio" in outcome.stderr


def test_an_array_that_may_be_a_map_is_said_to_be_one(place: Path, invoke: Invoke) -> None:
    """`far.npy` is a series to look at, which the model does not read."""
    outcome = invoke("retrieve", "far.npy", "--model", "runs/rooms", cwd=place)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "hint: image=far.npy or depth=far.npy   says which input it is of" in outcome.stderr
    found = invoke("retrieve", "depth=far.npy", "--top", 1, "--split", "test", "--model", "runs/rooms", cwd=place)
    assert found.code == 0 and len(found.lines) == 1, found.stderr


TYPED = ("audio.wav", "video.gif")
UNREAD = "for the {} alone; the model reads {}, too"


def test_predict_reads_a_file_of_each_input(place: Path, invoke: Invoke) -> None:
    (whole,) = invoke("predict", *TYPED, "a red circle", *MOOD, cwd=place).lines
    assert [whole[key] for key in ("audio", "video", "text")] == ["audio.wav", "video.gif", "a red circle"]
    line = json.dumps(dict(zip(("audio", "video", "texts"), [*TYPED, ["a red circle"]], strict=True)))
    outcome = invoke("predict", "-", *MOOD, cwd=place, stdin=f"{line}\n{line}")
    assert outcome.lines == [whole, whole] and "alone" not in outcome.stderr
    evaluated = invoke("eval", "regress", "--split", "test", *MOOD, cwd=place)
    assert evaluated.code == 0, evaluated.stderr
    rows = pq.read_table(next((place / "runs/mood/eval").glob("*.rows.parquet"))).to_pylist()
    row = next(open_dataset(place / "data").rows("test"))
    (told,) = invoke("predict", *TYPED, row["captions"][0], *MOOD, cwd=place).lines
    assert told["score"] == pytest.approx(next(each["predicted"] for each in rows if each["id"] == row["id"]), abs=1e-4)


@pytest.mark.parametrize(
    ("typed", "there", "missing"),
    [
        (["audio.wav", "a red circle"], "text and audio", "video"),
        (["video=video.gif", "a red circle"], "text and video", "audio"),
        (["audio=audio.wav", "video.gif"], "audio and video", "text"),
        (["video.gif"], "video", "text and audio"),
    ],
)
def test_what_is_missing_is_said(place: Path, invoke: Invoke, typed: list[str], there: str, missing: str) -> None:
    outcome = invoke("predict", *typed, *MOOD, cwd=place)
    assert outcome.code == 0 and "the target is that " + UNREAD.format(there, missing) in outcome.stderr
    files = {"video" if "video" in word else "audio": word.rpartition("=")[2] for word in typed if "." in word}
    line = json.dumps(files | {"texts": [word for word in typed if "." not in word]})
    lines = invoke("predict", "-", *MOOD, cwd=place, stdin=f"{line}\n{line}")
    assert lines.lines == outcome.lines * 2
    assert lines.stderr.count(UNREAD.format(there, missing)) == 1


def test_a_classifier_of_words_and_files(place: Path, invoke: Invoke) -> None:
    said = ("--model", "runs/said")
    outcome = invoke("predict", *TYPED, "a red circle", *said, cwd=place)
    assert outcome.code == 0 and "alone" not in outcome.stderr, outcome.stderr
    alone = invoke("predict", *TYPED, *said, cwd=place)
    assert {line["text"] for line in alone.lines} == {line["text"] for line in outcome.lines}
    assert alone.lines != outcome.lines and UNREAD.format("audio and video", "text") in alone.stderr
    several = invoke("predict", *TYPED, "a red circle", "a cross", *said, cwd=place)
    assert (several.code, "classes of its own, for one text" in several.stderr) == (2, True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["audio.wav", "audio=audio.wav", *MOOD], "no input is left for this file beside audio.wav"),
        (["touch=audio.wav", *MOOD], "the model has no input 'touch' of files"),
        (["audio=nothing.wav", *MOOD], "no such file, nothing.wav"),
        (["audio.wav", "video.gif", "a cross", *MANY], "the model compares one file with texts"),
    ],
)
def test_files_that_do_not_fit_are_one_line(place: Path, invoke: Invoke, args: list[str], message: str) -> None:
    outcome = invoke("predict", *args, cwd=place)
    assert outcome.code in (1, 2) and not outcome.stdout
    assert outcome.stderr.startswith(f"error: {message}"), outcome.stderr


def map_of(found: Outcome) -> dict[str, Any]:
    assert found.code == 0, found.stderr
    (record,) = found.lines
    return dict(record)


@pytest.mark.parametrize("of", ["audio", "video"])
def test_a_map_over_one_input_of_what_all_of_a_row_say(place: Path, invoke: Invoke, tmp_path: Path, of: str) -> None:
    row = next(open_dataset(place / "data").rows("test"))
    (told,) = invoke("predict", *TYPED, row["captions"][0], *MOOD, cwd=place).lines
    seen = map_of(invoke("attn-viz", "--id", row["id"], "--split", "test", "--of", of, *MOOD, "--faithfulness", cwd=place))
    assert (seen["kind"], seen["answer"], seen["notes"]) == ("number", "target", [])
    assert seen["score"] == pytest.approx(told["score"], abs=1e-4) == seen["faithfulness"]["whole"]
    typed = map_of(invoke("attn-viz", *TYPED, row["captions"][0], "--of", of, *MOOD, cwd=place))
    assert typed[of] == f"{of}.{'wav' if of == 'audio' else 'gif'}"
    assert typed["score"] == pytest.approx(seen["score"], abs=1e-5)
    assert np.array(typed["patches"]) == pytest.approx(np.array(seen["patches"]), abs=1e-4)
    for less in ([], [f"--of={of}"]):
        alone = map_of(invoke("attn-viz", typed[of], row["captions"][0], *less, *MOOD, cwd=place))
        other = "video" if of == "audio" else "audio"
        assert alone["notes"] == [f"the number is that without {other}, which the model reads, too"]
        assert alone["score"] != pytest.approx(seen["score"], abs=1e-6)


def test_what_is_missing_of_a_map_is_said(place: Path, invoke: Invoke) -> None:
    said = map_of(invoke("attn-viz", *TYPED, *MOOD, cwd=place))
    assert said["notes"] == ["the number is that without text, which the model reads, too"]
    alone = map_of(invoke("attn-viz", "audio.wav", *MOOD, cwd=place))
    assert alone["kind"] == "norm" and "shown is the audio by itself: without text and video" in alone["notes"][-1]


def test_a_file_is_looked_at_as_the_input_that_is_said(place: Path, invoke: Invoke) -> None:
    rooms = ("--model", "runs/rooms")
    own = [map_of(invoke("attn-viz", f"{name}=depth.png", "a circle", *rooms, cwd=place)) for name in ("image", "depth")]
    assert own[0]["score"] != own[1]["score"]
    assert own[1] == map_of(invoke("attn-viz", "depth.png", "a circle", "--of", "depth", *rooms, cwd=place))
    pair = map_of(invoke("attn-viz", "depth=depth.png", "image.png", *rooms, cwd=place))
    assert pair["kind"] == "cosine" and pair["image"] == "depth.png"
    assert pair == map_of(invoke("attn-viz", "depth.png", "image.png", "--of", "depth", *rooms, cwd=place))
    three = invoke("attn-viz", "depth=depth.png", "image.png", "a circle", *rooms, cwd=place)
    assert (three.code, "the model compares the depth with one thing" in three.stderr) == (2, True)
    absent = invoke("attn-viz", "audio.wav", "--of", "video", *MOOD, cwd=place)
    assert absent.code == 1 and "cannot be read as a video" in absent.stderr
