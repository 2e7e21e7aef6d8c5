"""Tokens joined into the words that a reader sees."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any


def tokens_of(tokenizer: Any, text: str, length: int) -> tuple[list[str], list[tuple[int, int]]]:
    """The tokenizer's own tokens of a text, `length` of them with what fills up, and the characters (begin, end) of each;
    (0, 0) for a token that stands for none.

    Args:
        tokenizer: a `mmkit.data.tokenizer.Tokenizer`.
    """
    found = tokenizer.backend.encode(text)
    tokens, spans = list(found.tokens)[:length], list(found.offsets)[:length]
    filled = [tokenizer.backend.id_to_token(tokenizer.pad) or ""] * (length - len(tokens))
    nowhere = [(0, 0)] * len(filled)
    return (filled + tokens, nowhere + spans) if tokenizer.left else (tokens + filled, spans + nowhere)


def words_of(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[str, list[int]]]:
    """The words of a text, each with the numbers of its tokens, in the order of the text. Tokens that stand for no character
    are in none, and words without tokens, which were cut off, are left out.

    Words end at spaces; an East Asian character is a word of its own, unless one token spans several.
    """
    starts = _starts(text)
    words: list[tuple[int, int, list[int]]] = []
    for number, (begin, end) in sorted(enumerate(spans), key=lambda pair: pair[1]):
        # a byte-level token begins with the space before its word
        shown = [i for i in range(begin, min(end, len(text))) if not text[i].isspace()]
        if not shown:
            continue
        first, last = starts[shown[0]], max(i for i, start in enumerate(starts) if start == starts[shown[-1]])
        if words and first <= words[-1][1]:
            begin, end, numbers = words[-1]
            words[-1] = (begin, max(last, end), [*numbers, number])
        else:
            words.append((first, last, [number]))
    return [(text[first : last + 1].strip(), numbers) for first, last, numbers in words]


def _starts(text: str) -> list[int]:
    """Of each character the beginning of its word."""
    found: list[int] = []
    for i, character in enumerate(text):
        begins = not i or text[i - 1].isspace() or _is_wide(character) or _is_wide(text[i - 1])
        found.append(i if begins else found[-1])
    return found


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
