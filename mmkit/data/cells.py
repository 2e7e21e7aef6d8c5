"""What a cell of a stranger's table means: a picture, one text, or several."""

from __future__ import annotations

import ast
import io
import json
import tokenize
import warnings
from pathlib import Path
from typing import Any

from mmkit.data.images import SUFFIXES

# the key under which a row keeps the cells that it has beyond the columns
EXCESS = "(more cells than columns)"
# the key of a row that could not be read, and why
DAMAGED = "(not readable)"


def is_image(value: Any) -> bool:
    """Bytes, the struct {bytes, path} that `datasets` writes, or the name of an image file."""
    if isinstance(value, str):
        return Path(value.split("?")[0]).suffix.lower() in SUFFIXES
    return isinstance(value, bytes) or (isinstance(value, dict) and bool({"bytes", "path"} & value.keys()))


def is_text(value: Any) -> bool:
    """It holds texts, and no name of an image file."""
    texts = texts_of(value)
    return bool(texts) and not any(is_image(text) for text in texts)


def has_words(value: Any) -> bool:
    """One of its texts is more than a code or a path: it has several words, or letters beyond ASCII."""
    return any(" " in text.strip() or not text.isascii() for text in texts_of(value))


def texts_of(value: Any) -> list[str]:
    """A caption cell as captions: one text, a list, a list as JSON or as Python writes it, or objects with `raw` …"""
    if isinstance(value, str):
        if value.startswith("[") and value.endswith("]"):
            try:
                return texts_of(json.loads(value))
            except (ValueError, RecursionError):
                return _python_list(value) or [value]
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item)]
    if isinstance(value, dict):
        return [text for key in ("raw", "caption", "text") if key in value for text in texts_of(value[key])][:1]
    return [] if value is None or isinstance(value, bytes) else [str(value)]


def _python_list(text: str) -> list[str]:
    """`['a', "b's"]` as pandas writes a list of strings; empty for anything else, such as a caption in brackets."""
    try:
        with warnings.catch_warnings():
            # a caption with a backslash is no fault of the user's code
            warnings.simplefilter("ignore", SyntaxWarning)
            found = ast.literal_eval(text)
        strings = sum(token.type == tokenize.STRING for token in tokenize.generate_tokens(io.StringIO(text).readline))
    except (ValueError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError):
        return []
    # Python joins strings without a comma between them, which is how numpy writes an array: those are several captions
    whole = isinstance(found, list) and len(found) == strings and all(isinstance(item, str) for item in found)
    return found if whole else []


def text_of(value: Any) -> str:
    """A cell as text; 0 is a value, as an id or a class may be."""
    return "" if value is None else str(value)
