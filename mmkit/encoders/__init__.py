"""The table of encoders: kind -> modality, module and class. Imported without torch; the class on first use."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from mmkit.errors import ConfigError, nearest

ENCODERS = {
    "vit": ("image", "mmkit.encoders.image", "ViT"),
    "cnn": ("image", "mmkit.encoders.image", "CNN"),
    "transformer": ("text", "mmkit.encoders.text", "TextTransformer"),
    "pretrained": ("any", "mmkit.encoders.pretrained", "Pretrained"),
}
GIVEN = {"modality", "size", "vocab_size", "context"}  # by data and tokenizer, where a kind takes them; no keys of its table


def build(modality: str, table: dict[str, Any], given: dict[str, Any]) -> Any:
    """Build the encoder that a configuration table names.

    Args:
        modality: what it encodes.
        table: `kind` and the keyword arguments of that kind.
        given: the facts of `GIVEN`.

    Raises:
        ConfigError: an unknown kind or key (the nearest is named), or values that do not fit together.
    """
    keys, cls = check_keys(modality, table), encoder_class(modality, table["kind"])
    options = {key: value for key, value in table.items() if key != "kind"}
    try:
        return cls(**{keys[k]: v for k, v in options.items()}, **{k: v for k, v in given.items() if k in keys})
    except (ValueError, TypeError, ArithmeticError) as e:
        typed = {k: v for k, v in options.items() if k != "architecture"}
        raise ConfigError(
            f"these values make no {table['kind']} encoder ({e})",
            f"encoder.{modality}",
            f"data.{modality}",
            where=f"encoder.{modality}: {typed}",
        ) from e


def check_keys(modality: str, table: dict[str, Any]) -> dict[str, str]:
    """Check the keys of a configuration table against the keyword arguments of its kind.

    Returns:
        Key -> keyword argument: a word of Python, such as `from`, ends with an underscore there.

    Raises:
        ConfigError: an unknown kind or key; the nearest is named.
    """
    keys = {k.removesuffix("_"): k for k in inspect.signature(encoder_class(modality, table.get("kind", ""))).parameters}
    for key in table:
        if key != "kind" and (key not in keys or key in GIVEN):
            path = f"encoder.{modality}.{key}"
            raise ConfigError(f"unknown key {path}", path, where=f"kind {table['kind']}", hint=nearest(key, set(keys) - GIVEN))
    return keys


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
        ConfigError: it does not, or nothing does; what does is named.
    """
    path = f"encoder.{modality}"
    modalities = {m for m, _, _ in ENCODERS.values()} - {"any"}
    if modality not in modalities:
        raise ConfigError(f"unknown key {path}", path, hint=nearest(modality, modalities))
    known = [k for k, (m, _, _) in ENCODERS.items() if m in (modality, "any")]
    if kind not in known:
        raise ConfigError(f"no {modality} encoder of kind {kind!r}", path, where=f"{path}.kind", hint=nearest(str(kind), known))


def encoder_class(modality: str, kind: str) -> Any:
    """The class behind a kind."""
    check_kind(modality, kind)
    _, module, name = ENCODERS[kind]
    return getattr(importlib.import_module(module), name)
