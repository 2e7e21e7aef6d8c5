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
from mmkit.batch import Batch, Take, Want
from mmkit.data.modalities import MODALITIES
from mmkit.errors import ConfigError, UserError, setting
from mmkit.layers import masked_mean
from mmkit.losses.interleave import Part, chosen, packed
from mmkit.losses.objective import Got, Objective, places_of

ANSWERING = "vqa"  # the row of METRICS, of a loss with answers
WEIGHTS = "weights"  # what the loss makes of a batch holds of each row: that of its tokens
NOTHING = -1  # of a place that foretells no token
PROBED = 6  # tokens of the text by which `needs` looks for a leak
LEAK = 1e-4  # of the largest value: beyond rounding


class Language(Objective):
    """Next-token cross-entropy with teacher forcing, a sum over the tokens that are foretold: all but the first, the end token
    included, padding not (BLIP, arXiv:2201.12086, section 3.2).

    With `answers` it learns to answer, too: a share of the rows shows a question instead of its text, and an answer behind it,
    whose tokens alone are foretold.

    With `shots` a text is that of several rows one after the other, as examples are shown before what is asked (see
    `mmkit.losses.interleave`); all of them are foretold, the first of them without an example.

    Args:
        of: what its head reads: the tokens of an input of words as fused, `fused.text`, those of a fusion whose only tokens they
            are, `fused`, or those of a text alone.
        answers: column of questions, whose items hold `answers`; None or empty: there are none.
        answers_share: of the rows that have a question; where the text is missing, all.
        answers_weight: of a token of an answer, where one of a text has 1 (Flamingo, arXiv:2204.14198, section 2.4, weighs its
            kinds of data): an answer has few tokens, and of a mean over all of them little would be theirs.
        prompt: what stands before an answer; {question} in it is the question.
        shots: the most other rows whose texts stand before that of a row.
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
        answers: str | None = None,
        answers_share: float = 0.5,
        answers_weight: float = 1.0,
        prompt: str = "{question}",
        shots: int = 0,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        *,
        readers: Mapping[str, Any],
        name: str = "",
    ) -> None:
        super().__init__(weight, share, of, name)
        if not 0 <= answers_share <= 1:
            raise ValueError(f"answers_share = {answers_share} is no share")
        if answers_weight <= 0:
            raise ValueError(f"answers_weight = {answers_weight}: answers that count for nothing are left out by answers = ''")
        if shots < 0:
            raise ValueError(f"shots = {shots}: 0 or more texts stand before another")
        self.label_smoothing, self.dropout = label_smoothing, dropout
        self.column, self.listed = answers or None, bool(answers)
        self.answers_share, self.answers_weight, self.form = answers_share, answers_weight, prompt
        self.shots, self.group = shots, shots + 1
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
            self._check_shots(model, fusion)
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

    def _check_shots(self, model: Any, fusion: Any) -> None:
        """Whether the fusion shows each text of several its own picture."""
        if self.shots and not getattr(fusion, "interleaves", False):
            what = f"the {model.config.fusions[self.joined]['kind']} fusion takes one picture a text"
            path = model.config.fusion_path(self.joined)
            raise UserError(what, f"loss.{self.name}.shots = {self.shots}", setting(f"{path}.kind", "flamingo"))

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

    @torch.no_grad()
    def adopt(self, head: Any, layer: nn.Linear) -> None:
        """Let a head begin as the last layer of a language model, of as many tokens or more; one of another width stays as it
        is."""
        last, tokens = head[-1], head[-1].out_features
        if layer.in_features == last.in_features and layer.out_features >= tokens:
            last.weight.copy_(layer.weight[:tokens])
            last.bias.zero_() if layer.bias is None else last.bias.copy_(layer.bias[:tokens])

    def measured(self) -> tuple[str | None, ...]:
        if not self.column:
            return (self.metric,)
        return (ANSWERING,) if self.answers_share == 1 else (self.metric, ANSWERING)

    def clean(self) -> tuple[Want, ...]:
        """What tells of a text as it stands."""
        return Want(self.name, "logits"), Want(str(self.of), "mask")

    def wants(self) -> tuple[Want, ...]:
        return tuple(want._replace(of=self.name if self.alters() else "") for want in self.clean())

    def alters(self) -> tuple[str, ...]:
        return (self.text,) if self.column or self.shots else ()

    def prompt(self, question: str) -> str:
        """What stands before an answer."""
        return self.form.replace("{question}", question.strip())

    def told(self, text: str, question: str | None = None) -> str:
        """A text as it is learnt: a caption, or an answer behind its question."""
        return text if question is None else f"{self.prompt(question)} {text.strip()}"

    def corrupt(self, batch: Batch, draw: str, clean: Got) -> dict[str, Batch | Take]:
        """With `answers`, of some rows a question and one of its answers instead of the text; with `shots`, before it those of
        others; `hidden` are the tokens that are foretold."""
        if not self.alters():
            return {}
        there = batch.present.get(self.text)
        has = [True] * batch.rows if there is None else there.tolist()
        said, asks = list(batch.said[self.text]), [""] * batch.rows  # what stands before an answer
        for row, value in enumerate(batch.targets[self.column] if self.column else ()):
            rng = self.rng(draw, batch.ids[row])
            share = rng.random()
            if self.shots:  # one draw a group: of mixed ones few rows have many of their kind before them
                share = self.rng(draw, batch.ids[row - row % self.group]).random()
            answers = [answer.strip() for answer in (value or {}).get("answers") or () if answer.strip()]
            if answers and (share < self.answers_share or not has[row]):
                asks[row], has[row] = self.prompt(value["question"]), True
                said[row] = self.told(rng.choice(answers), value["question"])
            elif self.answers_share == 1:  # the text is no caption
                said[row], has[row] = self.reader.blank, False
        encoded = self.reader.tokenizer.encode(said)
        before = [len(self.prompt_ids(ask)) if ask else 1 for ask in asks]
        parts = [Part(i, ids, n if own else len(ids)) for i, (ids, n, own) in enumerate(zip(encoded, before, has, strict=True))]
        texts = [[part] for part in parts]
        if self.shots:
            kinds = [bool(ask) if own else None for ask, own in zip(asks, has, strict=True)]
            most = self.reader.tokenizer.context
            texts = [chosen(i, kinds, parts, self.group, most, self.rng(f"{draw} shots", id)) for i, id in enumerate(batch.ids)]
        inputs, told, interleaved = packed(texts, self.reader.tokenizer)
        made = Batch(
            batch.ids,
            {self.text: inputs},
            present={self.text: torch.tensor(has)},
            said={self.text: said},
            targets={WEIGHTS: [self.answers_weight if ask else 1.0 for ask in asks]},
            hidden={self.text: told},
            interleaved=interleaved if self.shots else None,
        )
        return {self.name: made.to(next(iter(batch.inputs[self.text].values())).device)}

    def prompt_ids(self, prompt: str) -> list[int]:
        """The tokens from the start on that stand before what is to be written; with answers only."""
        found: list[int] = self.reader.tokenizer.encode([prompt])[0][:-1]
        return found

    def count(self, batch: Batch) -> Tensor:
        if isinstance(version := batch.versions.get(self.name), Batch):
            return (version.hidden[self.text].sum(1).cpu() * torch.tensor(version.targets[WEIGHTS])).sum()
        tokens = self.reader.collate(batch.said[self.text])["mask"].sum(1)
        there = batch.has(self.text)
        return (tokens - 1 if there is None else (tokens - 1)[there.cpu()]).sum().float()

    def score(self, got: Got, batch: Batch) -> Tensor:
        logits, mask = (got[want] for want in self.wants())
        version = batch.versions.get(self.name)
        weights = torch.ones(len(mask))
        if isinstance(version, Batch):
            target, weights = self._answering(version), torch.tensor(version.targets[WEIGHTS])
        else:
            target = self.following(mask, batch.said[self.text])
        told = target != NOTHING
        each = F.cross_entropy(logits[told].float(), target[told], reduction="none", label_smoothing=self.label_smoothing)
        return each @ weights.to(each.device)[told.nonzero()[:, 0]]

    def _answering(self, version: Batch) -> Tensor:
        """As `following`, of what `corrupt` made."""
        ids, told = version.inputs[self.text]["ids"], version.hidden[self.text]
        target = torch.full_like(ids, NOTHING)
        target[:, :-1] = torch.where(told[:, 1:], ids[:, 1:], NOTHING)
        return target

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
        logits, mask = (got[want] for want in self.clean())
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
