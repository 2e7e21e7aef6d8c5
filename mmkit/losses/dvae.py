"""The loss of a discrete VAE: how well pictures are made anew of codes that are drawn, and how far these are from uniform.

B rows, N places of a picture, K codes, S side in pixels
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit.batch import Batch, Take, Want
from mmkit.data.modalities import MODALITIES
from mmkit.durations import duration, readable
from mmkit.encoders.dvae import inside, outside
from mmkit.errors import UserError, setting
from mmkit.losses.codebook import fitted
from mmkit.losses.objective import Got, Objective

NOISE = "noise"  # what stands in a version of a batch for what is drawn of each row


def logit_laplace(location: Tensor, log_scale: Tensor, pixels: Tensor) -> Tensor:
    """The negative log-likelihood of each value in 0..1, both excluded, whose logit is Laplace distributed (arXiv:2102.12092,
    appendix A.3, equation 2); all of one shape."""
    far = (torch.logit(pixels) - location).abs() * (-log_scale).exp()
    return math.log(2) + log_scale + (pixels * (1 - pixels)).log() + far


def from_uniform(logits: Tensor) -> Tensor:
    """The KL divergence of each distribution (..., K) from the uniform one, in nats: (...)."""
    log_q = logits.log_softmax(-1)
    return (log_q.exp() * log_q).sum(-1) + math.log(logits.size(-1))


def eased(begin: float, end: float, share: float) -> float:
    """A cosine from `begin` to `end`, which it has reached at a share of 1."""
    return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


class Dvae(Objective):
    """The negative evidence lower bound by the logit-Laplace likelihood and the Gumbel-softmax relaxation (arXiv:1611.01144),
    divided by the values of a picture (arXiv:2102.12092, appendix A). In evaluation each place has its likeliest code.

    Args:
        of: an input whose encoder has codes.
        kl: the weight of the divergence from the uniform distribution over the codes, at the beginning and from `kl_over` on.
        temperature: of the relaxation, at the beginning and from `temperature_over` on; between them both follow a cosine.
        kl_over, temperature_over: durations.
        squared: the weight of the squared error of the logits beside the likelihood, 0 in the paper. The location of a Laplace
            distribution is a median, which in a short run sees nothing of the edges that few pictures have at a place.
        k_means: the codes begin as those of a k-means over patches of training pictures, which takes an encoder with `linear`.
        config: of the run; readers, encoders: input -> its own; targets: see `learn`.
    """

    whole = False
    metric = "reconstruction"
    step: Tensor

    def __init__(
        self,
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        kl: Sequence[float] = (0.0, 6.6),
        kl_over: int | str = 5000,
        temperature: Sequence[float] = (1.0, 0.0625),
        temperature_over: int | str = 150000,
        squared: float = 0.0,
        k_means: bool = False,
        *,
        config: Any,
        readers: Mapping[str, Any],
        encoders: Mapping[str, Any],
        targets: dict[str, Any] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(weight, share, of, name)
        if len(kl) != 2 or len(temperature) != 2 or min(temperature) <= 0 or min(kl) < 0:
            raise ValueError(f"kl {list(kl)} and temperature {list(temperature)} are two numbers each, from 0 and above 0")
        for key, value in (("kl_over", kl_over), ("temperature_over", temperature_over)):
            readable(f"loss.{name}.{key}", value)
        if squared < 0:
            raise ValueError(f"squared {squared} is a weight, 0 or more")
        self.squared = squared
        self.kl, self.temperature = (kl, kl_over), (temperature, temperature_over)
        self.input, self.train_keys = str(of), config.train
        # in a list: its parameters are the encoder's
        encoder: Any = encoders.get(self.input)
        reader: Any = readers.get(self.input)
        self.encoder, self.reader = [encoder], reader
        self.register_buffer("step", torch.zeros(()))
        self.seen: dict[str, Tensor] = {}
        if targets and getattr(self.encoder[0], "past", None) is not None:
            self.encoder[0].begin(torch.tensor(targets["centres"]))

    @classmethod
    def learn(cls, table: dict[str, Any], data: Any, config: Any) -> dict[str, Any] | None:
        """With `k_means` {"centres": (k, p)}, k being the codes of the encoder or fewer.

        Raises:
            UserError: the encoder has no linear way, or the training pictures have too few patches for so many codes.
        """
        if not table.get("k_means"):
            return None
        name, path = str(table.get("of")), f"loss.{next(n for n, each in config.loss.items() if each is table)}"
        one = config.input[name]
        keys, row = config.encoder[str(one.encoder)], MODALITIES[str(one.modality)]
        if not keys.get("linear"):
            hint = setting(f"encoder.{one.encoder}.linear", True)
            raise UserError("k_means takes an encoder with a linear way past its blocks", f"{path}.k_means", hint)
        reader, _ = row.learn(config.spec(str(one.encoder)), data, [str(one.column)], config.data.limit)
        patch, rows = keys["patch"], data.rows("train", [str(one.column)], config.data.limit)
        items = (item for each in rows for item in row.items(each[str(one.column)]))
        n = (reader.given()["size"] // patch) ** 2
        return {"centres": fitted(reader, items, n, keys["codes"], f"encoder.{one.encoder}.codes", patch)}

    def needs(self, model: Any) -> None:
        """Its encoder must have codes."""
        if not hasattr(self.encoder[0], "decode"):
            hint = setting(f"encoder.{model.encoder_of(self.input)}.kind", "dvae") if self.input in model.inputs else ""
            raise UserError(f"the encoder of {self.input} has no codes", f"loss.{self.name}.of = {self.of}", hint)

    def wants(self) -> tuple[Want, ...]:
        return (Want(self.input, "tokens"),)

    def alters(self) -> tuple[str, ...]:
        return (self.input,)  # it reads the pixels: features of a still encoder cannot stand for them

    def corrupt(self, batch: Batch, draw: str, clean: Got) -> dict[str, Batch | Take]:
        """The Gumbel noise of each row, (B, N, K)."""
        encoder, device = self.encoder[0], batch.inputs[self.input]["pixels"].device
        shape = encoder.grid**2, encoder.dim
        drawn = [torch.empty(shape).exponential_(generator=self._chance(draw, id)) for id in batch.ids]
        noise = -torch.stack(drawn).clamp_min(1e-20).log()
        return {self.version: Batch(batch.ids, {self.version: {NOISE: noise.to(device)}})}

    def _chance(self, draw: str, id: str) -> torch.Generator:
        return torch.Generator().manual_seed(self.rng(draw, id).getrandbits(63))

    @property
    def version(self) -> str:
        return f"{NOISE} of {self.name}"

    def count(self, batch: Batch) -> Tensor:
        there = batch.has(self.input)
        return torch.tensor(float(batch.rows)) if there is None else there.sum().float()

    def score(self, got: Got, batch: Batch) -> Tensor:
        logits = got[self.wants()[0]].float()
        noise, picture = batch.versions[self.version].inputs[self.version][NOISE], self.pictures(batch)  # type: ignore[union-attr]
        if (there := batch.has(self.input)) is not None:
            logits, noise, picture = logits[there], noise[there], picture[there]
        if self.training:
            weights = ((logits + noise) / self.now(self.temperature)).softmax(-1)
        else:
            weights = F.one_hot(logits.argmax(-1), logits.size(-1)).float()
        location, log_scale = self.encoder[0].decode(weights)
        unlikely = logit_laplace(location, log_scale, inside(picture)).sum()
        if self.squared:
            unlikely = unlikely + self.squared * (inside(picture).logit() - location).square().sum()
        far = from_uniform(logits)
        if self.training:
            self._see(logits, far, location, picture)
        weight = self.now(self.kl) if self.training else self.kl[0][1]
        return (unlikely + weight * far.sum()) / max(1, picture[:1].numel())

    def pictures(self, batch: Batch) -> Tensor:
        """The pictures of a batch, (B, 3, S, S) in 0..1."""
        encoder = self.encoder[0]
        patches = self.reader.patches(batch.inputs[self.input], encoder.grid**2, encoder.patch)
        return patches.unflatten(1, (encoder.grid, encoder.grid)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)

    def now(self, schedule: tuple[Sequence[float], int | str]) -> float:
        """The value of a schedule at this step."""
        (begin, end), over = schedule
        keys = self.train_keys
        steps = keys.steps if isinstance(keys.steps, int) else 1  # before the length of a run is known it is at its first step
        length = duration(over, keys.batch_size or 1, (keys.batch_size or 1) * steps, steps)
        return eased(begin, end, float(self.step) / length)

    @torch.no_grad()
    def _see(self, logits: Tensor, far: Tensor, location: Tensor, picture: Tensor) -> None:
        found = {"uses": F.one_hot(logits.argmax(-1), logits.size(-1)).sum((0, 1)), "kl": far.mean(1).sum()}
        found |= {"mse": (outside(location.sigmoid()) - picture).square().mean((1, 2, 3)).sum()}
        found |= {"rows": torch.tensor(float(len(logits)))}
        self.seen = {key: self.seen.get(key, 0) + value for key, value in found.items()}

    def after_step(self) -> None:
        self.step += 1

    def log(self) -> dict[str, float]:
        """What was seen since the last line: the codes that were the likeliest anywhere, and as how many equally frequent ones
        they count; the error of what is relaxed, the divergence of a place in nats; and where the schedules are."""
        values = {"temperature": self.now(self.temperature), "kl_weight": self.now(self.kl)}
        if self.seen and (rows := float(self.seen["rows"])):
            values |= {"kl": float(self.seen["kl"]) / rows, "mse": float(self.seen["mse"]) / rows}
            values |= usage(self.seen["uses"])
        self.seen = {}
        return values


def usage(counts: Tensor) -> dict[str, float]:
    """How many codes are used by how often each is, (K,): `codes_used`, and `code_perplexity`, exp of their entropy."""
    counts = counts.cpu().double()  # not every device has float64
    share = counts[counts > 0] / counts.sum()
    return {"codes_used": float(len(share)), "code_perplexity": float((-(share * share.log()).sum()).exp())}
