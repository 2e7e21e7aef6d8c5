"""Sounds from strangers: decoded to one channel of float32, brought to one rate, and turned into log-mel frames.

T samples, N frames, F mel bands
"""

from __future__ import annotations

import functools
import io
import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

from mmkit.errors import UserError, missing_extra

if TYPE_CHECKING:
    import numpy as np
    import torch

WINDOW, HOP = 0.025, 0.010  # seconds (arXiv:2104.01778, section 2.1)
FLOOR = 1e-10  # power, before the logarithm: silence is -10
BLOCK = 1 << 20  # samples that are decoded at a time
ABOUT = 2 * 1152  # samples, two frames of MP3: of its length it says no more
BEFORE = 24 * 1152  # samples: a frame of MP3 needs what up to 511 bytes before it hold, which are so many small frames
OGG_PAGE, OGG_HEAD, OGG_LAST = 1 << 16, 27, 4  # the most bytes of a page, those before its sizes; the flag of the last one
ORDER: dict[bytes, Literal["little", "big"]] = {b"RIFFWAVE": "little", b"FORMAIFF": "big", b"FORMAIFC": "big"}
# in a page: what browsers play as it is, where it is small
PLAYED = {b"RIFF": "audio/wav", b"fLaC": "audio/flac", b"OggS": "audio/ogg", b"ID3": "audio/mpeg", b"\xff\xfb": "audio/mpeg"}
SMALL = 16_000  # bytes
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000)
MP3_RATE = MP3_RATES[-1]
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


@contextmanager
def opened(source: bytes | str) -> Iterator[Any]:
    """A sound, encoded or the path of its file, as soundfile reads it; nothing is decoded yet.

    Raises:
        UserError: it is missing, empty, damaged, cut off, or has no samples; or soundfile is missing. What fails within is one
            of these, too.
    """
    soundfile = need()
    where = source if isinstance(source, str) else ""
    with _file(source) as raw:
        if not raw.seek(0, os.SEEK_END):
            raise UserError("the sound file is empty", where)
        raw.seek(0)
        try:
            with soundfile.SoundFile(raw) as found:
                if lost := _lost(raw):
                    raise UserError(f"truncated sound ({lost})", where)
                yield found
        except (soundfile.SoundFileError, RuntimeError, TypeError) as e:
            reason = str(e).rstrip(".").rpartition(": ")[2] or type(e).__name__
            raise UserError(f"not a sound, or damaged ({reason})", where) from None


def _file(source: bytes | str) -> IO[bytes]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        return open(source, "rb")
    except FileNotFoundError:
        raise UserError("no such sound", source) from None
    except OSError as e:
        raise UserError(f"cannot read the sound ({e.strerror})", source) from e


def source_of(value: dict[str, Any]) -> bytes | str:
    """A sound as a dataset holds it, {bytes, path}: its encoded bytes where the row has them, else its path."""
    return value["bytes"] if value["bytes"] is not None else value["path"]


class Look(NamedTuple):
    """What a sound is: its length, its rate in samples a second, and whether it is silent."""

    seconds: float
    rate: int
    silent: bool


def look(source: bytes | str) -> Look:
    """Decode all of a sound, of which no more than a block is ever in memory.

    Raises:
        UserError: as `decode`.
    """
    with opened(source) as found:
        silent, read = True, 0
        for block in _blocks(found):
            read += len(block)
            silent = silent and not block.any()
        rest = found.frames - read
        if rest > (ABOUT if found.format == "MP3" else 0):
            raise UserError(f"truncated or damaged sound ({read:,} of {found.frames:,} samples are there)")
        if not read:
            raise UserError("the sound has no samples: it is 0 seconds long")
        return Look(read / found.samplerate, found.samplerate, silent)


def seconds_of(source: bytes | str) -> float:
    """How long a sound says that it is; raises as `opened`."""
    with opened(source) as found:
        return found.frames / found.samplerate


def decode(source: bytes | str, seconds: float | None = None, at: float = 0.5) -> Sound:
    """A sound as one channel, the mean of all that there are.

    Args:
        source: encoded, or the path of a file.
        seconds: no more than so much of it is decoded; all where None.
        at: where the part lies, from 0, at the beginning, to 1, at the end.

    Raises:
        UserError: it is missing, empty, damaged, cut off, holds no samples or what is no number; or soundfile is missing.
    """
    with opened(source) as found:
        most = found.frames if seconds is None else min(found.frames, int(seconds * found.samplerate))
        start = round(at * (found.frames - most))
        return Sound(_joined(_blocks(found, start, start + most)), found.samplerate)


def blocks(source: bytes | str, seconds: float) -> Iterator[Sound]:
    """All of a sound, in parts of so many seconds; raises as `decode`."""
    with opened(source) as found:
        for block in _blocks(found, size=int(seconds * found.samplerate)):
            yield Sound(block, found.samplerate)


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    import numpy as np

    held = list(parts)
    if not held:
        raise UserError("the sound has no samples: it is 0 seconds long")
    return np.concatenate(held)


def playable(value: dict[str, Any], seconds: float, at: float = 0.0) -> tuple[bytes, str]:
    """A file that browsers play, and its type: the sound's own where it is a small one, else so many seconds of it as MP3.

    Args:
        at: where in the sound they lie, see `decode`.

    Raises:
        UserError: it cannot be read.
    """
    source = source_of(value)
    with _file(source) as raw:
        data = raw.read(SMALL + 1)
    own = next((kind for begins, kind in PLAYED.items() if data.startswith(begins)), None)
    if own and len(data) <= SMALL:
        return data, own
    sound = decode(source, seconds, at)
    rate = min(sound.rate, MP3_RATE)
    values = resample(sound.values, sound.rate, rate)
    # of the rates that MP3 has, the next above
    to = next(one for one in MP3_RATES if one >= rate)
    sink = io.BytesIO()
    need().write(sink, resample(values, rate, to), to, format="MP3")
    return sink.getvalue(), "audio/mpeg"


def _blocks(found: Any, start: int = 0, end: int = sys.maxsize, size: int = BLOCK) -> Iterator[np.ndarray]:
    """The samples from number `start` to `end` of an open sound, or to its end: float32 (size,) each, the last what remains."""
    import numpy as np

    while start < end:
        # soundfile seeks after each read, too
        before = min(start, BEFORE if found.format == "MP3" else 0)
        if start:
            found.seek(start - before)
        values = found.read(before + min(size, end - start), dtype="float32", always_2d=True)[before:]
        if not len(values):
            return
        if not np.isfinite(values).all():
            raise UserError("the sound holds values that are no numbers")
        start += len(values)
        yield values[:, 0] if values.shape[1] == 1 else values.mean(1)


def _lost(raw: IO[bytes]) -> str:
    """What is missing at the end of a WAV, AIFF, AU or Ogg file, for libsndfile reads what is left of these and says nothing.
    The place in the file stays."""
    before, end = raw.tell(), raw.seek(0, os.SEEK_END)
    raw.seek(0)
    head = raw.read(12)
    kind, lost = head[:4] + head[8:], ""
    if head.startswith(b"OggS"):
        lost = _lost_page(raw, end)
    elif head.startswith(b".snd"):  # where its samples begin, and how many bytes they are
        lost = _lacking(int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:], "big"), end)
    elif kind in ORDER:
        lost = _lost_bytes(raw, end, ORDER[kind])
    raw.seek(before)
    return lost


def _lost_page(raw: IO[bytes], end: int) -> str:
    """Of an Ogg file, whose last page says that it is the last (RFC 3533, section 6)."""
    raw.seek(max(0, end - OGG_PAGE))
    tail = raw.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    whole = len(page) > OGG_HEAD and OGG_HEAD + page[26] + sum(page[OGG_HEAD : OGG_HEAD + page[26]]) <= len(page)
    return "" if whole and page[5] & OGG_LAST else "the page that ends it is missing, or cut off"


def _lost_bytes(raw: IO[bytes], end: int, order: Literal["little", "big"]) -> str:
    """Of a file of chunks, of which the samples are one."""
    at = 12
    while at + 8 <= end:
        raw.seek(at)
        name = raw.read(4)
        size = int.from_bytes(raw.read(4), order)
        if name in (b"data", b"SSND"):
            return _lacking(at + 8, size, end)
        at += 8 + size + size % 2
    return ""


def _lacking(start: int, size: int, end: int) -> str:
    """Of so many bytes of samples, in a file that ends there."""
    lost = 0 if size in STREAMED else max(0, start + size - end)
    return f"{lost:,} bytes are missing" if lost else ""


def resample(values: np.ndarray, rate: int, to: int) -> np.ndarray:
    """A sound (T,) at another rate (T',), by scipy's polyphase filter, a windowed sinc that cuts off at the lower half rate."""
    if rate == to:
        return values
    import numpy as np
    from scipy.signal import resample_poly

    shared = math.gcd(rate, to)
    return resample_poly(values, to // shared, rate // shared).astype(np.float32)


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


def mel(hz: Any) -> Any:
    """Slaney's scale of frequencies: linear up to 1,000 Hz, which are 15, then by 27 for each factor of 6.4."""
    import numpy as np

    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def _edges(rate: int, bands: int) -> np.ndarray:
    """Where the mel bands begin, are highest and end, Hz (F + 2,)."""
    import numpy as np

    mels = np.linspace(0, mel(rate / 2), bands + 2)
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(np.log(6.4) * (mels - 15) / 27))


def pitches(rate: int, bands: int) -> np.ndarray:
    """The frequency of each mel band, Hz (F,)."""
    return _edges(rate, bands)[1:-1]


@functools.lru_cache(maxsize=8)
def _bands(rate: int, window: int, bands: int) -> torch.Tensor:
    """How much each frequency of a spectrum counts for each mel band: triangles of equal area (Slaney's Auditory Toolbox),
    float32 (window // 2 + 1, F)."""
    import numpy as np
    import torch

    edges = _edges(rate, bands)
    at = np.linspace(0, rate / 2, window // 2 + 1)[:, None]
    up, down = (at - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - at) / np.diff(edges)[1:]
    triangles = np.maximum(0, np.minimum(up, down)) * 2 / (edges[2:] - edges[:-2])
    return torch.from_numpy(triangles).float()
