"""A hint is tested by following it: what it says is taken out of the message, typed, and the error is gone.

To add one: type what makes the error as a row of tests/commands/test_hints.py (of train) or tests/commands/test_hints_of_data.py
(prep and the commands that read), with the word in it that is wrong where the hint names others in its place. Never write
down what the hint says: a test that repeats it holds when the hint does not. `options_of` and `commands_of` say how hints are
read; a new manner of saying things is added there, or better, put into the words that are read already:

    --set KEY=VALUE, --name VALUE (a remark), or --force ...    options, added to what was typed; each alternative is tried
    did you mean X?   known: X, Y   e.g. X, Y                   words in the place of the wrong one; each is tried
    mmkit COMMAND ...   reads it, or searches it                a command that is typed in its place, as is one of the same verb
    mmkit COMMAND ...   makes it                                a command that is typed before it
    leave --name out, leave --name and --other out              an option less; `leave --name VALUE out` where it is given twice
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.conftest import Outcome

FLAGS = ("--force", "--link", "--lock-image", "--lock-text", "--no-amp")
VALUE = r"""(?:'[^']*'|"[^"]*"|[^\s,;]|,(?=\S))+"""
OPTION = re.compile(rf"(?:{'|'.join(FLAGS)})\b|(?:--[a-z-]+|-o) {VALUE}")
COMMAND = re.compile(r"(?:^|`|: |; )mmkit ([^`]*?)(?:`|   |;|$)(reads|searches)?")
LEAVE = re.compile(r"leave (--.*) out")

Invoke = Callable[..., Outcome]


def said(outcome: Outcome) -> tuple[str, str]:
    """(error, hint) of an invocation."""
    lines = [line.partition(": ") for line in outcome.stderr.splitlines()]
    found = {kind: text for kind, _, text in lines if kind in ("error", "hint")}
    return found.get("error", ""), found.get("hint", "")


def options_of(hint: str) -> Iterator[str]:
    """Each alternative of a hint that names options: all that is typed for it."""
    hint = re.sub(r" \([^)]*\)", "", hint)
    for way in re.split(r",? or (?=-)|,? and (?!-)", hint):
        if options := OPTION.findall(way):
            yield " ".join(options)


def words_of(hint: str) -> Iterator[str]:
    """Each word that a hint names in the place of a wrong one, with the options that it says beside."""
    word, *further = re.split(r" (?=--)", hint, maxsplit=1)
    listed = re.fullmatch(r"(?:did you mean|[a-z ]+:|e\.g\.|one of) (.*?)\??", word)
    assert listed, hint
    for name in re.findall(r'"[^"]*"|[^\s,]+', listed[1]):
        yield " ".join([json.loads(name) if name.startswith('"') else name, *further])


def commands_of(line: str, hint: str, wrong: str = "") -> Iterator[list[list[str]]]:
    """Each way to follow a hint: the commands, as words, that are typed one after the other.

    Args:
        line: what was typed, without `mmkit`.
        wrong: the word in it that the hint names others for, or the option.
    """
    typed = shlex.split(line)
    if found := COMMAND.search(hint):
        first = shlex.split(found[1])
        if first[:2] == ["prep", "shapes"] and "--limit" not in first:
            first += ["--limit", "60"]  # of 10,000 scenes, which take their time
        yield [first] if first[0] == typed[0] or found[2] else [first, typed]
    elif left := LEAVE.search(hint):
        for option, *value in map(str.split, left[1].split(" and ")):
            at = next(n for n, word in enumerate(typed) if typed[n : n + 1 + len(value)] == [option, *value])
            typed = typed[:at] + typed[at + (1 if option in FLAGS else 2) :]
        yield [typed]
    elif wrong.startswith("-"):
        yield from ([shlex.split(line.replace(wrong, options))] for options in options_of(hint))
    elif wrong:
        assert wrong in line
        for word in words_of(hint):
            name, *further = re.split(r" (?=--)", word, maxsplit=1)
            yield [[part.replace(wrong, name) for part in typed] + shlex.split(" ".join(further))]
    else:
        for options in options_of(hint):
            yield [typed + shlex.split(options)]


def follow(invoke: Invoke, cwd: Path, line: str, wrong: str = "") -> list[str]:
    """Type `mmkit LINE`, which fails, and then each thing that its hint says, which must not.

    Returns:
        What was typed for each, for tests that look closer.
    """
    error, hint = said(invoke(*shlex.split(line), cwd=cwd))
    assert error, f"{line} does not fail"
    ways = list(commands_of(line, hint, wrong))
    assert ways, f"nothing to type in: {hint}"
    for way in ways:
        for command in way:
            again = invoke(*command, cwd=cwd)
            assert again.code == 0, f"{error}\n{hint}\nfollowed by mmkit {shlex.join(command)}:\n{again.stderr}"
    return [shlex.join(command) for way in ways for command in way]
