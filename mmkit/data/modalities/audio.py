"""Sounds: how they are stored, and what is configured about them.

B rows, N frames, F mel bands, T samples
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.data.sound_reader import Reader
from mmkit.errors import UserError
from mmkit.fields import doc

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from mmkit.data.checkpoint import Checkpoint
    from mmkit.data.shards import Dataset

ROLE = COLUMN = "audio"
FEATURE = {"decode": False, "_type": "Audio"}
SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf"}
NAMES = (
    *("audio", "audio_path", "audio_file", "audio_filename", "sound", "wav", "recording", "clip", "path", "file_path"),
    *("filepath", "file_name", "filename", "file", "mp3", "flac", "ogg"),
)
# what dataset.json says was done to every sound
TREATMENT = "none: bytes kept as they are; mixed to one channel and brought to a rate where they are read"
PLURAL, FILES, READ_AS = "sounds", "sound files", "FLAC"
UNREAD = {".m4a", ".aac", ".wma", ".amr"}
TEMPLATE = "the sound of {label}"
KINDS = ("audio",)
ENCODER = "audio"
LANGUAGE = False
LAID = "time"
# how the bytes of these files begin: an unnamed cell of bytes is a sound by them
MAGIC = {
    **{b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff", b".snd": ".au"},
    **dict.fromkeys((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"), ".mp3"),
}

RATE = 16_000
PLAYED = 10  # seconds of a sound that stands in a page beside others
BANDS = {"tiny": 64, "small": 64, "base": 128, "large": 128}
LONGEST = {"tiny": 5.0, "small": 10.0, "base": 10.0, "large": 10.0}  # seconds; AST's are 10 (arXiv:2104.01778, section 3.1)
ROWS_MEASURED = 500
AUGMENTATIONS = ("crop", "shift", "stretch", "warp", "mask")
OF_FRAMES = {"stretch", "warp"}  # of these, what is drawn for frames alone


@dataclass
class Spec:
    rate: int | None = doc("samples a second that every sound is brought to", least=1000)
    seconds: float | None = doc("how much the encoder hears; of a longer sound the middle, in training any part", above=0)
    bands: int | None = doc("mel bands of a frame", least=8)
    mean: list[float] | None = doc("per band, of the training rows")
    std: list[float] | None = doc("per band, of the training rows", above=0)
    augment: list[str] | None = doc('any of "crop", "shift", "stretch", "warp", "mask"; [] for none', one_of=AUGMENTATIONS)
    stretch: float = doc("largest share by which a sound is made faster or slower", 0.1, least=0)
    warp: float = doc("largest share by which all its frequencies are made higher or lower", 0.1, least=0)
    mask_time: float = doc("largest share of the frames that one mask hides", 0.15, least=0, most=1)
    mask_bands: float = doc("largest share of the bands that one mask hides", 0.2, least=0, most=1)
    extractor: str | None = doc("how a checkpoint prepares sounds, JSON; written by train, so that a run needs no checkpoint")


TRAINING = ("augment", "stretch", "warp", "mask_time", "mask_bands")


def holds(value: Any) -> bool:
    """The name of a sound file, the struct {bytes, path} of one, or its bytes."""
    if isinstance(value, dict):
        return bool({"bytes", "path"} & value.keys()) and any(map(holds, (value.get("path"), value.get("bytes"))))
    if isinstance(value, bytes):
        return value.startswith(tuple(MAGIC)) and value[8:12] != b"WEBP"
    return isinstance(value, str) and Path(value.split("?")[0].strip()).suffix.lower() in SUFFIXES


def ready() -> None:
    """Make sure that sounds can be read here.

    Raises:
        UserError: soundfile is not installed.
    """
    from mmkit.data.sounds import need

    need()


def store(raw: bytes, resize: int | None = None) -> dict[str, Any]:
    """The bytes of a sound as `prep` keeps them, which are those it had.

    Raises:
        UserError: it cannot be read, or has no samples.
    """
    from mmkit.data.sounds import look

    look(raw)
    return {"bytes": raw, "path": None}


def picture(value: dict[str, Any]) -> Image.Image:
    """A spectrogram, for people: time from left to right, low tones at the bottom.

    Raises:
        UserError: the sound cannot be read.
    """
    from mmkit.data.sounds import source_of
    from mmkit.data.spectrogram import spectrogram

    return spectrogram(source_of(value))


def listen(value: dict[str, Any]) -> tuple[bytes, str]:
    """The beginning of a sound as a file that browsers play, and its type.

    Raises:
        UserError: the sound cannot be read.
    """
    from mmkit.data.sounds import playable

    return playable(value, PLAYED)


def shown(value: dict[str, Any]) -> dict[str, Any]:
    """What is said of one in words."""
    from mmkit.data.sounds import opened, source_of

    with opened(source_of(value)) as found:
        return {"seconds": round(found.frames / found.samplerate, 2), "rate": found.samplerate}


def ending(data: bytes) -> str:
    """The suffix of a file of these bytes."""
    return next((suffix for begins, suffix in MAGIC.items() if data.startswith(begins)), ".mp3")


def items(value: Any) -> list[Any]:
    return [value] if value else []


def of_file(path: str) -> Any:
    return {"bytes": None, "path": path}


def of_checkpoint(spec: Spec, checkpoint: Checkpoint) -> dict[str, str]:
    """The checkpoint's own feature extractor, with its rate and length."""
    from mmkit.data.extractors import TYPE, extractor_of

    settings = extractor_of(checkpoint)
    rate = settings["sampling_rate"]
    if spec.rate not in (None, rate):
        what = f"the checkpoint hears {rate:,} samples a second, not {spec.rate:,}"
        raise UserError(what, checkpoint.name, f"leave data.audio.rate out, or set it to {rate}")
    spec.extractor, spec.rate = json.dumps(settings, sort_keys=True), rate
    decided = {"rate": f"{rate} (of the checkpoint)", "extractor": f"{settings[TYPE]} (of the checkpoint)"}
    if most := settings.get("seconds"):
        spec.seconds = min(spec.seconds or most, most)
        decided["seconds"] = f"{spec.seconds:g} (of the checkpoint)"
    return decided


def fill(spec: Spec, data: Dataset, size: str, table: dict[str, Any]) -> dict[str, str]:
    """Rate, length, bands, and the scale of the first training rows.

    Raises:
        UserError: no training row has a sound.
    """
    reasons = {}
    spec.rate, spec.bands = spec.rate or RATE, spec.bands or BANDS[size]
    if spec.seconds is None:
        longest = data.manifest.get("audio", {}).get("seconds_max") or LONGEST[size]
        spec.seconds = min(LONGEST[size], round(longest + 0.005, 2))
        reasons["seconds"] = f"{spec.seconds:g} (the longest sound lasts {longest:g}; at most {LONGEST[size]:g} at size {size})"
    if spec.extractor is None and (spec.mean is None or spec.std is None):
        found = _frames(spec, data)
        spec.mean = spec.mean or found.mean(0).tolist()
        # a band in which nothing ever changes has no scale of its own
        spec.std = spec.std or found.std(0).clamp_min(1e-2).tolist()
    return reasons


def _frames(spec: Spec, data: Dataset) -> torch.Tensor:
    """All frames of the first training rows, (N, F).

    Raises:
        UserError: no training row has a sound.
    """
    import torch

    reader = Reader(replace(spec, augment=[], mean=[0.0] * (spec.bands or 0), std=[1.0] * (spec.bands or 0)))
    columns = data.columns_of("audio")
    rows = (item for row in data.rows("train", columns, ROWS_MEASURED) for name in columns for item in items(row[name]))
    found = [reader.prepare(item) for item in rows]
    if not found:
        raise UserError("no training row has a sound", data.path)
    return torch.cat(found)


def settle(spec: Spec, data: Dataset, still: bool) -> dict[str, str]:
    """Augmentation.

    Raises:
        UserError: what is asked for changes our frames, and a checkpoint makes its own.
    """
    if spec.augment is not None:
        if spec.extractor and (ours := OF_FRAMES.intersection(spec.augment)):
            what = (
                f"{' and '.join(sorted(ours))} of data.audio.augment change the frames of an encoder that is trained from scratch"
            )
            raise UserError(what, "data.audio.augment", "a checkpoint of sounds takes crop, shift and mask")
        return {}
    if still:
        spec.augment, why = [], "the audio encoder is frozen: its features are computed once"
    elif spec.extractor:
        spec.augment, why = ["crop", "mask"], "SpecAugment's masks; of longer sounds any part"
    else:  # not "shift", which turns the order of words
        spec.augment, why = ["crop", "stretch", "warp", "mask"], "any part, faster or slower, other voices, SpecAugment's masks"
    return {"augment": f"{spec.augment} ({why})"}


def learn(spec: Spec, data: Dataset, columns: list[str], limit: int | None) -> tuple[Reader, dict[str, str]]:
    return Reader(plain(spec)), {}


def foreign(spec: Spec, checkpoint: Checkpoint) -> Reader:
    return Reader(plain(spec))


def load(spec: Spec, folder: Any, name: str) -> Reader:
    return Reader(plain(spec))


def plain(spec: Spec) -> Spec:
    """As a trained model reads: nothing is drawn."""
    return replace(spec, augment=[])
