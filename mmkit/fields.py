"""Dataclasses whose fields say what they are and which values they take, built from tables; each value is checked."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable
from dataclasses import field
from typing import Any

from mmkit.errors import ConfigError, UserError, nearest


def doc(
    text: str,
    default: Any = None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    one_of: tuple[str, ...] = (),
    length: int | None = None,
    check: Callable[[str, Any], object] | None = None,
) -> Any:
    """A dataclass field with its documentation line and the values it takes; mutable defaults are copied.

    Args:
        check: takes the key and the value, and raises UserError where the value cannot be.
    """
    limits = {"least": least, "above": above, "most": most}
    metadata = {"doc": text, "limits": limits, "one_of": one_of, "length": length, "check": check}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def fill(cls: Any, tables: dict[str, Any], path: str = "", source: str = "") -> Any:
    """Make a `cls` of nested tables.

    Args:
        path: of `cls` in the whole, "train."; before each key that an error names.
        source: the file that is to blame; where there is none the error names the keys, for whoever knows where they were typed.

    Raises:
        ConfigError: an unknown key (the nearest is named), or a value of the wrong type or out of its range.
    """
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    for key in tables:
        if key not in names:
            raise _wrong(f"unknown key {path}{key}", f"{path}{key}", source, nearest(key, names))
    made = {key: _convert(hints[key], item, f"{path}{key}", source) for key, item in tables.items()}
    for f in dataclasses.fields(cls):
        if f.name in made:
            _check(made[f.name], f.metadata, f"{path}{f.name}", source)
    return cls(**made)


def _wrong(what: str, path: str, source: str, hint: str = "") -> ConfigError:
    return ConfigError(what, *([] if source else [path]), where=source, hint=hint)


def _check(value: Any, allowed: Any, path: str, source: str) -> None:
    """What a field's `doc` says of its values."""
    if allowed.get("length") and value is not None and len(value) != allowed["length"]:
        raise _wrong(f"{path} = {value!r} does not have {allowed['length']} values", path, source)
    for item in value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]:
        if isinstance(item, str) and allowed.get("one_of") and item not in allowed["one_of"]:
            hint = nearest(item, allowed["one_of"])
            what = f"{path} = {item!r} is none of {', '.join(allowed['one_of'])}"
            raise _wrong(what, path, source, hint if hint.startswith("did you") else "")
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            _check_number(item, allowed.get("limits", {}), path, source)
    if allowed.get("check") and value is not None:
        try:
            allowed["check"](path, value)
        except UserError as e:
            raise _wrong(e.what, path, source, e.hint) from e


def _check_number(number: float, limits: dict[str, float | None], path: str, source: str) -> None:
    # written so that a nan fails too
    for name, word, holds in (
        ("least", "at least", lambda limit: number >= limit),
        ("above", "above", lambda limit: limit < number < math.inf),
        ("most", "at most", lambda limit: number <= limit),
    ):
        limit = limits.get(name)
        if limit is not None and not holds(limit):
            raise _wrong(f"{path} = {number} is not {word} {limit:g}", path, source)


def _convert(kind: Any, value: Any, path: str, source: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise _wrong(f"{path} is a table, not {value!r}", path, source)
        return fill(kind, value, f"{path}.", source)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _convert_one_of(kind, value, path, source)
    if origin is list:
        if not isinstance(value, list):
            example = _as_list(args[0], value)
            hint = f"--set '{path}={example}'" if example else ""
            raise _wrong(f"{path} = {value!r} is not a list", path, source, hint)
        return [_convert(args[0], v, f"{path}[{i}]", source) for i, v in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(f"{path} is a table, not {value!r}", path, source)
        return {k: _convert(args[1], v, f"{path}.{k}", source) for k, v in value.items()}
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _wrong(f"{path} = {value!r} is not {_name(kind)}", path, source)
    return value


def _convert_one_of(kind: Any, value: Any, path: str, source: str) -> Any:
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    if value is None:
        return None
    if len(options) == 1:  # its own message says more
        return _convert(options[0], value, path, source)
    for option in options:
        try:
            return _convert(option, value, path, source)
        except UserError:
            continue
    raise _wrong(f"{path} = {value!r} is not {' or '.join(_name(o) for o in options)}", path, source)


def _as_list(item: Any, value: Any) -> str:
    """The list that was probably meant, in TOML: `crop,flip` is ["crop", "flip"]; empty where it cannot be guessed."""
    if item is str and isinstance(value, str):
        words = [word.strip(" \"'") for word in value.strip("[] ").split(",")]
        return json.dumps([word for word in words if word], ensure_ascii=False)
    if dataclasses.is_dataclass(item):
        first = dataclasses.fields(item)[0].name
        return f"[{{{first} = {json.dumps(getattr(item(), first))}}}]"  # type: ignore[operator]
    return ""


def _name(kind: Any) -> str:
    """A type in words."""
    if typing.get_origin(kind) is dict or dataclasses.is_dataclass(kind):
        return "a table"
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}.get(kind, str(kind))
