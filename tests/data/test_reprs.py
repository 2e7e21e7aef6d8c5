"""Lists of captions as programs print them, and captions that only look like one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mmkit.data.cells import texts_of

CAPTIONS = ['a "big" dog', "it's a cat,\nasleep \\ awake", "日本"]
ARRAY = np.array(CAPTIONS, dtype=object)
DICTS = [{"raw": text, "tokens": text.split(), "sentid": i} for i, text in enumerate(CAPTIONS)]

PRINTED = [
    json.dumps(CAPTIONS),
    json.dumps(DICTS),
    repr(CAPTIONS),
    repr(tuple(CAPTIONS)),
    repr(DICTS),
    repr({"raw": CAPTIONS}),
    repr([[text] for text in CAPTIONS]),
    str(ARRAY),
    repr(ARRAY),
    repr([ARRAY]),
    str(np.array(CAPTIONS)),
    repr(np.array(CAPTIONS)),
    str(np.array([text.encode() for text in CAPTIONS])),
    str(np.array(DICTS, dtype=object)),
    "[" + ", ".join(f"np.str_({text!r})" for text in CAPTIONS) + "]",
    f"  {CAPTIONS!r}\n",
]


@pytest.mark.parametrize("text", PRINTED)
def test_a_list_as_programs_print_it_is_its_texts(text: str) -> None:
    assert texts_of(text) == CAPTIONS


@pytest.mark.parametrize("cell", [CAPTIONS, [CAPTIONS], DICTS, DICTS[:1] + CAPTIONS[1:]])
def test_a_list_of_texts_lists_or_objects(cell: Any) -> None:
    assert texts_of(cell) == CAPTIONS


@pytest.mark.parametrize(
    "caption",
    [
        *("[a caption in brackets]", "(a caption in parentheses)", "[sic]", "(1998)", "[12:30]", "[0, 1]", "[]{}"),
        *("('quoted')", '("a" "b")', "['a', 1]", "[it's a dog]", "['a', 'b'", "['a'] and more", "[f'x']"),
        *("{'a', 'b'}", "{'no': 'text'}", "array of lights", "array(3)", "list (old)", "[__import__('os')]"),
        *("[" * 9000, "['a', [" + "[" * 9000 + "]"),
    ],
)
def test_a_caption_in_brackets_stays_one(caption: str) -> None:
    assert texts_of(caption) == [caption]


@pytest.mark.parametrize(
    "text",
    [
        *("['a', None, nan, 'b']", "['a' None nan 'b']", "['a', <NA>, NaT, 'b']", '["a", null, NaN, "b"]'),
        "array(['a', None, nan, 'b'], dtype=object)",
    ],
)
def test_a_missing_item_of_a_list_is_empty(text: str) -> None:
    assert texts_of(text) == ["a", "", "", "b"]


def test_an_empty_list_has_no_texts() -> None:
    assert [texts_of(text) for text in ("[]", "()", "[[]]", "array([], dtype=object)")] == [[]] * 4
