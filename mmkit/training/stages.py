"""Stages of freezing: which parameters learn at a step, as patterns of their names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from mmkit.config import Config, Stage, to_dict
from mmkit.errors import ConfigError, nearest, setting
from mmkit.model import Model
from mmkit.training.depth import blocks, depths

EVERYTHING = Stage()
FEW = 4  # names that are said one by one


def stages_of(config: Config) -> list[Stage]:
    """The stages of a run; without any, everything learns to the end."""
    return config.stage or [EVERYTHING]


def stage_at(config: Config, step: int) -> Stage:
    """The stage of a step (counted from 0); after the last stage's end, the last stage goes on."""
    for stage in stages_of(config):
        if stage.until is None or (isinstance(stage.until, int) and step < stage.until):
            return stage
    return stages_of(config)[-1]


def learns(stage: Stage, name: str) -> bool:
    """Whether a parameter learns in a stage.

    A pattern is a shell pattern on the whole name; one that begins with `!` takes its matches out again. The last match decides.
    """
    found = False
    for pattern in stage.train:
        if fnmatchcase(name, pattern.removeprefix("!")):
            found = not pattern.startswith("!")
    return found


def apply_stage(model: Model, stage: Stage) -> None:
    """Let exactly the parameters of `stage` learn; the rest has no gradient and stands in eval mode.

    The optimizer has to be made anew afterwards: a parameter with a zero gradient still moves by Adam's moments and by decay.
    """
    for name, p in model.named_parameters():
        p.requires_grad_(learns(stage, name))
        p.grad = None
    model.train()


def resolve_top(config: Config, built: Any) -> dict[str, str]:
    """Turn the `top` of every stage into patterns of what lies below it; returns key -> reason.

    Args:
        built: the encoders by name, on any device.
    """
    reasons: dict[str, str] = {}
    for number, stage in enumerate(config.stage, 1):
        if stage.top is None:
            continue
        out, counts = [], []
        for name, encoder in built.items():
            names = [f"encoder.{name}.{key}" for key, _ in encoder.named_parameters()]
            if not any(learns(stage, key) for key in names):
                continue
            depth, total = depths(names), len(blocks(names))
            learning = math.ceil(stage.top * total)
            out += gathered([key for key in names if stage.top < 1 and depth[key] > learning], names)
            counts.append(f"{learning} of {total} blocks of the {name} encoder")
        if out:
            stage.train = [*stage.train, *(f"!{pattern}" for pattern in out)]
            reasons[f"stage {number}: train"] = f"without {len(out)} patterns (top = {stage.top:g}: {', '.join(counts)})"
        stage.top = None
    return reasons


def gathered(some: list[str], names: list[str]) -> list[str]:
    """Names of tensors, `fusion.*` standing for many of which there is no other of that beginning."""
    if len(some) <= FEW:
        return some
    found: list[str] = []
    for name in some:
        parts = name.split(".")
        beginnings = [".".join(parts[:depth]) + "." for depth in range(1, len(parts))]
        whole = next((b for b in beginnings if all(n in some for n in names if n.startswith(b))), None)
        found.append(f"{whole}*" if whole else name)
    return list(dict.fromkeys(found))


def check_patterns(config: Config, names: Iterable[str]) -> None:
    """Check the patterns of every stage against the parameter names.

    Raises:
        ConfigError: a pattern matches nothing, or nothing learns in a stage.
    """
    names = list(names)
    for number, stage in enumerate(config.stage, 1):
        for pattern in stage.train:
            if not any(fnmatchcase(name, pattern.removeprefix("!")) for name in names):
                what = f"stage {number}: the pattern {pattern!r} matches no parameter"
                raise ConfigError(what, "stage", hint=_pattern_meant(pattern, names))
        if not any(learns(stage, name) for name in names):
            found = ["project.*"] if any(name.startswith("project.") for name in names) else ["*"]
            stages = [replace(s, train=found) if s is stage else s for s in config.stage]
            raise ConfigError(f"stage {number}: nothing learns", "stage", hint=f"e.g. {_typed(stages)}")


def _pattern_meant(pattern: str, names: Iterable[str]) -> str:
    out = "!" if pattern.startswith("!") else ""
    parts = sorted({".".join(name.split(".")[:depth]) + ".*" for name in names for depth in (1, 2)})
    hint = nearest(pattern, [out + part for part in parts])
    return hint if hint.startswith("did you") else f"there are: {', '.join(parts)}"


def _typed(stages: Iterable[Stage]) -> str:
    """All stages as one option: a list replaces the one of a lower level."""
    default = to_dict(EVERYTHING)
    return setting("stage", [{k: v for k, v in to_dict(s).items() if default.get(k) != v} for s in stages])


def check_ends(config: Config) -> None:
    """Check that every stage begins; durations are steps by now.

    Raises:
        ConfigError: a stage ends too late, too early or not at all; it is named.
    """
    begin, steps = 0, config.train.steps
    assert isinstance(steps, int)
    for number, stage in enumerate(config.stage[:-1], 1):
        assert not isinstance(stage.until, str)
        if stage.until is None:
            what = f"stage {number} has no end, so stage {number + 1} would never begin"
        elif stage.until <= begin:
            what = f"stage {number} ends at step {stage.until}, but it begins at step {begin}"
        elif stage.until >= steps:
            what = f"stage {number} ends at step {stage.until} of {steps}, so stage {number + 1} would never begin"
        else:
            begin = stage.until
            continue
        raise ConfigError(what, "stage", where="stage.until", hint=_ends_meant(config.stage, steps))


def _ends_meant(stages: list[Stage], steps: int) -> str:
    """Ends that can be: those that can stay, and the others at equal distances, as shares of the run."""
    if steps < len(stages):
        return f"{setting('train.steps', 10 * len(stages))} or more, or fewer stages"
    begin, ended = 0, []
    for left, stage in zip(range(len(stages), 1, -1), stages, strict=False):
        last = steps - left + 1
        until = stage.until if isinstance(stage.until, int) and begin < stage.until <= last else begin + (steps - begin) // left
        ended.append(replace(stage, until=f"{100 * until / steps:.4g}%"))
        begin = until
    return f"e.g. {_typed([*ended, stages[-1]])}"


def largest(config: Config, model: Model) -> Stage:
    """The stage in which most parameters learn: the one to measure memory and time in."""
    return max(stages_of(config), key=lambda stage: sum(p.numel() for n, p in model.named_parameters() if learns(stage, n)))


def frozen(config: Config, stages: Iterable[Stage], names: Iterable[str]) -> list[str]:
    """The encoders that learn in none of `stages`."""
    names, stages = list(names), list(stages)
    return [
        encoder
        for encoder in config.encoder
        if not any(learns(stage, name) for stage in stages for name in names if name.startswith(f"encoder.{encoder}."))
    ]
