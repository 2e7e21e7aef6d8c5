"""From a sound to tokens: log-mel frames, what is cut, drawn and hidden, and an encoder that padding does not reach."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from mmkit.data.modalities.audio import Reader, Spec, settle
from mmkit.data.sounds import decode, log_mel, resample
from mmkit.encoders import build
from mmkit.errors import UserError
from tests.core import wav

RNG = np.random.default_rng(0)
RATE = 16_000


def spec(**keys: Any) -> Spec:
    return Spec(**{"rate": RATE, "seconds": 1.0, "bands": 16, "mean": [0.0] * 16, "std": [1.0] * 16, "augment": []} | keys)


def item(seconds: float, rate: int = RATE) -> dict[str, Any]:
    return {"bytes": wav(RNG.uniform(-0.5, 0.5, int(seconds * rate)), rate), "path": None}


def test_log_mel_is_that_of_a_loop_over_frames_and_frequencies() -> None:
    rate, bands = 2000, 6  # 50 samples a window, 20 a hop
    values = RNG.normal(size=130).astype(np.float32)
    padded = np.concatenate([np.zeros(25), values, np.zeros(25)])

    def mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)

    def hertz(m: float) -> float:
        return m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27)

    edges = [hertz(mel(rate / 2) * i / (bands + 1)) for i in range(bands + 2)]
    wanted = np.zeros((7, bands))
    for n in range(7):
        part = [padded[n * 20 + t] * (0.5 - 0.5 * np.cos(2 * np.pi * t / 50)) for t in range(50)]
        power = [abs(sum(x * np.exp(-2j * np.pi * k * t / 50) for t, x in enumerate(part))) ** 2 for k in range(26)]
        for b, (low, top, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
            shape = [max(0, min((k * 40 - low) / (top - low), (high - k * 40) / (high - top))) for k in range(26)]
            wanted[n, b] = np.log10(max(1e-10, sum(s * p for s, p in zip(shape, power, strict=True)) * 2 / (high - low)))
    assert np.allclose(log_mel(values, rate, bands).numpy(), wanted, atol=1e-4)


def test_log_mel_is_whispers_before_it_is_clipped() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.WhisperFeatureExtractor(feature_size=80)
    values = RNG.uniform(-0.5, 0.5, RATE).astype(np.float32)
    found = log_mel(values, RATE, 80)
    clipped = (torch.maximum(found, found.max() - 8) + 4) / 4
    wanted = torch.tensor(theirs(values, sampling_rate=RATE).input_features[0]).T
    # at the edges it mirrors the sound, where ours is silent
    assert torch.allclose(clipped[2:98], wanted[2:98], atol=1e-4)


def test_a_tone_keeps_its_pitch_and_loudness_at_another_rate() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100).astype(np.float32)
    found = resample(tone, 44_100, RATE)
    assert len(found) == RATE
    assert np.allclose(found[500:-500], np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)[500:-500], atol=2e-3)
    high = np.sin(2 * np.pi * 15_000 * np.arange(44_100) / 44_100).astype(np.float32)
    assert np.abs(resample(high, 44_100, RATE)[500:-500]).max() < 2e-3, "what the lower rate cannot hold is gone"


def test_channels_are_mixed_to_one() -> None:
    both = np.stack([np.full(100, 0.5), np.full(100, -0.25)], 1)
    assert np.allclose(decode(wav(both)).values, 0.125, atol=1e-3)


def test_of_a_longer_sound_the_middle_is_heard_and_in_training_any_part() -> None:
    ramp = {"bytes": wav(np.repeat(np.linspace(0, 0.9, 30), RATE // 10), RATE), "path": None}  # 3 seconds, ever louder
    still, drawn = Reader(spec()), Reader(spec(augment=["crop"]))
    found = still.prepare(ramp)
    assert len(found) == 101 and torch.equal(found, still.prepare(ramp))
    whole = drawn.prepare(ramp)
    assert len(whole) == 301
    assert torch.allclose(found[3:-3], whole[103:198], atol=1e-3)
    parts = [drawn.draw(whole, random.Random(seed), []) for seed in range(5)]
    assert {len(part) for part in parts} == {101} and len({round(float(part.sum())) for part in parts}) > 3


def test_masks_hide_stretches_of_time_and_of_frequency_and_no_more() -> None:
    reader = Reader(spec(augment=["mask"], mask_time=0.2, mask_bands=0.25))
    found = reader.prepare(item(1.0))
    hidden = torch.stack([reader.draw(found, random.Random(seed), []) == 0 for seed in range(40)])
    assert not (found == 0).any(), "the prepared frames stay as they are"
    assert 0 < hidden.all(2).float().mean() < 0.4 and hidden.all(2).sum(1).max() <= 2 * 20
    assert 0 < hidden.all(1).float().mean() < 0.5 and hidden.all(1).sum(1).max() <= 2 * 4


@pytest.mark.parametrize("stem", ["conv", "conv2d", "linear"])
@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_padding_changes_nothing(stem: str, pool: str) -> None:
    reader = Reader(spec())
    torch.manual_seed(0)
    table = {"kind": "audio", "dim": 16, "layers": 2, "heads": 2, "patch": 4, "stem": stem, "pool": pool}
    encoder = build("audio", "audio", table, reader.given()).eval()
    short, long = reader.prepare(item(0.33)), reader.prepare(item(1.0))
    with torch.no_grad():
        alone, both = encoder(**reader.collate([short])), encoder(**reader.collate([short, long]))
    n = alone.tokens.size(1)
    assert torch.allclose(both.tokens[0, :n], alone.tokens[0], atol=1e-5) and not both.mask[0, n:].any()
    assert torch.allclose(both.pooled[:1], alone.pooled, atol=1e-5)
    assert both.tokens.size(1) == encoder.positions.size(0)


def test_what_is_drawn_moves_stretches_and_warps_a_tone() -> None:
    from mmkit.data.sound_augment import moved, stretched, warped
    from mmkit.data.sounds import pitches

    at = np.arange(RATE) / RATE
    frames = log_mel((np.sin(2 * np.pi * 1500 * at) * (at < 0.5)).astype(np.float32), RATE, 64)
    shifted = moved(frames, random.Random(1))
    assert not torch.equal(shifted, frames) and torch.equal(shifted.sort(0).values, frames.sort(0).values), "nothing is lost"
    lengths = [len(stretched(frames, 0.25, random.Random(seed))) for seed in range(20)]
    assert 80 <= min(lengths) < 95 and 108 < max(lengths) <= 127 and 5 < sum(n > 101 for n in lengths) < 15
    tones = [pitches(RATE, 64)[warped(frames, RATE, 0.2, random.Random(seed))[10].argmax()] / 1500 for seed in range(20)]
    assert 0.8 < min(tones) < 0.9 and 1.1 < max(tones) < 1.25
    still = warped(frames, RATE, 0.0, random.Random(0))
    assert torch.allclose(still, frames, atol=1e-3), "by no share nothing changes"


def test_what_changes_our_frames_is_refused_of_a_checkpoint() -> None:
    with pytest.raises(UserError, match=r"stretch and warp of data\.audio\.augment"):
        settle(spec(extractor="{}", augment=["crop", "warp", "stretch"]), None, False)  # type: ignore[arg-type]
    assert settle(spec(augment=["warp"]), None, False) == {}  # type: ignore[arg-type]
