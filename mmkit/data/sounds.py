"""Sounds from strangers: decoded to one channel of float32, brought to one rate, and turned into log-mel frames.

T samples, N frames, F mel bands
"""

from __future__ import annotations

import functools
import io
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from mmkit.data import images
from mmkit.errors import UserError, missing_extra

if TYPE_CHECKING:
    import numpy as np
    import torch

WINDOW, HOP = 0.025, 0.010  # seconds (arXiv:2104.01778, section 2.1)
FLOOR = 1e-10  # power, before the logarithm: silence is -10
STREAMED = (0x7FFFFFFF, 0xFFFFFFFF, 0)  # sizes in the head of a WAV whose writer did not know its length


class Sound(NamedTuple):
    """A decoded sound: one channel, float32 (T,) in -1..1, and its rate in samples a second."""

    values: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.values) / self.rate


def need() -> Any:
    """The library that decodes.

    Raises:
        UserError: it is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError) as e:  # OSError: there is no libsndfile for this system
        raise missing_extra("soundfile", "audio") from e
    return soundfile


def bytes_of(value: dict[str, Any]) -> bytes:
    """The encoded bytes of a sound as a dataset holds it, {bytes, path}.

    Raises:
        UserError: there is no such file.
    """
    try:
        return images.bytes_of(value)
    except FileNotFoundError:
        raise UserError("no such sound", value["path"]) from None
    except OSError as e:
        raise UserError(f"cannot read the sound ({e.strerror})", value["path"]) from e


def decode(data: bytes) -> Sound:
    """Encoded bytes as one channel, the mean of all that there are.

    Raises:
        UserError: they are empty, damaged, cut off, hold no samples or what is no number; or soundfile is missing.
    """
    soundfile = need()
    import numpy as np

    if not data:
        raise UserError("the sound file is empty")
    if lost := _lost(data):
        raise UserError(f"truncated sound ({lost:,} bytes are missing)")
    try:
        values, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as e:
        reason = str(e).rstrip(".").rpartition(": ")[2] or type(e).__name__
        raise UserError(f"not a sound, or damaged ({reason})") from None
    if not len(values):
        raise UserError("the sound has no samples: it is 0 seconds long")
    if not np.isfinite(values).all():
        raise UserError("the sound holds values that are no numbers")
    return Sound(values[:, 0] if values.shape[1] == 1 else values.mean(1), rate)


def _lost(data: bytes) -> int:
    """How many bytes of a WAV's samples are not there; libsndfile reads what is left and says nothing."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return 0
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            return 0 if size in STREAMED else max(0, at + 8 + size - len(data))
        at += 8 + size + size % 2
    return 0


def resample(values: np.ndarray, rate: int, to: int) -> np.ndarray:
    """A sound (T,) at another rate (T',), by scipy's polyphase filter, a windowed sinc that cuts off at the lower half rate."""
    if rate == to:
        return values
    import numpy as np
    from scipy.signal import resample_poly

    shared = math.gcd(rate, to)
    return resample_poly(values, to // shared, rate // shared).astype(np.float32)


def middle(values: Any, most: int) -> Any:
    """The middle `most` of a sound's first axis."""
    start = max(0, len(values) - most) // 2
    return values[start : start + most]


def log_mel(values: np.ndarray, rate: int, bands: int) -> torch.Tensor:
    """Log-mel frames of a sound (T,), as Whisper's before it clips them (arXiv:2212.04356, section 2.2): float32 (N, F).

    Frame n is the Hann window of 25 ms around sample n * hop, the sound surrounded by silence; its power spectrum, summed over
    Slaney's mel bands, as log10. N = 1 + T // hop.
    """
    import torch

    window, hop = round(rate * WINDOW), round(rate * HOP)
    wave = torch.nn.functional.pad(torch.from_numpy(values), (window // 2, window - window // 2))
    frames = wave.unfold(0, window, hop)[: 1 + len(values) // hop] * torch.hann_window(window)
    power = torch.fft.rfft(frames).abs().square()  # (N, window // 2 + 1)
    return (power @ _bands(rate, window, bands)).clamp_min(FLOOR).log10()


@functools.lru_cache(maxsize=8)
def _bands(rate: int, window: int, bands: int) -> torch.Tensor:
    """How much each frequency of a spectrum counts for each mel band: triangles of equal area (Slaney's Auditory Toolbox),
    float32 (window // 2 + 1, F)."""
    import numpy as np
    import torch

    def mel(hz: Any) -> Any:
        return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))

    def hertz(mels: Any) -> Any:
        return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(np.log(6.4) * (mels - 15) / 27))

    edges = hertz(np.linspace(mel(np.array(0.0)), mel(np.array(rate / 2)), bands + 2))  # (F + 2,)
    at = np.linspace(0, rate / 2, window // 2 + 1)[:, None]
    up, down = (at - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - at) / np.diff(edges)[1:]
    triangles = np.maximum(0, np.minimum(up, down)) * 2 / (edges[2:] - edges[:-2])
    return torch.from_numpy(triangles).float()
