"""Audio checkpoints of transformers: each heard through its own feature extractor as transformers hears it, and rebuilt without
its folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmkit.data.checkpoint import open_checkpoint
from mmkit.data.modalities import audio
from mmkit.encoders.pretrained import Pretrained, describe, load
from mmkit.errors import UserError
from tests.core import wav

T = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
W = T | {"conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [80, 4], "num_conv_pos_embeddings": 4}
W |= {"num_conv_pos_embedding_groups": 2, "vocab_size": 10}
CLAP = {"patch_embeds_hidden_size": 8, "hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "window_size": 4}
CLAP |= {"spec_size": 64, "num_mel_bins": 16, "patch_size": 4, "patch_stride": [4, 4]}
WHISPER = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
WHISPER |= {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "vocab_size": 50, "pad_token_id": 0, "decoder_start_token_id": 1}
WHISPER |= {"bos_token_id": 1, "eos_token_id": 2, "num_mel_bins": 16, "max_source_positions": 50}

# name -> classes of model, configuration and feature extractor, the arguments of the last two, and the pooling by default
AST = {"max_length": 64, "num_mel_bins": 16}
KINDS: dict[str, tuple[str, str, str, dict[str, Any], dict[str, Any], str]] = {
    "ast": ("ASTModel", "ASTConfig", "ASTFeatureExtractor", T | AST, AST, "native"),
    "wav2vec2": ("Wav2Vec2Model", "Wav2Vec2Config", "Wav2Vec2FeatureExtractor", W, {}, "mean"),
    "wav2vec2-masked": (
        *("Wav2Vec2Model", "Wav2Vec2Config", "Wav2Vec2FeatureExtractor"),
        *(W | {"feat_extract_norm": "layer"}, {"return_attention_mask": True}, "mean"),
    ),
    "hubert": ("HubertModel", "HubertConfig", "Wav2Vec2FeatureExtractor", W, {}, "mean"),
    "whisper": (
        *("WhisperForConditionalGeneration", "WhisperConfig", "WhisperFeatureExtractor", WHISPER),
        *({"feature_size": 16, "chunk_length": 1}, "mean"),
    ),
    "clap": (
        *("ClapModel", "ClapConfig", "ClapFeatureExtractor"),
        {"audio_config": CLAP, "text_config": T | {"vocab_size": 40}, "projection_dim": 8},
        {"feature_size": 16, "max_length_s": 1, "truncation": "rand_trunc"},
        "native",
    ),
    "clap-fused": (
        *("ClapModel", "ClapConfig", "ClapFeatureExtractor"),
        {
            "audio_config": CLAP | {"enable_fusion": True, "aff_block_r": 2},
            "text_config": T | {"vocab_size": 40},
            "projection_dim": 8,
        },
        {"feature_size": 16, "max_length_s": 1, "truncation": "fusion"},
        "native",
    ),
}


def checkpoint(kind: str, folder: Path) -> tuple[Any, Any]:
    """Save a tiny random checkpoint; returns transformers' model and feature extractor."""
    import transformers

    model, config, extractor, options, settings, _ = KINDS[kind]
    torch.manual_seed(0)
    made = getattr(transformers, model)(getattr(transformers, config)(**options)).eval()
    for module in made.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    made.save_pretrained(folder)
    theirs = getattr(transformers, extractor)(**settings)
    theirs.save_pretrained(folder)
    return made, theirs


def ours(folder: Path, seconds: float | None = None) -> tuple[Pretrained, audio.Reader, audio.Spec]:
    architecture = describe(str(folder), "audio")
    encoder = Pretrained(str(folder), architecture, modality="audio")
    load(encoder, str(folder), architecture)
    spec = audio.Spec(seconds=seconds, bands=16, augment=[])
    audio.of_checkpoint(spec, open_checkpoint(str(folder)))
    spec.seconds = spec.seconds or 0.5
    return encoder.eval(), audio.Reader(spec), spec


def sound(seconds: float, rate: int) -> tuple[dict[str, Any], np.ndarray]:
    values = np.random.default_rng(int(seconds * 100)).uniform(-0.5, 0.5, int(seconds * rate))
    return {"bytes": wav(values, rate), "path": None}, (values * 32767).astype("<i2").astype(np.float32) / 32768


@pytest.mark.parametrize("kind", KINDS)
def test_it_hears_what_transformers_hears(kind: str, tmp_path: Path) -> None:
    theirs, extractor = checkpoint(kind, tmp_path)
    encoder, reader, spec = ours(tmp_path)
    assert encoder.pool == KINDS[kind][5] and spec.rate == extractor.sampling_rate
    item, values = sound(0.5, extractor.sampling_rate)
    given = reader.collate([reader.prepare(item)])
    wanted = extractor(values, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    with torch.no_grad():
        found = encoder(**given)
        if kind.startswith("clap"):
            out = theirs.audio_model(wanted["input_features"], is_longer=torch.tensor([[False]]))
            tokens, pooled = out.last_hidden_state.flatten(2).transpose(1, 2), out.pooler_output
        elif kind == "whisper":
            tokens = theirs.model.encoder(wanted["input_features"]).last_hidden_state
            pooled = tokens[:, :25].mean(1)  # half a second of one
        else:
            out = theirs(**wanted)
            tokens = out.last_hidden_state
            pooled = out.pooler_output if kind == "ast" else tokens.mean(1)
    assert torch.allclose(found.tokens, tokens, atol=1e-5)
    assert torch.allclose(found.pooled, pooled, atol=1e-5)
    assert found.mask.shape == found.tokens.shape[:2] and found.pooled.size(1) == encoder.dim

    # a run needs no checkpoint: configuration and weights are all there is
    architecture = describe(str(tmp_path), "audio")
    shutil.rmtree(tmp_path)
    again = Pretrained("", architecture, modality="audio").eval()
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again(**audio.Reader(spec).collate([audio.Reader(spec).prepare(item)])).pooled, found.pooled)


@pytest.mark.parametrize("kind", KINDS)
def test_no_batch_mate_changes_a_vector_and_longer_sounds_are_cut(kind: str, tmp_path: Path) -> None:
    _, extractor = checkpoint(kind, tmp_path)
    encoder, reader, spec = ours(tmp_path, 0.5)
    assert spec.seconds == 0.5
    short, long = (sound(seconds, extractor.sampling_rate)[0] for seconds in (0.2, 0.9))
    prepared = [reader.prepare(item) for item in (short, long)]
    with torch.no_grad():
        both = encoder(**reader.collate([*prepared, reader.blank])).pooled
        assert torch.allclose(both[:1], encoder(**reader.collate(prepared[:1])).pooled, atol=1e-5)
        assert torch.allclose(both[1:2], encoder(**reader.collate(prepared[1:])).pooled, atol=1e-5)
    assert both.isfinite().all()


def test_a_checkpoint_of_another_modality(tmp_path: Path) -> None:
    import transformers

    transformers.BertModel(transformers.BertConfig(**T, vocab_size=40)).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="is no audio checkpoint"):
        Pretrained("", describe(str(tmp_path / "bert"), "audio"), modality="audio")
    with pytest.raises(UserError, match="it has no feature extractor of sounds"):
        audio.of_checkpoint(audio.Spec(), open_checkpoint(str(tmp_path / "bert")))
    checkpoint("whisper", tmp_path / "whisper")
    with pytest.raises(ValueError, match="is no text checkpoint"):
        Pretrained("", describe(str(tmp_path / "whisper"), "text"), modality="text")
    with pytest.raises(UserError, match=r"hears 16,000 samples a second, not 8,000"):
        audio.of_checkpoint(audio.Spec(rate=8000), open_checkpoint(str(tmp_path / "whisper")))
