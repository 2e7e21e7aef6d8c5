from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mmkit import encode
from mmkit.data.shards import open_dataset
from mmkit.embedding import embed_dataset, embed_texts, embeddings_path, files_in, suffixes
from mmkit.encode import BATCHES_AHEAD, Pace, chunks, vectors
from mmkit.errors import UsageError, UserError
from mmkit.layers import Encoded
from mmkit.search.gallery import Gallery
from mmkit.vectors import read_embeddings
from tests.conftest import coloured_row, write_dataset
from tests.small import small


def test_no_more_rows_are_read_than_a_few_batches_ahead():
    taken = 0

    def rows():
        nonlocal taken
        for n in range(100):
            taken += 1
            yield coloured_row(str(n), "red")

    read = chunks(small(), {"image": "image"}, rows(), Pace(batch_size=4, workers=1))
    for done, (batch, items) in enumerate(read):
        assert len(batch) == len(items["image"]) == 4
        assert taken <= 4 * (done + 1 + BATCHES_AHEAD)


def test_large_items_are_encoded_few_at_a_time(monkeypatch):
    """However many are asked for: a video is as many pictures as it has frames."""
    model, sizes = small(), []
    items = [model.reader("image").prepare(coloured_row(str(n), colour)["image"]) for n, colour in enumerate(["red", "blue"] * 4)]
    embed, whole = model.encoder["image"].embed, vectors(model, "image", items, 8)
    monkeypatch.setattr(encode, "ENCODED_LIMIT", 3 * model.reader("image").weight(items[0]) + 1)
    monkeypatch.setattr(model.encoder["image"], "embed", lambda pixels: sizes.append(len(pixels)) or embed(pixels))
    np.testing.assert_allclose(vectors(model, "image", items, 8), whole, atol=1e-6)
    assert sizes == [3, 3, 2]


def test_each_text_gets_its_own_vector_whatever_its_length(tmp_path):
    class Lengths(nn.Module):
        dim = 3

        def forward(self, ids, mask):
            tokens = torch.zeros(*ids.shape, 3)
            return Encoded(tokens, mask, torch.stack([mask.sum(1).float(), torch.zeros(len(ids)), torch.ones(len(ids))], 1))

    model = small(project={"dim": 3})
    model.encoder["text"], model.project["text"] = Lengths(), nn.Identity()
    captions = ["aaaa", "b", "cc"]
    write_dataset(tmp_path / "data", {"train": [coloured_row("x", "red", captions), coloured_row("y", "red", ["ddddd"])]})
    path = embed_dataset(model, open_dataset(tmp_path / "data"), out=tmp_path / "e.arrow", pace=Pace(batch_size=2))
    found = read_embeddings(path)
    rows = found.rows("text")
    tokens = model.readers["text"].tokenizer.lengths([*captions, "ddddd"])
    assert found.text[rows].tolist() == [*captions, "ddddd"] and len(set(tokens)) == 4
    # as unit vectors
    assert (found.vectors[rows, 0] / found.vectors[rows, 2]).tolist() == pytest.approx(tokens)


def test_progress_begins_before_the_first_batch_and_ends_at_the_total(colours):
    seen = []
    embed_dataset(small(), open_dataset(colours), out=colours / "e.arrow", pace=Pace(3, None, lambda *now: seen.append(now)))
    assert seen == [(0, 4), (3, 4), (4, 4)]


def test_where_embeddings_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "clip-data-1"
    (run / "checkpoints" / "step-4").mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to("clip-data-1")

    model = small()

    def path(name, folder, *part):
        model.name, model.folder = name, folder and tmp_path / folder
        return str(embeddings_path(model, *part))

    assert path("runs/latest", "runs/latest", "data", "all") == "runs/clip-data-1/embeddings/data-all.arrow"
    assert path("runs/latest", "runs/latest", "data", "test", 10) == "runs/clip-data-1/embeddings/data-test-first10.arrow"
    checkpoint = path("runs/latest/checkpoints/step-4", "runs/latest", "data", "all")
    assert checkpoint.endswith("embeddings/data-all-step-4.arrow")
    assert path("openai/clip-vit-base-patch32", None, "data", "all") == "clip-vit-base-patch32.embeddings/data-all.arrow"


def test_images_in_a_folder_hidden_ones_left_out(tmp_path):
    for name in ("b.JPG", "a.png", "deep/c.webp", ".thumbs/d.png", ".e.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = files_in(tmp_path, suffixes(small(), "image"))
    assert [str(p.relative_to(tmp_path)) for p in found] == ["a.png", "b.JPG", "deep/c.webp"]


@pytest.mark.parametrize("row", [{"image": None}, {"image": None, "captions": ["red"]}])
def test_a_row_without_an_image_has_no_image_vector(tmp_path, row):
    rows = [coloured_row("a", "red"), coloured_row("b", "red") | row]
    write_dataset(tmp_path / "data", {"train": rows})
    found = read_embeddings(embed_dataset(small(), open_dataset(tmp_path / "data"), out=tmp_path / "e.arrow"))
    assert found.ids[found.rows("image")].tolist() == ["a"]
    assert found.ids[found.rows("text")].tolist() == ["a", "b"]


FILIP = {"loss": {"itc": {"kind": "filip", "anchor": "all"}}}


def test_a_model_that_compares_token_by_token_keeps_the_tokens(colours):
    model, data = small(**FILIP), open_dataset(colours)
    with pytest.raises(UsageError, match="one vector an item"):
        embed_dataset(model, data, out=colours / "e.npy")
    found = read_embeddings(embed_dataset(model, data, "test", colours / "e.arrow"))
    assert found.tokens is not None
    tokens = model.readers["text"].tokenizer.encode(found.text[found.rows("text")].tolist())
    assert np.diff(found.tokens.starts)[found.rows("text")].tolist() == [len(ids) for ids in tokens]
    assert np.diff(found.tokens.starts)[found.rows("image")].tolist() == [4] * 3, "patches of 8 px of 16"
    assert np.linalg.norm(found.tokens.flat, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_query_is_compared_token_by_token(colours):
    model = small(**FILIP)
    gallery = Gallery(model, read_embeddings(embed_dataset(model, open_dataset(colours), "test", colours / "e.arrow")))
    answers = gallery.answer({"text": "a red picture"}, k=3)
    asked = embed_texts(model, ["a red picture"])[0]
    rows = gallery.found.rows("image")
    scores = {gallery.found.ids[row]: float((asked @ gallery.found.tokens[row].T).max(1).mean()) for row in rows}
    assert [answer.id for answer in answers] == sorted(scores, key=lambda id: -scores[id])
    assert [answer.score for answer in answers] == pytest.approx(sorted(scores.values(), reverse=True), abs=1e-5)
    plain = read_embeddings(embed_dataset(small(), open_dataset(colours), "test", colours / "plain.arrow"))
    with pytest.raises(UserError, match="one vector an item, the model compares several"):
        Gallery(model, plain).answer({"text": "red"})
