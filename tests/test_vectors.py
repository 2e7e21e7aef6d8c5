from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmkit.errors import UsageError, UserError
from mmkit.ragged import Ragged
from mmkit.vectors import read_embeddings, read_meta
from mmkit.vectors_writer import EmbeddingsWriter

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


def write(path: Path, dtype: str = "float32") -> Path:
    with EmbeddingsWriter(path, 3, {"model": "m", "model_hash": "h"}, dtype) as writer:
        writer.write(["a", "b"], "image", VECTORS[:2], ["test"] * 2, label=["x", None])
        writer.write(["a", "b"], "text", VECTORS[2:], ["test"] * 2, ["ein Bild", "画像"])
    return path


@pytest.mark.parametrize("suffix", [".arrow", ".parquet", ".npy"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_written_is_read(tmp_path, suffix, dtype):
    found = read_embeddings(write(tmp_path / f"e{suffix}", dtype))
    assert found.ids.tolist() == ["a", "b", "a", "b"]
    assert found.modality.tolist() == ["image", "image", "text", "text"]
    assert found.split.tolist() == ["test"] * 4
    assert found.text.tolist() == [None, None, "ein Bild", "画像"]
    assert found.label.tolist() == ["x", None, None, None]
    assert found.vectors.dtype == dtype
    assert (found.vectors == VECTORS).all()
    assert found.meta == {"version": 1, "model": "m", "model_hash": "h", "dim": 3, "modality": ["image", "text"]}
    assert read_meta(found.path) == found.meta
    assert not list(tmp_path.glob(".*")), "temporary files are left behind"


def test_an_arrow_file_is_mapped_without_a_copy(tmp_path):
    before = pa.total_allocated_bytes()
    vectors = read_embeddings(write(tmp_path / "e.arrow")).vectors
    assert not vectors.flags.owndata
    assert not vectors.flags.writeable
    assert pa.total_allocated_bytes() - before < VECTORS.nbytes


def test_the_columns_are_those_of_the_contract(tmp_path):
    schema = pa.ipc.open_file(str(write(tmp_path / "e.arrow"))).schema
    assert schema.names == ["id", "modality", "split", "text", "label", "vector"]
    assert schema.field("vector").type == pa.list_(pa.float32(), 3)
    assert pq.read_schema(write(tmp_path / "e.parquet")).field("vector").type == pa.list_(pa.float32(), 3)
    assert json.loads((write(tmp_path / "e.npy").with_suffix(".json")).read_text())["id"] == ["a", "b", "a", "b"]


def test_rows_of_a_modality_and_their_vectors(tmp_path):
    found = read_embeddings(write(tmp_path / "e.arrow"))
    assert found.rows("text").tolist() == [2, 3]
    assert found.rows(split="train").tolist() == []
    assert np.shares_memory(found.take(found.rows("text")), found.vectors)
    assert found.take(np.array([0, 3])).tolist() == VECTORS[[0, 3]].tolist()


def test_files_of_others_are_read(tmp_path):
    table = pa.table({"id": ["a", "b"], "vector": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64()))})
    pq.write_table(table, tmp_path / "e.parquet")
    found = read_embeddings(tmp_path / "e.parquet")
    assert found.meta is None
    assert found.modality.tolist() == [None, None]
    assert found.vectors.dtype == np.float32
    with pa.ipc.new_file(tmp_path / "chunks.arrow", table.schema) as out:
        out.write_table(table, max_chunksize=1)
    assert read_embeddings(tmp_path / "chunks.arrow").vectors.tolist() == [[1, 2], [3, 4]]
    np.save(tmp_path / "images.npy", VECTORS)
    (tmp_path / "images.ids.txt").write_text("a\nb\nc\nd\n")
    assert read_embeddings(tmp_path / "images.npy").ids.tolist() == ["a", "b", "c", "d"]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = write(tmp_path / "e.arrow")
    writer = EmbeddingsWriter(path, 3)
    writer.__enter__().write(["z"], "image", VECTORS[:1])
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert read_embeddings(path).ids.tolist() == ["a", "b", "a", "b"]
    assert [p.name for p in tmp_path.iterdir()] == ["e.arrow"]


def test_what_is_no_embeddings_file_is_named(tmp_path):
    whole = write(tmp_path / "e.arrow").read_bytes()
    (tmp_path / "cut.arrow").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.parquet").write_bytes(write(tmp_path / "e.parquet").read_bytes()[:-20])
    (tmp_path / "empty.arrow").write_bytes(b"")
    np.save(tmp_path / "alone.npy", VECTORS)
    pq.write_table(pa.table({"caption": ["a"]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"id": ["a", "b"], "vector": [[1.0], [1.0, 2.0]]}), tmp_path / "ragged.parquet")
    expected = {
        "cut.arrow": "truncated, or not an embeddings file",
        "cut.parquet": "truncated, or not an embeddings file",
        "empty.arrow": "truncated, or not an embeddings file",
        "alone.npy": "ids of this .npy file are missing",
        "other.parquet": "no column id",
        "ragged.parquet": "its vectors are of different lengths",
        "absent.arrow": "no such embeddings file",
    }
    for name, message in expected.items():
        with pytest.raises(UserError, match=message) as caught:
            read_embeddings(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)


def test_another_suffix_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be written as \.csv"):
        EmbeddingsWriter(tmp_path / "e.csv", 3)


def test_a_file_of_a_newer_format_is_refused(tmp_path):
    with EmbeddingsWriter(tmp_path / "e.arrow", 3, {"version": 99}) as writer:
        writer.write(["a"], "image", VECTORS[:1])
    with pytest.raises(UserError, match="newer mmkit"):
        read_embeddings(tmp_path / "e.arrow")


LENGTHS = [2, 0, 3, 1]
SEVERAL = Ragged.of(np.split(np.arange(18, dtype=np.float32).reshape(6, 3) + 1, np.cumsum(LENGTHS)[:-1]), 3)


def write_several(path: Path, times: int = 1, dtype: str = "float32") -> Path:
    with EmbeddingsWriter(path, 3, dtype=dtype) as writer:
        writer.write(["a", "b"] * times, "image", SEVERAL.take(np.tile([0, 1], times)))
        writer.write(["a", "b"] * times, "text", SEVERAL.take(np.tile([2, 3], times)), text=["x", "y"] * times)
    return path


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("times", [1, 3000], ids=["", "several row groups"])
def test_several_vectors_a_row_are_read_as_written(tmp_path, suffix, dtype, times):
    found = read_embeddings(write_several(tmp_path / f"e{suffix}", times, dtype))
    assert found.tokens is not None and len(found.tokens) == len(found) == 4 * times
    assert found.tokens.flat.dtype == dtype
    assert np.diff(found.tokens.starts).tolist() == LENGTHS[:2] * times + LENGTHS[2:] * times
    for i, row in enumerate((0, 1, 2 * times, -1 % (4 * times))):
        assert (found.tokens[row] == SEVERAL[i]).all()
        # what compares single vectors, such as a map, has the normalised mean
        assert np.allclose(found.vectors[row], SEVERAL.means()[i], atol=1e-3)
    taken = found.take(found.rows("text")[:2])
    assert isinstance(taken, Ragged) and (taken.flat == SEVERAL.flat[2:]).all()


def test_the_tokens_of_an_arrow_file_are_mapped_without_a_copy(tmp_path):
    path = write_several(tmp_path / "e.arrow", 100)
    before = pa.total_allocated_bytes()
    tokens = read_embeddings(path).tokens
    assert not tokens.flat.flags.owndata
    assert pa.total_allocated_bytes() - before < tokens.flat.nbytes


def test_files_of_single_vectors_have_no_tokens(tmp_path):
    for suffix in (".arrow", ".parquet", ".npy"):
        assert read_embeddings(write(tmp_path / f"e{suffix}")).tokens is None


def test_several_vectors_a_row_fit_in_no_npy_file(tmp_path):
    with pytest.raises(UsageError, match="holds one vector an item") as caught:
        write_several(tmp_path / "e.npy")
    assert caught.value.hint == "one of: .arrow .parquet"
    assert not list(tmp_path.iterdir())


def test_means_of_several_vectors():
    means = SEVERAL.means()
    for i in (0, 2, 3):
        mean = SEVERAL[i].mean(0)
        assert means[i] == pytest.approx(mean / np.linalg.norm(mean))
    assert not means[1].any(), "of none it is zero"
    assert len(Ragged.of([], 3)) == 0 and Ragged.of([], 3).flat.shape == (0, 3)
