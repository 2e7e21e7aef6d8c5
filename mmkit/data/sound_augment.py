"""What is drawn for the frames of a sound in training.

N frames, F mel bands
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    import torch

    from mmkit.data.modalities.audio import Spec

MASKS = 2  # of each axis (SpecAugment, arXiv:1904.08779, table 1)


def moved(frames: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """The sound begins anywhere, and what falls out at its end comes in at its beginning."""
    return frames.roll(rng.randrange(len(frames)), 0)


def stretched(frames: torch.Tensor, most: float, rng: random.Random) -> torch.Tensor:
    """A sound (N, F) faster or slower, but not higher or lower: (N / s, F), s from 1 / (1 + most) to 1 + most."""
    import torch

    count = max(1, round(len(frames) * _factor(most, rng)))
    return torch.nn.functional.interpolate(frames.T[None], size=count, mode="linear", align_corners=False)[0].T


def warped(frames: torch.Tensor, rate: int, most: float, rng: random.Random) -> torch.Tensor:
    """A sound (N, F) as of a longer or shorter vocal tract: what was at a frequency is at s times it, s from 1 / (1 + most) to
    1 + most (VTLP; Jaitly and Hinton, 2013); above the highest band stands what is in it."""
    import torch

    from mmkit.data.sounds import mel, pitches

    bands = frames.size(1)
    step = float(mel(rate / 2)) / (bands + 1)
    found = torch.from_numpy(mel(pitches(rate, bands) * _factor(most, rng)) / step - 1).float().clamp(0, bands - 1)  # (F,)
    low = found.floor().long()
    share = found - low
    return frames[:, low] * (1 - share) + frames[:, (low + 1).clamp(max=bands - 1)] * share


def masked(frames: torch.Tensor, heard: int, spec: Spec, rng: random.Random) -> torch.Tensor:
    """Some stretches of time and of frequency set to the mean (SpecAugment, arXiv:1904.08779).

    Args:
        heard: the first of the frames, which are not padding.
    """
    frames = frames.clone()
    for axis, size, share in ((0, heard, spec.mask_time), (1, frames.size(1), spec.mask_bands)):
        for _ in range(MASKS):
            width = rng.randint(0, int(share * size))
            frames.narrow(axis, rng.randint(0, size - width), width).zero_()
    return frames


def _factor(most: float, rng: random.Random) -> float:
    """From 1 / (1 + most) to 1 + most, as often below 1 as above it."""
    return float((1 + most) ** rng.uniform(-1, 1))
