"""How much each input of a model contributes to what it says of a split: read, encoded once, removed in turn, and shared out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit import bootstrap
from mmkit.encode import diverged
from mmkit.errors import UserError
from mmkit.explain import contribution as explain
from mmkit.explain.held import partners
from mmkit.explain.shares import Share, normalised, shares
from mmkit.explain.support import has_target, roots, support
from mmkit.losses.matching import Matching
from mmkit.metrics import heads
from mmkit.metrics.evaluation import Request, Result
from mmkit.workflows.samples import Samples

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

METRIC = "contribution"
DRAWS = 5  # partners of each sample under shuffle
MOST_INPUTS = 8  # of k there are 2^k coalitions
SAMPLE = ("id", "class", "support")  # the first columns of a table of samples
IGNORED, SURELY = 0.05, 0.10  # an input is ignored whose share lies below the one, and its interval below the other


@dataclass(frozen=True)
class Contribution:
    """How much each of k inputs contributes to what a model says of n samples.

    Args:
        record: what was measured, as results say it, with `shares`.
        names: of the inputs.
        shares: of every method, removal and input.
        parts: (method, removal) -> what each input is worth to each sample (n, k); an input that misleads has a negative worth.
        support: what the model gives of each sample with all inputs (n,).
        ids: of the samples; classes: of each those that are true of it.
        stem: of the files that it is saved as.
        targeted: it is about the true target, and not the similarity of pairs.
    """

    record: dict[str, Any]
    names: list[str]
    shares: list[Share]
    parts: explain.Parts
    support: np.ndarray
    ids: list[str]
    classes: list[list[str]]
    stem: str
    targeted: bool

    @property
    def telling(self) -> str:
        """The removal to look at first. Of a pair the similarity lost by shuffling one side away is on average that lost by
        shuffling the other, for both give pairs that do not match: it tells nothing apart."""
        return "shuffle" if self.targeted else "mean"

    def of(self, method: str, removal: str | None = None) -> list[Share]:
        """The shares of one method, in the order of the inputs."""
        return [one for one in self.shares if (one.method, one.removal) == (method, removal)]

    def by_class(self, most: int | None = None) -> dict[str, tuple[int, list[Share]]]:
        """class -> the number of its samples, and their shares; the most frequent first; nothing where there is one class."""
        rows: dict[str, list[int]] = {}
        for i, labels in enumerate(self.classes):
            for label in labels:
                rows.setdefault(label, []).append(i)
        frequent = sorted(rows, key=lambda label: (-len(rows[label]), label))[:most] if len(rows) > 1 else []
        groups = bootstrap.numbers(self.ids)
        return {label: (len(rows[label]), self._of_rows(np.array(rows[label]), groups)) for label in frequent}

    def _of_rows(self, rows: np.ndarray, groups: np.ndarray) -> list[Share]:
        among = np.unique(groups[rows], return_inverse=True)[1]
        return shares(self.names, {key: part[rows] for key, part in self.parts.items()}, among)

    def ignored(self, removal: str) -> list[str]:
        """The inputs whose Shapley share is close to nothing, and surely so."""
        known = [one for one in self.of("shapley", removal) if one.share is not None and one.interval is not None]
        return [one.modality for one in known if (one.share or 0) < IGNORED and (one.interval or [1, 1])[1] < SURELY]

    def samples(self) -> dict[str, list[Any]]:
        """Column -> a fact of each sample: id, classes, support, and each share, None where no input supports what is true."""
        first = (self.ids, [", ".join(labels) for labels in self.classes], self.support.tolist())
        found: dict[str, list[Any]] = dict(zip(SAMPLE, first, strict=True))
        for (method, removal), part in self.parts.items():
            for name, column in zip(self.names, normalised(part).T, strict=True):
                key = ".".join(word for word in (name, method, removal) if word)
                found[key] = [None if np.isnan(value) else float(value) for value in column]
        return found

    def save(self, folder: Path) -> None:
        """Write it beside the other results of a run."""
        Result(self.record, self.samples(), "samples", self.stem).save(folder)


def contribution(model: Model, data: Dataset, request: Request, seed: int = 0) -> Contribution:
    """Measure the samples of a split that have all inputs.

    Of a model with a head over several inputs it is about the true target, else about the similarity of pairs, else about whether
    they match.

    Raises:
        UserError: the model has but one input, or the data has no such samples.
    """
    objective = _objective(model)
    split, record, stem = heads.scope(model, data, request, METRIC)
    found = Samples(model, data, objective, split, request)
    groups = bootstrap.numbers(found.ids)
    if groups.max(initial=-1) < 1:
        hint = "; ".join(f"{count:,} {why}" for why, count in found.left_out.items())
        raise UserError("fewer than two rows have all that it takes", f"{data.path} {split or 'all'}", hint)
    about = support(objective, found.targets)
    others = partners(groups.tolist(), len(found.names), DRAWS, seed)
    parts, worth = explain.parts(model, about, found.held(), others, request.batch_size, request.progress("weighed"))
    if not all(np.isfinite(part).all() for part in parts.values()):
        raise diverged(model, "a contribution is not finite")
    shared = shares(found.names, parts, groups)
    without = {f"none, {removal}": float(values[:, 0].mean()) for removal, values in worth.items()}
    record |= {
        "task": METRIC,
        "n": dict.fromkeys(found.names, len(found.ids)) | {"rows": int(groups.max()) + 1},
        "of": about.said,
        "support": {"all": float(worth["zero"][:, -1].mean())} | without,
        "left_out": dict(found.left_out),
        "full": found.full,
        "shares": [vars(one) for one in shared],
    }
    whole, targeted = worth["zero"][:, -1], has_target(objective)
    return Contribution(record, found.names, shared, parts, whole, found.ids, found.classes(), stem, targeted)


def _objective(model: Model) -> Any:
    """The loss whose decision is shared out: the first with a target and several inputs, else the first of pairs, else matching.

    Raises:
        UserError: there is none, or it has too many inputs.
    """
    several = [loss for loss in model.loss.values() if len(roots(model, loss)) > 1]
    matching = next((loss for loss in several if isinstance(loss, Matching)), None)
    found = next((loss for loss in several if has_target(loss)), model.pairing or matching)
    if found is None:
        hint = "a model of several inputs has shares: mmkit train --recipe fusion-mid"
        raise UserError(f"the model decides by its {' and '.join(model.inputs)} alone: nothing to share", model.name, hint)
    if (count := len(roots(model, found))) > MOST_INPUTS:
        raise UserError(f"{count} inputs have {1 << count:,} coalitions, which is too many", model.name)
    return found
