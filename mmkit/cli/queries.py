"""Queries as they are typed or piped: a sentence, an image or lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmkit.errors import UserError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def parse_query(word: str) -> dict[str, str]:
    """A word of the command line as `{"text"}` or, where it names a file, `{"image"}`.

    Raises:
        UserError: it looks like an image's path, but no such file exists.
    """
    if _is_file(word):
        return {"image": word}
    if word.lower().endswith(PICTURES) and " " not in word:
        raise UserError("no such image", word)
    return {"text": word}


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # a sentence may be longer than a file name can be
        return False


def json_lines(stream: Iterable[str], keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Objects of a JSONL stream, each with a string under one of `keys`; empty lines are passed over.

    Raises:
        UserError: a line is not such an object; its number is named.
    """
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as e:
            raise UserError(f"not valid JSON ({e})", f"stdin line {number}", _expected(keys)) from e
        if not isinstance(value, dict) or not any(isinstance(value.get(key), str) for key in keys):
            raise UserError(f"no {' or '.join(keys)} in the object", f"stdin line {number}", _expected(keys))
        yield value


def _expected(keys: tuple[str, ...]) -> str:
    return " or ".join(f'{{"id": 1, "{key}": "…"}}' for key in keys)
