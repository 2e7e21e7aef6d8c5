"""Sounds: how they are stored, what is configured about them, and how one becomes the frames that an encoder hears.

B rows, N frames, F mel bands, T samples
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.errors import UserError
from mmkit.fields import doc

if TYPE_CHECKING:
    import random

    import torch
    from PIL import Image

    from mmkit.data.checkpoint import Checkpoint
    from mmkit.data.shards import Dataset

ROLE = COLUMN = "audio"
FEATURE = {"decode": False, "_type": "Audio"}
SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif"}
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
# how the bytes of these files begin: an unnamed cell of bytes is a sound by them
MAGIC = {
    **{b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff"},
    **dict.fromkeys((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"), ".mp3"),
}

RATE = 16_000
BANDS = {"tiny": 64, "small": 64, "base": 128, "large": 128}
LONGEST = {"tiny": 5.0, "small": 10.0, "base": 10.0, "large": 10.0}  # seconds; AST's are 10 (arXiv:2104.01778, section 3.1)
ROWS_MEASURED = 500
AUGMENTATIONS = ("crop", "mask")
MASKS = 2  # of each axis (SpecAugment, arXiv:1904.08779, table 1)


@dataclass
class Spec:
    rate: int | None = doc("samples a second that every sound is brought to", least=1000)
    seconds: float | None = doc("how much the encoder hears; of a longer sound the middle, in training any part", above=0)
    bands: int | None = doc("mel bands of a frame", least=8)
    mean: list[float] | None = doc("per band, of the training rows")
    std: list[float] | None = doc("per band, of the training rows", above=0)
    augment: list[str] | None = doc('any of "crop", "mask"; [] for none', one_of=AUGMENTATIONS)
    mask_time: float = doc("largest share of the frames that one mask hides", 0.15, least=0, most=1)
    mask_bands: float = doc("largest share of the bands that one mask hides", 0.2, least=0, most=1)
    extractor: str | None = doc("how a checkpoint prepares sounds, JSON; written by train, so that a run needs no checkpoint")


TRAINING = ("augment", "mask_time", "mask_bands")


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
    from mmkit.data.sounds import decode

    decode(raw)
    return {"bytes": raw, "path": None}


def picture(value: dict[str, Any]) -> Image.Image:
    """A spectrogram, for people: time from left to right, low tones at the bottom.

    Raises:
        UserError: the sound cannot be read.
    """
    from mmkit.data.sounds import bytes_of, decode
    from mmkit.data.spectrogram import spectrogram

    return spectrogram(decode(bytes_of(value)))


def shown(value: dict[str, Any]) -> dict[str, Any]:
    """What is said of one in words."""
    from mmkit.data.sounds import bytes_of, decode

    sound = decode(bytes_of(value))
    return {"seconds": round(sound.seconds, 2), "rate": sound.rate}


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
    if spec.augment is not None:
        return {}
    if still:
        spec.augment, why = [], "the audio encoder is frozen: its features are computed once"
    else:
        spec.augment, why = ["crop", "mask"], "SpecAugment's masks; of longer sounds any part"
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


class Reader:
    """A sound, as a row holds it ({bytes, path}), to {"sound": float32, "mask": bool (B, N)}, True = heard.

    `sound` is log-mel frames (B, N, F) of mean 0 and deviation 1, or what a checkpoint's extractor makes: frames, or (B, T)
    samples.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._extract: Any = None

    @property
    def still(self) -> bool:
        return not self.spec.augment

    def over(self, spec: Spec) -> Reader:
        return Reader(spec)

    def given(self) -> dict[str, Any]:
        from mmkit.data.sounds import HOP

        assert self.spec.rate and self.spec.seconds
        frames = 1 + int(self.spec.seconds * self.spec.rate) // round(self.spec.rate * HOP)
        return {"bands": self.spec.bands, "frames": frames}

    @property
    def extract(self) -> Any:
        """What a checkpoint makes of samples, None without one."""
        if self._extract is None and self.spec.extractor:
            from mmkit.data.extractors import Extract

            assert self.spec.seconds
            self._extract = Extract(json.loads(self.spec.extractor), self.spec.seconds)
        return self._extract

    def prepare(self, item: Any) -> Any:
        """Frames, float32 (N, F), of the part that is heard; of all of it where a part is drawn later, or with a checkpoint's
        extractor its samples (T,).

        Raises:
            UserError: the sound cannot be read.
        """
        from mmkit.data.sounds import bytes_of, decode, middle, resample

        assert self.spec.rate and self.spec.seconds and self.spec.bands
        sound = decode(bytes_of(item))
        drawn = "crop" in (self.spec.augment or [])
        # cut before the rate is changed, which costs the more the longer the sound is
        values = sound.values if drawn else middle(sound.values, int(self.spec.seconds * sound.rate))
        values = resample(values, sound.rate, self.spec.rate)
        return self._features(values) if self.still or not self.spec.extractor else values

    def _features(self, values: Any) -> Any:
        from mmkit.data.sounds import log_mel

        if self.extract:
            return self.extract(values)
        assert self.spec.rate and self.spec.bands
        return (log_mel(values, self.spec.rate, self.spec.bands) - self._mean) / self._std

    @property
    def _mean(self) -> torch.Tensor:
        import torch

        return torch.tensor(self.spec.mean)

    @property
    def _std(self) -> torch.Tensor:
        import torch

        return torch.tensor(self.spec.std)

    def draw(self, prepared: Any, rng: random.Random, mates: list[str]) -> Any:
        """A part of a sound that is longer than what is heard, and masks over its frames."""
        if self.still:
            return prepared
        assert self.spec.augment and self.spec.rate and self.spec.seconds
        most = int(self.spec.seconds * self.spec.rate) if self.spec.extractor else self.given()["frames"]
        if len(prepared) > most:
            start = rng.randint(0, len(prepared) - most) if "crop" in self.spec.augment else (len(prepared) - most) // 2
            prepared = prepared[start : start + most]
        found = self._features(prepared) if self.spec.extractor else prepared
        return self._masked(found, rng) if "mask" in self.spec.augment else found

    def _masked(self, found: Any, rng: random.Random) -> Any:
        """Frames (N, F) with some stretches of time and of frequency set to the mean (SpecAugment, arXiv:1904.08779); samples
        stay as they are."""
        frames, *rest = found if isinstance(found, tuple) else (found,)
        if frames.ndim != 2:
            return found
        frames = frames.clone()
        for axis, share in ((0, self.spec.mask_time), (1, self.spec.mask_bands)):
            size = frames.size(axis) if axis or not rest else int(rest[0].sum())
            for _ in range(MASKS):
                width = rng.randint(0, int(share * size))
                frames.narrow(axis, rng.randint(0, size - width), width).zero_()
        return (frames, *rest) if rest else frames

    def collate(self, drawn: list[Any]) -> dict[str, torch.Tensor]:
        import torch

        if self.spec.extractor:
            return self.extract.collate(drawn)
        lengths = torch.tensor([len(one) for one in drawn])
        sound = torch.nn.utils.rnn.pad_sequence(drawn, batch_first=True)  # (B, N, F)
        return {"sound": sound, "mask": torch.arange(sound.size(1)) < lengths[:, None]}

    @property
    def blank(self) -> Any:
        """A tenth of a second of silence."""
        import numpy as np

        assert self.spec.rate
        silence = np.zeros(self.spec.rate // 10, np.float32)
        return self._features(silence) if self.still or not self.spec.extractor else silence

    def key(self, item: Any) -> int:
        """The same for two sounds of the same bytes (or the same linked file)."""
        from mmkit.files import stable_hash

        return stable_hash(item["bytes"] if item["bytes"] is not None else item["path"])

    def weight(self, prepared: Any) -> int:
        whole = prepared if isinstance(prepared, tuple) else (prepared,)
        return sum(4 * (one.numel() if hasattr(one, "numel") else one.size) for one in whole)

    def length(self, prepared: Any) -> int:
        return len(prepared[0] if isinstance(prepared, tuple) else prepared)

    def made_of(self) -> Any:
        return {k: v for k, v in asdict(self.spec).items() if k not in TRAINING}

    def log(self, tensors: dict[str, torch.Tensor], said: list[str]) -> dict[str, float]:
        return {}

    def save(self, folder: Any, name: str) -> None:
        """Nothing: all of it is configuration."""
