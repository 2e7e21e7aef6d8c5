"""Words of training texts replaced by others of the same meaning, from a file in any language."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmkit.errors import UserError
from mmkit.files import sha256

# scripts that set no spaces between words: Thai, Lao, Burmese, Khmer, Chinese, Japanese
SPACELESS = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x30FF), (0x31F0, 0x31FF)),
    *((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
COMMAS = re.compile(r"[,，、]")
FORMS = "a JSON object of word to list, or lines: word<TAB>synonym, synonym, or a group of words with commas"
WORD, OTHERS = ("word", "term", "phrase", "key"), ("synonyms", "synonym", "words", "values")


class Synonyms:
    """Words and phrases, and what may stand for each.

    Where a text holds several that overlap the longest counts. A word is whole where no letter, digit or mark joins it; in a
    script without spaces it is any part of the text. What a mirrored picture makes false (`left`) is replaced only by what says
    so, too, for a picture is mirrored by the words that are shown with it.

    Args:
        table: word -> others.
        hash: of the file.
    """

    def __init__(self, table: dict[str, list[str]], hash: str = "") -> None:
        self.hash = hash
        self.table: dict[str, list[str]] = {}
        for word, others in table.items():
            key = _key(word)
            kept = [other for other in dict.fromkeys(_spaced(other) for other in others) if other and _key(other) != key]
            kept = [other for other in kept if not _is_of_place(word) or _is_of_place(other)]
            known = self.table.setdefault(key, [])
            known += [other for other in kept if other not in known]
        self.table = {key: others for key, others in self.table.items() if key and others}
        # first letter -> how long the words are that begin with it, the longest first
        lengths: dict[str, set[int]] = {}
        for key in self.table:
            lengths.setdefault(key[0], set()).add(len(key))
        self._lengths = {letter: sorted(found, reverse=True) for letter, found in lengths.items()}

    def __len__(self) -> int:
        return len(self.table)

    def replaced(self, text: str, share: float, rng: random.Random) -> str:
        """The text, spaced by single spaces, with each word that has synonyms replaced by one of them with probability `share`;
        the case of its first letter is kept."""
        text = _spaced(text)
        small = _small(text)
        parts, at, end = [], 0, 0
        while at < len(text):
            length = self._found(small, at)
            if not length:
                at += 1
                continue
            if rng.random() < share:
                other = rng.choice(self.table[small[at : at + length]])
                parts += [text[end:at], other[0].upper() + other[1:] if text[at].isupper() else other]
                end = at + length
            at += length
        return "".join([*parts, text[end:]])

    def _found(self, small: str, at: int) -> int:
        """How long the longest word is that begins there, 0 for none."""
        for length in self._lengths.get(small[at], ()):
            if small[at : at + length] in self.table and not (_joined(small, at) or _joined(small, at + length)):
                return length
        return 0


def read_synonyms(path: str, hash: str | None = None) -> Synonyms:
    """The synonyms of a file.

    Args:
        hash: that the file must have, where a run has begun with it.

    Raises:
        UserError: there is no such file, it is not UTF-8, a line of it says nothing, or it is not the one that the hash is of.
    """
    place = Path(path).expanduser()
    try:
        text = place.read_text(encoding="utf-8-sig")
        found = sha256(place)[:16]
    except OSError as e:
        raise UserError(f"cannot read the synonyms ({e.strerror})", path, "data.text.synonyms names a file") from e
    except UnicodeDecodeError as e:
        raise UserError(f"the synonyms are not UTF-8 ({e.reason} at byte {e.start:,})", path, "save the file as UTF-8") from e
    if hash and found != hash:
        what = "the synonyms have changed since the run began"
        raise UserError(what, path, "put the file back as it was, or train a new run")
    table: dict[str, list[str]] = {}
    for word, others in _entries(text, path):
        table.setdefault(word, []).extend(others)
    synonyms = Synonyms(table, found)
    if not synonyms:
        raise UserError("the file holds no synonyms", path, f"it is {FORMS}")
    return synonyms


def _entries(text: str, path: str) -> Iterator[tuple[str, list[str]]]:
    """Word and others, as far as each item says; of a group each word stands for each other one."""
    whole: Any = None
    if text.lstrip()[:1] in ("{", "["):
        try:
            whole = json.loads(text)
        except ValueError:
            whole = None  # one JSON value a line
    if whole is not None:
        yield from _of_json(whole, path)
        return
    for n, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        where = f"{path} line {n}"
        if line[:1] in ("{", "["):
            try:
                yield from _of_json(json.loads(line), where)
            except ValueError as e:
                raise UserError(f"not valid JSON ({e})", where, f"the file is {FORMS}") from e
        elif line and not line.startswith("#"):
            yield from _of_line(line, where)


def _of_line(line: str, where: str) -> Iterator[tuple[str, list[str]]]:
    word, tab, others = line.partition("\t")
    words = [part for part in map(str.strip, COMMAS.split(others if tab else line)) if part]
    if tab and word.strip() and words:
        yield word, words
    elif not tab and len(words) > 1:
        yield from _group(words)
    else:
        raise UserError(f"no synonym in the line: {line!r:.60}", where, f"the file is {FORMS}")


def _of_json(value: Any, where: str) -> Iterator[tuple[str, list[str]]]:
    """An object of word to others, one that names both (`word`, `synonyms`), a group, or a list of any of these."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        yield from _group(value)
    elif isinstance(value, list):
        for item in value:
            yield from _of_json(item, where)
    elif isinstance(value, dict):
        word = next((value[key] for key in WORD if isinstance(value.get(key), str)), None)
        others = next((value[key] for key in OTHERS if key in value), None)
        pairs: Iterable[tuple[str, Any]] = [(word, others)] if word and others is not None else value.items()
        for word, others in pairs:
            words = COMMAS.split(others) if isinstance(others, str) else others
            if not isinstance(words, list) or not all(isinstance(item, str) for item in words):
                raise UserError(f"the synonyms of {word!r} are no list of texts", where, f"the file is {FORMS}")
            yield word, words
    else:
        raise UserError(f"no word with its synonyms: {value!r:.60}", where, f"the file is {FORMS}")


def _group(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    for word in words:
        yield word, [other for other in words if other != word]


def _spaced(word: str) -> str:
    return " ".join(unicodedata.normalize("NFC", word).split())


def _small(text: str) -> str:
    """The text in small letters, each in its place: a few letters have small ones of two."""
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def _key(word: str) -> str:
    return _small(_spaced(word))


def _is_of_place(word: str) -> bool:
    from mmkit.data.augment import DIRECTIONS

    return DIRECTIONS.search(word) is not None


def _joined(text: str, at: int) -> bool:
    """Whether what stands before and behind a place is one word."""
    return 0 < at < len(text) and _joins(text[at - 1]) and _joins(text[at])


@lru_cache(1 << 14)
def _joins(char: str) -> bool:
    """A letter, digit or mark (the vowel signs of Devanagari are marks) of a script that sets spaces between words."""
    spaceless = any(first <= ord(char) <= last for first, last in SPACELESS)
    return not spaceless and (char.isalnum() or char == "_" or unicodedata.category(char).startswith("M"))
