"""The dataset folder: shards, merging, limits, rejects, reuse, and what is never touched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmkit.data import plan as planning
from mmkit.data import shard_file, write
from mmkit.data.images import size_of
from mmkit.data.plan import Choices
from mmkit.data.schema import Ask
from mmkit.data.shards import open_dataset
from mmkit.data.write import prepare
from mmkit.errors import UserError
from mmkit.files import stable_hash
from tests import raw


def make(
    kind: str, out: Path, source: Path | None, settings: dict[str, Any] | None = None, force: bool = False, **choices: Any
) -> dict[str, Any]:
    said: list[str] = []
    options = Ask(out, source, say=said.append)
    return prepare(kind, options, Choices(**({"workers": 2} | choices)), settings or {}, force) | {"said": said}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_rows_are_in_the_order_of_the_hash_and_whole(tmp_path: Path) -> None:
    table = raw.table(tmp_path / "raw", 30)
    manifest = make("table", tmp_path / "data", table, shares={"train": 0.5, "test": 0.5})
    data = open_dataset(tmp_path / "data")
    assert data.manifest == {k: v for k, v in manifest.items() if k != "said"}
    ids = {split: [row["id"] for row in data.rows(split)] for split in ("train", "test")}
    assert ids["train"] == sorted(ids["train"], key=stable_hash)
    assert sorted(ids["train"] + ids["test"]) == [f"photos/{i:04d}.jpg" for i in range(30)]
    for row in data.rows():
        assert row["image"]["bytes"] == (tmp_path / "raw" / row["id"]).read_bytes()
        assert row["captions"] == [raw.caption(int(row["id"][7:11]))]


def test_shards_and_row_groups_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SHARD_ROWS", 10)
    monkeypatch.setattr(shard_file, "GROUP_ROWS", 4)
    manifest = make("table", tmp_path / "data", raw.table(tmp_path / "raw", 24), shares={"train": 1.0})
    shards = manifest["splits"]["train"]["shards"]
    assert [s["file"] for s in shards] == [f"train-{i:05d}-of-00003.parquet" for i in range(3)]
    assert [s["rows"] for s in shards] == [10, 10, 4]
    assert [s["sha256"] for s in shards] == [
        hashlib.sha256((tmp_path / "data" / s["file"]).read_bytes()).hexdigest() for s in shards
    ]
    footer = pq.read_metadata(tmp_path / "data" / shards[0]["file"])
    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [4, 4, 2]


def test_shards_are_limited_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SHARD_BYTES", 3000)
    monkeypatch.setattr(shard_file, "GROUP_BYTES", 1000)
    manifest = make("table", tmp_path / "data", raw.table(tmp_path / "raw", 12), shares={"train": 1.0})
    shards = manifest["splits"]["train"]["shards"]
    assert len(shards) > 2
    assert all((tmp_path / "data" / s["file"]).stat().st_size < 3000 + 6000 for s in shards)  # a footer is about 5 kB


def test_image_bytes_are_stored_as_they_are(tmp_path: Path) -> None:
    make("table", tmp_path / "data", raw.table(tmp_path / "raw", 12), shares={"train": 1.0})
    group = pq.read_metadata(tmp_path / "data" / "train-00000-of-00001.parquet").row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert columns["image.bytes"].compression == "UNCOMPRESSED"
    assert not columns["image.bytes"].has_dictionary_page
    stored = (tmp_path / "data" / "train-00000-of-00001.parquet").read_bytes()
    assert (tmp_path / "raw" / "photos" / "0003.jpg").read_bytes() in stored


def test_workers_change_nothing(tmp_path: Path) -> None:
    table = raw.table(tmp_path / "raw", 40)
    found = []
    for workers in (1, 5):
        make("table", tmp_path / str(workers) / "data", table, workers=workers, resize=16)
        found.append(digests(tmp_path / str(workers)))
    assert found[0] == found[1]


def test_rows_with_the_same_image_are_one_sample(tmp_path: Path) -> None:
    table = raw.table(tmp_path / "raw", 3)
    with open(table, "a") as f:
        f.write(f"photos/0001.jpg,another view\nphotos/0001.jpg,{raw.caption(1)}\n")
    manifest = make("table", tmp_path / "data", table)
    assert manifest["merged"] == 2
    assert "2 rows were merged into samples that have the same image" in manifest["said"]
    rows = {row["id"]: row["captions"] for row in open_dataset(tmp_path / "data").rows()}
    assert len(rows) == 3
    assert rows["photos/0001.jpg"] == [raw.caption(1), "another view"]


def test_limit_takes_a_share_of_all_and_always_some_of_train(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco", train=2, val=40)
    for limit in (1, 5):
        splits = make("coco", tmp_path / f"data{limit}", root, limit=limit)["splits"]
        assert sum(split["rows"] for split in splits.values()) == limit
        assert splits["train"]["rows"] >= 1


def test_limit_counts_only_rows_in_an_official_split(tmp_path: Path) -> None:
    root = raw.flickr(tmp_path / "flickr", 24)
    for name, numbers in (("trainImages", range(8)), ("testImages", range(8, 12))):
        (root / f"Flickr_8k.{name}.txt").write_text("".join(f"{i:04d}.jpg\n" for i in numbers))
    manifest = make("flickr", tmp_path / "data", root, limit=10)
    assert sum(split["rows"] for split in manifest["splits"].values()) == 10
    assert "12 rows are in no official split: left out (--splits takes them in)" in manifest["said"]
    shares = make("flickr", tmp_path / "shares", root, limit=15, shares={"train": 1.0})
    assert shares["splits"]["train"]["rows"] == 15


def test_rejects_have_place_and_reason(tmp_path: Path) -> None:
    table = raw.table(tmp_path / "raw", 8)
    photos = tmp_path / "raw" / "photos"
    (photos / "0001.jpg").write_bytes((photos / "0001.jpg").read_bytes()[:-300])
    (photos / "0002.jpg").write_text("no picture")
    (photos / "0003.jpg").unlink()
    table.write_text(table.read_text().replace(raw.caption(4), " "))
    manifest = make("table", tmp_path / "data", table)
    lines = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    reasons = {line["where"].rpartition(" ")[2]: line["reason"] for line in lines}
    assert sorted(reasons) == ["3", "4", "5", "6"]
    assert all(reason.startswith(start) for start, (_, reason) in zip(_REASONS, sorted(reasons.items()), strict=True))
    assert lines[0].keys() == {"id", "where", "reason"}
    assert manifest["rejected"] == 4
    assert sum(split["rows"] for split in manifest["splits"].values()) == 4


_REASONS = ("truncated image", "not an image", "missing file", "empty caption")


def test_on_error_fail_stops_at_the_first(tmp_path: Path) -> None:
    table = raw.table(tmp_path / "raw", 8)
    (tmp_path / "raw" / "photos" / "0003.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"not an image.*pairs\.csv row 5"):
        make("table", tmp_path / "data", table, fail=True)


def test_on_error_fail_takes_nothing_that_skipped_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, out = raw.table(tmp_path / "raw", 8), tmp_path / "data"
    (tmp_path / "raw" / "photos" / "0003.jpg").write_text("no picture")

    def fail(*args: Any) -> None:
        raise UserError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(write.card, "write_card", fail)
        with pytest.raises(UserError, match="stopped"):
            make("table", out, table)
    with pytest.raises(UserError, match=r"not an image.*pairs\.csv row 5"):
        make("table", out, table, fail=True)
    assert make("table", out, table)["rejected"] == 1
    with pytest.raises(UserError, match=r"1 row was rejected when the dataset was made, .*rejected\.jsonl") as e:
        make("table", out, table, fail=True)
    assert "--force" in e.value.hint
    assert "reused" in make("table", out, table)["said"][-1]


def test_an_unreadable_train_split_is_made_of_what_is_left(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco", train=3, val=9)
    for path in (root / "train2017").iterdir():
        path.write_text("damaged")
    manifest = make("coco", tmp_path / "data", root)
    assert manifest["rejected"] == 3
    assert manifest["splits"]["train"]["rows"] >= 1
    assert sum(split["rows"] for split in manifest["splits"].values()) == 9


def test_an_empty_split_gets_no_file(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco", train=6, val=2)
    for path in (root / "val2017").iterdir():
        path.write_text("damaged")
    manifest = make("coco", tmp_path / "data", root)
    assert list(manifest["splits"]) == ["train"]
    assert [p.name for p in (tmp_path / "data").glob("*.parquet")] == ["train-00000-of-00001.parquet"]
    assert "all rows of the split val were rejected: it gets no file" in manifest["said"]


def test_every_row_rejected(tmp_path: Path) -> None:
    root = raw.coco(tmp_path / "coco", train=3, val=1)
    for path in root.glob("*2017/*.jpg"):
        path.write_text("damaged")
    with pytest.raises(UserError, match="all 4 rows were rejected; the first: not an image"):
        make("coco", tmp_path / "data", root)
    assert not (tmp_path / "data").exists()


def test_link_stores_paths_only(tmp_path: Path) -> None:
    table = raw.table(tmp_path / "raw", 4)
    manifest = make("table", tmp_path / "data", table, link=True)
    assert manifest["image"]["linked"] is True
    for row in open_dataset(tmp_path / "data").rows():
        assert row["image"] == {"bytes": None, "path": str(tmp_path / "raw" / row["id"])}


def test_a_linked_picture_that_changed_is_other_data_once_prepared_again(tmp_path: Path) -> None:
    table = raw.table(tmp_path / "raw", 4)
    make("table", tmp_path / "data", table, link=True)
    before = open_dataset(tmp_path / "data").hash
    raw.jpeg(next((tmp_path / "raw").rglob("*.jpg")), 77)
    with pytest.raises(UserError, match="the source has changed"):
        make("table", tmp_path / "data", table, link=True)
    make("table", tmp_path / "data", table, link=True, force=True)
    assert open_dataset(tmp_path / "data").hash != before


def test_what_is_no_file_cannot_be_linked(tmp_path: Path) -> None:
    packed = raw.zipped(raw.coco(tmp_path / "coco"), tmp_path / "zips")
    with pytest.raises(UserError, match="cannot be linked"):
        make("coco", tmp_path / "data", packed, link=True)


def test_resize_is_recorded(tmp_path: Path) -> None:
    manifest = make("table", tmp_path / "data", raw.table(tmp_path / "raw", 4), resize=15)
    assert manifest["image"]["resize"] == 15
    assert (manifest["image"]["median_width"], manifest["image"]["median_height"]) == (20, 15)
    assert all(size_of(row["image"]["bytes"]) == (20, 15) for row in open_dataset(tmp_path / "data").rows())


def test_the_same_command_reuses_and_another_is_refused(tmp_path: Path) -> None:
    table = raw.table(tmp_path / "raw", 6)
    out = tmp_path / "data"
    make("table", out, table, {"limit": 5}, limit=5)
    before = digests(out)
    again = make("table", out, table, {"limit": 5}, limit=5)
    assert again["said"][-1] == f"{out} is up to date: reused"
    with pytest.raises(UserError, match="holds the dataset of another command, `prep table limit=5`") as e:
        make("table", out, table, {"limit": 4}, limit=4)
    assert "--force" in e.value.hint
    assert digests(out) == before


def test_a_changed_source_is_refused_and_a_lost_one_is_not_needed(tmp_path: Path) -> None:
    table = raw.table(tmp_path / "raw", 6)
    make("table", tmp_path / "data", table)
    text = table.read_text()
    table.write_text(text.replace("ground", "field", 1))
    with pytest.raises(UserError, match="the source has changed"):
        make("table", tmp_path / "data", table)
    table.unlink()
    assert "reused" in make("table", tmp_path / "data", table)["said"][-1]


def test_a_lost_shard_is_made_again(tmp_path: Path) -> None:
    table, out = raw.table(tmp_path / "raw", 6), tmp_path / "data"
    make("table", out, table)
    before = digests(out)
    (out / "train-00000-of-00001.parquet").unlink()
    make("table", out, table)
    assert {k: v for k, v in digests(out).items() if ".old" not in k} == before


def test_force_moves_aside_what_mmkit_wrote_and_nothing_else(tmp_path: Path) -> None:
    out = raw.coco(tmp_path / "data", train=6, val=2)
    (out / "README.md").write_text("# mine\n")
    mine = digests(out)
    make("coco", out, None)
    first = {k: v for k, v in digests(out).items() if k not in mine}
    assert ".huggingface.yaml" in first
    make("coco", out, None, {"limit": 3}, force=True, limit=3)
    now = digests(out)
    assert {k: now[k] for k in mine} == mine
    assert {k.removeprefix(".old-1/"): v for k, v in now.items() if k.startswith(".old-1/")} == first


def test_a_forced_command_that_fails_leaves_the_finished_dataset(tmp_path: Path) -> None:
    table, out = raw.table(tmp_path / "raw", 8), tmp_path / "data"
    make("table", out, table)
    before = digests(out)
    with pytest.raises(UserError, match="no such table"):
        make("table", out, tmp_path / "nope.csv", force=True)
    assert digests(out) == before
    (tmp_path / "raw" / "photos" / "0003.jpg").write_text("no picture")
    with pytest.raises(UserError, match="not an image"):
        make("table", out, table, {"resize": 16}, force=True, fail=True, resize=16)
    assert {k: v for k, v in digests(out).items() if not k.startswith(".prep/")} == before
    for photo in (tmp_path / "raw" / "photos").iterdir():
        photo.write_text("no picture")
    with pytest.raises(UserError, match="all 8 rows were rejected"):
        make("table", out, table, force=True)
    assert {k: v for k, v in digests(out).items() if not k.startswith(".prep/")} == before


def test_a_forced_command_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SHARD_ROWS", 10)
    table, out = raw.table(tmp_path / "raw", 24), tmp_path / "data"
    make("table", out, table)
    before = digests(out)
    forced: dict[str, Any] = {"settings": {"splits": "train:1"}, "force": True, "shares": {"train": 1.0}}
    with monkeypatch.context() as patch:
        written: list[Path] = []

        def stop(path: Path, *args: Any) -> dict[str, Any]:
            if written:
                raise KeyboardInterrupt
            written.append(path)
            return write_shard(path, *args)

        write_shard = write.write_shard
        patch.setattr(write, "write_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            make("table", out, table, **forced)
    assert {k: v for k, v in digests(out).items() if not k.startswith(".prep/")} == before
    first = written[0].stat().st_mtime_ns
    make("table", out, table, **forced)
    assert (out / written[0].name).stat().st_mtime_ns == first, "it began again"
    now = digests(out)
    assert {k.removeprefix(".old-1/"): v for k, v in now.items() if k.startswith(".old-1/")} == before
    assert not (out / ".prep").exists()
    make("table", tmp_path / "plain" / "data", table, {"splits": "train:1"}, shares={"train": 1.0})
    assert {k: v for k, v in now.items() if not k.startswith(".old-1/")} == digests(tmp_path / "plain" / "data")


def test_files_of_the_user_are_never_overwritten(tmp_path: Path) -> None:
    table = raw.table(tmp_path / "raw", 6)
    out = tmp_path / "data"
    out.mkdir()
    (out / "train-00000-of-00001.parquet").write_text("mine")
    for force in (False, True):
        with pytest.raises(UserError, match="a file that mmkit did not write"):
            make("table", out, table, force=force)
    (out / "train-00000-of-00001.parquet").rename(out / "dataset.json")
    (out / "dataset.json").write_text('{"mine": true}')
    for force in (False, True):
        with pytest.raises(UserError, match=r"a dataset\.json that mmkit did not write"):
            make("table", out, table, force=force)
    assert digests(out).keys() == {"dataset.json"}


@pytest.mark.parametrize("readme", [None, "# mine\n", "---\nconfigs:\n- config_name: x\n  data_files: nope.csv\n---\nmine\n"])
def test_load_dataset_gives_the_prepared_rows(tmp_path: Path, readme: str | None) -> None:
    datasets = pytest.importorskip("datasets")
    out = raw.coco(tmp_path / "data", train=6, val=2)
    if readme:
        (out / "README.md").write_text(readme)
    make("coco", out, None)
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in loaded.items()} == {"train": 6, "val": 2}
    assert loaded["train"].column_names == ["id", "image", "captions"]
    assert loaded["train"][0]["image"].size == (40, 30)
    assert not readme or (out / "README.md").read_text() == readme


def test_load_dataset_does_not_take_another_folder_of_the_same_name_from_its_cache(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    root = raw.coco(tmp_path / "coco", train=6, val=2)
    sizes = []
    for place, resize in (("a", None), ("b", 15)):
        make("coco", tmp_path / place / "data", root, resize=resize)
        loaded = datasets.load_dataset(str(tmp_path / place / "data"), cache_dir=str(tmp_path / "cache"))
        sizes.append(loaded["train"][0]["image"].size)
    make("coco", tmp_path / "a" / "data", root, force=True, resize=12)
    loaded = datasets.load_dataset(str(tmp_path / "a" / "data"), cache_dir=str(tmp_path / "cache"))
    assert [*sizes, loaded["train"][0]["image"].size] == [(40, 30), (20, 15), (16, 12)]


@pytest.mark.parametrize("names", [("train", "1", "no"), ("training", "été", "a.b")])
def test_load_dataset_takes_the_names_of_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    datasets = pytest.importorskip("datasets")
    table = raw.table(tmp_path / "raw", 6)
    lines = [f"{line},{name}" for line, name in zip(table.read_text().splitlines(), ("split", *names, *names), strict=True)]
    table.write_text("\n".join(lines))
    make("table", tmp_path / "data", table)
    loaded = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in loaded.items()} == dict.fromkeys(("train", *names[1:]), 2)


def test_an_unfinished_shard_that_was_damaged_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = raw.table(tmp_path / "raw", 12)
    make("table", tmp_path / "whole" / "data", table)
    monkeypatch.setattr(write, "_finish", lambda *args: 1 / 0)  # all shards are written, dataset.json is not
    with pytest.raises(ZeroDivisionError):
        make("table", tmp_path / "data", table)
    monkeypatch.undo()
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"lost in a crash")
    make("table", tmp_path / "data", table)
    assert digests(tmp_path / "data") == digests(tmp_path / "whole" / "data")
