"""A sound as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from mmkit.data.sounds import Sound, log_mel

if TYPE_CHECKING:
    import numpy as np

WIDTH, HEIGHT = 256, 128
BANDS = 64
DEPTH = 6.0  # powers of ten below the loudest that are told apart: 60 dB


def spectrogram(sound: Sound) -> Image.Image:
    """The log-mel frames of a sound."""
    found = log_mel(sound.values, sound.rate, BANDS).numpy()
    return spectrogram_of(found, found.max() - DEPTH)


def spectrogram_of(frames: np.ndarray, least: float | None = None) -> Image.Image:
    """Frames (N, F) in the colours of matplotlib's magma: time from left to right, low tones at the bottom, 2:1.

    Args:
        least: what is drawn black, and all below it; the least of them where None.
    """
    import matplotlib
    import numpy as np

    found = frames.T[::-1]  # (F, N)
    least = float(found.min()) if least is None else least
    shown = np.clip((found - least) / max(float(found.max()) - least, 1e-6), 0, 1)
    grey = Image.fromarray((shown * 255).astype(np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return Image.fromarray((matplotlib.colormaps["magma"](np.asarray(grey))[..., :3] * 255).astype(np.uint8))
