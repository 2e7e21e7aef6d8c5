from __future__ import annotations

import pytest

from mmkit.data.shards import open_dataset
from mmkit.embedding import BATCHES_AHEAD, Pace, _decoded, embed_dataset, embeddings_path, images_in
from mmkit.vectors import read_embeddings
from tests.conftest import ColourModel, coloured_row, write_dataset


def test_no_more_rows_are_read_than_a_few_batches_ahead():
    taken = 0

    def rows():
        nonlocal taken
        for n in range(100):
            taken += 1
            yield coloured_row(str(n), "red")

    for done, (batch, pixels) in enumerate(_decoded(ColourModel(), rows(), Pace(batch_size=4, workers=1))):
        assert len(batch) == len(pixels) == 4
        assert taken <= 4 * (done + 1 + BATCHES_AHEAD)


def test_each_text_gets_its_own_vector_whatever_its_length(tmp_path):
    class Lengths(ColourModel):
        def encode_texts(self, texts):
            import torch

            return torch.tensor([[float(len(text)), 0, 1] for text in texts])

    captions = ["aaaa", "b", "cc"]
    write_dataset(tmp_path / "data", {"train": [coloured_row("x", "red", captions), coloured_row("y", "red", ["ddddd"])]})
    path = embed_dataset(Lengths(), open_dataset(tmp_path / "data"), out=tmp_path / "e.arrow", pace=Pace(batch_size=2))
    found = read_embeddings(path)
    rows = found.rows("text")
    assert found.vectors[rows, 0].tolist() == [len(text) for text in found.text[rows]] == [4, 1, 2, 5]


def test_progress_begins_before_the_first_batch_and_ends_at_the_total(colours):
    seen = []
    embed_dataset(
        ColourModel(), open_dataset(colours), out=colours / "e.arrow", pace=Pace(3, None, lambda *now: seen.append(now))
    )
    assert seen == [(0, 4), (3, 4), (4, 4)]


def test_where_embeddings_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "clip-data-1"
    (run / "checkpoints" / "step-4").mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to("clip-data-1")

    def path(name, folder, *part):
        return str(embeddings_path(ColourModel(name, folder and tmp_path / folder), *part))

    assert path("runs/latest", "runs/latest", "data", "all") == "runs/clip-data-1/embeddings/data-all.arrow"
    assert path("runs/latest", "runs/latest", "data", "test", 10) == "runs/clip-data-1/embeddings/data-test-first10.arrow"
    checkpoint = path("runs/latest/checkpoints/step-4", "runs/latest", "data", "all")
    assert checkpoint.endswith("embeddings/data-all-step-4.arrow")
    assert path("openai/clip-vit-base-patch32", None, "data", "all") == "clip-vit-base-patch32.embeddings/data-all.arrow"


def test_images_in_a_folder_hidden_ones_left_out(tmp_path):
    for name in ("b.JPG", "a.png", "deep/c.webp", ".thumbs/d.png", ".e.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(p.relative_to(tmp_path)) for p in images_in(tmp_path)] == ["a.png", "b.JPG", "deep/c.webp"]


@pytest.mark.parametrize("row", [{"image": None}, {"image": None, "captions": ["red"]}])
def test_a_row_without_an_image_has_no_image_vector(tmp_path, row):
    rows = [coloured_row("a", "red"), coloured_row("b", "red") | row]
    write_dataset(tmp_path / "data", {"train": rows})
    found = read_embeddings(embed_dataset(ColourModel(), open_dataset(tmp_path / "data"), out=tmp_path / "e.arrow"))
    assert found.ids[found.rows("image")].tolist() == ["a"]
    assert found.ids[found.rows("text")].tolist() == ["a", "b"]
