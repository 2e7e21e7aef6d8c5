from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmkit.ragged import Ragged
from mmkit.vectors import read_embeddings
from mmkit.vectors_writer import EmbeddingsWriter
from tests.conftest import Outcome, write_dataset
from tests.views.test_report import Page

COLUMNS = ["id", "modality", "split", "text", "label", "projection_x", "projection_y", "cluster"]
KEYS = ["points", "method", "trustworthiness", "modality_gap", "out"]
WORDS = ["a red cat", "a blue dog", "赤い花"]

Invoke = Callable[..., Outcome]


def embeddings(path: Path, pairs: int = 40, seed: int = 0, model: str = "one", dim: int = 16, several: bool = False) -> Path:
    """Pictures in three clusters, and a caption of each beside it."""
    rng = np.random.default_rng(seed)
    kind = np.arange(pairs) % 3
    vectors = np.eye(dim)[kind] * 3 + 0.2 * rng.normal(size=(pairs, dim))
    ids, label = [f"r{seed}-{i}" for i in range(pairs)], [f"kind {k}" for k in kind]
    split = ["train" if i % 4 else "test" for i in range(pairs)]
    with EmbeddingsWriter(path, dim, {"model": model, "model_hash": model}) as writer:
        for name, apart in (("image", 0.0), ("text", 1.0)):
            found: Any = (vectors + apart * np.eye(dim)[-1]).astype(np.float32)
            found = Ragged.of([np.stack([v, v]) for v in found], dim) if several else found
            writer.write(ids, name, found, split, [WORDS[k] for k in kind] if apart else None, label)
    return path


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmkit.cli.console.Console.json", False)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "30")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")


def test_an_embeddings_file_needs_no_model_and_no_torch(tmp_path: Path) -> None:
    embeddings(tmp_path / "e.arrow")
    code = "import sys; from mmkit.cli.app import main; main(['umap', 'e.arrow']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    line, torch = done.stdout.splitlines()
    assert torch == "False"
    assert list(json.loads(line)) == KEYS
    assert json.loads(line) | {"trustworthiness": 1, "modality_gap": 1} == dict(zip(KEYS, [80, "umap", 1, 1, None], strict=True))
    assert "modality gap" in done.stderr
    assert "trustworthiness" in done.stderr


def test_a_dataset_is_embedded_first(colours: Path, colour_model: Any, invoke: Invoke) -> None:
    outcome = invoke("umap", "--split", "test", "-o", "-", cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    table = pa.csv.read_csv(pa.BufferReader(outcome.stdout.encode()))
    assert (table.column_names, table.num_rows) == (COLUMNS, 9)
    assert "too few points for UMAP (9, and it takes 15): this is PCA" in outcome.stderr
    assert len(list((colour_model.folder / "embeddings").glob("data-test.arrow"))) == 1


def test_inputs_that_the_data_lacks_are_said(colours: Path, colour_model: Any, invoke: Invoke) -> None:
    said = "{} has no image: the map is of text alone"
    rows = [{"id": f"{colour}{n}", "captions": [f"a {colour} picture {n}"]} for n in range(3) for colour in ("red", "blue")]
    write_dataset(colours.parent / "words", {"test": rows}, {"captions": "text"})
    outcome = invoke("umap", "words", "--method", "pca", "--json", cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    assert said.format("words") in outcome.stderr.splitlines()
    outcome = invoke("umap", "data", "--method", "pca", "--json", cwd=colours.parent)
    assert " has no " not in outcome.stderr


def test_a_limit_counts_samples_with_all_of_their_items(tmp_path: Path, invoke: Invoke) -> None:
    embeddings(tmp_path / "e.arrow")
    outcome = invoke("umap", "e.arrow", "--split", "test", "--limit", 3, "-o", "-", cwd=tmp_path)
    table = pa.csv.read_csv(pa.BufferReader(outcome.stdout.encode()))
    assert table["id"].to_pylist() == ["r0-0", "r0-4", "r0-8"] * 2


@pytest.mark.parametrize("suffix", [".csv", ".arrow", ".parquet"])
def test_coordinates(tmp_path: Path, invoke: Invoke, suffix: str) -> None:
    embeddings(tmp_path / "e.arrow")
    path = tmp_path / f"out{suffix}"
    outcome = invoke("umap", "e.arrow", "--method", "pca", "-o", path.name, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    read = {".csv": pa.csv.read_csv, ".arrow": lambda p: pa.ipc.open_file(p).read_all(), ".parquet": pq.read_table}[suffix]
    table = read(path)
    assert (table.column_names, table.num_rows) == (COLUMNS, 80)
    assert set(table["text"].to_pylist()) >= set(WORDS)
    assert outcome.lines[0]["out"] == path.name
    assert invoke("umap", "e.arrow", "--method", "pca", "-o", path.name, cwd=tmp_path).code == 0
    path.write_text("mine")
    refused = invoke("umap", "e.arrow", "--method", "pca", "-o", path.name, cwd=tmp_path)
    assert (refused.code, path.read_text()) == (1, "mine")
    assert "not one that mmkit wrote" in refused.stderr


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_figures(tmp_path: Path, invoke: Invoke, suffix: str) -> None:
    embeddings(tmp_path / "e.arrow")
    outcome = invoke("umap", "e.arrow", "--method", "pca", "--color", "similarity", "-o", f"out{suffix}", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert (tmp_path / f"out{suffix}").stat().st_size > 5000
    if suffix == ".png":
        assert len(np.unique(np.asarray(Image.open(tmp_path / "out.png").convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_a_page_loads_nothing_and_holds_the_captions(colours: Path, colour_model: Any, invoke: Invoke) -> None:
    outcome = invoke("umap", "--color", "label", "-o", "map.html", "--thumbnails", 2, cwd=colours.parent)
    assert outcome.code == 0, outcome.stderr
    assert "thumbnails of 2 of 4 pictures" in outcome.stderr
    text = (colours.parent / "map.html").read_text()
    before, _, rest = text.partition("<script>")
    assert Page((before + rest.rpartition("</script>")[2]).replace("<input", "<br")).loads == []
    data = json.loads(text.partition("const DATA = ")[2].partition(";\n")[0])
    assert data["captions"][0] == "a red picture"
    assert [picture.partition(",")[0] for picture in data["pictures"]] == ["data:image/jpeg;base64"] * 2
    assert [group["by"] for group in data["groups"]] == ["label", "modality", "split", "cluster"]


def test_captions_end_no_script(tmp_path: Path, invoke: Invoke) -> None:
    evil = "</script><script>alert(1)</script>"
    with EmbeddingsWriter(tmp_path / "e.arrow", 4) as writer:
        writer.write([str(i) for i in range(20)], "text", np.random.default_rng(0).normal(size=(20, 4)), text=[evil] * 20)
    assert invoke("umap", "e.arrow", "--method", "pca", "-o", "map.html", cwd=tmp_path).code == 0
    assert (tmp_path / "map.html").read_text().count("<script>") == 1


def test_the_terminal_with_colours_and_without(
    tmp_path: Path, invoke: Invoke, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings(tmp_path / "e.arrow")
    asked = ("umap", "e.arrow", "--method", "pca")
    coloured = invoke(*asked, cwd=tmp_path).stdout
    assert "\x1b[38;5;33m" in coloured
    assert any(0x2800 < ord(c) < 0x2900 for c in coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = invoke(*asked, cwd=tmp_path).stdout
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 59
    legend = plain.splitlines()[-1]
    assert legend == "A kind 0 28   B kind 1 26   C kind 2 26"
    drawn = "".join(plain.splitlines()[1:-1])
    assert set("ABC") <= set(drawn)


def test_one_seed_gives_one_picture(tmp_path: Path, invoke: Invoke) -> None:
    embeddings(tmp_path / "e.arrow")
    for name in ("a", "b"):
        assert invoke("umap", "e.arrow", "--seed", 3, "-o", f"{name}.png", cwd=tmp_path).code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_new_points_are_placed_on_a_kept_map(tmp_path: Path, invoke: Invoke) -> None:
    embeddings(tmp_path / "old.arrow")
    embeddings(tmp_path / "new.arrow", 30, seed=1)
    kept = invoke("umap", "old.arrow", "--fit", "map.arrow", "-o", "old.csv", cwd=tmp_path)
    assert kept.code == 0, kept.stderr
    assert "mmkit umap NEW --transform map.arrow" in kept.stderr
    # a map is an embeddings file, too
    assert len(read_embeddings(tmp_path / "map.arrow")) == 80
    placed = invoke("umap", "new.arrow", "--transform", "map.arrow", "-o", "new.csv", cwd=tmp_path)
    assert placed.code == 0, placed.stderr
    assert placed.lines[0]["points"] == 60
    old, new = (pa.csv.read_csv(tmp_path / f"{name}.csv").to_pandas() for name in ("old", "new"))
    points = ["projection_x", "projection_y"]
    for row in new.itertuples():
        apart = np.linalg.norm(old[points].to_numpy() - [row.projection_x, row.projection_y], axis=1)
        assert old.label[apart.argmin()] == row.label
    # the map itself is drawn as it is
    again = invoke("umap", "map.arrow", "-o", "again.csv", cwd=tmp_path)
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "old.csv").read_text(), again.stderr
    assert invoke("umap", "new.arrow", "--transform", "map.arrow", "-o", "new.png", cwd=tmp_path).code == 0


def test_the_map_of_another_model_is_refused(tmp_path: Path, invoke: Invoke) -> None:
    embeddings(tmp_path / "old.arrow")
    embeddings(tmp_path / "new.arrow", model="two")
    embeddings(tmp_path / "wide.arrow", dim=8, model="")
    assert invoke("umap", "old.arrow", "--method", "pca", "--fit", "map.arrow", cwd=tmp_path).code == 0
    refused = invoke("umap", "new.arrow", "--transform", "map.arrow", cwd=tmp_path)
    assert (refused.code, refused.stdout) == (1, "")
    assert refused.stderr == "error: the map is of one, these vectors are of two, map.arrow\nhint: --model one\n"
    assert "the map has 16 dimensions" in invoke("umap", "wide.arrow", "--transform", "map.arrow", cwd=tmp_path).stderr
    assert "this is no map" in invoke("umap", "old.arrow", "--transform", "old.arrow", cwd=tmp_path).stderr
    assert "no such map" in invoke("umap", "old.arrow", "--transform", "none.arrow", cwd=tmp_path).stderr


@pytest.mark.parametrize("suffix", [".csv", ".arrow", ".parquet"])
def test_coordinates_without_vectors_are_no_map_to_place_on(tmp_path: Path, invoke: Invoke, suffix: str) -> None:
    embeddings(tmp_path / "e.arrow")
    assert invoke("umap", "e.arrow", "--method", "pca", "-o", f"co{suffix}", cwd=tmp_path).code == 0
    refused = invoke("umap", "e.arrow", "--transform", f"co{suffix}", cwd=tmp_path)
    assert (refused.code, refused.stdout) == (1, "")
    line = f"error: this is no map to place on, co{suffix}\nhint: mmkit umap --fit map.arrow   makes one\n"
    assert refused.stderr == line


def test_several_vectors_an_item_are_mapped_by_their_mean(tmp_path: Path, invoke: Invoke) -> None:
    embeddings(tmp_path / "e.arrow", several=True)
    outcome = invoke("umap", "e.arrow", "--method", "pca", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "each item has several vectors: the map is of their means" in outcome.stderr


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--method", "umpa"], "error: no such method 'umpa', --method\nhint: did you mean umap?"),
        (["--metric", "cosin"], "error: no such metric 'cosin', --metric\nhint: did you mean cosine?"),
        (["--n-neighbors", "0"], "error: 0 is not at least 2, --n-neighbors\nhint: see mmkit umap --help"),
        (["--n-neighbors", "x"], "error: x is not a whole number, --n-neighbors"),
        (["--min-dist", "2"], "error: 2 is not at most 1, --min-dist"),
        (["--min-dist", "x"], "error: x is not a number, --min-dist"),
        (["--clusters", "1", "--json"], '{"error": "1 is not at least 2", "where": "--clusters", '),
        (["--color", "lable"], "error: no such color 'lable', --color\nhint: did you mean label?"),
        (["-o", "map.bmp"], "error: cannot draw a .bmp, map.bmp"),
        (["--fit", "map.csv"], "error: cannot write coordinates as .csv, map.csv\nhint: one of .arrow"),
        (["--transform", "m.arrow", "--seed", "1"], "error: the map says how points are laid out, --seed cannot, --transform"),
        (["--transform", "m.arrow", "--fit", "n.arrow"], "error: a map is either made or used"),
    ],
)
def test_what_is_typed_wrongly_is_said_before_any_work(tmp_path: Path, invoke: Invoke, args: list[str], line: str) -> None:
    outcome = invoke("umap", "none.arrow", *args, cwd=tmp_path)
    assert outcome.code == 2
    assert outcome.stderr.startswith(line)


def test_what_is_not_there_is_named(tmp_path: Path, invoke: Invoke) -> None:
    embeddings(tmp_path / "e.arrow")
    assert "no such embeddings file, none.arrow" in invoke("umap", "none.arrow", cwd=tmp_path).stderr
    outcome = invoke("umap", "e.arrow", "--split", "dev", cwd=tmp_path)
    assert (outcome.code, outcome.stderr) == (1, "error: no split 'dev', e.arrow\nhint: splits: test, train\n")
    with EmbeddingsWriter(tmp_path / "bare.arrow", 4) as writer:
        writer.write([str(i) for i in range(20)], "image", np.random.default_rng(0).normal(size=(20, 4)))
    refused = invoke("umap", "bare.arrow", "--method", "pca", "--color", "label", "-o", "x.png", cwd=tmp_path)
    assert (refused.code, refused.stderr) == (1, "error: no row has a label, bare.arrow\nhint: --color modality\n")
    refused = invoke("umap", "bare.arrow", "--method", "pca", "--color", "similarity", "-o", "x.png", cwd=tmp_path)
    assert "there is no similarity" in refused.stderr
    assert not (tmp_path / "x.png").exists()
    with EmbeddingsWriter(tmp_path / "nan.arrow", 4) as writer:
        writer.write(["a", "b"], "image", np.array([[1] * 4, [np.nan] * 4]))
    assert "error: vector 1 is not finite, nan.arrow" in invoke("umap", "nan.arrow", cwd=tmp_path).stderr


def test_characters_that_no_font_has_are_said_once(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmkit.views.fonts.CJK", ())
    with EmbeddingsWriter(tmp_path / "e.arrow", 4) as writer:
        vectors = np.random.default_rng(0).normal(size=(20, 4))
        writer.write([str(i) for i in range(20)], "image", vectors, label=["赤", "青"] * 10)
    outcome = invoke("umap", "e.arrow", "--method", "pca", "-o", "x.png", cwd=tmp_path)
    assert outcome.stderr.count("no font here has Chinese or Japanese characters") == 1
