"""The table of losses: kind -> module and class. Imported without torch; the class on first use."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from mmkit.errors import UserError, nearest

LOSSES = {
    "infonce": ("mmkit.losses.contrastive", "InfoNCE"),
    "sigmoid": ("mmkit.losses.contrastive", "Sigmoid"),
}


def check_kind(name: str, kind: str) -> None:
    """Check without torch that there is a loss of this kind.

    Raises:
        UserError: there is none; the nearest is named.
    """
    if kind not in LOSSES:
        raise UserError(f"no loss of kind {kind!r}", f"loss.{name}.kind", nearest(kind, LOSSES))


def build(name: str, table: dict[str, Any]) -> Any:
    """Build the loss module of a `[loss.NAME]` table; its keys are the keyword arguments of the kind.

    Raises:
        UserError: an unknown kind or key; the nearest is named.
    """
    options = dict(table)
    kind = options.pop("kind", "")
    check_kind(name, kind)
    module, cls_name = LOSSES[kind]
    cls = getattr(importlib.import_module(module), cls_name)
    keys = [k for k in inspect.signature(cls).parameters if k != "self"]
    for key in options:
        if key not in keys:
            raise UserError(f"unknown key loss.{name}.{key}", f"kind {kind}", nearest(key, keys))
    if "between" not in options:
        raise UserError(
            f"loss.{name} does not say which modalities it is between", hint=f"""--set 'loss.{name}.between=["image", "text"]'"""
        )
    try:
        return cls(**options)
    except (ValueError, TypeError, ArithmeticError) as e:
        raise UserError(f"these values make no {kind} loss ({e})", f"loss.{name}: {options}") from e
