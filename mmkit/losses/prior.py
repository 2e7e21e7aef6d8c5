"""The prior of DALL-E: each word and each code of a picture foretold from those before (arXiv:2102.12092, section 2.2).

B rows, M tokens of a text, N codes of a picture, V words there are, K codes there are
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.batch import Batch, Want
from mmkit.errors import ConfigError, UserError, setting
from mmkit.layers import masked_mean
from mmkit.losses.objective import Got, Objective

KIND = "raster"  # the fusion whose tokens foretell codes


class Prior(Objective):
    """Cross-entropy of the words and of the codes, of each row the mean of both, weighted. A row without a picture is not
    counted; one without a text has pads instead, and foretells codes alone.

    Args:
        of: a fusion of kind `raster`.
        text_share: the weight of the words, that of the codes being the rest.
        config: of the run; readers, encoders: input -> its own.
    """

    whole = False
    metric = None
    reads = "tokens"

    def __init__(
        self,
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        text_share: float = 0.125,
        *,
        config: Any,
        readers: Mapping[str, Any],
        encoders: Mapping[str, Any],
        name: str = "",
    ) -> None:
        super().__init__(weight, share, of, name)
        if not 0 <= text_share <= 1:
            raise ValueError(f"text_share {text_share} is not a share")
        self.text_share = text_share
        table = config.fusions.get(str(of), {})
        if table.get("kind") != KIND:
            path = config.fusion_path(str(of)) if table else "fusion"
            where = f"loss.{name}.of = {of}"
            raise ConfigError(
                "codes are foretold by a fusion of kind raster", path, where=where, hint=setting(f"{path}.kind", KIND)
            )
        self.text = next((one for one in table["inputs"] if hasattr(readers[one], "tokenizer")), "")
        self.input = next((one for one in table["inputs"] if hasattr(encoders[one], "decode")), "")
        self.words = readers[self.text].tokenizer.vocab_size if self.text else 0
        self.codes = encoders[self.input].dim if self.input else 0
        self.reader: Any = readers.get(self.text)

    def needs(self, model: Any) -> None:
        """Words are foretold, too, so that the encoder of the text must see none of those behind."""
        encoder = model.encoder[model.encoder_of(self.text)]
        if not getattr(encoder, "causal", False):
            path = f"encoder.{model.encoder_of(self.text)}"
            what = f"the {model.encoder_of(self.text)} encoder would see the words that are to be foretold"
            raise UserError(what, f"loss.{self.name}", setting(f"{path}.causal", True))

    def begins(self, model: Any, fresh: Collection[str]) -> None:
        """The codes are data here: an encoder that was never trained has none that mean anything."""
        encoder = f"encoder.{model.encoder_of(self.input)}."
        if any(name.startswith(encoder) for name in fresh):
            init = model.config.train.init
            found = f"{init} has none of this size" if init else "none is given"
            hint = "mmkit train --recipe dvae --name dvae; mmkit train --recipe dalle --init runs/dvae"
            raise UserError(f"it takes the codes of a trained discrete VAE, and {found}", "--init", hint)

    def head(self, width: int) -> nn.Module:
        """Over words and codes, of which each place foretells one or the other."""
        return nn.Linear(width, self.words + self.codes)

    def wants(self) -> tuple[Want, ...]:
        return Want(self.name, "logits"), Want(self.input, "tokens")

    def count(self, batch: Batch) -> Tensor:
        there = batch.has(self.input)
        return torch.tensor(float(batch.rows)) if there is None else there.sum().float()

    def score(self, got: Got, batch: Batch) -> Tensor:
        logits, codes = got[self.wants()[0]].float(), got[self.wants()[1]].argmax(-1)
        words = self.of_words(logits, batch)
        rows = self.text_share * words - (1 - self.text_share) * self.log_probability(logits, codes)
        there = batch.has(self.input)
        return (rows if there is None else rows[there]).sum()

    def of_words(self, logits: Tensor, batch: Batch) -> Tensor:
        """The mean cross-entropy of the words of each row, (B,); 0 where there are none."""
        given = self.reader.collate(batch.said[self.text])
        ids, real = given["ids"].to(logits.device), given["mask"].to(logits.device)
        if (there := batch.has(self.text)) is not None:
            real = real & there[:, None]
        told = logits[:, : ids.size(1) - 1, : self.words]
        each = F.cross_entropy(told.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
        return masked_mean(each[..., None], real[:, 1:])[:, 0]

    def log_probability(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Of the codes (B, N) of each picture by the logits (B, L, V + K): the mean over its places, (B,)."""
        told = self.of_codes(logits[:, -codes.size(1) :])
        return told.log_softmax(-1).gather(2, codes[..., None])[..., 0].mean(1)

    def of_codes(self, logits: Tensor) -> Tensor:
        """The logits of codes alone, (..., K)."""
        return logits[..., self.words :]
