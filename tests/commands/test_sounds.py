"""Sounds as a user types it: folders of them to a model that finds a sound for a word, names one, and draws what it found."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmkit.data.shards import open_dataset
from tests.conftest import Outcome
from tests.core import wav
from tests.encoders.test_listening import checkpoint

Invoke = Callable[..., Outcome]
PITCH = {"low": 300, "middle": 900, "high": 2700}
KINDS = {"audio": "audio", "text": "transformer"}
KEYS = ("dim=16", "layers=1", "heads=2")
SMALL = [f"encoder.{name}.{key}" for name, kind in KINDS.items() for key in (f"kind={kind}", *KEYS)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder of tones of three pitches, in noise."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for name, pitch in PITCH.items():
        (folder / "raw" / name).mkdir(parents=True)
        for n in range(16):
            time = np.arange(int(rng.uniform(0.1, 0.2) * 8000)) / 8000
            tone = 0.5 * np.sin(2 * np.pi * pitch * rng.uniform(0.95, 1.05) * time) + rng.normal(0, 0.02, len(time))
            (folder / "raw" / name / f"{n}.wav").write_bytes(wav(tone))
    return folder


def test_a_table_names_sounds_by_ids(place: Path, invoke: Invoke, tmp_path: Path) -> None:
    """As AudioCaps does: the file is `<youtube_id>.wav`."""
    rows = [f"{n},{n},30,a low tone number {n}" for n in range(8)]
    (tmp_path / "t.csv").write_text("\n".join(["audiocap_id,youtube_id,start_time,caption", *(f"x{row}" for row in rows)]))
    for n in range(8):
        shutil.copy(place / "raw/low" / f"{n}.wav", tmp_path / f"{n}.wav")
    outcome = invoke("prep", "table", "data", "--source", "t.csv", "--splits", "train:1", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "audio column 'youtube_id'; 8 of 8 paths: without extension" in outcome.stderr
    assert open_dataset(tmp_path / "data").columns == {"audio": "audio", "captions": "text"}


@pytest.mark.parametrize("recipe", ["caption", "fusion-mid", "match", "multitask", "vqa"])
def test_the_hint_of_a_recipe_of_pictures_is_what_trains_it_on_sounds(
    recipe: str, place: Path, invoke: Invoke, tmp_path: Path
) -> None:
    assert invoke("prep", "folder", "data", "--source", place / "raw", cwd=tmp_path).code == 0
    words = ("train", "data", "--recipe", recipe, "--size", "tiny", "--steps", 1, "--batch-size", 6, "--quiet")
    outcome = invoke(*words, cwd=tmp_path)
    assert outcome.code == 1 and "error: the dataset has no image column" in outcome.stderr
    hint, reads, _ = outcome.stderr.splitlines()[-1].removeprefix("hint: ").partition("   reads audio instead")
    assert reads
    outcome = invoke(*words, *shlex.split(hint), cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr


def test_from_a_folder_to_answers(place: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    splits = ("--splits", "train:0.7,test:0.3")
    assert invoke("prep", "folder", "data", "--source", "raw", "--template", "a {label} tone", *splits).code == 0
    sets = [word for key in SMALL for word in ("--set", key)]
    options = ("--recipe", "nmodal", "--steps", 60, "--batch-size", 16, "--lr", 0.01, "--name", "tones", *sets)
    outcome = invoke("train", "data", *options, "--dry-run")
    assert outcome.code == 0 and "augment = [\n" in outcome.stdout and 'kind = "audio"' in outcome.stdout
    sheet = next(place.glob("*.png"))
    assert len(Image.open(sheet).convert("RGB").getcolors(1 << 20) or []) > 100, "spectrograms, no grey squares"
    outcome = invoke("train", "data", *options)
    assert outcome.code == 0, outcome.stderr

    model = ("--model", "runs/tones", "--data", "data", "--json")
    outcome = invoke("eval", "zero-shot", "recall@1", "linear-probe", *model)
    assert outcome.code == 0, outcome.stderr
    figures = {key: value for line in outcome.lines for key, value in line["metrics"].items()}
    assert figures["acc1"] > 0.9 and figures["lp_acc1"] > 0.8
    assert outcome.lines[0]["n"].keys() == {"audio", "text"} or outcome.lines[1]["n"].keys() == {"audio", "text"}

    found = invoke(
        "retrieve", "a high tone", "--model", "runs/tones", "--top", 3, "--json", "--figure", "a.png", "--save", "found"
    )
    assert found.code == 0, found.stderr
    assert {line["modality"] for line in found.lines} == {"audio"}
    assert all(Path(line["path"]).parts[-2] == "high" for line in found.lines[:2])
    assert sorted(path.suffix for path in Path("found").iterdir()) == [".wav"] * 3
    assert len(Image.open("a.png").convert("RGB").getcolors(1 << 20) or []) > 100
    back = invoke("retrieve", "raw/low/0.wav", "--model", "runs/tones", "--top", 1, "--json", "--figure", "b.html")
    assert back.lines[0]["text"] == "a low tone", back.stderr
    again = invoke("retrieve", "a low tone", "--in", "raw", "--model", "runs/tones", "--find", "audio", "--top", 2, "--json")
    assert [line["id"].startswith("low/") for line in again.lines] == [True, True], "a plain folder of sounds is searched"
    said = invoke("predict", "raw/middle/1.wav", "a low tone", "a middle tone", "a high tone", "--model", "runs/tones", "--json")
    assert max(said.lines, key=lambda line: line["probability"])["text"] == "a middle tone", said.stderr


def test_a_classifier_a_map_and_a_report(place: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    outcome = invoke("umap", "data", "--model", "runs/tones", "--method", "pca", "-o", "map.html")
    assert outcome.code == 0 and "data:image/jpeg" in Path("map.html").read_text(), outcome.stderr
    outcome = invoke("report", "runs/tones", "-o", "report.html")
    assert outcome.code == 0, outcome.stderr
    options = ("--recipe", "classify", "--steps", 40, "--batch-size", 16, "--lr", 0.01, "--name", "names")
    outcome = invoke("train", "data", *options, *[word for key in SMALL[:4] for word in ("--set", key)])
    assert outcome.code == 0, outcome.stderr
    (record,) = invoke("eval", "classify", "--model", "runs/names", "--data", "data", "--json").lines
    assert record["metrics"]["acc1"] > 0.8


@pytest.mark.parametrize(("kind", "lock"), [("whisper", True), ("wav2vec2", False)])
def test_a_checkpoint_hears_them(place: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, kind: str, lock: bool) -> None:
    monkeypatch.chdir(place)
    checkpoint(kind, place / kind)
    options = ("--recipe", "nmodal", "--audio-encoder", f"./{kind}", "--steps", 3, "--batch-size", 16, "--name", f"of-{kind}")
    sets = [word for key in SMALL[4:] for word in ("--set", key)]
    outcome = invoke("train", "data", *options, *(["--lock-audio"] if lock else []), *sets)
    assert outcome.code == 0, outcome.stderr
    shutil.rmtree(place / kind)
    (record,) = invoke("eval", "recall@1", "--model", f"runs/of-{kind}", "--data", "data", "--json").lines
    assert record["n"].keys() == {"audio", "text"}
