"""Series of a sensor with captions or labels, as a user prepares them from the tables that people have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmkit.data.modalities import series
from mmkit.data.series_files import read
from mmkit.data.shards import open_dataset
from tests import raw
from tests.conftest import Outcome

Invoke = Callable[..., Outcome]
WAVES = np.random.default_rng(0).normal(size=(12, 3, 20)).astype("float32")
WORDS = ["a slow walk", "a fast run"] * 6
LABELS = ["walk", "run"] * 6


def parquet(path: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), path)


def jsonl(path: Path, **columns: Any) -> None:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


FORMS: dict[str, Callable[[Path], None]] = {
    "t.parquet": lambda path: parquet(path, wave=WAVES.tolist(), words=WORDS, label=LABELS),
    "t.jsonl": lambda path: jsonl(path, wave=WAVES.tolist(), words=WORDS, label=LABELS),
    "t.npz": lambda path: np.savez(path, wave=WAVES, words=np.array(WORDS), label=np.array(LABELS), rate=50.0),
}


def rejected(folder: Path) -> dict[str, str]:
    return {r["where"]: r["reason"] for r in map(json.loads, (folder / "rejected.jsonl").read_text().splitlines())}


@pytest.mark.parametrize("name", list(FORMS))
def test_it_becomes_a_dataset_that_datasets_opens(tmp_path: Path, invoke: Invoke, name: str) -> None:
    FORMS[name](tmp_path / name)
    outcome = invoke("prep", "table", "data", "--source", name, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "caption column 'words', series column 'wave', 'label' column" in outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.manifest["columns"] == {"captions": "text", "series": "series", "label": "label"}
    assert data.manifest["series"] == {"channels": 3, "length_p50": 20, "length_max": 20}
    rows = {row["id"]: row for row in data.rows()}
    assert all(rows[f"row {i + 1}"]["series"] == WAVES[i].tolist() for i in range(12))
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded.features["series"] == datasets.List(datasets.List(datasets.Value("float32")))
    assert "Series: up to 3 channels x 20 values." in (tmp_path / "data" / "README.md").read_text()


def test_one_channel_with_labels_only(tmp_path: Path, invoke: Invoke) -> None:
    np.savez(tmp_path / "t.npz", x=WAVES[:, 0], label=np.array(LABELS))
    assert invoke("prep", "table", "data", "--source", "t.npz", cwd=tmp_path).code == 0
    data = open_dataset(tmp_path / "data")
    assert data.manifest["columns"] == {"series": "series", "label": "label"}
    assert {len(row["series"]) for row in data.rows()} == {1}
    found = invoke("prep", "audit", tmp_path / "data", "--json").lines[0]
    assert found["labels"]["largest"] == {"run": 6, "walk": 6}
    assert "duplicate_images" not in found


def test_the_column_as_typed_beside_pictures_and_several_as_channels(tmp_path: Path, invoke: Invoke) -> None:
    for i in range(12):
        raw.jpeg(tmp_path / f"{i}.jpg", i)
    columns = {"image": [f"{i}.jpg" for i in range(12)], "caption": WORDS, "box": WAVES[:, 0, :4].tolist()}
    parquet(tmp_path / "t.parquet", **columns, x=WAVES[:, 0].tolist(), y=WAVES[:, 1].tolist())
    assert invoke("prep", "table", "plain", "--source", "t.parquet", cwd=tmp_path).code == 0
    assert open_dataset(tmp_path / "plain").manifest["columns"] == {"image": "image", "captions": "text"}
    typed = ("--column", "series=x", "--column", "series=y")
    outcome = invoke("prep", "table", "both", "--source", "t.parquet", *typed, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    rows = {row["id"]: row for row in open_dataset(tmp_path / "both").rows()}
    assert rows["3.jpg"]["series"] == WAVES[3, :2].tolist()


def test_a_series_that_cannot_be_used_is_a_reject_that_names_its_row(tmp_path: Path, invoke: Invoke) -> None:
    series: list[Any] = WAVES.tolist()
    series[1][0] = series[1][0][:5]
    series[2][1][3] = float("nan")
    series[3][0][0] = float("inf")
    series[4] = []
    series[5] = None
    series[6][2][1] = None
    jsonl(tmp_path / "t.jsonl", wave=series, words=WORDS)
    outcome = invoke("prep", "table", "data", "--source", "t.jsonl", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert rejected(tmp_path / "data") == {
        "t.jsonl row 2": "the channels of the series differ in length: 5, 20, 20",
        "t.jsonl row 3": "the series is not finite: nan in channel 2 at 4",
        "t.jsonl row 4": "the series is not finite: inf in channel 1 at 1",
        "t.jsonl row 5": "empty series",
        "t.jsonl row 6": "no series in the row",
        "t.jsonl row 7": "the series is not finite: nan in channel 3 at 2",
    }


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        ("Time (s),x,note\n0,1,ok\n1,2,ok", [[1, 2]]),
        ("t;x;y\n0;3;4,5\n1;5;7,5", [[3, 5], [4.5, 7.5]]),  # as Excel writes where the comma is that of decimals
        ("1,2\n3,4", [[1, 3], [2, 4]]),
        ("# rate: 50 Hz, left hand\n# t,x,y\n0,1,2\n1,3,4", [[1, 3], [2, 4]]),  # as numpy's savetxt writes a header
        ("% rate: 50 Hz\nx,y\n1,2\n3,4", [[1, 3], [2, 4]]),
        ("epoch_ms,seconds_elapsed,x\n1700000038912,0.1,5\n1700000038932,0.2,4", [[5, 4]]),
        ("reaction time,x\n0.5,1\n0.3,2", [[0.5, 0.3], [1, 2]]),
        ("1,NA\n3,4", [[1, 3], [float("nan"), 4]]),
        ("x,y\n1,2\n3,null\n4,5", [[1, 3, 4], [2, float("nan"), 5]]),
    ],
)
def test_a_file_of_numbers_as_programs_write_it(tmp_path: Path, text: str, channels: list[list[float]]) -> None:
    (tmp_path / "a.csv").write_text(text)
    np.testing.assert_array_equal(read(str(tmp_path / "a.csv")), channels)


def test_a_column_of_numbers_and_words_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n1.0D0,2\n3,4\n5,6")
    with pytest.raises(ValueError, match=r"column x has '1\.0D0' among its numbers, in line 3"):
        read(str(tmp_path / "a.csv"))


def test_a_file_that_is_no_series_says_why_wherever_it_is_read(tmp_path: Path) -> None:
    for text, reason in (("x,y", "no rows below the header"), ("x,y\n1,2\n3,NA", "not finite: nan in channel 2 at 2")):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(ValueError, match=reason):
            series.of_file(str(tmp_path / "a.csv"))


def test_channels_that_no_row_has_are_one_line(tmp_path: Path, invoke: Invoke) -> None:
    FORMS["t.npz"](tmp_path / "t.npz")
    assert invoke("prep", "table", "data", "--source", "t.npz", cwd=tmp_path).code == 0
    outcome = invoke("train", "--recipe", "nmodal", "--set", "data.series.channels=5", "--steps", 1, cwd=tmp_path)
    assert outcome.code == 1, outcome.stderr
    assert outcome.stderr.splitlines()[-2:][0].startswith(
        "error: no training row has a series of 5 channels, data.series.channels"
    )


def test_arrays_of_splits_with_classes_as_numbers(tmp_path: Path, invoke: Invoke) -> None:
    """As `X_train`, `y_train` and so on are saved; the arrays of a split are of one length."""
    classes = np.arange(len(WAVES)) % 3
    parts = {"X_train": WAVES[:8], "y_train": classes[:8], "X_test": WAVES[8:], "y_test": classes[8:]}
    np.savez(tmp_path / "t.npz", **parts)
    outcome = invoke("prep", "table", "data", "--source", "t.npz", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "series column 'X', 'split' column, label column 'y'" in outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.columns == {"series": "series", "label": "label"} and data.splits == {"train": 8, "test": len(WAVES) - 8}
    for split, waves, own in (("train", WAVES[:8], classes[:8]), ("test", WAVES[8:], classes[8:])):
        rows = sorted(data.rows(split), key=lambda row: int(row["id"].split()[-1]))
        assert np.allclose([row["series"] for row in rows], waves) and [row["label"] for row in rows] == [str(c) for c in own]
    np.savez(tmp_path / "u.npz", **parts | {"y_test": classes[9:]})
    outcome = invoke("prep", "table", "other", "--source", "u.npz", cwd=tmp_path)
    assert outcome.code == 1 and "the arrays differ in their number of rows" in outcome.stderr


@pytest.mark.parametrize("dtype", ["float64", "uint8", "bool"])
def test_flags_of_classes_are_their_numbers(tmp_path: Path, invoke: Invoke, dtype: str) -> None:
    """One-hot labels, and rows of several classes, as arrays are saved beside series."""
    classes = np.arange(len(WAVES)) % 3
    for name, flags in (("one", np.eye(3, dtype=dtype)[classes]), ("more", np.maximum(np.eye(3), np.eye(3)[1])[classes])):
        np.savez(tmp_path / f"{name}.npz", X=WAVES, y=flags)
        outcome = invoke("prep", "table", name, "--source", f"{name}.npz", "--splits", "train:1", cwd=tmp_path)
        assert outcome.code == 0 and "labels are flags of 3 classes" in outcome.stderr
        assert "not taken" not in outcome.stderr
        rows = sorted(open_dataset(tmp_path / name).rows(), key=lambda row: int(row["id"].split()[-1]))
        expected = [str(c) for c in classes] if name == "one" else [sorted({str(c), "1"}) for c in classes]
        assert [row["label"] for row in rows] == expected
    jsonl(tmp_path / "gaps.jsonl", wave=WAVES.tolist(), label=[[float(c), float("nan")] for c in classes])
    assert invoke("prep", "table", "gaps", "--source", "gaps.jsonl", "--splits", "train:1", cwd=tmp_path).code == 0
    assert sorted({label for row in open_dataset(tmp_path / "gaps").rows() for label in row["label"]}) == ["0", "1", "2"]
    np.savez(tmp_path / "shares.npz", X=WAVES, y=np.full((len(WAVES), 3), 0.25))
    outcome = invoke("prep", "table", "shares", "--source", "shares.npz", cwd=tmp_path)
    assert outcome.code == 1 and "the label is a list of numbers such as 0.25, which are no classes" in outcome.stderr


def test_more_channels_than_values_are_said(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # the table breaks no line
    for name, waves, said in (("t", WAVES.transpose(0, 2, 1), True), ("u", WAVES, False)):
        np.savez(tmp_path / f"{name}.npz", x=waves, labels=np.array(LABELS))
        outcome = invoke("prep", "table", name, "--source", f"{name}.npz", cwd=tmp_path)
        assert outcome.code == 0, outcome.stderr
        assert ("time comes first" in outcome.stderr) == said
        assert open_dataset(tmp_path / name).columns["label"] == "label"


def test_a_row_may_lack_its_series(tmp_path: Path, invoke: Invoke) -> None:
    jsonl(tmp_path / "t.jsonl", wave=[None, *WAVES.tolist()[1:]], words=WORDS, label=LABELS)
    assert invoke("prep", "table", "data", "--source", "t.jsonl", cwd=tmp_path).code == 0
    rows = {row["id"]: row for row in open_dataset(tmp_path / "data").rows()}
    assert rows["row 1"]["series"] is None
    assert open_dataset(tmp_path / "data").manifest["audit"]["filled"]["series"]["train"] < 12


def test_a_dry_run_tells_the_size(tmp_path: Path, invoke: Invoke) -> None:
    FORMS["t.npz"](tmp_path / "t.npz")
    outcome = invoke("prep", "table", "data", "--source", "t.npz", "--dry-run", cwd=tmp_path)
    assert outcome.stderr.count("3 x 20 values") == 3
    assert not (tmp_path / "data").exists()
    (found,) = invoke("prep", "table", "data", "--source", "t.npz", "--dry-run", "--json", cwd=tmp_path).lines
    assert found["samples"][0].keys() == {"id", "split", "captions", "channels", "length", "label"}


def test_the_same_command_reuses_it(tmp_path: Path, invoke: Invoke) -> None:
    FORMS["t.npz"](tmp_path / "t.npz")
    for said in ("audit of data", "up to date: reused"):
        assert said in invoke("prep", "table", "data", "--source", "t.npz", cwd=tmp_path).stderr
    np.savez(tmp_path / "t.npz", wave=WAVES + 1, words=np.array(WORDS), label=np.array(LABELS))
    assert "the source has changed" in invoke("prep", "table", "data", "--source", "t.npz", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"x": WAVES, "label": np.array(LABELS[:5])}, "error: the arrays differ in their number of rows: x 12, label 5, t.npz"),
        (
            {"x": WAVES, "label": np.array(LABELS, object)},
            "error: the array 'label' holds Python objects, which are not opened, t",
        ),
        ({"x": WAVES}, "error: no caption column found, t.npz"),
        ({"label": np.array(LABELS)}, "error: no image column found, t.npz"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, invoke: Invoke, arrays: dict[str, Any], line: str) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    outcome = invoke("prep", "table", "data", "--source", "t.npz", cwd=tmp_path)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(line)


def test_a_damaged_file_is_named(tmp_path: Path, invoke: Invoke) -> None:
    FORMS["t.npz"](tmp_path / "t.npz")
    (tmp_path / "t.npz").write_bytes((tmp_path / "t.npz").read_bytes()[:300])
    outcome = invoke("prep", "table", "data", "--source", "t.npz", cwd=tmp_path)
    assert outcome.stderr.startswith("error: the NPZ file is truncated or damaged")


def file(path: Path, wave: np.ndarray) -> None:
    """One series (channels, time) as a file of its suffix."""
    if path.suffix == ".npy":
        np.save(path, wave)
    elif path.suffix == ".npz":
        np.savez(path, acc=wave[:2], gyro=wave[2], rate=50.0)
    elif path.suffix == ".parquet":
        parquet(path, time=np.arange(wave.shape[1]) / 50, x=wave[0], y=wave[1], z=wave[2])
    else:
        between = "\t" if path.suffix == ".tsv" else ","
        lines = [
            ["time", "x", "y", "z", "note"],
            *([f"{i / 50}", *map(repr, map(float, column)), "ok"] for i, column in enumerate(wave.T)),
        ]
        path.write_text("\n".join(map(between.join, lines)) + "\n")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet", ".csv", ".tsv"])
def test_files_in_class_folders_are_series(suffix: str, tmp_path: Path, invoke: Invoke) -> None:
    for i, (wave, label) in enumerate(zip(WAVES, LABELS, strict=True)):
        (tmp_path / "raw" / label).mkdir(parents=True, exist_ok=True)
        file(tmp_path / "raw" / label / f"{i}{suffix}", wave)
    (tmp_path / "raw" / "run" / f"broken{suffix}").write_bytes(b"PK nothing\n")
    outcome = invoke("prep", "folder", "data", "--source", "raw", "--template", "{label}", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.columns == {"captions": "text", "series": "series", "label": "label"}
    rows = {row["id"]: row for row in data.rows()}
    assert len(rows) == 12
    for i, label in enumerate(LABELS):
        assert rows[f"{label}/{i}{suffix}"]["captions"] == [label]
        assert np.allclose(rows[f"{label}/{i}{suffix}"]["series"], WAVES[i])
    assert list(rejected(tmp_path / "data")) == [str(Path("raw/run") / f"broken{suffix}")]


@pytest.mark.parametrize("kind", ["folder", "table"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_channels_are_those_of_the_first_file_by_their_names(suffix: str, kind: str, tmp_path: Path, invoke: Invoke) -> None:
    for i, wave in enumerate(WAVES):
        place = tmp_path / "raw" / LABELS[i] / f"{i:02d}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        order = [0, 2, 1] if i % 3 == 2 else [2, 0, 1]  # those of the first of both kinds of source are zxy
        cells = {"xyz"[n]: wave[n] for n in order}
        if suffix == ".parquet":
            parquet(place, **{name: list(map(float, cell)) for name, cell in cells.items()})
        else:
            rows = [",".join(cells), *(",".join(map(repr, map(float, row))) for row in zip(*cells.values(), strict=True))]
            place.write_text("\n".join(rows))
    jsonl(tmp_path / "raw" / "all.jsonl", wave=[f"{LABELS[i]}/{i:02d}{suffix}" for i in range(12)], words=WORDS)
    source = "raw" if kind == "folder" else "raw/all.jsonl"
    if kind == "folder":
        (tmp_path / "raw" / "all.jsonl").unlink()
    outcome = invoke("prep", kind, "data", "--source", source, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    rows = sorted(open_dataset(tmp_path / "data").rows(), key=lambda row: int("".join(filter(str.isdigit, row["id"]))))
    assert all(np.allclose(row["series"], wave[[2, 0, 1]]) for row, wave in zip(rows, WAVES, strict=True))


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_a_table_names_files_of_series(suffix: str, tmp_path: Path, invoke: Invoke) -> None:
    for i, wave in enumerate(WAVES):
        file(tmp_path / f"w{i}{suffix}", wave)
    jsonl(tmp_path / "t.jsonl", wave=[f"w{i}{suffix}" for i in range(11)] + [f"gone{suffix}"], words=WORDS)
    outcome = invoke("prep", "table", "data", "--source", "t.jsonl", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "series column 'wave'" in outcome.stderr
    rows = {row["id"]: row for row in open_dataset(tmp_path / "data").rows()}
    assert len(rows) == 11 and np.allclose(rows["row 3"]["series"], WAVES[2])
    assert rejected(tmp_path / "data")["t.jsonl row 12"].startswith("missing file")


def test_a_csv_without_header_or_of_one_column(tmp_path: Path) -> None:
    from mmkit.data.series_files import read

    (tmp_path / "a.csv").write_text("1,2\n1,2\n3,4\n")
    assert read(str(tmp_path / "a.csv")) == [[1, 1, 3], [2, 2, 4]]
    (tmp_path / "b.csv").write_text("1\n2.5\n-3e2\n")
    assert read(str(tmp_path / "b.csv")) == [[1, 2.5, -300]]
    (tmp_path / "c.csv").write_text("a,b\nx,y\n")
    with pytest.raises(ValueError, match="no numbers"):
        read(str(tmp_path / "c.csv"))
