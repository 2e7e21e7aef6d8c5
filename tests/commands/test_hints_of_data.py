"""The hints of prep and of the commands that read, each followed as tests/following.py says."""

import json
import shutil

import pytest
from PIL import Image

from tests import raw
from tests.conftest import COLOURS, coloured_row, write_dataset
from tests.following import commands_of, follow, said


@pytest.fixture(scope="module")
def raw_data(tmp_path_factory):
    """A folder with raw data of every kind; not to be changed."""
    folder = tmp_path_factory.mktemp("raw_data")
    table = raw.table(folder / "raw", 8).read_text()
    raw.folder(folder / "pets", 8)
    raw.zipped(raw.coco(folder / "coco"), folder / "zips")
    for i in range(8):
        raw.jpeg(folder / "texts" / f"{i}.jpg", i)
        (folder / "texts" / f"{i}.txt").write_text(raw.caption(i))
    (folder / "nameless.csv").write_text("a,b,c\n" + "\n".join(f"{i},{i},{i}" for i in range(8)))
    for name in ("several/cats.csv", "several/dogs.csv", "formats/all.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(table.replace("photos/", f"{folder}/raw/photos/"))
    lines = [json.dumps({"image": f"{folder}/raw/photos/{i:04d}.jpg", "caption": raw.caption(i)}) for i in range(8)]
    (folder / "formats" / "all.jsonl").write_text("\n".join(lines))
    shutil.copytree(folder / "raw", folder / "broken")
    (folder / "broken" / "photos" / "0003.jpg").write_bytes(b"no picture")
    shutil.copytree(folder / "coco", folder / "karpathy")
    for path in (folder / "karpathy" / "annotations").iterdir():
        path.unlink()
    images = [{"cocoid": i, "filename": f"{i:012d}.jpg", "split": "train", "sentences": [{"raw": "a cat"}]} for i in range(1, 13)]
    (folder / "karpathy" / "dataset_coco.json").write_text(json.dumps({"images": images}))
    return folder


@pytest.mark.parametrize(
    "typed",
    [
        "prep folder out --source raw/pairs.csv",
        "prep folder out --source raw/photos",
        "prep table out --source several",
        "prep table out --source formats",
        "prep table out --source texts",
        "prep table out --source raw/pairs.csv --column image=image --column image=caption",
        "prep table out --source broken/pairs.csv --on-error fail",
        "prep table out --source raw/pairs.csv --splits half",
        "prep table out --source raw/pairs.csv --splits train:a",
        "prep table out --source raw/pairs.csv --splits test:1",
        "prep table out --source raw/pairs.csv --splits train:0.5,test:0.1",
        "prep coco out --source zips --link",
        "prep coco out --source karpathy",
        "prep folder out --source pets --template cat",
        "prep audit nowhere",
    ],
)
def test_what_a_hint_of_prep_says_to_type(invoke, raw_data, tmp_path, typed):
    shutil.copytree(raw_data, tmp_path / "here")
    follow(invoke, tmp_path / "here", typed)


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ("prep table out --source raw/pairs.csv --column capton=caption", "capton"),
        ("prep table out --dry-run --source raw/pairs.csv --column caption=capton", "capton"),
        ("prep table out --source raw/pairs.csv --on-error ignore", "ignore"),
        ("prep tabel out --source raw/pairs.csv", "tabel"),
    ],
)
def test_each_word_that_a_hint_of_prep_names_for_a_wrong_one(invoke, raw_data, tmp_path, typed, wrong):
    shutil.copytree(raw_data, tmp_path / "here")
    follow(invoke, tmp_path / "here", typed, wrong)


@pytest.mark.parametrize("again", ["--splits train:1", "--limit 4", "--resize 16"])
def test_a_dataset_of_another_command_is_moved_aside_by_what_the_hint_says(invoke, raw_data, tmp_path, again):
    prep = f"prep table {tmp_path}/out --source {raw_data}/raw/pairs.csv"
    assert invoke(*prep.split()).code == 0
    follow(invoke, tmp_path, f"{prep} {again}")


@pytest.fixture(scope="module")
def made(invoke, tmp_path_factory):
    """A folder with ./data, the run ./runs/colours, embeddings and pictures; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    rows = [coloured_row(f"{colour}{n}", colour, [f"a {colour} picture {n}"]) for n in range(6) for colour in COLOURS]
    write_dataset(folder / "data", {"train": rows, "val": rows[:3], "test": rows[:6]})
    for name in ("colours", "other"):
        assert invoke("train", "--steps", 2, "--name", name, "--seed", len(name), cwd=folder).code == 0
    assert invoke("embed", "--model", "runs/colours", "-o", "mine.arrow", cwd=folder).code == 0
    (folder / "photos").mkdir()
    for name, rgb in COLOURS.items():
        Image.new("RGB", (8, 8), rgb).save(folder / "photos" / f"{name}.png")
    (folder / "taken.txt").write_text("mine")
    for suffix in ("png", "json", "arrow", "npy"):
        (folder / f"taken.{suffix}").write_text("mine")
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "made", symlinks=True)
    return tmp_path / "made"


@pytest.mark.parametrize(
    "typed",
    [
        "embed -o taken.arrow",
        "embed -o taken.npy",
        "eval recall@k --embeddings mine.arrow --data data",
        "eval recall@k --embeddings mine.arrow --data data --model runs/colours",
        "eval recall@k -o taken.json",
        "eval recall@k -o new.txt",
        "retrieve ''",
        "retrieve ./photos",
        "retrieve red --in mine.arrow",
        "retrieve red --in photos --split test",
        "retrieve red --find text --save found",
        "retrieve red --split test --save photos",
        "retrieve red --split test --figure taken.png",
        "retrieve photos/red.png --save found",
        "predict photos/red.png",
        "predict photos/red.png ''",
        "predict ./photos red",
    ],
)
def test_what_a_hint_says_to_type(invoke, folder, typed):
    follow(invoke, folder, typed)


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ("eval recal@k", "recal@k"),
        ("eval recall@ten", "recall@ten"),
        ("eval recall@k --model runs/colors", "runs/colors"),
        ("eval recall@k --split tset", "tset"),
        ("embed --split tset", "tset"),
        ("embed -o new.txt", ".txt"),
        ("retrieve red --split tset", "tset"),
        ("retrieve red --in mine.arrow --model runs/colours --split tset", "tset"),
        ("retrieve red --figure new.txt", ".txt"),
        ("retrieve red --device cuda", "cuda"),
        ("train --resume runs/colors", "runs/colors"),
        ("recipes show clpi", "clpi"),
        ("retreive red", "retreive"),
    ],
)
def test_each_word_that_a_hint_names_for_a_wrong_one(invoke, folder, typed, wrong):
    follow(invoke, folder, typed, wrong)


def test_embeddings_that_are_not_there_are_what_embed_prints(invoke, folder):
    error, hint = said(invoke("eval", "recall@k", "--embeddings", "nowhere.arrow", cwd=folder))
    ((command, _),) = commands_of("eval recall@k --embeddings nowhere.arrow", hint)
    path = invoke(*command, cwd=folder).stdout.strip()
    assert error and invoke("eval", "recall@k", "--embeddings", path, cwd=folder).code == 0
