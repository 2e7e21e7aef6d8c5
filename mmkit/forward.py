"""The answers of a model about one batch, each computed once.

B rows, N tokens, D width of an encoder or fusion, d width of the shared space
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit.batch import Batch, Take, Want
from mmkit.layers import Encoded

PROJECTED, ENCODED, JOINED = ("vector", "vectors"), ("pooled", "tokens", "mask", "embedded"), ("pooled", "tokens", "mask")


class Answers:
    """The answers about one batch, each computed once."""

    def __init__(self, model: Any, batch: Batch, wants: list[Want], found: dict[Want, Tensor]) -> None:
        self.model, self.batch, self.found = model, batch, found
        self.known = bool(found)
        # of each input and version all that will be asked for: what lies behind the blocks is not computed for nothing
        self.asked: dict[tuple[str, str], set[str]] = defaultdict(set)
        for want in wants:
            for root in model.roots(want):
                what = {"vector": "pooled", "vectors": "tokens"}.get(root.what, root.what)
                self.asked[root.part, root.of if batch.holds(root) else ""].add(what)

    def __call__(self, want: Want) -> Tensor:
        if want not in self.found:
            if want.part in self.model.inputs:
                self._input(want)
            elif want.part in self.model.head:
                self._head(want)
            else:
                self._fuse(want.part.partition(".")[0], want.of)
        return self.found[want]

    def _head(self, want: Want) -> None:
        objective = self.model.loss[want.part]
        read = self(Want(objective.of, objective.reads, want.of))
        shown = objective.pick(read, self.batch.versions.get(want.of, self.batch))
        self.found[want] = self.model.head[want.part](shown)

    def _input(self, want: Want) -> None:
        version = self.batch.versions[want.of] if want.of else self.batch
        if isinstance(version, Take):
            self.found[want] = self(want._replace(of=""))[version.index[want.part]]
        elif want.of and not self.batch.holds(want):
            self.found[want] = self(want._replace(of=""))
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
            asked, found = self.asked[name, want.of], {}
            if "embedded" in asked:  # by a fusion that drives its blocks
                found["embedded"], found["mask"] = encoder.words(**tensors)
            if asked - {"embedded", "mask"} or not found:
                found |= encoder(**tensors)._asdict()
        for what, tensor in found.items():
            self.found.setdefault(want._replace(what=what), _blanked(tensor, batch, name))

    def _fuse(self, fusion: str, of: str) -> None:
        model, parts = self.model, {}
        for name in model.config.fusions[fusion]["inputs"]:
            read = {what: self(Want(name, what, of)) for what in model.read_by(fusion, name)}
            tokens = read.get("tokens", read.get("embedded"))
            pooled = read.get("pooled")
            filled = tokens if tokens is not None else pooled[:, None]  # type: ignore[index]
            parts[name] = Encoded(filled, read["mask"], pooled if pooled is not None else filled[:, 0])
        version = self.batch.versions.get(of)
        chain = version.interleaved if isinstance(version, Batch) else None
        fused = model.fusion[fusion](parts) if chain is None else model.fusion[fusion](parts, chain)
        for what, tensor in fused._asdict().items():
            self.found.setdefault(Want(fusion, what, of), tensor)
        for name, span in model.fusion[fusion].spans(parts).items():
            self.found.setdefault(Want(f"{fusion}.{name}", "tokens", of), fused.tokens[:, span])
            self.found.setdefault(Want(f"{fusion}.{name}", "mask", of), fused.mask[:, span])


def _blanked(x: Tensor, batch: Batch, name: str) -> Tensor:
    """x (B, …) with zeros (False, of a mask) in the rows that lack an input."""
    there = batch.has(name)
    if there is None:
        return x
    return torch.where(there.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros((), dtype=x.dtype, device=x.device))
