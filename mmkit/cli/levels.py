"""What was typed after `mmkit train` as levels of the configuration; a wrong key or value is named by its option."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.config import Config, Level, Tables, differing, one_level, parse_set, read_toml, resolve
from mmkit.errors import ConfigError, UsageError
from mmkit.tune import is_tuned, tuned, without


@dataclass(frozen=True)
class Typed:
    """The options of `mmkit train` that say something of the configuration.

    Args:
        recipe: None where none was typed.
        file: of --config.
        shortcuts: option -> (key, value as Typer reads it).
        locked: modalities of --lock-image, --lock-text.
        sets: the words after each --set.
        tune: of --tune.
    """

    recipe: str | None
    file: Path | None
    shortcuts: dict[str, tuple[str, Any]]
    locked: list[str]
    sets: list[str]
    tune: str | None = None

    def resolve(self, init: Tables | None = None, whole: bool = False) -> Config:
        """The configuration, see `mmkit.config.resolve`.

        Args:
            whole: `init` says everything that a recipe would.
        """
        shortcuts: list[Level] = [*([tuned(self.tune)] if self.tune else []), *self._shortcuts()]
        locks: list[Level] = [without(self.locked)] if self.locked else []
        # the losses of --init are the default where nothing else says what is learnt
        recipe = self.recipe or (None if init and (whole or not self.file) else "clip")
        return resolve(recipe, self.file, [*shortcuts, *locks, self._set()], init)

    def overruled(self, config: Config) -> list[str]:
        """The options that say what learns and that a `stage` of --set has taken the effect of."""
        tune = ["--tune"] if self.tune and "stage" in self._set() else []
        return tune + [f"--lock-{m}" for m in self.locked if any(_trains(stage.train, f"encoder.{m}.") for stage in config.stage)]

    def differing(self, tables: Tables) -> list[str]:
        """What of it is not as in the resolved `tables` of a run: the keys, and the options that are none."""
        found = ["--recipe"] if self.recipe not in (None, tables.get("recipe")) else []
        found += ["--tune"] if self.tune and not is_tuned(self.tune, tables) else []
        for level in (read_toml(self.file) if self.file else {}, *self._shortcuts(), self._set()):
            found += differing(level, tables)
        found += [f"--lock-{m}" for m in self.locked if differing(without([m])(tables), tables)]
        return list(dict.fromkeys(found))

    @contextmanager
    def named(self) -> Iterator[None]:
        """Where the configuration is wrong in what was typed, name the option.

        Raises:
            UsageError: it is, exit code 2; what a file or a recipe says stays an error of that file.
        """
        try:
            yield
        except ConfigError as e:
            option = next((option for key in e.keys if (option := self._option(key))), None)
            if option is None:
                raise
            raise UsageError(e.what, e.where if option == "--set" and e.where else option, e.hint) from e

    def _option(self, key: str) -> str | None:
        """The highest option that sets `key`, a key in it, or the table that it stands in."""
        sets = [(text.partition("=")[0].strip(), "--set") for text in self.sets]
        shortcuts = [(typed, option) for option, (typed, _) in self.shortcuts.items()]
        shortcuts += [("stage", "--tune")] if self.tune else []
        return next((option for typed, option in (*sets, *shortcuts) if _within(key, typed) or _within(typed, key)), None)

    def _shortcuts(self) -> Iterator[Tables]:
        return (_shortcut(option, key, value) for option, (key, value) in self.shortcuts.items())

    def _set(self) -> Tables:
        return one_level(parse_set(text) for text in self.sets)


def _trains(patterns: list[str], encoder: str) -> bool:
    """Whether a pattern may match names that begin with `encoder`, which no pattern takes out again as a lock does."""
    beginnings = [re.split(r"[*?[]", pattern)[0] for pattern in patterns if not pattern.startswith("!")]
    return f"!{encoder}*" not in patterns and any(b.startswith(encoder) or encoder.startswith(b) for b in beginnings)


def _within(key: str, table: str) -> bool:
    return f"{key}.".startswith(f"{table}.")


def _shortcut(option: str, key: str, value: Any) -> Tables:
    """The level that an option stands for."""
    if option == "--steps":
        return parse_set(f"{key}={value}")
    if option == "--report-to":
        value = [name.strip() for name in value.split(",")]
    elif option in ("--image-encoder", "--text-encoder", "--audio-encoder"):
        value = _encoder(value)
    elif option == "--video-encoder":
        value = _frame_encoder(value)
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _encoder(name: str) -> Tables:
    from mmkit.encoders import ENCODERS

    return {"kind": name} if name in ENCODERS else {"kind": "pretrained", "from": name}


def _frame_encoder(name: str) -> Tables:
    """That of the frames of a video, which its encoder holds inside."""
    from mmkit.encoders.video import FRAME_KINDS

    return {"frame": name} if name in FRAME_KINDS else {"from": name}
