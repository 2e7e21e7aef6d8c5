"""Image-text matching, of any two inputs: whether what a fusion reads belongs together (ALBEF, arXiv:2107.07651, section 3.2).

B rows, G rows of a group, D width
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.batch import Batch, Take, Want
from mmkit.config import Config
from mmkit.errors import ConfigError, UserError, setting
from mmkit.losses import loss_class
from mmkit.losses.contrastive import not_negatives, pairs_of
from mmkit.losses.filip import late_interaction
from mmkit.losses.objective import Got, Objective

FEWEST = 3  # rows of a group: with two, what a row is told from never changes


class Matching(Objective):
    """Three pairs a row, told apart by a head of two classes over the fused vector: the row itself, the row with the second input
    of another (`NAME-INPUT`), and the row with the first of another.

    The other is drawn among the rows of a group that share neither key with it. A row that lacks an input takes no part; one that
    has no other gives its own pair alone. The loss is the mean over all pairs of the global batch.

    Args:
        of: the fusion, of two inputs.
        hard: share of the others that are drawn by the softmax of how alike they are, where a loss compares the two inputs
            (section 3.2); the rest are drawn evenly.
        hard_from: epochs before which all are drawn evenly: hard ones from the first step on can keep the loss at chance.
        temperature: of that softmax.
        group: the consecutive rows within which others are drawn.
        dropout: before the head.
        config: of the model.
    """

    whole = False
    metric = "match"
    classes = ("no match", "match")

    def __init__(
        self,
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        hard: float = 0.0,
        hard_from: float = 0.0,
        temperature: float = 0.07,
        group: int = 32,
        dropout: float = 0.0,
        *,
        config: Config,
        name: str = "",
    ) -> None:
        super().__init__(weight, share, of, name)
        if not 0 <= hard <= 1:
            raise ValueError(f"hard {hard} is not a share in 0..1")
        if group < FEWEST:
            raise ValueError(f"group {group}: it takes {FEWEST} rows or more")
        if temperature <= 0:
            raise ValueError(f"temperature {temperature} is not above 0")
        self.hard, self.hard_from, self.temperature, self.group, self.dropout = hard, hard_from, temperature, group, dropout
        self.pair = _pair(config, of or "", name)
        self.seen = _seen(config, self.pair)
        if hard and not self.seen:
            pair = setting("loss.itc.between", list(self.pair))
            hint = f"{setting('loss.itc.kind', 'infonce')} {pair}, or {setting(f'loss.{name}.hard', 0)}"
            raise ConfigError(
                f"hard negatives need a loss that compares {' and '.join(self.pair)}", f"loss.{name}.hard", hint=hint
            )

    def needs(self, model: Any) -> None:
        size = model.config.train.batch_size
        if size is not None and size < FEWEST:
            what = f"matching takes its negatives from the batch, and one of {size} has none to choose from"
            raise UserError(what, f"loss.{self.name}", f"--batch-size {self.group}")

    def head(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Dropout(self.dropout), nn.Linear(width, len(self.classes)))

    def wants(self) -> tuple[Want, ...]:
        return tuple(Want(self.name, "logits", of) for of in ("", *self._versions().values()))

    def sees(self) -> tuple[Want, ...]:
        return tuple(Want(name, what) for name in self.pair for what in self.seen) if self.hard else ()

    def _versions(self) -> dict[str, str]:
        """Input -> the version in which it is that of another row."""
        return {name: f"{self.name}-{name}" for name in reversed(self.pair)}

    def corrupt(self, batch: Batch, draw: str, clean: Got) -> dict[str, Batch | Take]:
        index = {name: list(range(batch.rows)) for name in self.pair}
        hard = self.hard if batch.epoch >= self.hard_from else 0.0
        has = {name: batch.present[name].tolist() if name in batch.present else [True] * batch.rows for name in self.pair}
        for rows in batch.spans(batch.rows, self.group):
            apart = self._apart(batch, rows)
            likely = self._likely(clean, rows, apart) if hard else {}
            for i, row in enumerate(rows):
                if not all(has[name][row] for name in self.pair):
                    continue
                rng = self.rng(draw, batch.ids[row])
                for name in self._versions():
                    others = [j for j, other in enumerate(rows) if apart[i, j] and has[name][other]]
                    by_chance = rng.random() >= hard
                    if others:
                        weights = None if by_chance else [likely[name][i][j] for j in others]
                        index[name][row] = rows[rng.choices(others, weights)[0]]
        where = next(iter(batch.present.values())).device if batch.present else None
        own = torch.arange(batch.rows, device=where)
        takes = {name: torch.tensor(found, device=where) for name, found in index.items()}
        return {of: Take({one: takes[one] if one == name else own for one in self.pair}) for name, of in self._versions().items()}

    def _apart(self, batch: Batch, rows: range) -> Tensor:
        """Which rows of a group may be taken for which: bool (G, G), on the CPU."""
        keys = [batch.keys[name][rows.start : rows.stop] for name in self.pair if name in batch.keys]
        same = not_negatives(keys, 0, len(rows))
        itself = torch.eye(len(rows), dtype=torch.bool)
        return ~(itself if same is None else itself | same.cpu())

    def _likely(self, clean: Got, rows: range, apart: Tensor) -> dict[str, list[list[float]]]:
        """For each row of a group how likely each other is taken, by input: the softmax of how alike they are."""
        first, second = ([clean[Want(name, what)][rows.start : rows.stop] for what in self.seen] for name in self.pair)
        if len(self.seen) == 1:
            alike = (first[0] @ second[0].T,) * 2
        else:
            alike = late_interaction(*first, *second)  # type: ignore[assignment]
        found = {}
        for name, x in zip(reversed(self.pair), (alike[0], alike[1].T), strict=True):
            logits = (x.float().cpu() / self.temperature).masked_fill(~apart, -torch.inf)
            # others that are all very unlike it are as likely as each other, never impossible
            found[name] = (logits - logits.amax(1, keepdim=True).clamp(min=-1e9)).exp().clamp(min=1e-30).tolist()
        return found

    def count(self, batch: Batch) -> Tensor:
        return torch.stack([rows.sum() for _, rows, _ in self._pairs(batch)]).sum().float()

    def _pairs(self, batch: Batch) -> Iterator[tuple[Want, Tensor, int]]:
        """What of the head is asked, of which rows, bool (B,), and the class that is true of them."""
        takes = [batch.versions[of] for of in self._versions().values()]
        own = torch.arange(batch.rows, device=next(iter(takes[0].index.values())).device)  # type: ignore[union-attr]
        both = torch.ones_like(own, dtype=torch.bool)
        for name in self.pair:
            both &= batch.present.get(name, both)
        yield Want(self.name, "logits"), both, 1
        for name, of in self._versions().items():
            yield Want(self.name, "logits", of), batch.versions[of].index[name] != own, 0  # type: ignore[union-attr]

    def score(self, got: Got, batch: Batch) -> Tensor:
        total = torch.zeros((), device=got[self.wants()[0]].device)
        for want, rows, true in self._pairs(batch):
            logits = got[want].float()[rows]
            total = total + F.cross_entropy(logits, torch.full_like(logits[:, 0], true, dtype=torch.long), reduction="sum")
        return total

    def at_chance(self, batch: Batch) -> float | None:
        """Of a model that gives every pair the share of those that match."""
        positive, *negative = (rows.sum() for _, rows, _ in self._pairs(batch))
        shares = torch.stack([positive, torch.stack(negative).sum()]).float()
        return float(torch.special.entr(shares / shares.sum().clamp(min=1)).sum())

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of each class: (B, 2)."""
        return logits.softmax(-1)


def _pair(config: Config, of: str, name: str) -> tuple[str, str]:
    """The two inputs that a fusion reads.

    Raises:
        ConfigError: it is no fusion, or not of two inputs.
    """
    path = f"loss.{name}.of"
    if of not in config.fusions:
        known = ", ".join(config.fusions)
        hint = setting(path, next(iter(config.fusions))) if known else setting("fusion.kind", "merged")
        raise ConfigError("matching reads what is fused", path, where=f"{path} = {of}; fusions: {known or 'none'}", hint=hint)
    inputs = list(config.fusions[of]["inputs"])
    if len(inputs) != 2:
        what = f"matching is of two inputs, and {of} is of {len(inputs)}"
        raise ConfigError(what, path, where=", ".join(inputs), hint=setting(f"{config.fusion_path(of)}.inputs", inputs[:2]))
    return inputs[0], inputs[1]


def _seen(config: Config, pair: tuple[str, str]) -> tuple[str, ...]:
    """What the first loss that compares two inputs compares of each; nothing where none does."""
    for name, table in config.loss.items():
        cls = loss_class(name, table)
        compared = pairs_of(table.get("anchor", "all"), table.get("between") or list(config.input))
        if hasattr(cls, "of_pair") and any(set(one) == set(pair) for one in compared):
            return tuple(cls.what)
    return ()
