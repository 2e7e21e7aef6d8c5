"""The table of losses: kind -> module and class. Imported without torch; the class on first use."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from typing import Any

from mmkit.errors import ConfigError, nearest, setting

LOSSES = {
    "infonce": ("mmkit.losses.contrastive", "InfoNCE"),
    "sigmoid": ("mmkit.losses.contrastive", "Sigmoid"),
}


def check_names(tables: dict[str, dict[str, Any]], modalities: Iterable[str]) -> None:
    """Check without torch that the kind of each `[loss.NAME]` exists, and that it is between two modalities of the model.

    Raises:
        ConfigError: it is not; the nearest is named.
    """
    modalities = list(modalities)
    for name, table in tables.items():
        path, between = f"loss.{name}.between", table.get("between")
        # whatever else is wrong with it, one hint says all that it lacks
        pair = setting(path, modalities[:2])
        lacks = "" if "between" in table else f" {pair}"
        if "kind" not in table:
            named = nearest(name, set(tables) - {name})
            hint = named if named.startswith("did you") else setting(f"loss.{name}.kind", next(iter(LOSSES))) + lacks
            raise ConfigError(f"loss.{name} has no kind", f"loss.{name}", hint=hint)
        check_kind(name, table["kind"], lacks)
        if between is None:
            raise ConfigError(f"loss.{name} does not say which modalities it is between", f"loss.{name}", hint=pair)
        if not isinstance(between, list) or len(set(map(str, between))) != 2:
            raise ConfigError(f"{between} are not two modalities", path, where=path, hint=pair)
        for modality in between:
            if modality not in modalities:
                raise ConfigError(f"there is no {modality} encoder", path, where=path, hint=nearest(str(modality), modalities))


def check_kind(name: str, kind: str, lacks: str = "") -> None:
    """Check without torch that there is a loss of this kind.

    Args:
        lacks: what the hint says of other keys.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    if not isinstance(kind, str) or kind not in LOSSES:
        path = f"loss.{name}.kind"
        raise ConfigError(f"no loss of kind {kind!r}", path, where=path, hint=nearest(str(kind), LOSSES) + lacks)


def build(name: str, table: dict[str, Any]) -> Any:
    """Build the loss module of a `[loss.NAME]` table; its keys are the keyword arguments of the kind.

    Raises:
        ConfigError: an unknown kind or key (the nearest is named), or values that make no loss.
    """
    cls = check_keys(name, table)
    options = {key: value for key, value in table.items() if key != "kind"}
    try:
        return cls(**options)
    except (ValueError, TypeError, ArithmeticError) as e:
        what = f"these values make no {table['kind']} loss ({e})"
        raise ConfigError(what, f"loss.{name}", where=f"loss.{name}: {options}") from e


def check_keys(name: str, table: dict[str, Any]) -> Any:
    """Check the keys of a configuration table against the keyword arguments of its kind.

    Returns:
        The class of the kind.

    Raises:
        ConfigError: an unknown kind or key; the nearest is named.
    """
    kind = table.get("kind", "")
    check_kind(name, kind)
    module, cls_name = LOSSES[kind]
    cls = getattr(importlib.import_module(module), cls_name)
    keys = [k for k in inspect.signature(cls).parameters if k != "self"]
    for key in table:
        if key != "kind" and key not in keys:
            path = f"loss.{name}.{key}"
            raise ConfigError(f"unknown key {path}", path, where=f"kind {kind}", hint=nearest(key, keys))
    return cls
