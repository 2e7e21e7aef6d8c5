"""The one way mmkit fails: a UserError with what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
import json
import re
import shlex
import tomllib
from collections.abc import Iterable
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130


class UserError(Exception):
    """A failure the user can mend. It is printed as one line, without a traceback.

    Args:
        what: what is wrong, in one plain line.
        where: the file, row, id or key it is wrong in; may be empty.
        hint: what to do; may be empty.
        code: the exit code, `Exit.FAILED` unless the words typed were wrong.
    """

    def __init__(self, what: str, where: str = "", hint: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(what)
        self.what, self.where, self.hint, self.code = what, str(where), hint, code

    def __str__(self) -> str:
        return f"{self.what}, {self.where}" if self.where else self.what


class UsageError(UserError):
    """The command was typed wrongly: exit code 2."""

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint, Exit.USAGE)


class ConfigError(UserError):
    """A key of the configuration, or its value, that cannot be.

    Args:
        keys: those of which one is wrong, `encoder.image.kind`; a table's name stands for all keys in it.
    """

    def __init__(self, what: str, *keys: str, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.keys = keys


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word closest to `word`, else all of them.

    >>> nearest("captoin", ["caption", "image"])
    'did you mean caption?'
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.55)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def misspelt(name: str, known: Iterable[str]) -> bool:
    """Whether a name is rather one of those that are known, typed wrongly, than one of its own.

    >>> misspelt("imgae", ["image", "text"]), misspelt("image_left", ["image", "text"]), misspelt("depth", ["image", "text"])
    (True, False, False)
    """
    known = list(known)
    if re.match(rf"({'|'.join(map(re.escape, known))})_?[a-z0-9]*[_0-9]", name):
        return False
    return bool(difflib.get_close_matches(name, known, n=1, cutoff=0.7))


def setting(key: str, value: Any) -> str:
    """The option of a hint that sets a key of the configuration, as a shell takes it.

    >>> print(setting("train.lr", 0.001), setting("loss.itc.between", ["image", "text"]))
    --set train.lr=0.001 --set 'loss.itc.between=["image", "text"]'
    """
    bare = isinstance(value, str)
    try:
        tomllib.loads(f"value = {value}")
        bare = False
    except tomllib.TOMLDecodeError:
        pass
    return f"--set {shlex.quote(f'{key}={value if bare else toml(value)}')}"


def toml(value: Any) -> str:
    """A value in one line of TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    # strings, numbers and booleans are written in TOML as in JSON
    return json.dumps(value, ensure_ascii=False)


class MissingPackage(UserError):
    """An optional ability whose package is not installed: no fault of the data that would need it."""


def missing_extra(package: str, extra: str) -> MissingPackage:
    """The error for it, which names what to install."""
    return MissingPackage(f"this needs the package {package}", hint=f"pip install 'mmkit[{extra}]'")


def is_out_of_memory(e: BaseException) -> bool:
    """Whether a device, or the machine, has no memory left. Torch's allocator for CPUs has no error type of its own, and an
    illegal access to memory is another failure."""
    refused = ("out of memory", "not enough memory", "can't allocate memory")
    named = isinstance(e, MemoryError) or type(e).__name__ == "OutOfMemoryError"
    return named or any(words in str(e).lower() for words in refused)
