"""What goes through a step: a batch of rows, the answers that are wanted of a model about it, and rows of it taken anew.

B rows, N tokens, D and d width
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Want(NamedTuple):
    """One answer of a model about a batch; see `mmkit.model.Model.forward`.

    Args:
        part: an input, a fusion (`fused`, where there is one), `FUSION.INPUT`, or a head (by the name of its objective).
        what: vector (B, d) and vectors (B, N, d): projected, L2-normalised · pooled (B, D), tokens (B, N, D) and
            mask (B, N; True = a reader may look): as encoded, or as fused, of `FUSION.INPUT` those of that input's tokens ·
            embedded (B, N, D): what an encoder's blocks begin with · logits of a head.
        of: a version of the batch that an objective made; empty for the clean one.
    """

    part: str
    what: str = "vector"
    of: str = ""

    def __str__(self) -> str:
        return f"{self.part}.{self.what}" + (f" of {self.of}" if self.of else "")


@dataclass(frozen=True)
class Take:
    """A version of a batch of B rows that are rows of what was encoded already: for each input their numbers (B,)."""

    index: dict[str, Tensor]


@dataclass(frozen=True)
class Interleaved:
    """What several samples say, one after the other in one text, each behind its own picture (Flamingo, arXiv:2204.14198,
    section 2.3): a token sees the last picture before it alone.

    Args:
        rows: of what is encoded of the other inputs, the row of each of T samples, int64 (B, T); any row where there are fewer.
        place: which of these samples each token is of, int64 (B, N); -1 of one that stands before all pictures, and of padding.
    """

    rows: Tensor
    place: Tensor

    def to(self, device: torch.device) -> Interleaved:
        """The same on `device`."""
        return Interleaved(self.rows.to(device, non_blocking=True), self.place.to(device, non_blocking=True))

    def shown(self, mask: Tensor) -> Tensor:
        """Which tokens of the T samples' K (R, K; True = may be looked at) each token sees: bool (B, N, T * K)."""
        own = self.place[..., None] == torch.arange(self.rows.size(1), device=self.place.device)  # (B, N, T)
        return (own[..., None] & mask[self.rows][:, None]).flatten(2)


@dataclass(frozen=True)
class Batch:
    """Some rows.

    Args:
        ids: of the rows.
        inputs: input -> the tensors its encoder takes; or, where it ran before, what it gave: pooled, tokens and mask.
        present: input -> bool (B,): the row has it; what stands in `inputs` for a row that lacks it is a valid blank.
        keys: input -> int64 (B,); equal keys mark equal pictures, or texts that are equal as written.
        targets: column -> the value of each row, None where it has none; of an input's own column the item that was chosen.
        said: input -> the text of each row, for inputs of words.
        epoch: at the end of this batch, in passes over the rows.
        nowhere: inputs that no row of the global batch has: their encoders do not run.
        versions: what objectives made of the batch, by name: batches of the same rows, which hold the inputs they change, or
            Takes of B rows.
        hidden: of such a version: input -> which of its tokens were hidden, bool (B, N).
        interleaved: of such a version: how its texts are those of several rows.
    """

    ids: list[str]
    inputs: dict[str, dict[str, Tensor]]
    present: dict[str, Tensor] = field(default_factory=dict)
    keys: dict[str, Tensor] = field(default_factory=dict)
    targets: dict[str, list[Any]] = field(default_factory=dict)
    said: dict[str, list[str]] = field(default_factory=dict)
    epoch: float = 0.0
    nowhere: frozenset[str] = frozenset()
    versions: dict[str, Batch | Take] = field(default_factory=dict)
    hidden: dict[str, Tensor] = field(default_factory=dict)
    interleaved: Interleaved | None = None

    @property
    def rows(self) -> int:
        return len(self.ids)

    def has(self, name: str) -> Tensor | None:
        """Which rows have an input, bool (B,); None where all have it."""
        found = self.present.get(name)
        return None if found is None or bool(found.all()) else found

    def holds(self, want: Want) -> bool:
        """Whether an answer about an input needs an encoder's run of its own; else it is, or is taken of, the clean one."""
        version = self.versions.get(want.of)
        return isinstance(version, Batch) and want.part in version.inputs

    def to(self, device: torch.device) -> Batch:
        """The batch with its tensors on `device`."""

        def move(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}

        inputs = {name: move(tensors) for name, tensors in self.inputs.items()}
        versions = {n: v.to(device) if isinstance(v, Batch) else Take(move(v.index)) for n, v in self.versions.items()}
        present, keys, hidden = move(self.present), move(self.keys), move(self.hidden)
        chain = self.interleaved and self.interleaved.to(device)
        return replace(self, inputs=inputs, present=present, keys=keys, versions=versions, hidden=hidden, interleaved=chain)

    def take(self, rows: Iterable[int]) -> Batch:
        """Some of the rows; where there are Takes or interleaved texts, consecutive ones that hold all they take."""
        rows = list(rows)
        if rows == list(range(self.rows)):
            return self
        first = next((t for tensors in self.inputs.values() for t in tensors.values()), None)
        index = torch.tensor(rows, device=None if first is None else first.device)
        span = slice(rows[0], rows[-1] + 1) if rows and rows == list(range(rows[0], rows[-1] + 1)) else None

        def cut(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[span] if span else tensor[index.to(tensor.device)] for name, tensor in tensors.items()}

        def pick(lists: dict[str, list[Any]]) -> dict[str, list[Any]]:
            return {name: [values[i] for i in rows] for name, values in lists.items()}

        return replace(
            self,
            ids=[self.ids[i] for i in rows],
            inputs={name: cut(tensors) for name, tensors in self.inputs.items()},
            present=cut(self.present),
            keys=cut(self.keys),
            targets=pick(self.targets),
            said=pick(self.said),
            versions={n: v.take(rows) if isinstance(v, Batch) else _taken(v, rows) for n, v in self.versions.items()},
            hidden=cut(self.hidden),
            interleaved=self.interleaved and Interleaved(self.interleaved.rows[rows] - rows[0], self.interleaved.place[rows]),
        )

    def spans(self, parts: int, group: int = 1) -> list[range]:
        """The rows of at most `parts` nearly equal parts, cut at multiples of `group` rows."""
        groups = -(-self.rows // group)
        size = -(-groups // max(1, min(parts, groups))) * group
        return [range(start, min(start + size, self.rows)) for start in range(0, self.rows, size)]

    def split(self, parts: int, group: int = 1) -> list[Batch]:
        """The parts of `spans`."""
        return [self.take(span) for span in self.spans(parts, group)]


def _taken(version: Take, rows: list[int]) -> Take:
    """A Take for some consecutive rows of its batch, whose own rows it takes."""
    return Take({name: index[rows] - rows[0] for name, index in version.index.items()})
