"""The byte-level BPE: every script round-trips, lengths and truncation."""

import unicodedata

import pytest
import torch

from mmkit.data.tokenizer import Tokenizer, train_tokenizer

TEXTS = ["a small red circle", "红色的圆圈", "赤い丸", "دائرة حمراء", "🧑🏽‍🦼 wheelchair", "Straße"]


@pytest.fixture(scope="module")
def backend():
    return train_tokenizer(TEXTS * 3, 600)


@pytest.mark.parametrize("text", [*TEXTS, "never seen: Ünïcödé ☂"])
def test_every_script_round_trips(backend, text):
    ids = Tokenizer(backend, 64)([text])["ids"][0].tolist()
    assert backend.decode(ids).strip() == unicodedata.normalize("NFC", text).lower()


def test_composed_and_decomposed_text_are_the_same(backend):
    tokenizer = Tokenizer(backend, 64)
    assert torch.equal(tokenizer(["é"])["ids"], tokenizer(["e\u0301"])["ids"])


def test_padding_is_trimmed_to_the_batch_or_full(backend):
    short = Tokenizer(backend, 32)(["a", "a small red circle"])
    assert short["ids"].shape[1] == int(short["mask"].sum(1).max()) < 32
    full = Tokenizer(backend, 32, trim=False)(["a"])
    assert full["ids"].shape == (1, 32)


def test_a_long_text_is_cut_and_keeps_its_end_token(backend):
    tokenizer = Tokenizer(backend, 8)
    ids = tokenizer(["circle " * 50])["ids"][0]
    assert len(ids) == 8
    assert ids[-1] == backend.token_to_id("<end>")
    assert tokenizer.lengths(["circle " * 50])[0] > 50
    assert len(tokenizer(["circle " * 50])["ids"][0]) == 8


def test_saved_and_loaded_alike(backend, tmp_path):
    tokenizer = Tokenizer(backend, 16)
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json", 16)
    assert torch.equal(again(TEXTS)["ids"], tokenizer(TEXTS)["ids"])
