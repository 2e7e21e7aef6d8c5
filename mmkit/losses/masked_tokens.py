"""Masked modelling whose targets are tokens: words by their ids, patches by the codes of a codebook.

B rows, n units of an input, R hidden tokens of all rows, V tokens there are, D width
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.batch import Batch
from mmkit.config import Config
from mmkit.data.modalities import MODALITIES
from mmkit.errors import UserError, setting
from mmkit.files import stable_hash
from mmkit.losses.codebook import Centres, Dvae, fitted
from mmkit.losses.masked import Masked, has_grid
from mmkit.losses.objective import Got

LEAST, NARROWEST = 16 / 196, 0.3  # of a block: its share of the patches, and how much longer than wide (BEiT, algorithm 1)
TRIES = 10


class MaskedTokens(Masked):
    """Cross-entropy of a head over the tokens there are, for each hidden one.

    Args:
        of, masked: as of `Masked`.
        blocks: patches are hidden in rectangles (BEiT, algorithm 1), else each for itself.
        codes: of the k-means that is fitted to patches of the training pictures.
        codebook: folder of a FlavaImageCodebook, whose 8,192 codes are taken instead.
    """

    def __init__(
        self,
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        masked: float | None = None,
        blocks: bool = True,
        codes: int = 64,
        codebook: str | None = None,
        *,
        readers: Mapping[str, Any],
        targets: dict[str, Any] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(of, weight, share, masked, readers=readers, targets=targets, name=name)
        if codes < 2:
            raise ValueError(f"codes tell patches apart: 2 or more, not {codes}")
        self.blocks, self.codes, self.path = blocks, codes, codebook

    @classmethod
    def learn(cls, table: dict[str, Any], data: Any, config: Config) -> dict[str, Any] | None:
        """As of `Masked`; of an input of patches also {"centres": (k, p)}, of k-means over those of the training rows, or
        {"codes": k} of the codebook that is named.

        Raises:
            UserError: `of` is nothing that this kind hides, or its patches are too few for the codes.
        """
        name, path = str(table.get("of")).rpartition(".")[2], f"loss.{name_of(table, config)}"
        cls.check(table, name, path, data, config)
        found = super().learn(table, data, config) or {}
        if name not in found.get("grids", {}):
            return found or None
        if table.get("codebook"):
            return found | {"codes": Dvae(table["codebook"]).size}
        one, limit = config.input[name], config.data.limit
        row, column = MODALITIES[str(one.modality)], str(one.column)
        reader, _ = row.learn(config.spec(str(one.encoder)), data, [column], limit)
        items = (item for each in data.rows("train", [column], limit) for item in row.items(each[column]))
        centres = fitted(reader, items, found["grids"][name][1], table.get("codes", 64), f"{path}.codes")
        return found | {"centres": centres}

    @classmethod
    def check(cls, table: dict[str, Any], name: str, path: str, data: Any, config: Config) -> None:
        """Check that this kind hides units of the input that `of` names, where there is one of this name.

        Args:
            path: of the table.

        Raises:
            UserError: it does not.
        """
        raise NotImplementedError

    def head(self, width: int) -> nn.Module:
        """BERT's: one layer, then what tells the tokens apart (arXiv:1810.04805)."""
        return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, self.tokens))

    @property
    def tokens(self) -> int:
        """V, how many tokens there are."""
        if centres := self.targets.get("centres"):
            return len(centres)
        return self.targets.get("codes") or int(self.reader.given()["vocab_size"])

    @cached_property
    def book(self) -> Any:
        """What gives patches their codes."""
        return Dvae(self.path) if self.path else Centres(self.targets["centres"])

    def labels(self, batch: Batch) -> Tensor:
        """Which token each unit of the input is: (B, n)."""
        tensors, (_, n) = batch.inputs[self.input], self.grid(self.input)
        return tensors["ids"] if n is None else self.book(self.reader.patches(tensors, n, self.book.side))

    def chosen(self, name: str, may: list[bool], rng: random.Random) -> list[bool]:
        if self.grid(name)[1] is None or not self.blocks_of(name) or not all(may):
            return super().chosen(name, may, rng)
        return in_blocks(len(may), self.share_of(name), rng)

    def blocks_of(self, name: str) -> bool:
        """Whether patches of an input are hidden in rectangles."""
        return self.blocks

    def score(self, got: Got, batch: Batch) -> Tensor:
        logits, hidden = got[self.wants()[0]].float(), self.hidden_units(batch)  # (R, V), (B, n)
        if not len(logits):
            return logits.sum()
        return F.cross_entropy(logits, self.labels(batch)[hidden], reduction="sum")


class Mlm(MaskedTokens):
    """Masked language modelling: hidden words, from the others and, as fused, from the other inputs (BERT, arXiv:1810.04805).

    Args:
        of, masked: as of `Masked`.
    """

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
        super().__init__(of, weight, share, masked, readers=readers, targets=targets, name=name)

    @classmethod
    def check(cls, table: dict[str, Any], name: str, path: str, data: Any, config: Config) -> None:
        there = named(data, config, lambda row: row.LANGUAGE)
        if name in there:
            return
        hint = " or ".join(setting(f"{path}.of", each) for each in there) or "without texts: " + setting(f"{path}.kind", "mim")
        raise UserError(f"mlm hides words, and {name} has none", f"{path}.of = {table.get('of')}", hint)


class Mim(MaskedTokens):
    """Masked image modelling: hidden patches by their codes (BEiT, arXiv:2106.08254)."""

    @classmethod
    def check(cls, table: dict[str, Any], name: str, path: str, data: Any, config: Config) -> None:
        there = named(data, config, has_grid)
        if name in there:
            return
        hint = " or ".join(setting(f"{path}.of", each) for each in there) or "without pictures: " + setting(f"{path}.kind", "mlm")
        raise UserError(f"mim hides patches, and {name} has none", f"{path}.of = {table.get('of')}", hint)


class Mmm(MaskedTokens):
    """Masked multimodal modelling: parts of all inputs of a fusion are hidden at once, in the rows that have all of them, and
    this loss tells those of one from all that is left (FLAVA, arXiv:2112.04482, section 3.2).

    The losses of one fusion share a version, in which each says what is hidden of its own input.
    """

    @property
    def version(self) -> str:
        return f"mmm of {str(self.of).rpartition('.')[0]}"

    @property
    def hides(self) -> dict[str, Any]:
        """input -> the share of it that is hidden, and whether in blocks."""
        return self.targets.get("hides", {})

    @classmethod
    def check(cls, table: dict[str, Any], name: str, path: str, data: Any, config: Config) -> None:
        joined = str(table.get("of")).rpartition(".")[0]
        if joined in config.fusions:
            return
        of = [f"{fusion}.{each}" for fusion, over in config.fusions.items() for each in over["inputs"]]
        hint = " or ".join(setting(f"{path}.of", each) for each in of) or setting("fusion.kind", "merged")
        raise UserError("mmm hides parts of what is fused", f"{path}.of = {table.get('of')}", hint)

    @classmethod
    def hidden_of(cls, table: Mapping[str, Any], config: Config) -> list[str]:
        return list(config.fusions[str(table["of"]).rpartition(".")[0]]["inputs"])

    @classmethod
    def learn(cls, table: dict[str, Any], data: Any, config: Config) -> dict[str, Any]:
        """As of `MaskedTokens`, and {"hides": {input: [share or None, in blocks]}} of all inputs of the fusion."""
        found = super().learn(table, data, config) or {}
        joined = str(table["of"]).rpartition(".")[0]
        own = {t["of"]: t for t in config.loss.values() if t["kind"] == table["kind"] and t.get("of")}
        over = {name: own.get(f"{joined}.{name}", {}) for name in cls.hidden_of(table, config)}
        return found | {"hides": {name: [each.get("masked"), each.get("blocks", True)] for name, each in over.items()}}

    def alters(self) -> tuple[str, ...]:
        return tuple(self.hides)

    def share_of(self, name: str) -> float:
        return self.hides[name][0] or float(self.readers[name].masked)

    def blocks_of(self, name: str) -> bool:
        return bool(self.hides[name][1])

    def rng(self, draw: str, id: str) -> random.Random:
        """As of every loss that makes this version."""
        return random.Random(stable_hash(f"{draw} {self.version} {id}"))

    def rows(self, batch: Batch) -> Tensor | None:
        there = [has for name in self.hides if (has := batch.has(name)) is not None]
        return torch.stack(there).all(0) if there else None


def in_blocks(n: int, share: float, rng: random.Random) -> list[bool]:
    """A share of n = g * g patches, in rectangles that may overlap (BEiT, arXiv:2106.08254, algorithm 1), scaled to the grid."""
    g, most = math.isqrt(n), max(1, round(share * n))
    hidden: set[int] = set()
    for _ in range(TRIES * n):
        left = most - len(hidden)
        if left <= 0:
            break
        area = rng.uniform(min(LEAST * n, left), left)
        ratio = math.exp(rng.uniform(math.log(NARROWEST), -math.log(NARROWEST)))
        height, width = max(1, round(math.sqrt(area * ratio))), max(1, round(math.sqrt(area / ratio)))
        if height > g or width > g:
            continue
        top, start = rng.randint(0, g - height), rng.randint(0, g - width)
        block = {y * g + x for y in range(top, top + height) for x in range(start, start + width)}
        if len(block - hidden) <= left:
            hidden |= block
    return [i in hidden for i in range(n)]


def named(data: Any, config: Config, fits: Callable[[Any], bool]) -> list[str]:
    """The inputs whose modality fits, and modalities that the data has and no input is named like."""
    found = [name for name, one in config.input.items() if fits(MODALITIES[str(one.modality)])]
    others = [name for name, row in MODALITIES.items() if name not in config.input and any(map(data.columns_of, row.KINDS))]
    return found + [name for name in others if fits(MODALITIES[name])]


def name_of(table: Mapping[str, Any], config: Config) -> str:
    """What a loss's table is called."""
    return next(name for name, each in config.loss.items() if each is table)
