"""Queries as they are typed or piped: a sentence, an image or lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmkit.data.modalities import MODALITIES, of_path
from mmkit.errors import UsageError, UserError

if TYPE_CHECKING:
    from mmkit.model import Model

QUERY_LINE = '{"id": 1, "text": "…"} or {"id": 1, "image": "…"}'
ANSWER_LINE = '{"id": 1, "image": "cat.jpg", "question": "what is it?"}'
CAPTION_LINE = '{"id": 1, "image": "cat.jpg"}'
PREDICT_LINE = '{"id": 1, "image": "cat.jpg", "texts": ["a cat", "a dog"]}'


class Asked(NamedTuple):
    """One query, of which no field is null, and where it stands: `stdin line 3`, or nothing for one that was typed."""

    query: dict[str, Any]
    where: str = ""

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the line in whatever goes wrong with this query."""
        try:
            yield
        except UserError as e:
            e.where = ", ".join(part for part in (e.where, self.where) if part)
            raise


def parse_query(word: str) -> Asked:
    """A word of the command line as `{"text"}` or, where it names a file, what that holds: `{"image"}`; `depth=FILE` says it.

    Raises:
        UsageError: it is blank, or a folder.
        UserError: it looks like a path, but no such file exists.
    """
    if not word.strip():
        raise UsageError("the query is empty", hint='mmkit retrieve "a red circle"')
    held = of_path(word)
    if _is_file(word):
        # a picture may be called anything
        return Asked({held or "image": word})
    name, equals, path = word.partition("=")
    if equals and name.isidentifier() and _is_file(path):
        return Asked({name: path})
    # a bare word is a sentence even where a folder is called so
    if ("/" in word or word in (".", "..")) and Path(word).is_dir():
        raise UsageError("the query is a folder", word, f'mmkit retrieve "a red circle" --in {word}   searches it')
    if held and " " not in word:
        raise UserError(f"no such {held}", word)
    return Asked({"text": word})


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # a sentence may be longer than a file name can be
        return False


def query_lines(stream: Iterable[str], names: Iterable[str] = ()) -> Iterator[Asked]:
    """Lines of `{"text"}`, `{"image"}` or another modality, each with an id or without.

    Args:
        names: of further inputs.

    Raises:
        UserError: a line is not such an object; its number is named, and its id where it has one.
    """
    known = list(dict.fromkeys(("text", *MODALITIES, *names)))
    for asked in _objects(stream, QUERY_LINE):
        given = [key for key in known if key in asked.query]
        if len(given) != 1:
            what = f"both {' and '.join(given)} in the object" if given else "no text or image in the object"
            raise UserError(what, asked.where, QUERY_LINE)
        _require_string(asked, given[0], QUERY_LINE)
        yield asked._replace(query={key: asked.query[key] for key in ("id", given[0]) if key in asked.query})


def predict_lines(stream: Iterable[str], texts: list[str], classes: bool = False) -> Iterator[Asked]:
    """Lines of `{"image", "texts"}`, each with an id or without; `texts` stands in where a line has none.

    Args:
        classes: a line needs no texts, for the model has classes of its own.

    Raises:
        UserError: a line is not such an object; its number is named, and its id where it has one.
    """
    for asked in _objects(stream, PREDICT_LINE):
        _call_image(asked)
        _require_string(asked, "image", PREDICT_LINE)
        own = asked.query.setdefault("texts", texts)
        if not isinstance(own, list) or not all(isinstance(text, str) for text in own):
            raise UserError("texts is not a list of strings", asked.where, PREDICT_LINE)
        if not all(text.strip() for text in own):
            raise UserError("one of the texts is empty", asked.where, PREDICT_LINE)
        if not own and not classes:
            raise UserError("the line names no texts", asked.where, PREDICT_LINE)
        yield asked


def answer_lines(stream: Iterable[str]) -> Iterator[Asked]:
    """Lines of `{"image", "question"}`, each with an id or without; see `_lines_of`."""
    return _lines_of(stream, ("image", "question"), ANSWER_LINE)


def caption_lines(stream: Iterable[str]) -> Iterator[Asked]:
    """Lines of `{"image"}`, each with an id or without; see `_lines_of`."""
    return _lines_of(stream, ("image",), CAPTION_LINE)


def _lines_of(stream: Iterable[str], keys: tuple[str, ...], expected: str) -> Iterator[Asked]:
    """Lines that have a string of each key.

    Raises:
        UserError: a line is not such an object; its number is named, and its id where it has one.
    """
    for asked in _objects(stream, expected):
        _call_image(asked)
        for key in keys:
            _require_string(asked, key, expected)
        yield asked


def _call_image(asked: Asked) -> None:
    """A line may call its file by what it is, a sound, a video or a series."""
    kinds = (kind for kind, row in MODALITIES.items() if hasattr(row, "of_file") and kind in asked.query)
    if "image" not in asked.query and (kind := next(kinds, None)):
        asked.query["image"] = asked.query.pop(kind)


def _objects(stream: Iterable[str], expected: str) -> Iterator[Asked]:
    """The objects of a JSONL stream; empty lines are passed over, and a null is as good as no field."""
    # bytes where there are any: a line that is not UTF-8 is then met alone, after those before it are answered
    lines: Iterable[str | bytes] = getattr(stream, "buffer", stream)
    for number, line in enumerate(lines, 1):
        where = f"stdin line {number}"
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            # half a surrogate pair or a NaN could not be printed again
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except UnicodeDecodeError as e:
            raise UserError("not UTF-8", where, "iconv -f latin1 -t utf-8 QUERIES | mmkit …") from e
        except ValueError as e:
            raise UserError(f"not valid JSON ({e})", where, expected) from e
        if not isinstance(value, dict):
            raise UserError("not a JSON object", where, expected)
        query = {key: entry for key, entry in value.items() if entry is not None}
        id = query.get("id", "")
        if not isinstance(id, str | int | float):
            raise UserError("the id is neither a string nor a number", where, expected)
        yield Asked(query, f"{where}, id {id}" if "id" in query else where)


def _require_string(asked: Asked, key: str, expected: str) -> None:
    value = asked.query.get(key)
    if value is None:
        raise UserError(f"no {key} in the object", asked.where, expected)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{key} is {'empty' if isinstance(value, str) else 'not a string'}", asked.where, expected)


def called(model: Model, path: str) -> str:
    """What a file is in a record: the modality of the first input whose files are called so, else a picture, which may be called
    anything."""
    from mmkit.embedding import called_as

    name = called_as(model, model.inputs, path)
    return str(model.inputs[name].modality) if name else "image"
