"""Tables of kinds: kind -> module and class, imported on first use, whose keys are the arguments of the class.

What a class takes by keyword only is a fact that model or data give; it is no key of the configuration.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from mmkit.errors import ConfigError, nearest


def load(place: tuple[str, str]) -> Any:
    """The class at (module, name); of a class itself, the class."""
    module, name = place
    return getattr(importlib.import_module(module), name)


def keys_of(cls: Any) -> dict[str, str]:
    """Key -> argument: a word of Python, such as `from`, ends with an underscore there."""
    found = inspect.signature(cls).parameters.values()
    return {p.name.removesuffix("_"): p.name for p in found if p.kind == p.POSITIONAL_OR_KEYWORD}


def given_to(cls: Any) -> set[str]:
    """The facts that a class takes."""
    return {p.name for p in inspect.signature(cls).parameters.values() if p.kind == p.KEYWORD_ONLY}


def check_keys(cls: Any, table: Mapping[str, Any], path: str) -> None:
    """Check the keys of a configuration table against the arguments of its kind.

    Raises:
        ConfigError: an unknown key; the nearest is named.
    """
    keys = keys_of(cls)
    for key in table:
        if key != "kind" and key not in keys:
            hint = nearest(key, keys)
            raise ConfigError(f"unknown key {path}.{key}", f"{path}.{key}", where=f"kind {table['kind']}", hint=hint)


def build(cls: Any, table: Mapping[str, Any], path: str, what: str, given: Mapping[str, Any], also: Iterable[str] = ()) -> Any:
    """Make a `cls` of its configuration table.

    Args:
        path: of the table in the whole.
        what: `vit encoder`, for messages.
        given: facts, of which it is passed those it takes.
        also: further keys that may be to blame.

    Raises:
        ConfigError: an unknown key, or values that do not fit together.
    """
    check_keys(cls, table, path)
    keys, facts = keys_of(cls), given_to(cls)
    options = {key: value for key, value in table.items() if key != "kind"}
    try:
        return cls(**{keys[k]: v for k, v in options.items()}, **{k: v for k, v in given.items() if k in facts})
    except (ValueError, TypeError, ArithmeticError) as e:
        typed = {k: v for k, v in options.items() if k != "architecture"}
        raise ConfigError(f"these values make no {what} ({e})", path, *also, where=f"{path}: {typed}") from e
