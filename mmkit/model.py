"""A model: encoders, projections into one space, a fusion, heads and losses, as the configuration names them.

B rows, N tokens, D width of an encoder or fusion, d width of the shared space
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmkit import encoders, fusion, losses
from mmkit.batch import Batch, Want
from mmkit.config import FUSED, Config, Input
from mmkit.errors import ConfigError, UserError, nearest, setting
from mmkit.forward import ENCODED, JOINED, PROJECTED, Answers
from mmkit.layers import Stack
from mmkit.losses.objective import Objective
from mmkit.project import check_widths, projection


def build_encoders(config: Config, readers: Mapping[str, Any]) -> nn.ModuleDict:
    """The encoders of `config` by name, as they begin.

    Args:
        readers: encoder -> the Reader of its modality, which knows the facts of its input.
    """
    found = {n: encoders.build(n, config.modality_of(n), table, readers[n].given()) for n, table in config.encoder.items()}
    return nn.ModuleDict(found)


class Model(nn.Module):
    """Everything that learns, and how to read what it takes.

    `forward` answers everything that the losses want of a batch in one call.

    Args:
        config: fully resolved.
        readers: encoder -> the Reader of its modality; see `mmkit.data.modalities`.
        targets: loss -> what it learnt of the training rows; see `Objective.learn`.

    Attributes:
        name: as the user typed it; folder: the run folder or None; hash: of the weights.
    """

    def __init__(self, config: Config, readers: Mapping[str, Any], targets: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.config, self.readers, self.targets = config, dict(readers), dict(targets or {})
        self.name, self.hash = "", ""
        self.folder: Path | None = None
        self.inputs: dict[str, Input] = config.input
        self.encoder: Any = build_encoders(config, readers)
        facts = {"config": config, "names": tuple(self.inputs), "readers": {n: self.reader(n) for n in self.inputs}}
        facts["encoders"] = {name: self.encoder[self.encoder_of(name)] for name in self.inputs}
        made = {n: losses.build(n, t, facts | {"targets": self.targets.get(n)}) for n, t in config.loss.items()}
        self.loss: Any = nn.ModuleDict(made)
        self.fusion: Any = nn.ModuleDict({name: self._fusion(name, table) for name, table in config.fusions.items()})
        shared = [self.inputs[name].encoder for name in self.embedded]
        widths: dict[str, Any] = {name: e.dim for name, e in self.encoder.items() if name in shared}
        check_widths(widths, config.project)
        self.project = nn.ModuleDict({name: projection(name, width, config.project) for name, width in widths.items()})
        heads = {n: head for n, loss in made.items() if loss.of and (head := loss.head(self._width(loss)))}
        self.head = nn.ModuleDict(heads)
        # convolutions are faster on interleaved channels, and no result changes beyond rounding
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _fusion(self, own: str, table: dict[str, Any]) -> Any:
        names, path = table["inputs"], self.config.fusion_path(own)
        for name in names:
            if name not in self.inputs:
                raise ConfigError(f"fusion of {name!r}, which is no input", f"{path}.inputs", hint=nearest(name, self.inputs))
        encoder = {name: self.encoder[self.inputs[name].encoder] for name in names}
        for name, one in encoder.items():
            if fusion.fusion_class(table).reads == "embedded" and not hasattr(one, "embed"):
                what = f"{table['kind']} fusion begins before the blocks of the {name} encoder, whose kind has none of its own"
                raise ConfigError(what, f"{path}.kind", hint=setting(f"{path}.kind", "merged"))
        language = [name for name in names if self.config.is_language(name)]
        facts = {"widths": {name: one.dim for name, one in encoder.items()}, "language": language, "encoders": encoder}
        given = {name: self.reader(name).given() for name in language}
        facts["contexts"] = {name: each["context"] for name, each in given.items() if "context" in each}
        facts["times"] = {name: one.times for name, one in encoder.items() if hasattr(one, "times")}
        facts["grids"] = {name: one.grid for name, one in encoder.items() if hasattr(one, "grid")}
        return fusion.build(table, facts)

    def _width(self, loss: Objective) -> int:
        of, path = str(loss.of), f"loss.{loss.name}.of"
        if (joined := of.partition(".")[0]) in self.fusion:
            return self.fusion[joined].dim
        if of == FUSED:
            raise ConfigError("there is no fusion", path, where=f"{path} = {FUSED}", hint=setting("fusion.kind", "merged"))
        if of not in self.inputs:
            raise ConfigError(f"no input {of!r}", path, hint=nearest(of, [*self.inputs, *(self.fusion or [FUSED])]))
        return self.encoder[self.inputs[of].encoder].dim

    def forward(self, batch: Batch, wants: Iterable[Want], have: Mapping[Want, Tensor] | None = None) -> dict[Want, Tensor]:
        """Answer `wants` about a batch and its versions; nothing is computed twice.

        Args:
            have: what is known already; where it is given no encoder runs.

        Raises:
            UserError: nothing answers one of them.
        """
        wants = list(wants)
        self.check(wants)
        answers = Answers(self, batch, wants, dict(have or {}))
        return {want: answers(want) for want in wants}

    def check(self, wants: Iterable[Want]) -> None:
        """Check that the model can answer.

        Raises:
            UserError: it cannot; the want is named.
        """
        for want in wants:
            if want.part in self.inputs:
                known = ENCODED + (PROJECTED if self.encoder_of(want.part) in self.project else ())
            elif want.part in self.fusion:
                known = JOINED
            elif (parts := want.part.split("."))[0] in self.fusion and parts[1:] and parts[1] in self._inputs_of(parts[0]):
                known = ("tokens", "mask")
            else:
                known = ("logits",) if want.part in self.head else ()
            if want.what not in known:
                there = ", ".join([*self.inputs, *self.fusion, *self.head])
                hint = f"{want.part} gives: {', '.join(known)}" if known else f"there are: {there}"
                raise UserError(f"nothing in the model answers {want}", "a loss wants it", hint)

    def roots(self, want: Want) -> list[Want]:
        """What of the encoders an answer is made of; itself, where an encoder and its projection give it."""
        if want.part in self.inputs:
            return [want]
        if want.part in self.head:
            objective = self.loss[want.part]
            return self.roots(Want(objective.of, objective.reads, want.of))
        joined = want.part.partition(".")[0]
        return [Want(name, what, want.of) for name in self._inputs_of(joined) for what in self.read_by(joined, name)]

    def _inputs_of(self, joined: str) -> list[str]:
        return list(self.config.fusions[joined]["inputs"])

    def read_by(self, joined: str, name: str) -> tuple[str, ...]:
        """What a fusion reads of one of its inputs."""
        fused = self.fusion[joined]
        reads = {"tokens": ("tokens", "mask", "pooled"), "embedded": ("embedded", "mask"), "pooled": ("pooled", "mask")}
        return reads["embedded" if getattr(fused, "drives", None) == name else fused.reads]

    def train(self, mode: bool = True) -> Model:
        """As of every module, but what does not learn stays in eval mode: no dropout, no running statistics."""
        super().train(mode)
        for module in self.modules() if mode else ():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()
        return self

    def made_of(self, name: str) -> list[Any]:
        """What an encoder's vectors depend on beside the weights, JSON: its keys and how its input is made."""
        table = {k: v for k, v in self.config.encoder[name].items() if k not in ("from", "lr_factor")}
        return [table, self.readers[name].made_of()]

    @cached_property
    def made_of_hash(self) -> str:
        """Of `made_of` all encoders."""
        text = json.dumps([[name, *self.made_of(name)] for name in self.encoder], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass instead of keeping them (arXiv:1604.06174)."""
        for module in self.modules():
            if isinstance(module, Stack):
                module.checkpoint = True
            elif getattr(module, "supports_gradient_checkpointing", False):
                # renamed within transformers 5, where the old name warns
                enable: Any = getattr(module, "activation_checkpointing_enable", module.gradient_checkpointing_enable)
                enable({"use_reentrant": False})

    def wants(self) -> list[Want]:
        """What the losses want of a batch."""
        return list(dict.fromkeys(want for loss in self.loss.values() for want in loss.wants()))

    def clean_wants(self) -> list[Want]:
        """Those of them that no objective has to make a version for."""
        return [want for want in self.wants() if not want.of]

    @cached_property
    def embedded(self) -> tuple[str, ...]:
        """The inputs that reach the shared space."""
        wanted = {want.part for want in self.wants() if want.what in PROJECTED}
        return tuple(name for name in self.inputs if name in wanted)

    @cached_property
    def tokenwise(self) -> bool:
        """Items are compared token by token, and not by one vector each."""
        wanted = {want.what for want in self.wants() if want.what in PROJECTED}
        return wanted == {"vectors"}

    @property
    def pairing(self) -> Any:
        """The first loss of pairs, which turns cosines into probabilities; None where there is none."""
        return next((loss for loss in self.loss.values() if hasattr(loss, "pairs")), None)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Of the inputs, each once."""
        return tuple(dict.fromkeys(str(one.modality) for one in self.inputs.values()))

    @property
    def dim(self) -> int:
        assert self.config.project.dim is not None
        return self.config.project.dim

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @cached_property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def encoder_of(self, name: str) -> str:
        """The encoder that reads an input."""
        return str(self.inputs[name].encoder)

    def reader(self, name: str) -> Any:
        """The Reader of an input."""
        return self.readers[self.encoder_of(name)]

    def probabilities(self, cosine: Tensor, pair: tuple[str, str] | None = None) -> Tensor:
        """Of each candidate on the last axis by its cosine: softmax or sigmoid, as trained; `pair` names the inputs."""
        with torch.no_grad():
            return self.pairing.probabilities(cosine.to(self.device), pair).cpu()
