"""One optimisation step's forward and backward: precision, accumulation in parts, and several processes, all exact.

Where every loss is a sum over rows, parts are run one after the other. A loss that is a function of the whole global batch, or
that takes rows of it as negatives, needs more: (a) every part runs its encoders, (b) what they gave becomes leaves, gathered
from all processes where a loss is scored as a whole, (c) objectives may choose rows by the clean vectors, (d) fusion, heads and
losses run on the leaves, and (e) each part is run backward through its encoders with its share of the gradient (GradCache,
arXiv:2101.06983). With one part there is one forward.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mmkit.batch import Batch, Take, Want
from mmkit.files import stable_hash
from mmkit.losses.objective import Objective, early_versions, late_versions
from mmkit.model import Model
from mmkit.training.distributed import gather, own_rows, sum_gradients, sum_over

Objectives = Mapping[str, Objective]


def gradients(model: Model, batch: Batch, parts: int, precision: str, draw: str = "") -> dict[str, Tensor]:
    """Fill `.grad` of every parameter that learns with the gradient of the losses of the global batch.

    No DDP wrapper: every process takes a whole loss of all vectors, so the gradient needs no differentiable all-gather.

    Args:
        batch: this process's share of the global batch, on the model's device.
        parts: computed one after the other; each needs 1/parts of the memory.
        precision: fp32 or bf16.
        draw: the seed of what objectives draw in this step.

    Returns:
        "loss", each loss as "loss/NAME", "cosine/INPUT": the mean cosine of two different samples, and "loss_at_chance": what
        "loss" is where the rows of this batch cannot be told apart, if that is known; detached scalars.
    """
    objectives = drawn(model.loss, draw)
    batch = replace(batch, nowhere=_nowhere(batch))
    early = early_versions(objectives.values(), batch, draw)
    batch = replace(batch, versions=early)
    two_phases = any(o.whole or o.sees() for o in objectives.values()) or any(isinstance(v, Take) for v in early.values())
    losses, values = (_on_leaves if two_phases else _part_by_part)(model, batch, objectives, parts, precision, draw)
    # the scalars of whole losses have their whole gradient in every process already
    whole = tuple(f"loss.{name}." for name, objective in model.loss.items() if objective.whole)
    sum_gradients([p for n, p in model.named_parameters() if p.requires_grad and not n.startswith(whole)])
    total = sum((objectives[name].weight * value for name, value in losses.items()), torch.zeros(()))
    values = {"loss": total, **{f"loss/{name}": value for name, value in losses.items()}, **values}
    return {name: value.detach() for name, value in values.items()}


def drawn(objectives: Objectives, draw: str) -> dict[str, Objective]:
    """The objectives of a step: of those with a `share` one, drawn in proportion, and all others."""
    shared = {name: o.share for name, o in objectives.items() if o.share is not None}
    if not shared:
        return dict(objectives)
    rng = random.Random(stable_hash(f"share {draw}"))
    chosen = rng.choices(list(shared), [float(share) for share in shared.values() if share is not None])[0]
    return {name: o for name, o in objectives.items() if name == chosen or name not in shared}


def _nowhere(batch: Batch) -> frozenset[str]:
    """The inputs that no row of the global batch has."""
    if not batch.present:
        return frozenset()
    counts = sum_over(torch.stack([there.sum() for there in batch.present.values()]))
    return frozenset(name for name, n in zip(batch.present, counts.tolist(), strict=True) if not n)


def _part_by_part(
    model: Model, batch: Batch, objectives: Objectives, parts: int, precision: str, draw: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses that are sums over rows: no part needs another."""
    counts = _counts(batch, objectives)
    sums = {name: torch.zeros((), device=model.device) for name in objectives}
    for piece in batch.split(parts, _group(objectives)):
        with _autocast(model.device, precision):
            got = model(piece, _wants(objectives))
        _backward_of_rows(objectives, counts, got, piece, sums)
    return _over_processes(sums), _at_chance({}, objectives, batch)


def _on_leaves(
    model: Model, batch: Batch, objectives: Objectives, parts: int, precision: str, draw: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses of the whole batch, beside sums over rows."""
    whole = {name: o for name, o in objectives.items() if o.whole}
    rows = {name: o for name, o in objectives.items() if not o.whole}
    roots = _roots(model, batch, objectives)
    # where all that is wanted are vectors of encoders that ran before, a batch needs no parts; in one part dropout draws as it
    # does without --accumulate
    pieces = batch.split(1 if _ran_before(batch, roots) else parts, _group(objectives))
    states, outputs = [], []
    for piece in pieces:  # (a)
        states.append(_rng_state(model.device))
        with torch.set_grad_enabled(len(pieces) == 1), _autocast(model.device, precision):
            outputs.append(model(piece, roots))
    leaves = {want: torch.cat([output[want] for output in outputs]).detach() for want in roots}  # (b)
    leaves = {want: leaf.requires_grad_() if leaf.is_floating_point() else leaf for want, leaf in leaves.items()}
    batch = replace(batch, versions={**batch.versions, **late_versions(objectives.values(), batch, draw, leaves)})  # (c)
    losses, values = _of_whole(model, whole, batch, leaves)  # (d)
    counts = _counts(batch, rows)
    sums = {name: torch.zeros((), device=model.device) for name in rows}
    for span in batch.spans(len(pieces), _group(objectives)) if rows else ():
        piece, have = batch.take(span), {want: leaf[span.start : span.stop] for want, leaf in leaves.items()}
        with _autocast(model.device, precision):
            got = model(piece, _wants(rows), have)
        _backward_of_rows(rows, counts, got, piece, sums)
    start = 0
    for piece, state, output in zip(pieces, states, outputs, strict=True):  # (e)
        if len(pieces) > 1:
            _set_rng_state(model.device, state)
            with _autocast(model.device, precision):
                output = model(piece, roots)
        learned = [want for want in roots if leaves[want].grad is not None and output[want].requires_grad]
        shares = [leaves[want].grad[start : start + piece.rows] for want in learned]  # type: ignore[index]
        torch.autograd.backward([output[want] for want in learned], shares)
        start += piece.rows
    return losses | _over_processes(sums), _at_chance(values, rows, batch) if rows else values


def _of_whole(
    model: Model, whole: Objectives, batch: Batch, leaves: dict[Want, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Score what is a function of the global batch; fills the gradient of this process's leaves."""
    if not whole:
        return {}, {}
    wanted = sorted(_wants(whole))  # the same order in every process: each is a collective
    everyone = {want: gather(leaves[want].detach()) for want in wanted}
    everyone = {want: x.requires_grad_() if x.is_floating_point() else x for want, x in everyone.items()}
    keys = {name: gather(key) for name, key in batch.keys.items()}
    present = {name: gather(there) for name, there in batch.present.items()}
    size = next(iter(everyone.values())).size(0)
    together = Batch([""] * size, {}, present, keys)
    losses = {name: objective.score(everyone, together) for name, objective in whole.items()}
    total = sum((whole[name].weight * value for name, value in losses.items()), torch.zeros((), device=model.device))
    total.backward()
    for want, x in everyone.items():
        if x.grad is not None:
            leaves[want].grad = own_rows(x.grad, leaves[want]).clone()
    values = {f"cosine/{w.part}": mean_cosine(x, together.has(w.part)) for w, x in everyone.items() if w.what == "vector"}
    return losses, _at_chance(values, whole, together)


def _backward_of_rows(
    objectives: Objectives, counts: dict[str, Tensor], got: Mapping[Want, Tensor], piece: Batch, sums: dict[str, Tensor]
) -> None:
    """Add this part's share of sums over rows, and their gradient."""
    shares = {name: o.score(got, piece) / counts[name].to(sums[name].device) for name, o in objectives.items() if counts[name]}
    if shares:
        sum((objectives[name].weight * share for name, share in shares.items()), torch.zeros(())).backward()  # type: ignore[union-attr]
    for name, share in shares.items():
        sums[name] += share.detach()


def _roots(model: Model, batch: Batch, objectives: Objectives) -> list[Want]:
    """What the encoders are asked for, in the same order in every pass; of a Take the clean rows that it takes."""
    wants = [*_wants(objectives), *(want for o in objectives.values() for want in o.sees())]
    roots = [root for want in wants for root in model.roots(want)]
    return sorted({r if batch.holds(r) else r._replace(of="") for r in roots})


def _wants(objectives: Objectives) -> list[Want]:
    return list(dict.fromkeys(want for objective in objectives.values() for want in objective.wants()))


def _group(objectives: Objectives) -> int:
    return math.lcm(*(objective.group for objective in objectives.values()))


def _counts(batch: Batch, objectives: Objectives) -> dict[str, Tensor]:
    """What the sums over rows are divided by: of the global batch, before the first backward."""
    if not objectives:
        return {}
    counts = sum_over(torch.stack([objective.count(batch).cpu() for objective in objectives.values()]))
    return dict(zip(objectives, counts, strict=True))


def _over_processes(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: sum_over(value) for name, value in sums.items()}


def _at_chance(values: dict[str, Tensor], objectives: Objectives, batch: Batch) -> dict[str, Tensor]:
    """Add what the losses are by chance, where all of them know that."""
    known = {name: o.at_chance(batch) for name, o in objectives.items()}
    if any(value is None for value in known.values()):
        return {name: value for name, value in values.items() if name != "loss_at_chance"}
    before = values.get("loss_at_chance", torch.zeros(()))
    return {**values, "loss_at_chance": before + sum(objectives[n].weight * (v or 0.0) for n, v in known.items())}


@torch.no_grad()
def mean_cosine(vectors: Tensor, there: Tensor | None = None) -> Tensor:
    """Mean cosine of two different rows of normalised vectors (B, d), of those that are there: 1 where they have collapsed."""
    vectors = vectors if there is None else vectors[there]
    B = vectors.size(0)
    return (vectors.sum(0).square().sum() - B) / max(1, B * (B - 1))


def _ran_before(batch: Batch, roots: list[Want]) -> bool:
    """Whether all that is asked for comes from vectors that were computed once."""
    return all(root.what in ("vector", "pooled") and "pooled" in batch.inputs[root.part] for root in roots)


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _rng_state(device: torch.device) -> Tensor:
    if device.type == "mps":
        return torch.mps.get_rng_state()
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_rng_state(device: torch.device, state: Tensor) -> None:
    if device.type == "mps":
        torch.mps.set_rng_state(state)
    elif device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
