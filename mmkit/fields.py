"""Dataclasses whose fields say what they are and which values they take, built from tables; each value is checked."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import field
from typing import Any

from mmkit.errors import ConfigError, UserError, nearest, setting, toml


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


def inline(text: str, rows: Callable[[], dict[str, Any]]) -> Any:
    """A field that holds further tables of its class by name, each of a dataclass that is the row's `Spec`.

    Args:
        rows: the names and rows there are, asked for when a table is read.
    """
    return field(default_factory=dict, metadata={"doc": text, "inline": rows})


def fill(cls: Any, tables: dict[str, Any], path: str = "", source: str = "") -> Any:
    """Make a `cls` of nested tables.

    Args:
        path: of `cls` in the whole, "train."; before each key that an error names.
        source: the file that is to blame; where there is none the error names the keys, for whoever knows where they were typed.

    Raises:
        ConfigError: an unknown key (the nearest is named), or a value of the wrong type or out of its range.
    """
    hints = typing.get_type_hints(cls)
    fields = [f for f in dataclasses.fields(cls) if "inline" not in f.metadata]
    within = {f.name: f.metadata["inline"]() for f in dataclasses.fields(cls) if "inline" in f.metadata}
    names = [*(f.name for f in fields), *(name for rows in within.values() for name in rows)]
    for key in tables:
        if key not in names:
            raise _wrong(f"unknown key {path}{key}", f"{path}{key}", source, nearest(key, names))
    made: dict[str, Any] = {
        field_name: {n: _convert(row.Spec, tables[n], f"{path}{n}", source) for n, row in rows.items() if n in tables}
        for field_name, rows in within.items()
    }
    for f in fields:
        if f.name in tables:
            made[f.name] = _value(f, hints[f.name], tables[f.name], getattr(cls(), f.name), f"{path}{f.name}", source)
    return cls(**made)


def _value(f: dataclasses.Field[Any], kind: Any, value: Any, default: Any, path: str, source: str) -> Any:
    """The value of one field; where it cannot be, the hint is one that can."""
    try:
        made = _convert(kind, value, path, source)
        _check(made, f.metadata, path, source)
        return made
    except ConfigError as e:
        if not e.hint:
            e.hint = next((_as_typed(path, meant, source) for meant in _meant(f, kind, value, default)), "")
        raise


def _meant(f: dataclasses.Field[Any], kind: Any, value: Any, default: Any) -> Iterator[Any]:
    """What `value` was probably meant to be, of what the field takes; the likeliest first."""
    if length := f.metadata.get("length"):
        given = _numbers(value)
        guesses = [(given + (default or given[:1] * length)[len(given) :])[:length], default]
    else:
        options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        guesses = [_scalar_meant(option, value) for option in options]
    for guess in guesses:
        with suppress(ConfigError):
            _check(guess, f.metadata, "", "")
            if guess is not None:
                yield guess


def _numbers(value: Any) -> list[float]:
    words = value.strip("[]() ").split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    try:
        return [float(word) for word in words if not isinstance(word, bool)]
    except (TypeError, ValueError):
        return []


def _wrong(what: str, path: str, source: str, hint: str = "") -> ConfigError:
    return ConfigError(what, *([] if source else [path]), where=source, hint=hint)


def _as_typed(path: str, value: Any, source: str) -> str:
    """The hint that gives `path` another value: on the command line, or as the line of the file that is to blame."""
    return f"{path.rpartition('.')[2]} = {toml(value)}" if source else setting(path, value)


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
            keys = [f.name for f in dataclasses.fields(kind)]
            raise _wrong(f"{path} is a table, not {value!r}", path, source, _table_meant(path, value, keys, source))
        return fill(kind, value, f"{path}.", source)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _convert_one_of(kind, value, path, source)
    if origin is list:
        if not isinstance(value, list):
            meant = _as_list(args[0], value)
            hint = _as_typed(path, meant, source) if meant else ""
            raise _wrong(f"{path} = {value!r} is not a list", path, source, hint)
        return [_convert(args[0], v, f"{path}[{i}]", source) for i, v in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            keys = ["kind"] if args[1] is Any else []
            raise _wrong(f"{path} is a table, not {value!r}", path, source, _table_meant(path, value, keys, source))
        return {k: _convert(args[1], v, f"{path}.{k}", source) for k, v in value.items()}
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _wrong(f"{path} = {value!r} is not {_name(kind)}", path, source)
    return value


def _scalar_meant(kind: Any, value: Any) -> Any:
    """What `value` says in other words than TOML's (True, .001, 64.0, a name of digits); None where it cannot be guessed."""
    if kind is bool:
        words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
        return words.get(str(value).strip().lower())
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if kind not in (int, float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if kind is float:
        return number if math.isfinite(number) else None
    return int(number) if number.is_integer() else None


def _table_meant(path: str, value: Any, keys: list[str], source: str) -> str:
    """A word in the place of a table is most likely its kind."""
    if "kind" in keys and isinstance(value, str) and value.isidentifier():
        return f"{path}.kind = {toml(value)}" if source else setting(f"{path}.kind", value)
    return f"its keys: {', '.join(keys)}" if len(keys) > 1 else ""


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


def _as_list(item: Any, value: Any) -> list[Any]:
    """The list that was probably meant: `crop,flip` is ["crop", "flip"]; empty where it cannot be guessed."""
    if item is str and isinstance(value, str):
        words = [word.strip(" \"'") for word in value.strip("[] ").split(",")]
        return [word for word in words if word]
    if dataclasses.is_dataclass(item):
        first = dataclasses.fields(item)[0].name
        return [{first: getattr(item(), first)}]  # type: ignore[operator]
    return []


def _name(kind: Any) -> str:
    """A type in words."""
    if typing.get_origin(kind) is dict or dataclasses.is_dataclass(kind):
        return "a table"
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}.get(kind, str(kind))
