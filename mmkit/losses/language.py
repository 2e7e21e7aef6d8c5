"""Language modelling: each token of a text foretold from those before it and from what is fused with them (captioning).

B rows, N tokens of the text as fused, V tokens of the vocabulary, D width
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit import kinds
from mmkit.batch import Batch, Want
from mmkit.data.modalities import MODALITIES
from mmkit.errors import ConfigError, UserError, setting
from mmkit.layers import masked_mean
from mmkit.losses.objective import Got, Objective, places_of

NOTHING = -1  # of a place that foretells no token
PROBED = 6  # tokens of the text by which `needs` looks for a leak
LEAK = 1e-4  # of the largest value: beyond rounding


class Language(Objective):
    """Next-token cross-entropy with teacher forcing, a sum over the tokens that are foretold: all but the first, the end token
    included, padding not (BLIP, arXiv:2201.12086, section 3.2).

    Args:
        of: what its head reads: the tokens of an input of words as fused, `fused.text`, those of a fusion whose only tokens they
            are, `fused`, or those of a text alone.
        label_smoothing: share of the target spread evenly over the vocabulary (arXiv:1512.00567, section 7).
        dropout: before the head.
        readers: input -> its Reader; of words it has a tokenizer.

    Attributes:
        text: the input that is foretold.
    """

    whole = False
    metric = "caption"
    reads = "tokens"

    def __init__(
        self,
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        *,
        readers: Mapping[str, Any],
        name: str = "",
    ) -> None:
        super().__init__(weight, share, of, name)
        self.label_smoothing, self.dropout = label_smoothing, dropout
        words = [one for one, reader in readers.items() if hasattr(reader, "tokenizer")]
        self.joined, _, own = str(of).partition(".")
        own = own or (self.joined if self.joined in readers else next(iter(words), ""))
        if own not in words:
            path = f"loss.{name}.of"
            hint = setting(path, f"{self.joined}.{words[0]}") if words else "it takes an input of words"
            raise ConfigError(f"of {of} there are no words to foretell", path, where=path, hint=hint)
        self.text, self.reader = own, readers[own]

    @property
    def ends(self) -> tuple[int, int]:
        """The ids of the start and the end token, which stand around every text."""
        start, end = self.reader.tokenizer.encode([""])[0]
        return start, end

    def needs(self, model: Any) -> None:
        """What it reads must be causal: no token may see those behind it, neither in the text's encoder nor in the fusion.

        That is tried out: a text is changed from some token on, and what stands before must stay as it is.
        """
        where = f"loss.{self.name} (lm)"
        if len(self.reader.tokenizer.encode([""])[0]) != 2:
            what = f"the tokenizer of {self.text} marks no beginning and end of a text"
            raise UserError(what, where, " ".join(_causal_encoder(model, self.text)))
        fusion = dict(model.fusion).get(self.joined)
        if fusion is not None:
            self._check_places(model)
        if not leaks(model, self.text, Want(str(self.of), "tokens")):
            return
        seeing, fixes = [], []
        if fusion is None or (fusion.reads == "tokens" and leaks(model, self.text, Want(self.text, "tokens"))):
            seeing, fixes = [f"the {model.encoder_of(self.text)} encoder"], _causal_encoder(model, self.text)
        if fusion is not None and not getattr(fusion, "causal", False):
            path, known = model.config.fusion_path(self.joined), "causal" in kinds.keys_of(type(fusion))
            seeing.append("the fusion")
            fixes += [*([] if known else [setting(f"{path}.kind", "cross")]), setting(f"{path}.causal", True)]
        raise UserError(f"{' and '.join(seeing)} would see the words that are to be foretold", where, " ".join(fixes))

    def _check_places(self, model: Any) -> None:
        """Whether the tokens of the text stand in the fusion where they are read."""
        table, places = model.config.fusions[self.joined], places_of(model, self.joined)
        path, where = model.config.fusion_path(self.joined), f"loss.{self.name}.of = {self.of}"
        if self.text not in places:
            kind = [setting(f"{path}.query", self.text)] if places else [setting(f"{path}.kind", "cross")]
            fixes = [*kind, setting(f"{path}.causal", True)]
            raise UserError(f"the {table['kind']} fusion keeps no tokens of the {self.text}", where, " ".join(fixes))
        if self.of == self.joined and places[self.text] != slice(None):
            hint = setting(f"loss.{self.name}.of", f"{self.of}.{self.text}")
            raise UserError(f"the {table['kind']} fusion has more tokens than those of the {self.text}", where, hint)

    def head(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Dropout(self.dropout), nn.Linear(width, self.reader.tokenizer.vocab_size))

    def wants(self) -> tuple[Want, ...]:
        return Want(self.name, "logits"), Want(str(self.of), "mask")

    def count(self, batch: Batch) -> Tensor:
        tokens = self.reader.collate(batch.said[self.text])["mask"].sum(1)
        there = batch.has(self.text)
        return (tokens - 1 if there is None else (tokens - 1)[there.cpu()]).sum().float()

    def score(self, got: Got, batch: Batch) -> Tensor:
        logits, mask = (got[want] for want in self.wants())
        target = self.following(mask, batch.said[self.text])
        told = target != NOTHING
        return F.cross_entropy(logits[told].float(), target[told], reduction="sum", label_smoothing=self.label_smoothing)

    def following(self, mask: Tensor, said: list[str]) -> Tensor:
        """The token that each place of texts foretells, int64 (B, N), `NOTHING` where there is none.

        Args:
            mask: of the texts as fused (B, N), nothing shown of a row that lacks its own.
        """
        given = self.reader.collate(said)
        real = given["mask"].to(mask.device) & mask.any(1, keepdim=True)
        ids = torch.full(mask.shape, NOTHING, device=mask.device)
        ids[mask] = given["ids"].to(mask.device)[real]
        told = torch.full_like(ids, NOTHING)
        told[:, :-1] = torch.where(mask[:, :-1], ids[:, 1:], NOTHING)
        return told

    def is_target(self, value: Any) -> bool:
        """Whether a cell's item says something that can be foretold."""
        return isinstance(value, str)

    def log_odds(self, logits: Tensor, mask: Tensor, said: list[str]) -> tuple[Tensor, Tensor]:
        """Of the true next token at each place against all others, (B, N), and where there is one; see `following`."""
        target = self.following(mask, said)
        place = target.clamp(min=0)[..., None]
        others = logits.float().scatter(2, place, -torch.inf).logsumexp(2)
        return logits.float().gather(2, place)[..., 0] - others, target != NOTHING

    def log_probability(self, got: Got, said: list[str]) -> Tensor:
        """Of each text (B,): the mean over its tokens, the end token included; 0 of one that is not there."""
        logits, mask = (got[want] for want in self.wants())
        odds, told = self.log_odds(logits, mask, said)
        return masked_mean(F.logsigmoid(odds)[..., None], told)[:, 0]


@torch.no_grad()
def leaks(model: Any, text: str, want: Want) -> bool:
    """Whether a token of a text hangs on those behind it, in what the model gives of its tokens.

    Args:
        want: tokens (B, N, D) of the text, as encoded or as fused; the other inputs are blank.
    """
    names = list(dict.fromkeys(root.part for root in model.roots(want)))
    tokenizer = model.reader(text).tokenizer
    length = min(PROBED, tokenizer.context)
    ids = torch.arange(length).repeat(2, 1) % tokenizer.vocab_size
    ids[1, length // 2 :] += 1
    inputs = {name: model.reader(name).collate([model.reader(name).blank] * 2) for name in names if name != text}
    inputs[text] = {"ids": ids, "mask": torch.ones_like(ids, dtype=torch.bool)}
    learning = model.training
    model.eval()
    try:
        tokens = model(Batch([""] * 2, inputs).to(model.device), [want])[want][:, : length // 2].float()
    finally:
        model.train(learning)
    return bool((tokens[0] - tokens[1]).abs().max() > LEAK * tokens.abs().max())


def _causal_encoder(model: Any, text: str) -> list[str]:
    """The settings that make the encoder of a text causal."""
    name = model.encoder_of(text)
    path = f"encoder.{name}"
    if "causal" in kinds.keys_of(type(model.encoder[name])):
        return [setting(f"{path}.causal", True)]
    own = MODALITIES[str(model.inputs[text].modality)].ENCODER
    return [setting(f"{path}.kind", own), setting(f"{path}.causal", True)]
