"""What is wrong with a run and what to change, in plain words: a pure function of the rows of metrics.jsonl.

The first row (step 0) holds facts of the run, `run/…`; the others what the loop measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

Row = dict[str, Any]

STUCK = 0.03  # share of the chance-level loss within which a loss counts as not having moved
COLLAPSED = 0.98  # mean cosine between different samples
CLAMPED = 0.99  # share of the largest logit_scale
EARLY = 100  # steps before which an untrained model says nothing about the run
TRUNCATED, EQUAL, UNKNOWN, WAITING = 0.05, 0.1, 0.01, 0.5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what to do about it."""

    name: str
    what: str
    do: str

    def __str__(self) -> str:
        return f"{self.what}; {self.do}"


def diagnose(rows: Iterable[Row]) -> list[Finding]:
    """Every finding that the rows bear out, the gravest first; an empty list is a clean bill.

    Args:
        rows: of metrics.jsonl, in order, from a run that is over or still going.
    """
    rows = list(rows)
    facts = {k: v for row in rows for k, v in row.items() if k.startswith("run/")}
    train = [row for row in rows if "train/loss" in row]
    found = [
        check(facts, train) for check in (_warmup, _frozen, _stuck, _collapsed, _clamp, _truncated, _unknown, _equal, _loader)
    ]
    return [finding for finding in found if finding is not None]


def read_rows(path: Path) -> list[Row]:
    """The whole rows of a metrics.jsonl."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def _warmup(facts: Row, train: list[Row]) -> Finding | None:
    warmup, steps = facts.get("run/warmup", 0), facts.get("run/steps", 0)
    if steps < 2 or warmup < steps:
        return None
    what = f"the warm-up of {warmup} steps is no shorter than the run of {steps}: the learning rate only rises"
    return Finding("warmup", what, f"--set train.warmup={max(1, steps // 20)} or more --steps")


def _frozen(facts: Row, train: list[Row]) -> Finding | None:
    """An encoder that stands still and should not: random weights that learn in no stage, or a gradient that never comes."""
    random = sorted(set(facts.get("run/frozen", [])) & set(facts.get("run/random", [])))
    if random:
        verb, whose = ("learns", "its") if len(random) == 1 else ("learn", "their")
        what = f"the {' and '.join(random)} encoder {verb} in no stage, and {whose} weights are random: nothing was loaded"
        return Finding(
            "frozen",
            what,
            "--init RUN, --image-encoder or --text-encoder give trained ones; without --lock and [[stage]] it learns",
        )
    still = [
        key.rpartition("/")[2]
        for key in sorted({k for row in train for k in row if k.startswith("train/grad_norm/")})
        if len(values := [row[key] for row in train if key in row]) >= 3 and max(values) == 0.0
    ]
    if not still:
        return None
    what = f"the {' and '.join(still)} encoder does not learn: its gradient is 0 at every step"
    return Finding("frozen", what, "check [[stage]] and its patterns")


def _stuck(facts: Row, train: list[Row]) -> Finding | None:
    """Chance is each batch's own: it depends on how many of its pairs the loss leaves out."""
    begin = max(EARLY, facts.get("run/warmup", 0), facts.get("run/steps", 0) // 4)
    late = [row for row in train if row["step"] > begin and row.get("train/loss_at_chance")][-20:]
    if len(late) < 5 or abs(median(row["train/loss"] / row["train/loss_at_chance"] for row in late) - 1) > STUCK:
        return None
    chance, batch = median(row["train/loss_at_chance"] for row in late), facts.get("run/batch_size") or 1
    formula = "ln(batch), " if abs(chance - math.log(batch)) < 0.005 else ""
    loss = median(row["train/loss"] for row in late)
    what = f"the loss is stuck at {loss:.2f}: guessing gives {formula}{chance:.2f}, so nothing is learnt"
    rate = max((row["train/lr"] for row in train if "train/lr" in row), default=0.0)
    rates = f"try --lr {rate / 3:.1e} or {rate * 3:.1e}" if rate else "--lr is 0: give one above it"
    do = f"{rates}, and see by --dry-run that pictures and captions belong together"
    return Finding("stuck", what, do)


def _collapsed(facts: Row, train: list[Row]) -> Finding | None:
    late = [row for row in train[-5:] if row["step"] > max(EARLY, facts.get("run/warmup", 0))]
    for key in sorted({key for row in late for key in row if key.startswith("train/cosine/")}):
        values = [row[key] for row in late if key in row]
        if len(values) >= 3 and median(values) > COLLAPSED:
            name = key.rpartition("/")[2]
            what = f"the {name} vectors have collapsed: two different ones have a mean cosine of {median(values):.3f}"
            return Finding(
                "collapsed", what, "lower --lr, lengthen train.warmup, and check that the inputs differ (mmkit prep audit)"
            )
    return None


def _clamp(facts: Row, train: list[Row]) -> Finding | None:
    most = facts.get("run/max_scale")
    late = [row["train/logit_scale"] for row in train[-5:] if "train/logit_scale" in row]
    if not most or not late or median(late) < CLAMPED * most:
        return None
    what = f"logit_scale is at its clamp of {most:g}: the model is certain of the training pairs"
    return Finding("clamp", what, "usually overfitting: fewer --epochs, more augmentation or more data")


def _share(key: str, train: list[Row], limit: float) -> float | None:
    values = [row[key] for row in train if key in row]
    return sum(values) / len(values) if values and sum(values) / len(values) > limit else None


def _truncated(facts: Row, train: list[Row]) -> Finding | None:
    share = _share("train/truncated", train, TRUNCATED)
    if share is None:
        return None
    context = facts.get("run/context", 0)
    return Finding(
        "truncated",
        f"{share:.0%} of the captions are cut at {context} tokens",
        f"--set data.text.context={2 * context}, or shorter captions",
    )


def _unknown(facts: Row, train: list[Row]) -> Finding | None:
    share = _share("train/unknown", train, UNKNOWN)
    if share is None:
        return None
    return Finding(
        "unknown",
        f"{share:.0%} of the tokens are unknown to the tokenizer",
        "use a text encoder of your language, or train one from scratch",
    )


def _equal(facts: Row, train: list[Row]) -> Finding | None:
    """Only losses of pairs have negatives, and every one of them logs its scale."""
    share = _share("train/equal_captions", train, EQUAL)
    if share is None or not any("train/logit_scale" in row for row in train):
        return None
    what = f"{share:.0%} of the captions in a batch stand there twice: they are no negatives, so little is left to tell apart"
    return Finding("equal", what, "a smaller --batch-size, or more varied captions")


def _loader(facts: Row, train: list[Row]) -> Finding | None:
    share = _share("train/loader_share", train[1:], WAITING)
    if share is None:
        return None
    do = "more --workers, or smaller pictures: mmkit prep … --resize 256"
    return Finding("loader", f"the model waits for pictures {share:.0%} of the time: the loader is slower than the model", do)
