"""A text written by a model token by token: greedy, by beam search or drawn, each token from what is kept of those before it.

Where an encoder or a fusion cannot go on from what it has computed, the text is read anew for each token: the same, slower.

B samples, K beams, R = B·K rows of both, V tokens of the vocabulary
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmkit.batch import Batch, Interleaved, Want
from mmkit.encode import at_once, diverged, encoded_once
from mmkit.errors import UserError
from mmkit.layers import Encoded, State
from mmkit.losses.interleave import Part, packed
from mmkit.model import Model

Have = dict[Want, Tensor]


class Written(NamedTuple):
    """One text.

    Args:
        text: without the start and the end token.
        score: the mean log-probability of its tokens, the end token included.
        ids: the token before it (the start, or the last of a prompt), text, and where it `ended` the end token; else it was cut
            at the greatest length.
    """

    text: str
    score: float
    ids: tuple[int, ...]
    ended: bool


class Sampling(NamedTuple):
    """How tokens are drawn: nucleus sampling (arXiv:1904.09751).

    Args:
        top_p: of the likeliest tokens so many that their probability reaches it are drawn from.
        temperature: what logits are divided by.
        seed: of the draws; first: the number of the first sample, which the draws depend on too, the batch never.
    """

    top_p: float = 1.0
    temperature: float = 1.0
    seed: int = 0
    first: int = 0


class Example(NamedTuple):
    """A sample whose text is known: shown before another, it tells what is asked for (Flamingo, arXiv:2204.14198, section 2.3).

    Args:
        inputs: of the `others`, the prepared item of each.
        text: a caption, or the answer to `question`.
    """

    inputs: dict[str, Any]
    text: str
    question: str | None = None


def others(model: Model, objective: Any) -> list[str]:
    """The inputs that a text is written from."""
    names = dict.fromkeys(root.part for want in objective.wants() for root in model.roots(want))
    return [name for name in names if name != objective.text]


@torch.inference_mode()
def generate(
    model: Model,
    objective: Any,
    samples: Sequence[dict[str, Any]],
    beams: int = 1,
    top: int = 1,
    length: int | None = None,
    batch_size: int = 64,
    features: Mapping[str, Any] | None = None,
    sampling: Sampling | None = None,
    prompts: Sequence[str] | None = None,
    examples: Sequence[Example] = (),
) -> list[list[Written]]:
    """The texts that a model writes of some samples, the best first.

    A beam is a text that has not ended. In each step the likeliest continuations of all beams go on, by the sum of
    log-probabilities; one that ends closes its beam, so that there are at most `beams` texts, and with one beam each token is
    the likeliest. They are compared by their mean log-probability (GNMT's length normalisation, arXiv:1609.08144, at alpha 1).

    Args:
        objective: a loss of language.
        samples: for each of the `others` the prepared item, or none.
        top: texts of each sample; at most `beams`.
        length: the most tokens of a text, its start and end included; by default those that the text's encoder reads.
        batch_size: beams that are computed at once.
        features: of the inputs whose encoder ran before: where their items come from.
        sampling: tokens are drawn, and the `beams` are texts of their own.
        prompts: of each sample what its text goes on from, which is no part of it.
        examples: they stand before each text.

    Raises:
        UserError: the model's answer is not finite, a prompt leaves no room for a text, or the model takes no examples.
    """
    write: Any = getattr(model, "write", None)
    if write is not None:  # a checkpoint that writes by itself
        texts: list[list[Written]] = write(objective, samples, beams, top, length, batch_size, sampling, examples)
        return texts
    most = objective.reader.tokenizer.context
    length = most if length is None else min(length, most)
    want = Want(objective.name, "logits")
    each = at_once(model, others(model, objective), samples, max(1, batch_size // beams), features)
    own = [objective.prompt_ids(one) for one in prompts] if prompts is not None else [[objective.ends[0]]] * len(samples)
    shown = objective.reader.tokenizer.encode([objective.told(one.text, one.question) for one in examples]) if examples else []
    if examples:
        check_examples(model, objective)
    before = [[id for part in (*shown, ids) for id in part] for ids in own]
    found: list[list[Written]] = [[] for _ in samples]
    for numbers in _alike(before, each):
        part, given = [samples[i] for i in numbers], torch.tensor([before[i] for i in numbers], device=model.device)
        if given.size(1) >= length:
            where = f"data.{model.inputs[objective.text].modality}.context = {most}"
            hint = "fewer --shots, or a model trained with a longer context" if examples else "a shorter one"
            raise UserError(f"a prompt of {given.size(1)} tokens leaves no room for a text", where, hint)
        have: Have = {}
        for name in others(model, objective):
            have |= encoded_once(model, name, [*(one.inputs for one in examples), *part], want, features or {})
        parts = [[*map(Part, range(len(shown)), shown), Part(len(shown) + i, own[n])] for i, n in enumerate(numbers)]
        chain = packed(parts, objective.reader.tokenizer)[2].to(model.device) if examples else None
        rows = torch.arange(len(part), device=model.device).repeat_interleave(beams)
        try:
            scribe = writer(model, objective, have, rows, chain)
            if sampling is None:
                found_of = search(scribe, rows, beams, length, objective.ends, given)
            else:
                found_of = drawn(scribe, rows, beams, length, objective.ends, given, sampling, numbers)
        except FloatingPointError as e:
            raise diverged(model, str(e)) from None
        for i, best in zip(numbers, found_of, strict=True):
            found[i] = [_written(objective, score, ids[given.size(1) - 1 :]) for score, ids in best[:top]]
    return found


def _alike(prompts: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """The numbers of prompts in batches of at most `most`, each of prompts of one length."""
    lengths: dict[int, list[int]] = {}
    for i, one in enumerate(prompts):
        lengths.setdefault(len(one), []).append(i)
    for numbers in lengths.values():
        yield from (numbers[begin : begin + most] for begin in range(0, len(numbers), most))


def _written(objective: Any, score: float, ids: tuple[int, ...]) -> Written:
    text = objective.reader.tokenizer.backend.decode(list(ids[1:]), skip_special_tokens=True).strip()
    return Written(text, score, ids, ids[-1] == objective.ends[1])


def check_examples(model: Any, objective: Any) -> None:
    """Whether a model takes examples before what it is asked.

    Raises:
        UserError: it does not.
    """
    if hasattr(model, "write"):
        model.check_examples()
    elif not getattr(dict(model.fusion).get(getattr(objective, "joined", None)), "interleaves", False):
        what = "the model takes one picture a text, and so no examples before it"
        raise UserError(
            what, model.name, "leave --shots out; mmkit train --recipe flamingo --set loss.lm.shots=4 trains one that does"
        )


def writer(model: Model, objective: Any, have: Have, rows: Tensor, interleaved: Interleaved | None = None) -> Stepwise | Anew:
    """What foretells the next token of texts about rows (R,) of what is known of the other inputs.

    Args:
        interleaved: how the tokens that are given are those of several samples.
    """
    fusion = dict(model.fusion).get(objective.joined)
    encoder = model.encoder[model.encoder_of(objective.text)]
    stepwise = _drives(fusion, objective) or (hasattr(encoder, "step") and (fusion is None or hasattr(fusion, "step")))
    return Stepwise(model, objective, have, rows, interleaved) if stepwise else Anew(model, objective, have, rows)


def _drives(fusion: Any, objective: Any) -> bool:
    """Whether the fusion runs the text's encoder itself."""
    return getattr(fusion, "drives", None) == objective.text


class Anew:
    """Foretells by the model's own forward, from all tokens so far."""

    def __init__(self, model: Model, objective: Any, have: Have, rows: Tensor) -> None:
        self.model, self.objective = model, objective
        self.have = {want: x[rows] for want, x in have.items()}
        self.ids = torch.empty(len(rows), 0, dtype=torch.long, device=model.device)

    def next(self, ids: Tensor) -> Tensor:
        """The logits (R, V) of what follows further tokens (R,)."""
        self.ids = torch.cat([self.ids, ids[:, None]], 1)
        text, want = self.objective.text, Want(self.objective.name, "logits")
        batch = Batch([""] * len(ids), {text: {"ids": self.ids, "mask": torch.ones_like(self.ids, dtype=torch.bool)}})
        read = self.model(batch, [root for root in self.model.roots(want) if root.part == text])
        logits: Tensor = self.model(batch, [want], self.have | read)[want][:, -1]
        return logits

    def take(self, rows: Tensor) -> None:
        """Go on with some rows, in this order; one may be taken more than once."""
        self.ids, self.have = self.ids[rows], {want: x[rows] for want, x in self.have.items()}


class Stepwise:
    """Foretells from what the encoder of the text and the fusion keep of the tokens before."""

    def __init__(self, model: Model, objective: Any, have: Have, rows: Tensor, interleaved: Interleaved | None = None) -> None:
        self.model, self.objective = model, objective
        self.encoder, self.head = model.encoder[model.encoder_of(objective.text)], model.head[objective.name]
        self.fusion = dict(model.fusion).get(objective.joined)
        self.encoded = self.fusion is None or self.fusion.reads == "tokens"
        self.driven = _drives(self.fusion, objective)
        self.states: list[State] = [self.encoder.start()]
        if self.fusion is not None:
            names = [name for name in model.config.fusions[objective.joined]["inputs"] if name != objective.text]
            parts = {name: _part(have, name) for name in names}
            self.states.append(self.fusion.start(parts, interleaved) if interleaved else self.fusion.start(parts))
        for state in self.states:
            state.take(rows)

    def next(self, ids: Tensor) -> Tensor:
        """The logits (R, V) of what follows further tokens (R,)."""
        x = self.encoder.word(ids, self.states[0]) if self.driven else self.encoder.step(ids, self.states[0], self.encoded)
        if self.fusion is not None:
            x = self.fusion.step(x, self.states[1])
        logits: Tensor = self.head(x)[:, 0]
        return logits

    def take(self, rows: Tensor) -> None:
        """Go on with some rows, in this order; one may be taken more than once."""
        for state in self.states:
            state.take(rows)


def _part(have: Have, name: str) -> Encoded:
    """What is known of an input, as a fusion takes it."""
    given = {want.what: x for want, x in have.items() if want.part == name}
    tokens = given.get("tokens", given.get("embedded"))
    assert tokens is not None
    return Encoded(tokens, given["mask"], given.get("pooled", tokens[:, 0]))


@dataclass
class _Beams:
    """The texts that samples have begun.

    Args:
        ids: (B, K, tokens so far); scores: sums of log-probabilities (B, K), -inf where a beam is closed.
        open: how many beams of each sample are not closed, (B,).
    """

    ids: Tensor
    scores: Tensor
    open: Tensor

    def kept(self, samples: Tensor) -> _Beams:
        return _Beams(self.ids[samples], self.scores[samples], self.open[samples])


def search(
    writer: Stepwise | Anew, rows: Tensor, K: int, length: int, ends: tuple[int, int], prompts: Tensor | None = None
) -> list[list[tuple[float, tuple[int, ...]]]]:
    """Of each sample the mean log-probability and the ids of at most K texts, the best first; see `generate`.

    Args:
        writer: of the `rows` (R,), K of each sample.
        length: the most tokens of a text; ends: the start and the end token.
        prompts: what the text of each sample goes on from (samples, P); None: the start token.

    Raises:
        FloatingPointError: a logit is not finite.
    """
    samples, device = len(rows) // K, rows.device
    first = torch.tensor([0], device=device)
    prompts = torch.full((samples, 1), ends[0], device=device) if prompts is None else prompts
    P = prompts.size(1)
    given = prompts.repeat_interleave(K, 0)
    for place in range(P - 1):
        writer.next(given[:, place])
    beams = _Beams(
        given.view(samples, K, P),
        torch.full((samples, K), -torch.inf, device=device).index_fill(1, first, 0.0),
        torch.full((samples,), K, device=device),
    )
    there = torch.arange(samples, device=device)  # the number of each sample that is still being written
    found: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in range(samples)]
    for n in range(1, length - P + 1):
        logits = writer.next(beams.ids[:, :, -1].flatten())
        if not logits.isfinite().all():
            raise FloatingPointError("a probability is not finite")
        beams, source = _grown(beams, logits.float().log_softmax(-1).view(len(there), K, -1))
        over = (beams.scores > -torch.inf) & ((beams.ids[:, :, -1] == ends[1]) | (n == length - P))
        for b, k in over.nonzero().tolist():
            found[int(there[b])].append((float(beams.scores[b, k]) / n, tuple(beams.ids[b, k].tolist())))
        beams.scores = beams.scores.masked_fill(over, -torch.inf)
        beams.open = beams.open - over.sum(1)
        going = (beams.scores > -torch.inf).any(1).nonzero()[:, 0]
        if not len(going):
            break
        writer.take(source.view(len(there), K)[going].flatten())
        beams, there = beams.kept(going), there[going]
    return [sorted(texts, reverse=True) for texts in found]


def drawn(
    writer: Stepwise | Anew,
    rows: Tensor,
    K: int,
    length: int,
    ends: tuple[int, int],
    prompts: Tensor,
    sampling: Sampling,
    numbers: Sequence[int],
) -> list[list[tuple[float, tuple[int, ...]]]]:
    """As `search`, of K texts whose tokens are drawn; a score is of the model's probabilities, not of those that are drawn by.

    Args:
        numbers: of the samples, which the draws depend on.
    """
    samples, P = len(rows) // K, prompts.size(1)
    streams = [np.random.default_rng([sampling.seed, sampling.first + i, k]) for i in numbers for k in range(K)]
    ids = prompts.repeat_interleave(K, 0)
    for place in range(P - 1):
        writer.next(ids[:, place])
    scores, there = torch.zeros(len(rows), device=rows.device), torch.arange(len(rows), device=rows.device)
    found: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in range(samples)]
    for n in range(1, length - P + 1):
        logits = writer.next(ids[:, -1])
        if not logits.isfinite().all():
            raise FloatingPointError("a probability is not finite")
        draws = torch.tensor([streams[i].random() for i in there.tolist()], dtype=torch.float64)
        token = nucleus(logits.float(), draws, sampling)
        scores = scores + logits.float().log_softmax(-1).gather(1, token[:, None])[:, 0]
        ids = torch.cat([ids, token[:, None]], 1)
        over = (token == ends[1]) | (n == length - P)
        for i in over.nonzero()[:, 0].tolist():
            found[int(there[i]) // K].append((float(scores[i]) / n, tuple(ids[i].tolist())))
        going = (~over).nonzero()[:, 0]
        if not len(going):
            break
        writer.take(going)
        ids, scores, there = ids[going], scores[going], there[going]
    return [sorted(texts, reverse=True) for texts in found]


def nucleus(logits: Tensor, draws: Tensor, sampling: Sampling) -> Tensor:
    """The tokens (R,) that numbers in 0..1 (R,) draw by logits (R, V): of the smallest set of the likeliest whose probability
    reaches `top_p`."""
    device, logits, draws = logits.device, logits.cpu(), draws.cpu()  # not every device has float64
    whole = (logits.double() / sampling.temperature).softmax(-1)
    probabilities, tokens = torch.sort(whole, dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities.masked_fill(before >= sampling.top_p, 0.0)
    kept[:, 0] = probabilities[:, 0]
    reached = kept.cumsum(-1)
    at = torch.searchsorted(reached, (draws * reached[:, -1])[:, None], right=True)[:, 0]
    last = (kept > 0).sum(-1) - 1
    return tokens.gather(1, torch.minimum(at, last)[:, None])[:, 0].to(device)


def _grown(beams: _Beams, log_probabilities: Tensor) -> tuple[_Beams, Tensor]:
    """The likeliest continuations of the beams, by (B, K, V); and the row (B·K) that each continues."""
    B, K, V = log_probabilities.shape
    scores, places = (beams.scores[..., None] + log_probabilities).flatten(1).topk(K)
    closed = torch.arange(K, device=scores.device) >= beams.open[:, None]
    source = (torch.arange(B, device=scores.device)[:, None] * K + places // V).flatten()
    ids = torch.cat([beams.ids.flatten(0, 1)[source], (places % V).view(-1, 1)], 1).view(B, K, -1)
    return _Beams(ids, scores.masked_fill(closed, -torch.inf), beams.open), source
