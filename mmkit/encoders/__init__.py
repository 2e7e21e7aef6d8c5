"""The table of encoders: kind -> modality, module and class. Imported without torch; the class on first use."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from mmkit.errors import UserError, nearest

ENCODERS = {
    "vit": ("image", "mmkit.encoders.image", "ViT"),
    "cnn": ("image", "mmkit.encoders.image", "CNN"),
    "transformer": ("text", "mmkit.encoders.text", "TextTransformer"),
    "pretrained": ("any", "mmkit.encoders.pretrained", "Pretrained"),
}


def build(modality: str, table: dict[str, Any], given: dict[str, Any]) -> Any:
    """Build the encoder that a configuration table names.

    Args:
        modality: what it encodes.
        table: `kind` and the keyword arguments of that kind.
        given: facts from data and tokenizer (modality, size, vocab_size, context), passed where the kind takes them.

    Raises:
        UserError: an unknown kind or key (the nearest is named), or values that do not fit together.
    """
    options = dict(table)
    cls = encoder_class(modality, options.pop("kind", ""))
    # a key that is a word of Python, such as `from`, ends with an underscore there
    keys = {k.removesuffix("_"): k for k in inspect.signature(cls).parameters}
    for key in options:
        if key not in keys or key in given:
            raise UserError(
                f"unknown key encoder.{modality}.{key}", f"kind {table['kind']}", nearest(key, set(keys) - set(given))
            )
    try:
        return cls(**{keys[k]: v for k, v in options.items()}, **{k: v for k, v in given.items() if k in keys})
    except (ValueError, TypeError, ArithmeticError) as e:
        typed = {k: v for k, v in options.items() if k != "architecture"}
        raise UserError(f"these values make no {table['kind']} encoder ({e})", f"encoder.{modality}: {typed}") from e


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Check an encoder's key that is one of several words.

    Raises:
        ValueError: it is none of them.
    """
    if value not in known:
        raise ValueError(f"{name} is {' or '.join(known)}, not {value!r}")


def check_kind(modality: str, kind: str) -> None:
    """Check without torch that `kind` encodes `modality`.

    Raises:
        UserError: it does not; the kinds that do are named.
    """
    known = [k for k, (m, _, _) in ENCODERS.items() if m in (modality, "any")]
    if kind not in known:
        raise UserError(f"no {modality} encoder of kind {kind!r}", f"encoder.{modality}.kind", nearest(kind, known))


def encoder_class(modality: str, kind: str) -> Any:
    """The class behind a kind."""
    check_kind(modality, kind)
    _, module, name = ENCODERS[kind]
    return getattr(importlib.import_module(module), name)
