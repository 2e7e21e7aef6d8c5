"""Tokens joined into words."""

from __future__ import annotations

import pytest

from mmkit.data.tokenizer import Tokenizer, train_tokenizer
from mmkit.explain.words import tokens_of, words_of

TEXTS = ["a red picture", "all of it is green", "红色的图片"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a red picture", ["a", "red", "picture"]),
        ("  two   spaces ", ["two", "spaces"]),
        ("unprécédented, yes!", ["unprécédented,", "yes!"]),
        ("日本語 cat", ["日", "本", "語", "cat"]),
        ("a😀b", ["a", "😀", "b"]),
    ],
)
def test_words_are_those_of_the_text(text: str, words: list[str]) -> None:
    tokenizer = Tokenizer(train_tokenizer(TEXTS, 300), 64)
    (ids,) = tokenizer.encode([text])
    tokens, spans = tokens_of(tokenizer, text, len(ids))
    found = words_of(text, spans)
    assert [word for word, _ in found] == words
    numbers = [n for _, own in found for n in own]
    assert len(numbers) == len(set(numbers)), "a token is in one word"
    assert not {0, len(tokens) - 1} & set(numbers), "start and end are in none"


def test_a_token_that_spans_characters_joins_them() -> None:
    tokenizer = Tokenizer(train_tokenizer(TEXTS * 5, 400), 64)
    tokens, spans = tokens_of(tokenizer, "红色的图片", len(tokenizer.encode(["红色的图片"])[0]))
    assert len(tokens) == 3
    assert words_of("红色的图片", spans) == [("红色的图片", [1])]


def test_words_that_were_cut_off_are_left_out_and_padding_stands_for_nothing() -> None:
    tokenizer = Tokenizer(train_tokenizer(TEXTS * 5, 400), 4, trim=False)
    tokens, spans = tokens_of(tokenizer, "a red picture of it", 4)
    assert [word for word, _ in words_of("a red picture of it", spans)] == ["a", "red"]
    tokens, spans = tokens_of(tokenizer, "a", 4)
    assert tokens == ["<start>", "Ġa", "<end>", "<pad>"]
    assert words_of("a", spans) == [("a", [1])]
