"""Queries as they are typed or piped: a sentence, an image or lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmkit.data.modalities import MODALITIES, of_path
from mmkit.errors import UsageError, UserError

if TYPE_CHECKING:
    from mmkit.given import File
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
    if file := file_typed(word):
        # a picture may be called anything
        return Asked({file.word or held or "image": file.path})
    # a bare word is a sentence even where a folder is called so
    if ("/" in word or word in (".", "..")) and Path(word).is_dir():
        raise UsageError("the query is a folder", word, f'mmkit retrieve "a red circle" --in {word}   searches it')
    if held and " " not in word:
        raise UserError(f"no such {held}", word)
    return Asked({"text": word})


def file_typed(word: str) -> File | None:
    """The file that a word of the command line is, also one of `INPUT=FILE`; None where it is none."""
    from mmkit.given import File

    name, equals, path = word.partition("=")
    if _is_file(word):
        return File(word)
    return File(path, name) if equals and name.isidentifier() and _is_file(path) else None


def parse_file(word: str, what: str = "file") -> File:
    """A word of the command line that is a file, or `INPUT=FILE`.

    Raises:
        UserError: there is no such file, or it is a folder.
    """
    from mmkit.embedding import require_file
    from mmkit.given import File

    file = file_typed(word)
    if file is None:
        name, _, path = word.partition("=")
        require_file(path if path and name.isidentifier() else word, what)  # which it is not
    return file or File(word)


def sorted_out(model: Model, first: File, words: Sequence[str]) -> tuple[list[File], list[str]]:
    """The files and the texts among what was typed: a word that is a file of an input of which there is none yet is no text."""
    from mmkit.embedding import called_as
    from mmkit.given import inputs_of

    files, texts = [first], list[str]()

    def left() -> list[str]:
        taken = inputs_of(model, model.inputs, files)
        return [name for name in model.inputs if name not in taken]

    for word in words:
        if (file := file_typed(word)) and (file.word or called_as(model, left(), word)):
            files.append(file)
        else:
            texts.append(word)
    return files, texts


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # a sentence may be longer than a file name can be
        return False


def query_lines(stream: Iterable[str], model: Model | None = None) -> Iterator[Asked]:
    """Lines of `{"text"}`, `{"image"}` or another modality, or an input of the model, each with an id or without.

    Raises:
        UserError: a line is not such an object; its number is named, and its id where it has one.
    """
    own = sorted(model.embedded, key=lambda name: not model.config.is_language(name)) if model else ["text", "image"]
    columns = [str(model.inputs[name].column) for name in own] if model else []
    known = list(dict.fromkeys(("text", *MODALITIES, *own)))
    for asked in _objects(stream, QUERY_LINE):
        # a line may hold more of the row than is asked
        given = [key for key in known if key in asked.query] or [key for key in columns if key in asked.query]
        if len(given) != 1:
            what = f"both {' and '.join(given)} in the object" if given else f"no {_either(own)} in the object"
            raise UserError(what, asked.where, QUERY_LINE)
        _require_string(asked, given[0], QUERY_LINE)
        yield asked._replace(query={key: asked.query[key] for key in ("id", given[0]) if key in asked.query})


def predict_lines(stream: Iterable[str], texts: list[str], model: Model, classes: bool = False) -> Iterator[Asked]:
    """Lines of `{"image", "texts"}`, or of other inputs, each with an id or without; `texts` stands in where a line has none, and
    so does one that is called as an input of words.

    Args:
        classes: a line needs no texts, for the model has classes of its own.

    Returns:
        Of each line {"id", "files", "texts"}.

    Raises:
        UserError: a line is not such an object; its number is named, and its id where it has one.
    """
    language = [name for name in model.inputs if model.config.is_language(name)]
    for asked in _lines_of(stream, model, (), PREDICT_LINE):
        query = asked.query
        own = query.setdefault("texts", [query[name] for name in language if name in query] or texts)
        if not isinstance(own, list) or not all(isinstance(text, str) for text in own):
            raise UserError("texts is not a list of strings", asked.where, PREDICT_LINE)
        if not all(text.strip() for text in own):
            raise UserError("one of the texts is empty", asked.where, PREDICT_LINE)
        if not own and not classes:
            raise UserError("the line names no texts", asked.where, PREDICT_LINE)
        yield asked


def answer_lines(stream: Iterable[str], model: Model) -> Iterator[Asked]:
    """Lines of `{"image", "question"}`, each with an id or without; see `_lines_of`."""
    return _lines_of(stream, model, ("question",), ANSWER_LINE)


def caption_lines(stream: Iterable[str], model: Model) -> Iterator[Asked]:
    """Lines of `{"image"}`, each with an id or without; see `_lines_of`."""
    return _lines_of(stream, model, (), CAPTION_LINE)


def _lines_of(stream: Iterable[str], model: Model, keys: tuple[str, ...], expected: str) -> Iterator[Asked]:
    """Lines that name a file of an input, or of several, as `files`, and have a string of each key.

    Raises:
        UserError: a line is not such an object; its number is named, and its id where it has one.
    """
    from mmkit.given import File

    for asked in _objects(stream, expected):
        names = _files_named(asked, model, expected)
        for key in (*names, *keys):
            _require_string(asked, key, expected)
        yield asked._replace(query=asked.query | {"files": [File(asked.query[name], name) for name in names]})


def _files_named(asked: Asked, model: Model, expected: str) -> list[str]:
    """The keys of a line that are called as inputs of files, else the first that is called as what files hold."""
    from mmkit.given import held_by_files, input_called

    held = held_by_files(model, model.inputs)
    named = [key for key in asked.query if input_called(model, key, held)]
    # a column that is called so may hold something else than the path of a file
    if found := [key for key in named if key in held or key in MODALITIES or isinstance(asked.query[key], str)]:
        return found
    kinds = [kind for kind, row in MODALITIES.items() if hasattr(row, "of_file") and kind in asked.query]
    if not kinds:
        raise UserError(f"no {_either(held or ['image'])} in the object", asked.where, expected)
    return kinds[:1]


def _either(names: Sequence[str]) -> str:
    """One of them, in words."""
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


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
