"""Sound files into datasets as a user types it: what is found, what is rejected and why, and what the audit counts."""

from __future__ import annotations

import builtins
import io
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from mmkit.data.modalities import audio
from mmkit.data.shards import open_dataset
from mmkit.data.sounds import BLOCK, blocks, decode, look, resample
from mmkit.errors import UserError
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

    said = ["error: this needs the package soundfile", "hint: pip install 'mmkit[audio]'"]
    made = invoke("prep", "folder", tmp_path / "made", "--source", tmp_path)
    assert made.code == 0, made.stderr
    monkeypatch.setattr(builtins, "__import__", without)
    commands = [["prep", "folder", tmp_path / "data", "--source", tmp_path], ["prep", "audit", tmp_path / "made"]]
    for words in [*commands, ["train", tmp_path / "made", "--recipe", "classify", "--steps", "1"]]:
        outcome = invoke(*words)
        assert outcome.code == 1
        assert outcome.stderr.splitlines()[-2:] == said


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "OPUS", "MP3", "AIFF", "AU", "CAF"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.85])
def test_a_file_that_was_cut_off_is_told_from_a_whole_one(kind: str, share: float) -> None:
    sink, sub = io.BytesIO(), {"OPUS": "OPUS"}.get(kind)
    soundfile.write(sink, noise(2.0, 16000), 16000, format="OGG" if sub else kind, subtype=sub)
    whole = sink.getvalue()
    assert look(whole) == (2.0, 16000, False)
    with pytest.raises(UserError, match=r"truncated|damaged"):
        look(whole[: int(len(whole) * share)])


@pytest.mark.parametrize(
    ("subtype", "rate", "channels"),
    [
        *(("PCM_U8", 8000, 1), ("PCM_16", 11025, 6), ("PCM_24", 96000, 2), ("PCM_32", 44100, 1)),
        *(("FLOAT", 48000, 2), ("DOUBLE", 22050, 1)),
    ],
)
def test_any_form_of_a_wav_is_the_same_sound(subtype: str, rate: int, channels: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    sink = io.BytesIO()
    soundfile.write(sink, np.repeat(tone[:, None], channels, 1), rate, format="WAV", subtype=subtype)
    found = resample(decode(sink.getvalue()).values, rate, 8000)
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert np.abs(found - wanted)[100:-100].max() < 0.02


def test_the_ends_of_numbers(tmp_path: Path) -> None:
    values = np.zeros(1_200_000, np.float32)
    values[1_150_000] = np.nan  # beyond the first block
    sink = io.BytesIO()
    soundfile.write(sink, values, 16000, format="WAV", subtype="FLOAT")
    with pytest.raises(UserError, match="no numbers"):
        look(sink.getvalue())
    assert decode(sink.getvalue(), 1.0, at=0.0).seconds == 1.0, "what is not heard is not read"
    (tmp_path / "a.mp3").write_bytes(wav(noise(0.5)))
    assert look(str(tmp_path / "a.mp3")).seconds == 0.5, "the name of a file says nothing"


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_part_is_that_of_the_whole(kind: str) -> None:
    sink = io.BytesIO()
    soundfile.write(sink, np.sin(np.arange(50_000) ** 1.5 / 3e3) / 2, 16000, format=kind)
    whole = decode(sink.getvalue()).values
    for at, start in ((0.0, 0), (0.5, (len(whole) - 8000) // 2), (1.0, len(whole) - 8000)):
        assert np.allclose(decode(sink.getvalue(), 0.5, at).values, whole[start : start + 8000], atol=1e-4)
    assert np.allclose(np.concatenate([block.values for block in blocks(sink.getvalue(), 0.3)]), whole, atol=1e-4)


def test_of_an_hour_no_more_is_decoded_than_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rate, hour = 8000, 3600
    path = tmp_path / "hour.wav"
    with soundfile.SoundFile(path, "w", rate, 1) as sink:
        for minute in range(60):
            sink.write(np.sin(2 * np.pi * (200 + 40 * minute) * np.arange(60 * rate) / rate))
    decoded, read = [], soundfile.SoundFile.read

    def counted(self: Any, frames: int = -1, **keys: Any) -> Any:
        decoded.append(frames)
        return read(self, frames, **keys)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    spec = audio.Spec(rate=rate, seconds=2.0, bands=32, mean=[0.0] * 32, std=[1.0] * 32)
    item = audio.of_file(str(path))
    still = audio.Reader(audio.plain(spec))
    assert still.prepare(item).shape == (201, 32) and sum(decoded) <= 2 * rate, "in its middle"
    decoded.clear()
    reader = audio.Reader(replace(spec, augment=["crop", "stretch"]))
    prepared = reader.prepare(item)
    drawn = [reader.draw(prepared, random.Random(seed), []) for seed in range(6)]
    assert sum(decoded) <= 6 * 2.2 * rate + 6 and all(len(one) <= 201 for one in drawn)
    assert len({int(one.exp().mean(0).argmax()) for one in drawn}) > 3, "anywhere"
    assert torch.equal(drawn[0], reader.draw(prepared, random.Random(0), []))
    assert reader.weight(prepared) == 0 and reader.length(prepared) == 201
    decoded.clear()
    assert look(str(path)).seconds == hour and audio.picture(item).size == (256, 128)
    assert max(decoded) <= BLOCK
