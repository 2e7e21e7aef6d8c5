"""Masked modelling: some units of an input (words, patches, regions) are hidden, and are to be told from all that was left.

B rows, n units of an input, N tokens of its encoder, R hidden tokens of all rows, D width
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit import encoders
from mmkit.batch import Batch, Take, Want
from mmkit.config import Config
from mmkit.data.modalities import MODALITIES
from mmkit.errors import UserError, setting
from mmkit.losses.objective import Got, Objective, places_of


class Masked(Objective):
    """A sum over the hidden tokens of an input, read alone or as fused; a kind of it says what its head tells of them.

    Args:
        of: the input, or its tokens as fused, `FUSION.INPUT`.
        masked: share of the units of a row that is hidden, at least one; None: what is usual of the modality.
        readers: input -> its Reader.
    """

    whole, metric, reads = False, None, "tokens"

    def __init__(
        self,
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        masked: float | None = None,
        *,
        readers: Mapping[str, Any],
        targets: dict[str, Any] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(weight, share, of, name)
        if masked is not None and not 0 < masked <= 1:
            raise ValueError(f"masked is a share above 0 and at most 1, not {masked}")
        self.masked, self.readers, self.targets = masked, dict(readers), targets or {}
        self.input = str(of).rpartition(".")[2]

    @classmethod
    def learn(cls, table: dict[str, Any], data: Any, config: Config) -> dict[str, Any] | None:
        """{"grids": {input: [tokens before its patches, patches]}} of the inputs whose units are the grid of their encoder."""
        grids = {name: grid for name in cls.hidden_of(table, config) if (grid := grid_of(name, data, config))}
        return {"grids": grids} if grids else None

    @classmethod
    def hidden_of(cls, table: Mapping[str, Any], config: Config) -> list[str]:
        """The inputs that its version hides units of."""
        return [str(table.get("of")).rpartition(".")[2]]

    @property
    def reader(self) -> Any:
        return self.readers[self.input]

    @property
    def version(self) -> str:
        """What the version that it makes is called."""
        return self.name

    def alters(self) -> tuple[str, ...]:
        return (self.input,)

    def needs(self, model: Any) -> None:
        """Check that `of` gives the tokens of one input, and that units of it can be hidden.

        Raises:
            UserError: it does not, or they cannot.
        """
        path, where = f"loss.{self.name}.of", f"loss.{self.name}.of = {self.of}"
        if self.of in model.fusion:
            inputs = model.config.fusions[self.of]["inputs"]
            hint = " or ".join(setting(path, f"{self.of}.{name}") for name in inputs)
            raise UserError("what is hidden is of one input, not of all that are fused", where, hint)
        joined = str(self.of).rpartition(".")[0]
        if joined and self.input not in places_of(model, joined):
            kind = model.config.fusions[joined]["kind"]
            hint = setting(f"{model.config.fusion_path(joined)}.kind", "merged")
            raise UserError(f"{kind} fusion gives no tokens of {self.input}", where, hint)
        for name in self.alters():
            if not hasattr(self.readers[name], "units"):
                there = [each for each, reader in self.readers.items() if hasattr(reader, "units")]
                hint = " or ".join(setting(path, each) for each in there)
                raise UserError(f"no part of {name} can be hidden", where, hint)
            reader = self.readers[name]
            blank = reader.collate([reader.blank])
            reader.hide(blank, torch.zeros_like(reader.units(blank, self.grid(name)[1])), [random.Random()])

    def wants(self) -> tuple[Want, ...]:
        return (Want(self.name, "logits", self.version),)

    def corrupt(self, batch: Batch, draw: str, clean: Got) -> dict[str, Batch | Take]:
        """The version whose `inputs` are those that it hides units of, `hidden` being of the tokens of their encoders."""
        inputs, hidden = {}, {}
        for name in self.alters():
            if name in batch.nowhere:  # its encoder does not run, and stands for it with one token
                hidden[name] = batch.present[name].new_zeros(batch.rows, 1)
                continue
            reader, (before, units) = self.readers[name], self.grid(name)
            may = reader.units(batch.inputs[name], units)
            if (there := self.rows(batch)) is not None:
                may = may & there[:, None]
            rngs = [self.rng(draw, f"{name} {id}") for id in batch.ids]
            chosen = [self.chosen(name, row, rng) for row, rng in zip(may.tolist(), rngs, strict=True)]
            hides = torch.tensor(chosen, dtype=torch.bool, device=may.device).view_as(may)
            inputs[name] = reader.hide(batch.inputs[name], hides, rngs)
            hidden[name] = F.pad(hides, (before, 0))
        return {self.version: Batch(batch.ids, inputs, batch.present, nowhere=batch.nowhere, hidden=hidden)}

    def rows(self, batch: Batch) -> Tensor | None:
        """Which rows something is hidden of, bool (B,): those that have the input; None where all have it."""
        return batch.has(self.input)

    def chosen(self, name: str, may: list[bool], rng: random.Random) -> list[bool]:
        """Which of the n units of a row are hidden, of those that may be: each for itself, and at least one."""
        share = self.share_of(name)
        found = [can and rng.random() < share for can in may]
        if any(may) and not any(found):
            found[rng.choice([i for i, can in enumerate(may) if can])] = True
        return found

    def share_of(self, name: str) -> float:
        """The share of the units of an input that is hidden."""
        return self.masked or float(self.readers[name].masked)

    def hidden(self, batch: Batch) -> Tensor:
        """Which tokens of the input's encoder are hidden in a batch, bool (B, N)."""
        return batch.versions[self.version].hidden[self.input]  # type: ignore[union-attr]

    def hidden_units(self, batch: Batch) -> Tensor:
        """Which units of the input are hidden in a batch, bool (B, n)."""
        return self.hidden(batch)[:, self.grid(self.input)[0] :]

    def grid(self, name: str) -> tuple[int, int | None]:
        """Of an input the tokens of its encoder before its units, and how many units there are, where these are a grid."""
        before, units = self.targets.get("grids", {}).get(name, (0, None))
        return before, units

    def pick(self, read: Tensor, version: Batch | Take) -> Tensor:
        """The hidden tokens of all rows, row by row: (R, D); where nothing was hidden, all of them."""
        hidden = version.hidden.get(self.input) if isinstance(version, Batch) else None
        return read if hidden is None else read[hidden]

    def count(self, batch: Batch) -> Tensor:
        """The tokens that are hidden."""
        return self.hidden(batch).sum().float()


def has_grid(row: Any) -> bool:
    """Whether the units of a modality are the patches of its encoder."""
    return bool(getattr(getattr(row, "Reader", None), "grid", False))


def grid_of(name: str, data: Any, config: Config) -> list[int] | None:
    """Of an input whose units are the patches of its encoder: the tokens before them, and how many there are; else None."""
    if name not in config.input:
        return None
    one = config.input[name]
    row, spec = MODALITIES[str(one.modality)], config.spec(str(one.encoder))
    if not has_grid(row):
        return None
    reader = row.learn(spec, data, [str(one.column)], config.data.limit)[0]
    with torch.device("meta"):
        encoder = encoders.build(str(one.encoder), str(one.modality), config.encoder[str(one.encoder)], reader.given())
        blank = {key: torch.empty_like(x, device="meta") for key, x in reader.collate([reader.blank]).items()}
        tokens = encoder.eval()(**blank).tokens.size(1)
    # a square of them, behind what stands before: class token and registers, and DeiT's distillation token
    patches = math.isqrt(tokens - getattr(encoder, "prefix", 0)) ** 2
    return [tokens - patches, patches]
