"""`mmkit prep` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmkit.data.shards import open_dataset
from tests import raw
from tests.conftest import Outcome

Invoke = Callable[..., Outcome]


def test_the_product_is_the_folder(tmp_path: Path, mmkit: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = mmkit(["prep", "shapes", "--limit", "40"], tmp_path)
    assert (done.returncode, done.stdout) == (0, "data\n")
    assert "audit of data" in done.stderr
    assert open_dataset(tmp_path / "data").splits == {"train": 36, "val": 4, "test": 300}


def test_quiet_says_nothing_but_the_product(tmp_path: Path, invoke: Invoke) -> None:
    outcome = invoke("prep", "shapes", "--limit", 20, "-q", cwd=tmp_path)
    assert (outcome.stdout, outcome.stderr) == ("data\n", "")


def test_json_is_one_line(tmp_path: Path, invoke: Invoke) -> None:
    outcome = invoke("prep", "shapes", "scenes", "--limit", 20, "--json", cwd=tmp_path)
    (found,) = outcome.lines
    assert found["path"] == "scenes"
    assert found["rows"] == found["splits"] == {"train": 18, "val": 2, "test": 300}
    assert found["duplicate_images"]["across_splits"] == 0


def test_coco_in_the_folder_itself(tmp_path: Path, invoke: Invoke) -> None:
    raw.coco(tmp_path / "data")
    outcome = invoke("prep", "coco", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.splits == {"train": 12, "val": 4}
    assert data.manifest["source"]["path"] == "."
    assert (tmp_path / "data" / "train2017" / "000000000001.jpg").exists()


def test_splits_limit_and_resize(tmp_path: Path, invoke: Invoke) -> None:
    root = raw.coco(tmp_path / "coco")
    options = ("--splits", "train:0.5,test:0.5", "--limit", 10, "--resize", 16)
    assert invoke("prep", "coco", tmp_path / "data", "--source", root, *options).code == 0
    data = open_dataset(tmp_path / "data")
    assert sum(data.splits.values()) == 10
    assert set(data.splits) == {"train", "test"}
    assert data.manifest["source"]["options"] == {"source": str(root), "splits": "train:0.5,test:0.5", "limit": 10, "resize": 16}
    assert data.manifest["image"]["resize"] == 16


def test_dry_run_shows_three_samples_and_writes_nothing(tmp_path: Path, invoke: Invoke) -> None:
    table = raw.table(tmp_path / "raw")
    (tmp_path / "raw" / "photos" / "0003.jpg").unlink()
    outcome = invoke("prep", "table", tmp_path / "data", "--source", table, "--dry-run")
    assert (outcome.code, outcome.stdout) == (0, "")
    assert outcome.stderr.count("40 x 30 px") == 3
    assert "image column 'image', caption column 'caption'" in outcome.stderr
    assert "1 rejected so far; nothing was written" in outcome.stderr
    assert not (tmp_path / "data").exists()
    (found,) = invoke("prep", "table", tmp_path / "data", "--source", table, "--dry-run", "--json").lines
    assert sum(found["splits"].values()) == 11
    assert found["samples"][0].keys() == {"id", "split", "width", "height", "captions"}


def test_dry_run_draws_in_a_terminal(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmkit.cli.console import Console

    monkeypatch.setattr(Console, "live", True)
    outcome = invoke("prep", "shapes", tmp_path / "data", "--limit", 20, "--dry-run")
    assert outcome.code == 0
    assert outcome.stderr.count("▀") >= 3 * 32 * 16


def test_a_finished_dataset_is_reused(tmp_path: Path, invoke: Invoke) -> None:
    invoke("prep", "shapes", tmp_path / "data", "--limit", 20)
    outcome = invoke("prep", "shapes", tmp_path / "data", "--limit", 20)
    assert outcome.code == 0
    assert "up to date: reused" in outcome.stderr
    refused = invoke("prep", "shapes", tmp_path / "data", "--limit", 21)
    assert refused.code == 1
    assert "hint: --force moves" in refused.stderr
    assert invoke("prep", "shapes", tmp_path / "data", "--limit", 21, "--force").code == 0
    assert (tmp_path / "data" / ".old-1" / "dataset.json").exists()


def test_a_path_typed_in_another_way_is_the_same_command(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw.table(tmp_path / "raw", 6)
    (tmp_path / "raw" / "photos" / "0003.jpg").unlink()
    (tmp_path / "link").symlink_to("raw")
    assert invoke("prep", "table", "data", "--source", "raw/pairs.csv", "--image-root", "raw").code == 0
    for source, root in ((tmp_path / "raw/pairs.csv", tmp_path / "raw"), ("./raw/photos/../pairs.csv", "raw/photos/..")):
        outcome = invoke("prep", "table", "data", "--source", source, "--image-root", root)
        assert outcome.code == 0, outcome.stderr
        assert "up to date: reused" in outcome.stderr
    # a link is the user's own name for a place, and may lead elsewhere tomorrow
    assert invoke("prep", "table", "data", "--source", "link/pairs.csv", "--image-root", "raw").code == 1


def test_a_file_in_place_of_the_folder(tmp_path: Path, invoke: Invoke) -> None:
    table = raw.table(tmp_path / "raw", 3)
    for command, hint in (("table", f"mmkit prep table ./data --source {table}   reads it"), ("shapes", "choose another name")):
        outcome = invoke("prep", command, table)
        assert outcome.code == 1
        assert outcome.stderr.splitlines() == [
            f"error: OUT is a file, not the folder of a dataset, {table}",
            f"hint: {hint}",
        ]


def test_audit_again(tmp_path: Path, invoke: Invoke) -> None:
    invoke("prep", "folder", tmp_path / "data", "--source", raw.folder(tmp_path / "raw"))
    outcome = invoke("prep", "audit", tmp_path / "data", "--json")
    assert outcome.code == 0
    assert outcome.lines == [json.loads((tmp_path / "data" / "dataset.json").read_text())["audit"]]
    assert invoke("prep", "audit", tmp_path).code == 1


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["folder", "--splits", "train:2"], "error: the shares add up to 2, not to 1, --splits train:2"),
        (["folder", "--on-error", "stop"], "error: no such way to handle errors: stop, --on-error"),
        (
            ["folder", "--link", "--resize", "32"],
            "error: --link leaves the pixels where they are, --resize changes them, --link --resize",
        ),
        (["folder", "--template", "x"], "error: the template has no place for the label, --template 'x'"),
        (["table", "--source", "s3://x/y.csv"], "error: this source reads files and folders, not URLs, --source s3://x/y.csv"),
        (["foldr"], "error: no such command 'foldr'"),
        (["shapes", "--limit", "0"], "error: 0 is not at least 1, --limit\nhint: see mmkit prep shapes --help"),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path: Path, invoke: Invoke, args: list[str], line: str) -> None:
    outcome = invoke("prep", *args, cwd=raw.folder(tmp_path / "x", 2))
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith(line)


def test_the_page_lists_the_sources(invoke: Invoke) -> None:
    for args in ((), ("--help",)):
        outcome = invoke("prep", *args)
        assert outcome.code == 0
        assert all(f"\n  {name} " in outcome.stdout for name in ("shapes", "coco", "flickr", "table", "folder", "audit"))


HEAVY = ("torch", "transformers", "datasets", "matplotlib", "umap", "pyarrow", "PIL", "numpy")


@pytest.mark.parametrize("command", ["", "shapes", "coco", "flickr", "table", "folder", "audit"])
def test_help_is_light(command: str) -> None:
    code = "import sys; from mmkit.cli.app import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *f"prep {command} --help".split()], capture_output=True, text=True)
    assert not set(HEAVY) & set(done.stderr.split())
    assert done.stdout.partition("Examples:")[2].count("mmkit prep") in (2, 3)
    assert all(len(line) < 80 for line in done.stdout.splitlines())
