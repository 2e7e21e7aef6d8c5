"""A sound as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from mmkit.data.canvas import Axis, Canvas, nice
from mmkit.data.sounds import HOP, blocks, decode, log_mel, pitches, playable, resample, seconds_of, source_of
from mmkit.errors import UserError

if TYPE_CHECKING:
    import numpy as np

WIDTH, HEIGHT = 256, 128
BANDS = 64
AT_ONCE = 2000  # frames that are made at a time
A_COLUMN = 4  # frames of a long sound, or their means, for each column of the picture
LARGE = (2 * WIDTH, 2 * HEIGHT)
OCTAVES = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz, those that are written
ABOUT = 60  # seconds of a long sound that are drawn
PLAYED = 30  # seconds of a sound that stands in a page alone
DEPTH = 6.0  # powers of ten below the loudest that are told apart: 60 dB


def spectrogram(source: bytes | str) -> Image.Image:
    """The log-mel frames of a sound, encoded or the path of its file; of a long one the means of stretches, decoded one by one.

    Raises:
        UserError: it cannot be read.
    """
    import torch

    stretch = max(1, int(seconds_of(source) / HOP / (A_COLUMN * WIDTH)))
    found = []
    for block in blocks(source, max(1, AT_ONCE // stretch) * stretch * HOP):
        frames = log_mel(block.values, block.rate, BANDS)
        # the last is half of what follows, which the next block begins with
        frames = frames[: max(1, len(frames) - 1)]
        found.append(torch.stack([part.mean(0) for part in frames.split(stretch)]))
    if not found:
        raise UserError("the sound has no samples: it is 0 seconds long")
    whole = torch.cat(found).numpy()
    return spectrogram_of(whole, whole.max() - DEPTH)


def spectrogram_of(frames: np.ndarray, least: float | None = None, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """Frames (N, F) in the colours of matplotlib's magma: time from left to right, low tones at the bottom, 2:1.

    Args:
        least: what is drawn black, and all below it; the least of them where None.
        size: in pixels.
    """
    import matplotlib
    import numpy as np

    found = frames.T[::-1]  # (F, N)
    least = float(found.min()) if least is None else least
    shown = np.clip((found - least) / max(float(found.max()) - least, 1e-6), 0, 1)
    grey = Image.fromarray((shown * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return Image.fromarray((matplotlib.colormaps["magma"](np.asarray(grey))[..., :3] * 255).astype(np.uint8))


def canvas(item: dict[str, Any], rate: int, bands: int, seconds: float) -> Canvas:
    """The log-mel frames of a sound, as a model takes the middle of it; of a long one no more than what is about that.

    Args:
        rate, bands: of the frames; seconds: the model hears.

    Raises:
        UserError: the sound cannot be read.
    """
    import numpy as np

    source = source_of(item)
    shown = min(seconds_of(source), max(ABOUT, 2 * seconds))
    whole = seconds_of(source)
    start = (whole - shown) / 2
    sound = decode(source, shown)
    values = resample(sound.values, sound.rate, rate)
    hop, heard = round(rate * HOP), min(len(values), int(seconds * rate))
    begin = (len(values) - heard) // 2 / hop
    frames = log_mel(values, rate, bands).numpy()
    count = len(frames)
    hertz = pitches(rate, bands)
    up = Axis("hertz", hertz, _apart([tick for tick in OCTAVES if hertz[0] <= tick <= hertz[-1]], hertz))
    across = Axis("seconds", start + np.arange(count) * hop / rate, nice(start, start + (count - 1) * hop / rate))
    box = (begin, 0.0, min(float(count), begin + 1 + heard // hop), float(bands))
    picture = spectrogram_of(frames, frames.max() - DEPTH, LARGE)
    listen = playable(item, PLAYED, 0.5 if start else 0.0)
    return Canvas([picture], (count, bands), box, across, up, rising=True, listen=listen, share=shown / max(whole, 1e-9))


def _apart(ticks: list[int], hertz: np.ndarray) -> list[int]:
    """Those that can be written beside each other, the highest first: low octaves lie close on a mel scale."""
    import numpy as np

    kept: list[int] = []
    for tick in reversed(ticks):
        if (
            not kept
            or np.interp(kept[-1], hertz, range(len(hertz))) - np.interp(tick, hertz, range(len(hertz))) > len(hertz) / 12
        ):
            kept.append(tick)
    return kept[::-1]
