"""Texts: the list of those that describe a row."""

from __future__ import annotations

from typing import Any

from mmkit.data.cells import Blank, is_missing, no_caption, texts_of
from mmkit.data.modalities import image

ROLE, COLUMN = "caption", "captions"
FEATURE = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}
# beside a picture they are read in this order
SUFFIXES = (".txt", ".caption")
NAMES = (
    *("caption", "text", "sentence", "description", "title"),
    *("alt_text", "alt", "raw", "comment", "prompt", "name", "product_name"),
)


def holds(value: Any) -> bool:
    """It holds texts, and no name of an image file."""
    texts = texts_of(value)
    return bool(texts) and not any(image.holds(text) for text in texts)


def cells(values: list[Any]) -> list[str]:
    """What the columns of a row say, each with one text or several; a blank one is an empty text."""
    return [text for value in values for text in texts_of(value) or [""]]


def store(raw: list[Any]) -> list[str]:
    """The texts without those that are missing, each once.

    Raises:
        Blank: none is left.
        ValueError: one of them did not decode.
    """
    texts = _stripped(raw)
    found = list(dict.fromkeys(text for text in texts if not is_missing(text)))
    if not found:
        raise Blank(no_caption(texts))
    try:
        "".join(found).encode()
    except UnicodeEncodeError:
        # bytes that did not decode were kept as surrogates, which do not encode
        raise ValueError("wrong encoding: the caption is neither UTF-8 nor surely another encoding") from None
    return found


def missing(raw: list[Any]) -> list[str]:
    """Those of the texts that are none, as they are written."""
    return [text for text in _stripped(raw) if is_missing(text)]


def merge(one: list[str], other: list[str]) -> list[str]:
    """The texts of both, each once."""
    return list(dict.fromkeys(one + other))


def _stripped(raw: list[Any]) -> list[str]:
    return [text.strip() if isinstance(text, str) else "" for text in raw]
