"""CLIP4Clip's poolings against their formulas; frames that are not there change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mmkit.encoders.video import VideoEncoder
from mmkit.fusion.resampler import Resampler

FACTS = dict(frames=4, size=16, mean=[0.5] * 3, std=[0.5] * 3)
SMALL = dict(dim=16, layers=1, heads=2, temporal=1)


def videos() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (3, 4, 3, 16, 16), dtype=torch.uint8)
    return pixels, torch.tensor([[True] * 4, [True] * 2 + [False] * 2, [True] + [False] * 3])


@pytest.mark.parametrize("frame", ["vit", "cnn"])
def test_mean_is_the_masked_mean_of_normalised_frames(frame: str) -> None:
    encoder = VideoEncoder(frame, pool="mean", **SMALL, **FACTS).eval()
    pixels, mask = videos()
    found = encoder(pixels, mask)
    for row, real in enumerate(mask.sum(1).tolist()):
        each = F.normalize(encoder.picture(pixels[row, :real]).pooled, dim=-1)
        expected = F.normalize(each.mean(0), dim=-1) * encoder.dim**0.5
        assert torch.allclose(found.pooled[row], expected, atol=1e-5)
    assert found.tokens.shape == (3, 4, 16) and torch.equal(found.mask, mask)


def test_mean_cannot_tell_the_order_and_temporal_can() -> None:
    pixels, mask = videos()
    pixels, mask = pixels[:1], mask[:1]
    for pool, same in (("mean", True), ("temporal", False)):
        torch.manual_seed(1)
        encoder = VideoEncoder(pool=pool, **SMALL, **FACTS).eval()
        there, back = encoder(pixels, mask).pooled, encoder(pixels.flip(1), mask).pooled
        assert torch.allclose(there, back, atol=1e-5) == same


def test_temporal_is_the_transformer_and_the_frames_themselves() -> None:
    encoder = VideoEncoder(pool="temporal", **SMALL, **FACTS).eval()
    pixels, mask = videos()
    x = encoder.picture(pixels[0]).pooled[None]
    x = x + encoder.norm(encoder.blocks(x + encoder.positions, None))
    expected = F.normalize(F.normalize(x, dim=-1).mean(1), dim=-1) * 4
    assert torch.allclose(encoder(pixels, mask).pooled[:1], expected, atol=1e-5)


@pytest.mark.parametrize("frame", ["vit", "cnn"])
def test_patches_are_those_of_every_frame(frame: str) -> None:
    encoder = VideoEncoder(frame, pool="patches", **SMALL, **FACTS).eval()
    pixels, mask = videos()
    found = encoder(pixels, mask)
    assert encoder.times == (4, 4) and found.tokens.shape == (3, 16, 16)
    for row, real in enumerate(mask.sum(1).tolist()):
        expected = encoder.picture(pixels[row, :real]).tokens.flatten(0, 1)
        assert torch.allclose(found.tokens[row][found.mask[row]], expected, atol=1e-5)
        assert int(found.mask[row].sum()) == 4 * real
    assert encoder.state_dict().keys() == VideoEncoder(frame, pool="mean", **SMALL, **FACTS).state_dict().keys()


@pytest.mark.parametrize("pool", ["patches", "temporal"])
def test_latents_know_when_a_frame_is_shown(pool: str) -> None:
    encoder = VideoEncoder(pool=pool, **SMALL, **FACTS).eval()
    resampler = Resampler(3, 8, 2, 2, widths={"video": 16}, times={"video": encoder.times})
    pixels, mask = videos()
    with torch.no_grad():
        for shown in (pixels[:1], pixels[1:2, :2]):
            seen, back = (encoder(one, mask[:1, : one.size(1)]) for one in (shown, shown.flip(1)))
            found = [resampler({"video": one}).tokens for one in (seen, back)]
            assert not torch.allclose(*found, atol=1e-3), "the order of frames is told"
        torch.nn.init.zeros_(resampler.times["video"])
        there, back = (resampler({"video": encoder(one, mask[:1])}).tokens for one in (pixels[:1], pixels[:1].flip(1)))
        assert torch.allclose(there, back, atol=1e-5) == (pool == "patches"), "by the times alone"


@pytest.mark.parametrize("pool", ["mean", "temporal", "patches"])
def test_padding_changes_nothing(pool: str) -> None:
    encoder = VideoEncoder(pool=pool, **SMALL, **FACTS).eval()
    pixels, mask = videos()
    changed = pixels.clone()
    changed[~mask] = 255
    assert torch.equal(encoder(pixels, mask).pooled, encoder(changed, mask).pooled)
    alone = encoder(pixels[1:2, :2], mask[1:2, :2]).pooled
    assert torch.allclose(encoder(pixels, mask).pooled[1:2], alone, atol=1e-5)


def test_frames_of_a_checkpoint_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
    )
    body = CLIPVisionModel(config).eval()
    body.save_pretrained(tmp_path / "clip")
    from mmkit.encoders.pretrained import describe, load

    architecture = describe(str(tmp_path / "clip"), "image")
    encoder = VideoEncoder(from_=str(tmp_path / "clip"), architecture=architecture, pool="mean", **FACTS).eval()
    load(encoder.adapted, str(tmp_path / "clip"), architecture)
    pixels, mask = videos()
    with torch.no_grad():
        theirs = body(pixel_values=(pixels[0].float() / 255 - 0.5) / 0.5).pooler_output
        expected = F.normalize(F.normalize(theirs, dim=-1).mean(0), dim=-1) * 4
        assert torch.allclose(encoder(pixels, mask).pooled[0], expected, atol=1e-4)
