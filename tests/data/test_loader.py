"""Batches: what the loader keeps changes nothing, and the order's choice of captions is the loader's."""

import itertools
from pathlib import Path

import pytest
import torch

from mmkit.config import ImageData
from mmkit.data import loader as module
from mmkit.data.augment import Augment
from mmkit.data.loader import Loader, text_key
from mmkit.data.pixels import Pixels
from mmkit.data.shards import open_dataset
from mmkit.data.tokenizer import Tokenizer, train_tokenizer
from tests.conftest import write_dataset
from tests.raw import encoded, picture

ROWS = 24
CAPTIONS = [[f"picture {i // 2}", f"the same {i // 2} in other words"] for i in range(ROWS)]  # each caption twice


def make(folder: Path, augment: list[str], word_dropout: float = 0.0) -> Loader:
    rows = [
        {"id": str(i), "image": {"bytes": encoded(picture(i), "PNG"), "path": None}, "captions": CAPTIONS[i]} for i in range(ROWS)
    ]
    write_dataset(folder, {"train": rows}, {"image": "image", "captions": "text"})
    spec = ImageData(size=32, resize="crop", resample="bicubic", mean=[0.5] * 3, std=[0.5] * 3, augment=augment)
    tokenizer = Tokenizer(train_tokenizer(itertools.chain(*CAPTIONS), 400), 16)
    return Loader(open_dataset(folder), "train", Augment(spec, Pixels(spec)), tokenizer, 8, word_dropout=word_dropout)


def take(loader: Loader, n: int, position: int = 0) -> list[dict]:
    batches = loader.batches(position)
    try:
        return list(itertools.islice(batches, n))
    finally:
        batches.close()


@pytest.mark.parametrize("limit", [3, 1 << 15])
@pytest.mark.parametrize("word_dropout", [0.0, 0.5])
def test_tokens_are_the_tokenizers_whatever_is_kept(tmp_path, monkeypatch, limit, word_dropout):
    monkeypatch.setattr(module, "KNOWN_LIMIT", limit)
    loader = make(tmp_path / "data", [], word_dropout)
    for batch in take(loader, 9):
        fresh = loader.tokenizer(batch["caption"])
        assert torch.equal(batch["text"]["ids"], fresh["ids"]) and torch.equal(batch["text"]["mask"], fresh["mask"])
        assert len(loader._encoded) <= max(limit, 8)


@pytest.mark.parametrize("augment", [[], ["crop", "colour", "flip"]])
def test_a_batch_in_the_middle_is_the_same_alone(tmp_path, augment):
    whole = take(make(tmp_path / "a", augment, 0.3), 7)
    alone = take(make(tmp_path / "b", augment, 0.3), 1, position=6)[0]
    assert alone["id"] == whole[6]["id"] and alone["caption"] == whole[6]["caption"]
    assert torch.equal(alone["image"], whole[6]["image"])


def test_batches_hold_different_captions_as_drawn_and_each_caption_is_drawn(tmp_path):
    batches = take(make(tmp_path / "data", []), 60)
    for batch in batches:
        assert len(set(batch["caption"])) == 8
        assert batch["keys"]["text"].tolist() == [text_key(c) for c in batch["caption"]]
    shown = {(i, c) for batch in batches for i, c in zip(batch["id"], batch["caption"], strict=True)}
    assert shown == {(str(i), c) for i in range(ROWS) for c in CAPTIONS[i]}


def test_words_left_out_do_not_change_what_is_equal(tmp_path):
    """Captions that lose different words stay equal, and those left with the same word do not become it."""
    whole, dropped = take(make(tmp_path / "a", []), 6), take(make(tmp_path / "b", [], word_dropout=0.5), 6)
    assert any(a["caption"] != b["caption"] for a, b in zip(whole, dropped, strict=True))
    for a, b in zip(whole, dropped, strict=True):
        assert torch.equal(a["keys"]["text"], b["keys"]["text"])


def hand_made(folder: Path, captions: object) -> Path:
    """Two rows, of which the second has these captions."""
    rows = [{"id": str(i), "image": encoded(picture(i), "PNG"), "captions": c} for i, c in enumerate((["a cat"], captions))]
    return write_dataset(folder, {"train": rows}, {"image": "image", "captions": "text"})


@pytest.mark.parametrize("captions", [["a dog", None], ["", "a dog", "  "]])
def test_captions_that_are_null_or_blank_are_none(tmp_path, captions):
    data = open_dataset(hand_made(tmp_path / "data", captions))
    assert [row["captions"] for row in data.rows()] == [["a cat"], ["a dog"]]


@pytest.mark.parametrize("captions", [None, [], [None], [" "]])
def test_a_row_without_captions_is_named(tmp_path, invoke, captions):
    hand_made(tmp_path / "data", captions)
    outcome = invoke("train", "--size", "tiny", "--steps", 1, "--batch-size", 2, cwd=tmp_path)
    assert (outcome.code, outcome.stderr.splitlines()[-2]) == (1, "error: a row without captions, row 1")
