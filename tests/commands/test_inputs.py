"""Models of many inputs: which of them a file or a line of stdin is of, as it is typed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmkit.data.shards import open_dataset
from mmkit.talk import Talk
from mmkit.workflows import fit
from tests.conftest import Outcome
from tests.core import smallest, whole_dataset
from tests.moving import scene, write_gif

Invoke = Callable[..., Outcome]


@pytest.fixture(scope="module")
def place(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ./data, whose pictures stand there as ./depth, too, and whose series are the column ./imu; ./runs/many, of
    each an input; a file of each of the first test row; and two GIFs, one that moves and one that does not."""
    folder = tmp_path_factory.mktemp("place")
    whole_dataset(run / "data", folder / "data")
    manifest = json.loads((folder / "data/dataset.json").read_text())
    for split in manifest["splits"].values():
        file = folder / "data" / split["shards"][0]["file"]
        table = pq.read_table(file)
        names = ["imu" if name == "series" else name for name in table.column_names]
        pq.write_table(table.rename_columns(names).append_column("depth", table.column("image")), file, row_group_size=16)
    del manifest["columns"]["series"]
    manifest["columns"] |= {"imu": "series", "depth": "image"}
    (folder / "data/dataset.json").write_text(json.dumps(manifest))
    config = smallest("nmodal", folder / "data", {"train": {"steps": 2}})
    fit.start(config, folder / "runs", "many", False, "cpu", Talk())
    row = next(open_dataset(folder / "data").rows("test"))
    for name, ending in (("image", "png"), ("depth", "png"), ("audio", "wav"), ("video", "gif")):
        (folder / f"{name}.{ending}").write_bytes(row[name]["bytes"])
    frames = scene(random.Random(0), "red", "circle", "left")
    write_gif(folder / "moves.gif", frames)
    write_gif(folder / "still.gif", frames[:1])
    return folder


@pytest.mark.parametrize(("file", "kind"), [("moves.gif", "video"), ("still.gif", "image")])
def test_a_gif_that_moves_is_a_video_and_a_still_one_a_picture(place: Path, invoke: Invoke, file: str, kind: str) -> None:
    def scores(query: str) -> list[float]:
        outcome = invoke("retrieve", query, "--find", "text", "--top", 3, "--split", "test", "--model", "runs/many", cwd=place)
        assert outcome.code == 0, outcome.stderr
        return [line["score"] for line in outcome.lines]

    assert scores(file) == scores(f"{kind}={file}")
    assert scores("image=moves.gif") != scores("video=moves.gif")
    (said,) = invoke("predict", file, "a red circle", "--model", "runs/many", cwd=place).lines
    assert said[kind] == file


def test_a_folder_of_gifs_holds_videos_and_pictures(place: Path, invoke: Invoke, tmp_path: Path) -> None:
    for name in ("moves.gif", "still.gif"):
        (tmp_path / name).symlink_to(place / name)
    for find, file in (("video", "moves.gif"), ("image", "still.gif")):
        outcome = invoke("retrieve", "a circle", "--find", find, "--in", tmp_path, "--model", "runs/many", cwd=place)
        assert [line["id"] for line in outcome.lines] == [file], outcome.stderr


def test_series_that_were_files_are_saved(place: Path, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "moves").mkdir()
    for i in range(3):
        rows = [f"{x % (i + 2)},{x / 9:.2f}" for x in range(30)]
        (tmp_path / f"moves/{i}.csv").write_text("\n".join(["x,y", *rows]))
    ask = ("retrieve", "a circle", "--find", "imu", "--top", 2, "--model", place / "runs/many", "--save", "found")
    outcome = invoke(*ask, "--in", "moves", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "wrote 2 files to found" in outcome.stderr
    best = tmp_path / "found" / f"1-{outcome.lines[0]['id']}"
    assert best.read_text() == (tmp_path / "moves" / outcome.lines[0]["id"]).read_text()
    outcome = invoke(*ask, "--in", place / "data", "--split", "test", "--force", cwd=tmp_path)
    assert (outcome.code, "the answers are no files but series" in outcome.stderr) == (2, True)
