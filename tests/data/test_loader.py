"""Batches: what the loader keeps changes nothing, and the order's choice of captions is the loader's."""

import itertools
from pathlib import Path

import pytest
import torch

from mmkit.batch import Batch
from mmkit.data.loader import Loader, Source
from mmkit.data.modalities import image, text
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
    return of_folder(folder, 8, augment, word_dropout)


def of_folder(folder: Path, batch_size: int, augment: list[str], word_dropout: float = 0.0) -> Loader:
    spec = image.Spec(size=32, resize="crop", resample="bicubic", mean=[0.5] * 3, std=[0.5] * 3, augment=augment)
    tokenizer = Tokenizer(train_tokenizer(itertools.chain(*CAPTIONS), 400), 16)
    inputs = {
        "image": Source("image", image, image.Reader(spec)),
        "text": Source("captions", text, text.Reader(text.Spec(word_dropout=word_dropout), tokenizer)),
    }
    return Loader(open_dataset(folder), "train", inputs, batch_size)


def take(loader: Loader, n: int, position: int = 0) -> list[Batch]:
    batches = loader.batches(position)
    try:
        return list(itertools.islice(batches, n))
    finally:
        batches.close()


@pytest.mark.parametrize("limit", [3, 1 << 15])
@pytest.mark.parametrize("word_dropout", [0.0, 0.5])
def test_tokens_are_the_tokenizers_whatever_is_kept(tmp_path, monkeypatch, limit, word_dropout):
    monkeypatch.setattr(text, "KNOWN_LIMIT", limit)
    loader = make(tmp_path / "data", [], word_dropout)
    reader = loader.inputs["text"].reader
    for batch in take(loader, 9):
        fresh = reader.tokenizer(batch.said["text"])
        assert torch.equal(batch.inputs["text"]["ids"], fresh["ids"]) and torch.equal(batch.inputs["text"]["mask"], fresh["mask"])
        assert len(reader._encoded) <= max(limit, 8)


@pytest.mark.parametrize("augment", [[], ["crop", "colour", "flip"]])
def test_a_batch_in_the_middle_is_the_same_alone(tmp_path, augment):
    whole = take(make(tmp_path / "a", augment, 0.3), 7)
    alone = take(make(tmp_path / "b", augment, 0.3), 1, position=6)[0]
    assert alone.ids == whole[6].ids and alone.said == whole[6].said and alone.epoch == whole[6].epoch
    assert torch.equal(alone.inputs["image"]["pixels"], whole[6].inputs["image"]["pixels"])


def test_batches_hold_different_captions_as_drawn_and_each_caption_is_drawn(tmp_path):
    batches = take(make(tmp_path / "data", []), 60)
    for batch in batches:
        assert len(set(batch.said["text"])) == 8
        assert batch.keys["text"].tolist() == [text.text_key(c) for c in batch.said["text"]]
    shown = {(i, c) for batch in batches for i, c in zip(batch.ids, batch.said["text"], strict=True)}
    assert shown == {(str(i), c) for i in range(ROWS) for c in CAPTIONS[i]}


def test_words_left_out_do_not_change_what_is_equal(tmp_path):
    """Captions that lose different words stay equal, and those left with the same word do not become it."""
    whole, dropped = take(make(tmp_path / "a", []), 6), take(make(tmp_path / "b", [], word_dropout=0.5), 6)
    assert any(a.said != b.said for a, b in zip(whole, dropped, strict=True))
    for a, b in zip(whole, dropped, strict=True):
        assert torch.equal(a.keys["text"], b.keys["text"])


def hand_made(folder: Path, captions: object) -> Path:
    """Two rows, of which the second has these captions."""
    rows = [{"id": str(i), "image": encoded(picture(i), "PNG"), "captions": c} for i, c in enumerate((["a cat"], captions))]
    return write_dataset(folder, {"train": rows}, {"image": "image", "captions": "text"})


@pytest.mark.parametrize("captions", [["a dog", None], ["", "a dog", "  "]])
def test_captions_that_are_null_or_blank_are_none(tmp_path, captions):
    data = open_dataset(hand_made(tmp_path / "data", captions))
    assert [row["captions"] for row in data.rows()] == [["a cat"], ["a dog"]]


@pytest.mark.parametrize("captions", [None, [], [None], [" "]])
def test_a_row_without_captions_stays_and_is_marked(tmp_path, captions):
    loader = of_folder(hand_made(tmp_path / "data", captions), 2, [])
    batch = take(loader, 1)[0]
    row = batch.ids.index("1")
    assert batch.present["image"].all()
    assert batch.present["text"].tolist() == [id == "0" for id in batch.ids]
    assert batch.said["text"][row] == ""
    # the blank is a text that every encoder takes: start and end
    assert batch.inputs["text"]["ids"][row][batch.inputs["text"]["mask"][row]].tolist() == [1, 2]


@pytest.mark.parametrize("augment", [[], ["crop", "colour", "flip"]])
def test_a_row_without_a_picture_stays_and_is_marked(tmp_path, augment):
    rows = [{"id": "0", "image": encoded(picture(0), "PNG")}, {"id": "1", "image": None}]
    write_dataset(tmp_path, {"train": [row | {"captions": CAPTIONS[0]} for row in rows]}, {"image": "image", "captions": "text"})
    for batch in take(of_folder(tmp_path, 2, augment, 0.5), 3):
        assert batch.present["image"].tolist() == [id == "0" for id in batch.ids]
        assert batch.present["text"].all()
        assert batch.inputs["image"]["pixels"].shape == (2, 3, 32, 32)
        # grey, whatever is drawn
        assert batch.inputs["image"]["pixels"][batch.ids.index("1")].float().std() == 0


def test_targets_go_along_and_those_of_the_item_that_is_shown(tmp_path):
    asked = [[{"question": f"{i} {n}?", "answers": [f"{n}"], "type": "other"} for n in range(3)] for i in range(4)]
    rows = [{"id": str(i), "questions": asked[i] if i else None, "label": f"l{i}"} for i in range(4)]
    write_dataset(tmp_path, {"train": rows}, {"questions": "questions", "label": "label"})
    tokenizer = Tokenizer(train_tokenizer(itertools.chain(*CAPTIONS), 400), 16)
    inputs = {"text": Source("questions", text, text.Reader(text.Spec(), tokenizer))}
    loader = Loader(open_dataset(tmp_path), "train", inputs, 4, targets=["questions", "label", "label"])
    shown = set()
    for batch in take(loader, 20):
        assert batch.targets["label"] == [f"l{id}" for id in batch.ids]
        for id, said, target in zip(batch.ids, batch.said["text"], batch.targets["questions"], strict=True):
            assert (said, target) == ("", None) if id == "0" else target == asked[int(id)][int(said[2])]
            shown.add(said)
    assert len(shown) == 1 + 3 * 3


def test_a_listed_target_that_no_input_reads_is_the_one_that_an_input_would_show(tmp_path):
    """A model without the question learns from the same answers, epoch by epoch, as one with it."""
    asked = [[{"question": f"{i} {n}?", "answers": [f"{n}"], "type": "other"} for n in range(3)] for i in range(4)]
    rows = [{"id": str(i), "questions": asked[i] if i else None, "captions": [f"{i}"]} for i in range(4)]
    write_dataset(tmp_path, {"train": rows}, {"questions": "questions", "captions": "text"})
    reader = text.Reader(text.Spec(), Tokenizer(train_tokenizer(itertools.chain(*CAPTIONS), 400), 16))
    shown = []
    for column in ("questions", "captions"):
        inputs = {"text": Source(column, text, reader)}
        loader = Loader(open_dataset(tmp_path), "train", inputs, 4, targets=["questions"], listed=["questions"])
        shown.append([dict(zip(b.ids, b.targets["questions"], strict=True)) for b in take(loader, 10)])
    assert shown[0] == shown[1]
    assert any(targets["1"] != shown[1][0]["1"] for targets in shown[1])
    assert all(targets["0"] is None for targets in shown[1])
