"""The Reader of sounds: how one becomes the frames that an encoder hears.

B rows, N frames, F mel bands, T samples
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import random

    import torch

    from mmkit.data.canvas import Canvas
    from mmkit.data.modalities.audio import Spec

WHOLE = 60.0  # seconds: of a longer sound a part is decoded, however often


class Long(NamedTuple):
    """A sound of which each epoch decodes the part that it draws; encoded, or the path of its file."""

    source: bytes | str


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
        frames = 1 + round(self.spec.seconds * self.spec.rate) // round(self.spec.rate * HOP)
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
        """Frames, float32 (N, F), of the part that is heard; where a part is drawn later, of all of it, or its `Long` where that
        would be much. With a checkpoint's extractor its samples (T,) where anything is drawn.

        Raises:
            UserError: the sound cannot be read.
        """
        from mmkit.data.sounds import seconds_of, source_of

        source = source_of(item)
        if "crop" not in (self.spec.augment or []):
            return self._read(source, self.spec.seconds)
        return Long(source) if seconds_of(source) > max(WHOLE, self.spec.seconds or 0) else self._read(source)

    def _read(self, source: bytes | str, seconds: float | None = None, at: float = 0.5) -> Any:
        """A part of a sound, as `decode` cuts it, in the form that is prepared."""
        from mmkit.data.sounds import decode, resample

        assert self.spec.rate
        sound = decode(source, seconds, at)
        values = resample(sound.values, sound.rate, self.spec.rate)
        values = values[: round(seconds * self.spec.rate)] if seconds else values  # two rates may round to a sample more
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

    def canvas(self, item: Any) -> Canvas:
        """The log-mel spectrogram of the whole sound, low tones at the bottom.

        Raises:
            UserError: the sound cannot be read.
        """
        from mmkit.data.spectrogram import canvas

        assert self.spec.rate and self.spec.seconds and self.spec.bands
        return canvas(item, self.spec.rate, self.spec.bands, self.spec.seconds)

    def effect(self, tensors: dict[str, torch.Tensor], slopes: dict[str, torch.Tensor]) -> torch.Tensor:
        """What each frame and band of one sound adds to a score of those slopes, to first order, by how far it is from the
        band's mean: (F, N)."""
        return (tensors["sound"] * slopes["sound"])[0].T

    def without(self, prepared: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
        """Prepared frames with the mean of its band for some of their values, bool (F, N)."""
        import torch

        return torch.where(gone.T, prepared.mean(0, keepdim=True), prepared)

    def draw(self, prepared: Any, rng: random.Random, mates: list[str]) -> Any:
        """A part of a sound that is longer than what is heard, and what `augment` names besides."""
        if self.still:
            return prepared
        assert self.spec.augment and self.spec.rate and self.spec.seconds
        import torch

        from mmkit.data.sound_augment import masked, moved, stretched, warped

        kinds, own = self.spec.augment, not self.spec.extractor
        if isinstance(prepared, Long):
            longest = self.spec.seconds * (1 + self.spec.stretch * ("stretch" in kinds))
            prepared = self._read(prepared.source, longest, rng.random())
        most = self.given()["frames"] if own else round(self.spec.seconds * self.spec.rate)
        if own and "stretch" in kinds:
            prepared = stretched(prepared, self.spec.stretch, rng)
        if len(prepared) > most:
            start = rng.randint(0, len(prepared) - most) if "crop" in kinds else (len(prepared) - most) // 2
            prepared = prepared[start : start + most]
        if "shift" in kinds:
            prepared = moved(prepared, rng) if own else moved(torch.from_numpy(prepared), rng).numpy()
        if own:
            found = warped(prepared, self.spec.rate, self.spec.warp, rng) if "warp" in kinds else prepared
            return masked(found, len(found), self.spec, rng) if "mask" in kinds else found
        frames, heard = self._features(prepared)
        # samples stay as they are: a mask over frequencies is none of them
        shown = masked(frames, int(heard.sum()), self.spec, rng) if "mask" in kinds and frames.ndim == 2 else frames
        return shown, heard

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
        if isinstance(prepared, Long):
            return 0
        whole = prepared if isinstance(prepared, tuple) else (prepared,)
        return sum(4 * (one.numel() if hasattr(one, "numel") else one.size) for one in whole)

    def length(self, prepared: Any) -> int:
        return (
            self.given()["frames"]
            if isinstance(prepared, Long)
            else len(prepared[0] if isinstance(prepared, tuple) else prepared)
        )

    def made_of(self) -> Any:
        from mmkit.data.modalities.audio import TRAINING

        return {k: v for k, v in asdict(self.spec).items() if k not in TRAINING}

    def log(self, tensors: dict[str, torch.Tensor], said: list[str]) -> dict[str, float]:
        return {}

    def save(self, folder: Any, name: str) -> None:
        """Nothing: all of it is configuration."""
