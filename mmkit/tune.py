"""What learns, as levels of configuration: the presets of `--tune`, and the locks of `--lock-image` and `--lock-text`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

from mmkit.config import Level, Tables, differing
from mmkit.errors import UsageError, nearest

LOCK = re.compile(r"!encoder\.[^.*]+\.\*")
NO_ENCODERS, ADAPTERS = "!encoder.*", ".lora_*"


def tunes() -> dict[str, Tables]:
    """Preset -> `doc`, `stage` and keys of `train`."""
    return tomllib.loads((resources.files("mmkit") / "tune.toml").read_text(encoding="utf-8"))


def tuned(name: str) -> Level:
    """The level that a preset stands for; of adapters it keeps the stages of the recipe.

    Raises:
        UsageError: there is no such preset; the nearest is named.
    """
    known = tunes()
    if name not in known:
        raise UsageError(f"no preset {name!r}", "--tune", nearest(name, known))
    level = {key: value for key, value in known[name].items() if key != "doc"}
    return level if "stage" in level else lambda lower: level | {"stage": _adapted(lower.get("stage") or [{}])}


def is_tuned(name: str, tables: dict[str, Any]) -> bool:
    """Whether the resolved tables of a run may be of a preset: locks and what became of `top` follow its patterns, and ends are
    steps there."""
    there, level = tables.get("stage", []), tuned(name)
    if not isinstance(level, dict):
        adapters = level(tables)
        return adapters["stage"] == there and not differing(adapters, tables)
    stages = level.pop("stage")
    return len(stages) == len(there) and all(map(_may_be, stages, there)) and not differing(level, tables)


def _adapted(stages: list[Tables]) -> list[Tables]:
    """The same stages with adapters for what learns of encoders.

    >>> _adapted([{"train": ["fusion.*"], "until": "30%"}, {"train": ["fusion.*", "encoder.text.*"]}])
    [{'train': ['fusion.*'], 'until': '30%'}, {'train': ['fusion.*', 'encoder.text.*.lora_*']}]
    >>> _adapted(_adapted([{}])) == _adapted([{}]) == [{"train": ["*", "!encoder.*", "encoder.*.lora_*"]}]
    True
    """

    def adapters(pattern: str, train: list[str]) -> list[str]:
        if pattern == "*" and NO_ENCODERS not in train:
            return ["*", NO_ENCODERS, f"encoder.*{ADAPTERS}"]
        of_encoder = pattern.startswith("encoder.") and "lora_" not in pattern
        return [f"{pattern.removesuffix('.*')}.*{ADAPTERS}" if of_encoder else pattern]

    learns = [stage.get("train", ["*"]) for stage in stages]
    return [s | {"train": [p for own in train for p in adapters(own, train)]} for s, train in zip(stages, learns, strict=True)]


def _may_be(stage: Tables, there: Tables) -> bool:
    own, found = stage["train"], there["train"]
    more = found[len(own) :]
    return found[: len(own)] == own and all(
        pattern.startswith("!") if "top" in stage else LOCK.fullmatch(pattern) for pattern in more
    )


def without(modalities: Iterable[str]) -> Callable[[Tables], Tables]:
    """The level of `--lock-image` and `--lock-text`: no stage trains these encoders (LiT, arXiv:2111.07991)."""
    patterns = [f"!encoder.{modality}.*" for modality in modalities]

    def over(lower: Tables) -> Tables:
        stages = lower.get("stage") or [{}]
        learns = [[p for p in stage.get("train", ["*"]) if p not in patterns] for stage in stages]
        return {"stage": [s | {"train": [*train, *patterns]} for s, train in zip(stages, learns, strict=True)]}

    return over
