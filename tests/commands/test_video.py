"""Videos as a user types it: a folder or a table of clips to a model that finds them, in every command."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mmkit.data.shards import open_dataset
from mmkit.workflows import feed
from tests.conftest import Outcome
from tests.moving import scene, write_folder, write_gif, write_mp4

Invoke = Callable[..., Outcome]
TINY = ("--set", "encoder.video.dim=16", "--set", "data.video.frames=3", "--set", "data.video.size=16")


def clips(folder: Path, ending: str, rows: int) -> Path:
    write_folder(folder, rows, ending=ending)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, invoke: Invoke) -> Path:
    """A folder with ./raw of GIF and MP4 files, ./data of it and ./runs/latest after a few steps."""
    folder = tmp_path_factory.mktemp("video")
    clips(folder / "raw", ".gif", 24)
    for i in range(24, 32):
        write_mp4(folder / "raw" / f"{i:05d}.mp4", scene(random.Random(i), "red", "circle", "up"))
        (folder / "raw" / f"{i:05d}.txt").write_text(f"clip number {i}")
    for args in (
        ("prep", "folder", "data", "--source", "raw", "--splits", "train:0.6,test:0.4"),
        ("train", "--set", 'loss.itc.between=["video","text"]', "--recipe", "nmodal", "--steps", 3, "--batch-size", 8, *TINY),
    ):
        outcome = invoke(*args, cwd=folder)
        assert outcome.code == 0, outcome.stderr
    return folder


def test_recall_both_ways(trained: Path, invoke: Invoke) -> None:
    outcome = invoke("eval", "recall@k", cwd=trained)
    assert outcome.code == 0, outcome.stderr
    (record,) = outcome.lines
    assert set(record["n"]) == {"video", "text"}
    assert {"video_retrieval_recall@1", "text_retrieval_recall@1"} <= record["metrics"].keys()


def test_val_is_as_many_rows_as_memory_is_meant_for_them(
    trained: Path, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "VAL_BYTES", 4 * 3 * 3 * 16 * 16)  # 4 clips of 3 frames
    rows = [f"raw/{i:05d}.{'gif' if i < 24 else 'mp4'},clip {i},{'val' if i % 2 else 'train'}" for i in range(32)]
    (tmp_path / "t.csv").write_text("\n".join(["video,caption,split", *rows]))
    (tmp_path / "raw").symlink_to(trained / "raw")
    for args in (
        ("prep", "table", "data", "--source", "t.csv"),
        ("train", "--recipe", "nmodal", "--steps", 1, "--batch-size", 8, *TINY),
    ):
        outcome = invoke(*args, cwd=tmp_path)
        assert outcome.code == 0, outcome.stderr
    assert "val is measured on its first 4 of 16 rows" in outcome.stderr
    row = json.loads((tmp_path / "runs/latest/metrics.jsonl").read_text().splitlines()[-1])
    assert row["val/chance@1"] == 1 / 4


def test_a_clip_is_a_query_and_an_answer(trained: Path, invoke: Invoke) -> None:
    for query in ("raw/00025.mp4", "raw/00003.gif"):
        outcome = invoke("retrieve", query, "--top", 2, cwd=trained)
        assert outcome.code == 0, outcome.stderr
        assert [line["modality"] for line in outcome.lines] == ["text"] * 2
    outcome = invoke("retrieve", "a circle", "--find", "video", "--top", 3, "--figure", "f.png", "--save", "got", cwd=trained)
    assert outcome.code == 0, outcome.stderr
    assert [line["modality"] for line in outcome.lines] == ["video"] * 3
    assert all(Path(line["path"]).is_file() for line in outcome.lines)
    assert len(list((trained / "got").iterdir())) == 3 and (trained / "f.png").stat().st_size > 1_000
    # the nearest to a clip of the dataset is the clip itself; a folder of clips is searched, too
    outcome = invoke("retrieve", "raw/00025.mp4", "--find", "video", "--in", "raw", "--top", 1, cwd=trained)
    assert outcome.lines[0]["score"] == pytest.approx(1, abs=1e-4)


def test_a_map_shows_frames(trained: Path, invoke: Invoke) -> None:
    outcome = invoke("umap", "data", "-o", "map.html", cwd=trained)
    assert outcome.code == 0, outcome.stderr
    assert "data:image/jpeg" in (trained / "map.html").read_text()


def test_classes_of_clips(trained: Path, invoke: Invoke, tmp_path: Path) -> None:
    for i, way in enumerate(("left", "right") * 8):
        (tmp_path / "ways" / way).mkdir(parents=True, exist_ok=True)
        write_gif(tmp_path / "ways" / way / f"{i}.gif", scene(random.Random(i), "red", "square", way))
    for args in (
        ("prep", "folder", "data", "--source", "ways", "--splits", "train:0.6,test:0.4"),
        ("train", "--recipe", "classify", "--steps", 2, "--batch-size", 4, *TINY),
        ("eval", "classify"),
    ):
        outcome = invoke(*args, cwd=tmp_path)
        assert outcome.code == 0, outcome.stderr
    assert outcome.lines[0]["n"].keys() == {"video"}


def test_frames_through_a_checkpoint(trained: Path, invoke: Invoke, tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    small = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8)
    checkpoint = tmp_path / "clip"
    CLIPVisionModel(CLIPVisionConfig(**small)).save_pretrained(checkpoint)
    keys = ("--video-encoder", checkpoint, "--set", "data.video.frames=2", "--steps", 2, "--batch-size", 8)
    still = ("--set", 'stage=[{train=["*", "!encoder.video.picture.*"]}]')
    outcome = invoke("train", "data", "--recipe", "nmodal", *keys, *still, "--name", "frozen", cwd=trained)
    assert outcome.code == 0, outcome.stderr
    run, its = load_file(trained / "runs/frozen/model.safetensors"), load_file(checkpoint / "model.safetensors")
    name = "embeddings.patch_embedding.weight"
    (ours,) = (tensor for key, tensor in run.items() if key.endswith(name))
    (theirs,) = (tensor for key, tensor in its.items() if key.endswith(name))
    assert torch.equal(ours, theirs)
    shutil.rmtree(checkpoint)  # a run needs it no more
    outcome = invoke("eval", "recall@k", "--model", "runs/frozen", cwd=trained)
    assert outcome.code == 0, outcome.stderr


def test_a_clip_is_captioned(trained: Path, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON under what it is, in a terminal as a table, and by lines on stdin."""
    typed = ("--set", 'fusion.inputs=["video", "text"]', "--set", "encoder.video.pool=patches", "--steps", 1, "--batch-size", 8)
    outcome = invoke("train", trained / "data", "--recipe", "caption", *typed, *TINY, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    clip = str(trained / "raw/00025.mp4")
    (said,) = invoke("caption", clip, cwd=tmp_path).lines
    assert said["video"] == clip
    outcome = invoke("caption", "-", cwd=tmp_path, stdin=json.dumps({"id": 7, "video": clip}))
    assert outcome.lines == [{"id": 7} | said], outcome.stderr
    monkeypatch.setattr("mmkit.cli.console.Console.json", False)
    outcome = invoke("caption", clip, cwd=tmp_path)
    assert outcome.code == 0 and "00025.mp4" in outcome.stdout.replace("\n", ""), outcome.stderr


def test_the_first_batch_shows_frames(trained: Path, invoke: Invoke) -> None:
    outcome = invoke("train", "--recipe", "nmodal", "--batch-size", 8, *TINY, "--dry-run", "-o", "batch.png", cwd=trained)
    assert outcome.code == 0, outcome.stderr
    with Image.open(trained / "batch.png") as sheet:
        assert len(sheet.convert("RGB").getcolors(1 << 20) or ()) > 10
    # a modality that the data lacks is one line
    typed = ("--recipe", "nmodal", "--set", 'loss.itc.between=["video", "series"]', "--steps", 1)
    outcome = invoke("train", *typed, cwd=trained)
    assert outcome.code == 1 and len(outcome.stderr.splitlines()) <= 2 and "series" in outcome.stderr


def test_a_dry_run_says_frames_and_seconds(trained: Path, invoke: Invoke, tmp_path: Path) -> None:
    outcome = invoke("prep", "folder", tmp_path / "out", "--source", "raw", "--dry-run", "--json", cwd=trained)
    assert outcome.code == 0, outcome.stderr
    sample = outcome.lines[0]["samples"][0]
    assert (sample["width"], sample["height"], sample["frames"]) == (64, 64, 12) and 0.9 < sample["seconds"] < 1.3
    assert not (tmp_path / "out").exists()


def test_a_table_names_clips_and_damage_is_rejected(trained: Path, invoke: Invoke, tmp_path: Path) -> None:
    shutil.copytree(trained / "raw", tmp_path / "clips")
    (tmp_path / "clips" / "00025.mp4").write_bytes(b"\0" * 999)
    gif = tmp_path / "clips" / "00001.gif"
    gif.write_bytes(gif.read_bytes()[:400])
    names = ["00024.mp4", "00025.mp4", "00026.mp4", "gone.mp4", "00000.gif", "00001.gif"]
    (tmp_path / "t.csv").write_text("shown,caption\n" + "".join(f"clips/{n},a clip {i}\n" for i, n in enumerate(names)))
    outcome = invoke("prep", "table", "data", "--source", "t.csv", "--splits", "train:1", "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.splits == {"train": 3} and data.columns == {"captions": "text", "video": "video"}
    found = {r["where"]: r["reason"] for r in map(json.loads, (tmp_path / "data" / "rejected.jsonl").read_text().splitlines())}
    assert found["t.csv row 3"].startswith("damaged video") and found["t.csv row 5"].startswith("missing file")
    assert found["t.csv row 7"].startswith("truncated video")


@pytest.mark.parametrize(("column", "modality"), [("clip", "video"), ("gif", "video"), ("shown", "image"), ("image", "image")])
def test_a_column_of_gifs_is_what_it_is_called(trained: Path, invoke: Invoke, tmp_path: Path, column: str, modality: str) -> None:
    (tmp_path / "t.csv").write_text(f"{column},caption\nraw/00001.gif,one\nraw/00002.gif,two\n")
    (tmp_path / "raw").symlink_to(trained / "raw")
    outcome = invoke("prep", "table", "data", "--source", "t.csv", "--splits", "train:1", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert f"{modality} column {column!r}" in outcome.stderr
    assert open_dataset(tmp_path / "data").columns == {"captions": "text", modality: modality}


def test_gifs_are_pictures_where_it_is_typed_or_others_are(trained: Path, invoke: Invoke, tmp_path: Path) -> None:
    source = clips(tmp_path / "raw", ".gif", 4)
    outcome = invoke("prep", "folder", tmp_path / "a", "--source", source, "--as", "image", "--splits", "train:1")
    assert outcome.code == 0 and open_dataset(tmp_path / "a").columns["image"] == "image", outcome.stderr
    Image.new("RGB", (8, 8)).save(source / "x.png")
    (source / "x.txt").write_text("a picture")
    outcome = invoke("prep", "folder", tmp_path / "b", "--source", source, "--splits", "train:1")
    assert outcome.code == 0 and set(open_dataset(tmp_path / "b").columns) == {"image", "captions"}, outcome.stderr
    outcome = invoke("prep", "folder", tmp_path / "c", "--source", source, "--as", "sculpture")
    assert outcome.code == 2 and "no files are read as 'sculpture'" in outcome.stderr


def test_without_pyav_the_extra_is_named(trained: Path, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    outcome = invoke("prep", "folder", tmp_path / "out", "--source", trained / "raw")
    assert outcome.code == 1 and "error: this needs the package av" in outcome.stderr
    assert "hint: pip install 'mmkit[video]'" in outcome.stderr
