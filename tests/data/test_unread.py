"""Archives, spreadsheets and other files that are not read: named for what they are, with a command that can be followed."""

from __future__ import annotations

import json
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmkit.data.unread import refuse
from mmkit.errors import UserError
from tests import raw
from tests.conftest import Outcome

Invoke = Callable[..., Outcome]


def webdataset(folder: Path, shards: int = 2) -> Path:
    """Tar files of jpg, txt and json, and beside them what img2dataset writes."""
    folder.mkdir(parents=True)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as pack:
            for i in range(3):
                name = f"{shard:05d}{i:04d}"
                for path in (raw.jpeg(folder.parent / f"{name}.jpg", 3 * shard + i), folder.parent / f"{name}.txt"):
                    if path.suffix == ".txt":
                        path.write_text(raw.caption(3 * shard + i))
                    pack.add(path, path.name)
                    path.unlink()
        urls = pa.table({"url": ["http://x/1.jpg"], "caption": ["a b"]})
        pq.write_table(urls, folder / f"{shard:05d}.parquet")
        (folder / f"{shard:05d}_stats.json").write_text(json.dumps({"count": 3}))
    return folder


def followed(hint: str, invoke: Invoke, cwd: Path) -> Outcome:
    """What the command of a hint does: the part of the shell, then mmkit."""
    shell, _, command = hint.partition(" && mmkit ")
    subprocess.run(["sh", "-c", shell], cwd=cwd, check=True)
    return invoke(*command.split(), cwd=cwd)


@pytest.mark.parametrize("source", ["wds", "sets", "wds/00000.tar"])
@pytest.mark.parametrize("kind", ["folder", "table"])
def test_webdataset_shards(tmp_path: Path, invoke: Invoke, kind: str, source: str) -> None:
    webdataset(tmp_path / ("sets/train" if source == "sets" else "wds"))
    outcome = invoke("prep", kind, "out", "--source", source, cwd=tmp_path)
    error, hint = outcome.stderr.splitlines()
    assert outcome.code == 1
    assert "webdataset" in error
    assert error.endswith(source)
    made = followed(hint.removeprefix("hint: "), invoke, tmp_path)
    assert made.code == 0, made.stderr
    manifest = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert sum(split["captions"] for split in manifest["splits"].values()) == (3 if source.endswith(".tar") else 6)


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_a_zip_archive(tmp_path: Path, invoke: Invoke, kind: str) -> None:
    pairs = raw.table(tmp_path / "raw", 4) if kind == "table" else None
    root = tmp_path / "raw" if pairs else raw.folder(tmp_path / "raw", 4)
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "all.zip", "w") as pack:
        for path in sorted(root.rglob("*.*")):
            pack.write(path, path.relative_to(root))
    for source in ("in", "in/all.zip"):
        outcome = invoke("prep", kind, "out", "--source", source, cwd=tmp_path)
        error, hint = outcome.stderr.splitlines()
        assert error == f"error: a zip archive of 4 pictures and {1 if pairs else 0} other files: unpack it, in/all.zip"
    with zipfile.ZipFile(tmp_path / "in" / "all.zip") as pack:
        pack.extractall(tmp_path / "in" / "all")
    assert hint.startswith("hint: unzip -q in/all.zip -d in/all && mmkit ")
    assert invoke(*hint.partition("&& mmkit ")[2].split(), cwd=tmp_path).code == 0


@pytest.mark.parametrize("name", ["t.xlsx", "t.xls", "t.ods", "My T.XLSX"])
def test_a_spreadsheet_says_how_it_becomes_a_table(tmp_path: Path, invoke: Invoke, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    for source in (tmp_path / name, tmp_path):
        outcome = invoke("prep", "table", tmp_path / "out", "--source", source)
        error, hint = outcome.stderr.splitlines()
        assert error == f"error: a spreadsheet, which is not read: save it as CSV, {tmp_path / name}"
        assert "File > Save As > CSV UTF-8" in hint
        assert "soffice --headless --convert-to" in hint


def test_what_may_be_dangerous_packed_or_a_pointer(tmp_path: Path) -> None:
    for name, content, what in (
        ("t.pkl", b"x", "a pickle"),
        ("t.7z", b"x", "an archive"),
        ("t.feather", b"x", "an Arrow file"),
        ("t.tar.gz", b"x", "a tar archive"),
        ("t.zip", b"x", "the zip archive is truncated or damaged"),
        ("t.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=what) as e:
            refuse(tmp_path / name)
        assert e.value.hint
    refuse(raw.jpeg(tmp_path / "0.jpg", 0))


def test_what_datasets_saved_to_disk(tmp_path: Path, invoke: Invoke) -> None:
    datasets = pytest.importorskip("datasets")
    images = [str(raw.jpeg(tmp_path / f"{i}.jpg", i)) for i in range(4)]
    part = datasets.Dataset.from_dict({"image": images, "text": ["a b", "c d", "e f", "g h"]})
    datasets.DatasetDict({"train": part, "test": part}).save_to_disk(str(tmp_path / "saved"))
    part.save_to_disk(str(tmp_path / "one"))
    for source in ("saved", "one"):
        outcome = invoke("prep", "table", "out", "--source", source, cwd=tmp_path)
        assert outcome.stderr.startswith("error: what datasets wrote with save_to_disk")
        assert outcome.stderr.splitlines()[0].endswith(source)
        assert outcome.stderr.splitlines()[1].startswith('hint: python -c "import sys, datasets')
