"""What a cell of a stranger's table means: a picture, one text, several, or none."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from mmkit.data.reprs import printed_list

# the key under which a row keeps the cells that it has beyond the columns
EXCESS = "(more cells than columns)"
# the key of a row that could not be read, and why
DAMAGED = "(not readable)"
# what pandas, R, spreadsheets, JavaScript and SQL write for a missing value, in lower case
MISSING = {
    *("", "nan", "-nan", "na", "n/a", "<na>", "#n/a", "#na", "#n/a n/a", "none", "null", "(null)", "(none)"),
    *("undefined", "\\n", "1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind", "#value!", "#ref!", "#name?", "#null!"),
}
NAT = "NaT"
TEXT_KEYS = ("raw", "caption", "text", "sentence", "description")


class Blank(ValueError):
    """There is nothing in the cell, and how that is said of the row where it matters."""


def is_missing(text: str) -> bool:
    """A text that is no caption: it is blank, or what a program writes for a missing value."""
    plain = text.strip()
    return plain.lower() in MISSING or plain == NAT


def no_caption(captions: Sequence[str]) -> str:
    """Why these are none, for a reject."""
    words = [word for caption in captions if (word := caption.strip())]
    return f"no caption: it says {words[0]!r}, a missing value" if words else "empty caption"


def is_url(value: Any) -> bool:
    """A link, which is no file here."""
    return isinstance(value, str) and re.match(r"\s*https?://", value) is not None


def is_blank(value: Any) -> bool:
    """A cell that holds nothing, or no text but what means missing."""
    if isinstance(value, bytes | dict):
        return not value
    if isinstance(value, list) and value and isinstance(value[0], int | float | list):
        # numbers over time may be many, and the first one tells
        return all(map(is_blank, value))
    return all(map(is_missing, texts_of(value)))


def has_words(value: Any) -> bool:
    """One of its texts is more than a code or a path: it has several words, or letters beyond ASCII."""
    return any(not _digits(text) and (" " in text.strip() or not text.isascii()) for text in texts_of(value))


def is_number(value: Any) -> bool:
    """A number, or several, such as 12, `3.0`, `[0, 1]`, `2024-01-31`."""
    texts = texts_of(value)
    return bool(texts) and all(map(_digits, texts))


def is_real(value: Any) -> bool:
    """One number, such as -1.5, `2` or `1e-3`."""
    try:
        real_of(value)
    except ValueError:
        return False
    return not is_blank(value)


def real_of(value: Any) -> float | None:
    """A cell as a number, None where it is blank.

    Raises:
        ValueError: it is none, or not finite.
    """
    if is_blank(value):
        return None
    try:
        # `1_000` is a number to Python alone
        found = float("x" if isinstance(value, bool) or "_" in str(value) else value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r:.60} is no number") from None
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is not finite")
    return found


def is_code(value: Any) -> bool:
    """A number or an id such as `c_001`, and no text in words."""
    texts = texts_of(value)
    return bool(texts) and all(_digits(text) or re.fullmatch(r"[!-~]*\d[!-~]*", text.strip()) for text in texts)


def _digits(text: str) -> bool:
    return text.isascii() and any(map(str.isdigit, text)) and not any(map(str.isalpha, text))


def texts_of(value: Any) -> list[str]:
    """A caption cell as captions: one text, a list, a list as JSON, Python or numpy prints it, or objects with `raw` …

    A missing value stays what it says: "" for null, `nan` for NaN.
    """
    if isinstance(value, str):
        return _texts_in(value)
    if isinstance(value, list | tuple):
        return [text for item in value for text in (texts_of(item) if isinstance(item, dict | list | tuple) else [text_of(item)])]
    if isinstance(value, dict):
        return next((texts_of(value[key]) for key in TEXT_KEYS if key in value), [])
    return [] if isinstance(value, bytes) else ["nan" if value != value else text_of(value)]


def _texts_in(text: str) -> list[str]:
    """A text, or the texts of the list or object that it is printed from."""
    plain = text.strip()
    found: Any = None
    if plain[:1] in ("[", "{"):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(plain)
    if found is None:
        found = printed_list(plain)
    return texts_of(found) if found is not None and _holds_texts(found) else [text]


def _holds_texts(found: Any) -> bool:
    """No dict without a text in it, and no list of numbers only."""
    if isinstance(found, dict):
        return bool(texts_of(found))
    if isinstance(found, list):
        numbers = sum(isinstance(item, int | float) and item == item for item in found)
        return (not found or numbers < len(found)) and all(_holds_texts(item) for item in found)
    return True


def text_of(value: Any) -> str:
    """A cell as text, empty for null and NaN; 0 is a value, and 3.0 is the 3 of a column of integers with blanks."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
