"""Sound files into datasets as a user types it: what is found, what is rejected and why, and what the audit counts."""

from __future__ import annotations

import builtins
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mmkit.data.modalities import audio
from mmkit.data.shards import open_dataset
from tests.conftest import Outcome
from tests.core import wav

Invoke = Callable[..., Outcome]
RNG = np.random.default_rng(0)


def noise(seconds: float = 0.1, rate: int = 8000) -> np.ndarray:
    return RNG.uniform(-0.5, 0.5, int(seconds * rate))


def encoded(kind: str, rate: int = 16000) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, noise(0.2, rate), rate, format=kind)
    return sink.getvalue()


def rejects(folder: Path) -> dict[str, str]:
    return {line["id"]: line["reason"] for line in map(json.loads, (folder / "rejected.jsonl").read_text().splitlines())}


def test_class_folders_of_sounds(tmp_path: Path, invoke: Invoke) -> None:
    for name, kinds in (("dog_bark", ("WAV", "FLAC")), ("rain", ("OGG", "MP3"))):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for n in range(4):
            kind = kinds[n % 2]
            (tmp_path / "raw" / name / f"{n}.{kind.lower()}").write_bytes(encoded(kind))
    outcome = invoke("prep", "folder", tmp_path / "data", "--source", tmp_path / "raw")
    assert outcome.code == 0 and "8 sounds, class folders" in outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.manifest["columns"] == {"captions": "text", "audio": "audio", "label": "label"}
    rows = {row["id"]: row for row in data.rows()}
    assert rows["dog_bark/0.wav"]["captions"] == ["the sound of dog bark"] and rows["rain/0.ogg"]["label"] == "rain"
    assert rows["rain/1.mp3"]["audio"]["bytes"] == (tmp_path / "raw/rain/1.mp3").read_bytes(), "bytes are kept"
    found = data.manifest["audit"]["sounds"]
    assert found["rates"] == {"16000": 8} and found["seconds"] == pytest.approx(1.6, abs=0.1)
    import datasets

    loaded = datasets.load_dataset(str(tmp_path / "data"), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded.features["audio"], datasets.Audio) and loaded[0]["audio"]["bytes"]


def test_a_table_of_paths_with_faults(tmp_path: Path, invoke: Invoke) -> None:
    whole = wav(noise())
    files = {
        **{f"{n}.wav": wav(noise(0.1 + n / 100)) for n in range(4)},
        **{"empty.wav": b"", "short.wav": wav(np.zeros(0)), "cut.wav": whole[:-300], "damaged.ogg": b"OggS" + bytes(90)},
        "text.mp3": b"no sound at all",
        "silent.wav": wav(np.zeros(800)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    lines = [{"file": name, "words": f"noise number {n}", "split": "train"} for n, name in enumerate([*files, "gone.wav"])]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    outcome = invoke("prep", "table", tmp_path / "data", "--source", tmp_path / "t.jsonl", "--json")
    assert outcome.code == 0 and "audio column 'file'" in outcome.stderr
    found = rejects(tmp_path / "data")
    assert found.pop("gone.wav").startswith("missing file")
    assert found.pop("damaged.ogg").startswith("not a sound, or damaged")
    assert found.pop("text.mp3").startswith("not a sound, or damaged")
    assert found == {
        "empty.wav": "the sound file is empty",
        "short.wav": "the sound has no samples: it is 0 seconds long",
        "cut.wav": "truncated sound (300 bytes are missing)",
    }
    data = open_dataset(tmp_path / "data")
    assert sum(data.splits.values()) == 5
    assert data.manifest["audit"]["silent_sounds"] == {"count": 1, "examples": {"train": ["silent.wav"]}}
    assert data.manifest["audio"]["seconds_max"] == pytest.approx(0.13, abs=1e-3)


def test_a_dry_run_shows_a_spectrogram(tmp_path: Path, invoke: Invoke) -> None:
    for n in range(3):
        (tmp_path / f"{n}.wav").write_bytes(wav(noise(0.25)))
        (tmp_path / f"{n}.txt").write_text(f"noise {n}")
    outcome = invoke("prep", "folder", tmp_path / "data", "--source", tmp_path, "--dry-run", "--json")
    assert outcome.code == 0 and "sound files beside text files" in outcome.stderr
    assert [sample["seconds"] for sample in outcome.lines[0]["samples"]] == [0.25] * 3
    shown = audio.picture({"bytes": wav(noise(1.0)), "path": None})
    assert shown.size == (256, 128) and len(shown.getcolors(1 << 16) or []) > 50


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        *(("a/b.WAV", True), ("x.flac", True), ("x.jpg", False), ("a word", False), (3, False)),
        *(({"bytes": wav(np.zeros(4)), "path": None}, True), ({"bytes": b"\xff\xd8\xff", "path": "x.jpg"}, False)),
        *((wav(np.zeros(4)), True), (b"RIFF1234WEBP", False), ({"bytes": None, "path": "a.ogg"}, True)),
    ],
)
def test_what_is_a_sound(value: Any, is_one: bool) -> None:
    assert audio.holds(value) == is_one


def test_without_the_library_the_extra_is_named(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/0.wav").write_bytes(wav(noise()))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/0.wav").write_bytes(wav(noise()))
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "soundfile":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    outcome = invoke("prep", "folder", tmp_path / "data", "--source", tmp_path)
    assert outcome.code == 1
    assert outcome.stderr.splitlines()[-2:] == ["error: this needs the package soundfile", "hint: pip install 'mmkit[audio]'"]
