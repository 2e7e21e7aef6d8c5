"""A model: encoders, projections into one space, a fusion, heads and losses, as the configuration names them.

B rows, N tokens, D width of an encoder or fusion, d width of the shared space
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit import encoders, fusion, losses
from mmkit.batch import Batch, Take, Want
from mmkit.config import Config, Input, Project
from mmkit.errors import ConfigError, UserError, nearest, setting
from mmkit.fusion import FUSED
from mmkit.layers import Encoded, Stack
from mmkit.losses.objective import Objective

PROJECTED, ENCODED = ("vector", "vectors"), ("pooled", "tokens", "mask", "embedded")


def projection(name: str, width: int, spec: Project) -> nn.Module:
    """From an encoder's vector (B, width) to the shared space (B, dim)."""
    assert spec.dim is not None
    kind = projection_kind(name, spec)
    if kind == "mlp":
        hidden = spec.hidden or spec.dim
        first = [nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Dropout(spec.dropout)]
        return nn.Sequential(*first, nn.Linear(hidden, spec.dim))
    if kind == "none":
        return nn.Identity()
    return nn.Linear(width, spec.dim, bias=False)


def projection_kind(name: str, spec: Project) -> str | None:
    """What `project.kind`, one word or a table by encoder, says of an encoder."""
    return spec.kind.get(name, "linear") if isinstance(spec.kind, dict) else spec.kind


def check_widths(widths: dict[str, int], spec: Project) -> None:
    """Check that encoders without a projection are as wide as the shared space.

    Raises:
        ConfigError: one is not.
    """
    bare = {name: width for name, width in widths.items() if projection_kind(name, spec) == "none"}
    for name, width in bare.items():
        if width != spec.dim:
            what = f"the {name} encoder gives {width} values, and project.kind is none"
            linear = setting("project.kind", "linear")
            hint = linear if len(set(bare.values())) > 1 else f"{setting('project.dim', width)}, or {linear}"
            raise ConfigError(what, "project", where=f"project.dim = {spec.dim}", hint=hint)


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
        facts = {"names": tuple(self.inputs)}
        made = {n: losses.build(n, t, facts | {"targets": self.targets.get(n)}) for n, t in config.loss.items()}
        self.loss: Any = nn.ModuleDict(made)
        self.fusion = self._fusion()
        shared = [self.inputs[name].encoder for name in self.embedded]
        widths: dict[str, Any] = {name: e.dim for name, e in self.encoder.items() if name in shared}
        check_widths(widths, config.project)
        self.project = nn.ModuleDict({name: projection(name, width, config.project) for name, width in widths.items()})
        heads = {n: head for n, loss in made.items() if loss.of and (head := loss.head(self._width(loss)))}
        self.head = nn.ModuleDict(heads)
        # convolutions are faster on interleaved channels, and no result changes beyond rounding
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _fusion(self) -> Any:
        table = self.config.fusion
        if not table:
            return None
        names = table["inputs"]
        for name in names:
            if name not in self.inputs:
                raise ConfigError(f"fusion of {name!r}, which is no input", "fusion.inputs", hint=nearest(name, self.inputs))
        encoder = {name: self.encoder[self.inputs[name].encoder] for name in names}
        for name, one in encoder.items():
            if fusion.fusion_class(table).reads == "embedded" and not hasattr(one, "embed"):
                what = f"{table['kind']} fusion begins before the blocks of the {name} encoder, whose kind has none of its own"
                raise ConfigError(what, "fusion.kind", hint=setting("fusion.kind", "merged"))
        language = [name for name in names if self.config.is_language(name)]
        return fusion.build(table, {"widths": {name: one.dim for name, one in encoder.items()}, "language": language})

    def _width(self, loss: Objective) -> int:
        if loss.of == FUSED:
            if self.fusion is None:
                path = f"loss.{loss.name}.of"
                raise ConfigError("there is no fusion", path, where=f"{path} = {FUSED}", hint=setting("fusion.kind", "merged"))
            return self.fusion.dim
        if loss.of not in self.inputs:
            raise ConfigError(f"no input {loss.of!r}", f"loss.{loss.name}.of", hint=nearest(str(loss.of), [*self.inputs, FUSED]))
        return self.encoder[self.inputs[loss.of].encoder].dim

    def forward(self, batch: Batch, wants: Iterable[Want], have: Mapping[Want, Tensor] | None = None) -> dict[Want, Tensor]:
        """Answer `wants` about a batch and its versions; nothing is computed twice.

        Args:
            have: what is known already; where it is given no encoder runs.

        Raises:
            UserError: nothing answers one of them.
        """
        wants = list(wants)
        self.check(wants)
        answers = _Answers(self, batch, wants, dict(have or {}))
        return {want: answers(want) for want in wants}

    def check(self, wants: Iterable[Want]) -> None:
        """Check that the model can answer.

        Raises:
            UserError: it cannot; the want is named.
        """
        for want in wants:
            if want.part in self.inputs:
                known = ENCODED + (PROJECTED if self.encoder_of(want.part) in self.project else ())
            elif want.part == FUSED and self.fusion is not None:
                known = ("pooled", "tokens", "mask")
            else:
                known = ("logits",) if want.part in self.head else ()
            if want.what not in known:
                parts = [*self.inputs, *([FUSED] if self.fusion is not None else []), *self.head]
                hint = f"{want.part} gives: {', '.join(known)}" if known else f"there are: {', '.join(parts)}"
                raise UserError(f"nothing in the model answers {want}", "a loss wants it", hint)

    def roots(self, want: Want) -> list[Want]:
        """What of the encoders an answer is made of; itself, where an encoder and its projection give it."""
        if want.part in self.inputs:
            return [want]
        if want.part == FUSED:
            names = self.config.fusion["inputs"]
            return [Want(name, what, want.of) for name in names for what in self._read()]
        return self.roots(Want(self.loss[want.part].of, "pooled", want.of))

    def _read(self) -> tuple[str, ...]:
        """What the fusion reads of each input."""
        return {"tokens": ("tokens", "mask", "pooled"), "embedded": ("embedded", "mask"), "pooled": ("pooled", "mask")}[
            self.fusion.reads
        ]

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

    def probabilities(self, cosine: Tensor) -> Tensor:
        """Of each candidate on the last axis by its cosine: softmax or sigmoid, as trained."""
        with torch.no_grad():
            return self.pairing.probabilities(cosine.to(self.device)).cpu()


class _Answers:
    """The answers about one batch, each computed once."""

    def __init__(self, model: Model, batch: Batch, wants: list[Want], found: dict[Want, Tensor]) -> None:
        self.model, self.batch, self.found = model, batch, found
        self.known = bool(found)
        # of each input and version all that will be asked for: what lies behind the blocks is not computed for nothing
        self.asked: dict[tuple[str, str], set[str]] = defaultdict(set)
        for want in wants:
            for root in model.roots(want):
                what = {"vector": "pooled", "vectors": "tokens"}.get(root.what, root.what)
                version = root.of if isinstance(batch.versions.get(root.of), Batch) else ""
                self.asked[root.part, version].add(what)

    def __call__(self, want: Want) -> Tensor:
        if want not in self.found:
            if want.part == FUSED:
                self._fuse(want.of)
            elif want.part in self.model.inputs:
                self._input(want)
            else:
                read = self(Want(self.model.loss[want.part].of, "pooled", want.of))
                self.found[want] = self.model.head[want.part](read)
        return self.found[want]

    def _input(self, want: Want) -> None:
        version = self.batch.versions[want.of] if want.of else self.batch
        if isinstance(version, Take):
            self.found[want] = self(want._replace(of=""))[version.index[want.part]]
        elif want.what in PROJECTED:
            source = self(want._replace(what="pooled" if want.what == "vector" else "tokens"))
            vectors = F.normalize(self.model.project[self.model.encoder_of(want.part)](source).float(), dim=-1)
            self.found[want] = _blanked(vectors, version, want.part)
        elif self.known:
            raise RuntimeError(f"{want} is not among what the encoders gave")
        else:
            self._encode(want, version)

    def _encode(self, want: Want, batch: Batch) -> None:
        """Run an encoder once; what it gives of rows without its input is 0, and no reader may look there."""
        name = want.part
        tensors, encoder = batch.inputs[name], self.model.encoder[self.model.encoder_of(name)]
        if name in batch.nowhere:
            given = {"pooled": (encoder.dim,), "tokens": (1, encoder.dim), "embedded": (1, encoder.dim)}
            found = {what: torch.zeros(batch.rows, *size, device=self.model.device) for what, size in given.items()}
            found["mask"] = torch.zeros(batch.rows, 1, dtype=torch.bool, device=self.model.device)
        elif "pooled" in tensors:  # the encoder ran before
            found = {what: tensors[what] for what in ("pooled", "tokens", "mask") if what in tensors}
        elif hasattr(encoder, "embed"):
            x, mask = encoder.embed(**tensors)
            found = {"embedded": x, "mask": mask}
            if {"pooled", "tokens"} & self.asked[name, want.of]:
                found |= encoder.encode(x, mask)._asdict()
        else:
            found = encoder(**tensors)._asdict()
        for what, tensor in found.items():
            self.found.setdefault(want._replace(what=what), _blanked(tensor, batch, name))

    def _fuse(self, of: str) -> None:
        fusion, parts = self.model.fusion, {}
        for name in self.model.config.fusion["inputs"]:
            read = {what: self(Want(name, what, of)) for what in self.model._read()}
            tokens = read.get("tokens", read.get("embedded"))
            pooled = read.get("pooled")
            filled = tokens if tokens is not None else pooled[:, None]  # type: ignore[index]
            parts[name] = Encoded(filled, read["mask"], pooled if pooled is not None else filled[:, 0])
        for what, tensor in fusion(parts)._asdict().items():
            self.found.setdefault(Want(FUSED, what, of), tensor)


def _blanked(x: Tensor, batch: Batch, name: str) -> Tensor:
    """x (B, …) with zeros (False, of a mask) in the rows that lack an input."""
    there = batch.has(name)
    if there is None:
        return x
    return torch.where(there.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros((), dtype=x.dtype, device=x.device))
