"""What the audio encoders of transformers have of their own, for `Pretrained`.

B batch, T samples, N frames or samples given, M tokens, D width
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmkit.errors import UserError
from mmkit.layers import everywhere

INPUTS = ("input_values", "input_features")  # samples or frames, as transformers calls them


def hears(body: Any) -> Any:
    """The part of a model that listens: of one that also writes, its encoder. What it would hide while it learns stays."""
    body = body.get_encoder() if body.config.is_encoder_decoder else body
    if hasattr(body.config, "apply_spec_augment"):
        # drawn from numpy's global state, which no resumed run could draw again; and it fails on short sounds
        body.config.apply_spec_augment = False
    return body


def hear(body: Any, sound: Tensor, mask: Tensor) -> tuple[Any, Tensor]:
    """Run one over what its extractor made: its output, and which of its tokens are of the sound, bool (B, M).

    Args:
        sound: samples (B, T), frames (B, N, F), or CLAP's pictures of frames (B, 1 or 4, N, F).
        mask: bool (B, N), True = heard.
    """
    if sound.ndim == 4:
        # longer sounds are cut before, so that none is
        out = body(input_features=sound, is_longer=torch.zeros(sound.size(0), 1, dtype=torch.bool, device=sound.device))
        return out, everywhere(out.last_hidden_state.flatten(2).transpose(1, 2))
    if sound.ndim == 2:
        # those with a group norm over time were trained without a mask (arXiv:2006.11477, as fairseq's `base`)
        masked = getattr(body.config, "feat_extract_norm", "layer") == "layer"
        out = body(input_values=sound, attention_mask=mask.long() if masked else None)
        return out, body._get_feature_vector_attention_mask(out.last_hidden_state.size(1), mask.long()).bool()
    if body.main_input_name == "input_values":
        out = body(input_values=sound)  # AST, whose silence behind a sound is part of it
        return out, everywhere(out.last_hidden_state)
    out = body(input_features=sound.transpose(1, 2))
    stride = -(-sound.size(1) // out.last_hidden_state.size(1))
    return out, mask[:, ::stride]


def laid(body: Any, weights: Tensor, sound: Tensor, heard: Tensor, mask: Tensor) -> Tensor:
    """The weights of the tokens of one sound (M,) as they lie over what was heard of it: (A, T), rows from the lowest mel band
    up where there are several (AST's patches), else one row.

    Args:
        sound, heard: what was given, of one row; mask: the tokens that are of the sound (M,).

    Raises:
        UserError: the tokens do not lie along time.
    """
    if sound.ndim == 4:
        raise UserError(
            "the tokens of a CLAP encoder do not lie along time: it folds a spectrogram into a square", hint="no attn-viz"
        )
    if not hasattr(body.config, "frequency_stride"):
        return weights[mask][None]
    config = body.config
    rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    columns = (config.max_length - config.patch_size) // config.time_stride + 1
    share = float(heard.float().mean())  # the silence behind a sound is given, too
    return weights[-rows * columns :].view(rows, columns)[:, : max(1, round(share * columns))]
