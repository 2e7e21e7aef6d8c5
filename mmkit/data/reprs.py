"""Lists of texts as Python, numpy and pandas print them, read back.

`['a', "b's"]`, `['a' 'b']`, `('a',)`, `array(['a'], dtype=object)`, `[{'raw': 'a'}]`, `[np.str_('a'), nan]`.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

# a string with its prefix, a name such as np.str_, a number, <NA>, or punctuation; space separates
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>[rbuRBU]{0,2}(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))|(?P<word>[A-Za-z_][\w.]*|<NA>)"""
    r"""|(?P<number>-?\d[\d_.]*(?:[eE][+-]?\d+)?)|(?P<mark>[\[\](){},:=]))""",
    re.DOTALL,
)
_SPACE = re.compile(r"\s*\Z")
# how an item of a printed list says that it is missing
_MISSING = {"None", "nan", "np.nan", "NaN", "NaT", "<NA>", "pd.NA", "null"}
_WRAPPERS = {"array", "np.array", "numpy.array", "list", "tuple", "np.str_", "numpy.str_", "np.bytes_", "np.float64"}
_CLOSING = {"[": "]", "(": ")", "{": "}"}
DEEPEST = 20

Token = tuple[str, str]


def printed_list(text: str) -> list[Any] | None:
    """The items of a printed list, tuple, array or dict of texts; a missing one is None.

    Returns:
        None for anything else, such as a caption that merely stands in brackets, and for a list that holds more than texts,
        lists and dicts of them.
    """
    if text[:1] not in ("[", "(", "{") and not text.startswith(("array(", "np.array(", "numpy.array(", "list(")):
        return None
    tokens = _tokens(text)
    if tokens is None:
        return None
    try:
        found = _Reader(tokens).whole()
    except (ValueError, IndexError, SyntaxError):
        return None
    items = found if isinstance(found, list) else [found] if isinstance(found, dict) else None
    return items if items is not None and all(map(_of_texts, items)) else None


def _tokens(text: str) -> list[Token] | None:
    tokens, at = [], 0
    while not _SPACE.match(text, at):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
        at = match.end()
    return tokens


def _of_texts(item: Any) -> bool:
    if isinstance(item, list):
        return all(map(_of_texts, item))
    return item is None or isinstance(item, str | dict)


class _Reader:
    """Reads a value from its tokens; raises ValueError or IndexError where they are none."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Any:
        found = self._value()
        if self._at < len(self._tokens):
            raise ValueError("more behind it")
        return found

    def _next(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _took(self, mark: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at] == ("mark", mark)
        self._at += found
        return found

    def _value(self) -> Any:
        kind, token = self._next()
        if kind == "string":
            return _literal(token)
        if kind == "number":
            return float(token)
        if token in _MISSING:
            return None
        if token in ("True", "False"):
            return token == "True"
        if token in _WRAPPERS and self._took("("):
            return self._wrapped()
        if token not in _CLOSING:
            raise ValueError(f"{token} is no value")
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError("too deep")
        found = self._dict() if token == "{" else self._items(_CLOSING[token])
        self._depth -= 1
        return found

    def _items(self, closing: str) -> list[Any]:
        """With commas or without: numpy prints none."""
        items: list[Any] = []
        commas = 0
        while not self._took(closing):
            items.append(self._value())
            commas += self._took(",")
        if closing == ")" and items and not commas:
            raise ValueError("a value in parentheses is no tuple")
        return items

    def _dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._took("}"):
            key = self._value()
            if not isinstance(key, str) or not self._took(":"):
                raise ValueError("a set, or a dict with other keys")
            found[key] = self._value()
            self._took(",")
        return found

    def _wrapped(self) -> Any:
        """`['a'], dtype=object)`: what an array or a numpy string was made of."""
        found = self._value()
        while self._took(","):
            if self._next()[0] != "word" or not self._took("="):
                raise ValueError("not an argument")
            self._next()
        if not self._took(")"):
            raise ValueError("not closed")
        return found


def _literal(token: str) -> str:
    with warnings.catch_warnings():
        # a caption with a backslash is no fault of the user's code
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        found = ast.literal_eval(token)
    return found.decode("utf-8", "surrogateescape") if isinstance(found, bytes) else str(found)
