"""Synonyms: files in all forms and languages, whole words and the longest, and what training shows of them, and nothing else."""

from __future__ import annotations

import itertools
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmkit.data.augment import DIRECTIONS
from mmkit.data.loader import Loader, Source
from mmkit.data.modalities import image, text
from mmkit.data.shards import open_dataset
from mmkit.data.synonyms import Synonyms, read_synonyms
from mmkit.data.tokenizer import Tokenizer, train_tokenizer
from mmkit.errors import UserError
from mmkit.loading import load_model
from tests.conftest import Outcome, write_dataset
from tests.raw import encoded, picture

Invoke = Callable[..., Outcome]


def written(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def said(table: dict[str, list[str]], line: str, seed: int = 0, share: float = 1.0) -> str:
    return Synonyms(table).replaced(line, share, random.Random(seed))


CAR = {"car": ["auto", "motor car"], "bus": ["coach"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.json", json.dumps({"car": ["auto", "motor car"], "bus": "coach"})),
        ("s.json", json.dumps([{"word": "car", "synonyms": ["auto", "motor car"]}, {"word": "bus", "synonyms": "coach"}])),
        ("s.jsonl", '{"car": ["auto", "motor car"]}\n\n{"word": "bus", "synonyms": ["coach"]}\n'),
        ("s.txt", "# vehicles\ncar\tauto, motor car\r\nbus\tcoach\n"),
        ("s.tsv", b"\xef\xbb\xbfcar\tauto\ncar\tmotor car\nBus\tcoach, bus\n"),
    ],
)
def test_forms_of_a_file(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert read_synonyms(written(tmp_path / name, content)).table == CAR


@pytest.mark.parametrize(("name", "content"), [("g.txt", "big, large, huge\n"), ("g.jsonl", '["big", "large", "huge"]')])
def test_a_group_stands_for_each_other(tmp_path: Path, name: str, content: str) -> None:
    found = read_synonyms(written(tmp_path / name, content)).table
    assert found == {"big": ["large", "huge"], "large": ["big", "huge"], "huge": ["big", "large"]}
    assert read_synonyms(written(tmp_path / "zh.txt", "猫，貓咪、喵星人")).table["猫"] == ["貓咪", "喵星人"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("car\tauto\njust a line\n", "no synonym in the line: 'just a line'"),
        ("car\t\n", "no synonym in the line"),
        ('{"car": 3}', "the synonyms of 'car' are no list of texts"),
        ('{"car": ["auto"]\n{"x"', "not valid JSON"),
        ("[1, 2]", "no word with its synonyms: 1"),
        ("car, Car\n", "the file holds no synonyms"),
        ("", "the file holds no synonyms"),
        ("auto\tW\xe4gen".encode("latin-1"), "the synonyms are not UTF-8"),
    ],
)
def test_what_a_file_cannot_be(tmp_path: Path, content: str | bytes, what: str) -> None:
    with pytest.raises(UserError, match=what) as e:
        read_synonyms(written(tmp_path / "s.txt", content))
    assert str(tmp_path / "s.txt") in e.value.where
    assert e.value.hint
    with pytest.raises(UserError, match="cannot read the synonyms"):
        read_synonyms(str(tmp_path / "nothing.txt"))


@pytest.mark.parametrize(
    ("table", "line", "found"),
    [
        ({"car": ["auto"]}, "A car, cars, scar: CAR car_1 Car!", "A auto, cars, scar: Auto car_1 Auto!"),
        ({"light": ["lamp"], "traffic light": ["signal"]}, "a traffic  light and a light", "a signal and a lamp"),
        ({"light": ["lamp"], "traffic light": ["signal"]}, "traffic lights, a light", "traffic lights, a lamp"),
        ({"a": ["b"], "b": ["c"]}, "a b", "b c"),  # what was put in is not replaced again
        ({"C++": ["cpp"]}, "C++ is not C", "Cpp is not C"),
        ({"straße": ["gasse"], "schön": ["hübsch"]}, "Die Straße ist schön, unschön", "Die Gasse ist hübsch, unschön"),
        ({"Haus": ["Gebäude"]}, "ein Haus", "ein Gebäude"),
        ({"chien": ["toutou"]}, "l'été le chien", "l'été le toutou"),
        ({"été": ["saison"]}, unicodedata.normalize("NFD", "un été"), "un saison"),
        ({"кошка": ["киска"]}, "Кошка и кошкам", "Киска и кошкам"),
        ({"猫": ["貓咪"], "红色汽车": ["红车"], "汽车": ["车"]}, "一只猫在红色汽车和汽车旁", "一只貓咪在红车和车旁"),
        ({"犬": ["ワンコ"]}, "白い犬が走る", "白いワンコが走る"),
        ({"แมว": ["เหมียว"]}, "แมวดำ", "เหมียวดำ"),
        ({"car": ["auto"]}, "一辆car在路上", "一辆auto在路上"),
        ({"क": ["ख"]}, "कि क", "कि ख"),
        ({"كلب": ["جرو"]}, "كلب كبير", "جرو كبير"),
        ({"고양이": ["냥이"]}, "고양이 한 마리", "냥이 한 마리"),
        ({"🐱": ["😺"]}, "a 🐱!", "a 😺!"),
    ],
)
def test_whole_words_and_the_longest_in_any_language(table: dict[str, list[str]], line: str, found: str) -> None:
    assert said(table, line) == found
    assert said(table, line, share=0.0) == " ".join(unicodedata.normalize("NFC", line).split())


def test_each_is_replaced_by_its_share_and_all_of_them_come() -> None:
    drawn = Counter(said(CAR, "car", seed, share=0.3) for seed in range(3000))
    assert drawn["car"] / 3000 == pytest.approx(0.7, abs=0.03)
    assert drawn["auto"] / 3000 == pytest.approx(0.15, abs=0.03)
    assert drawn.keys() == {"car", "auto", "motor car"}


def test_what_says_left_is_replaced_by_what_says_so_too() -> None:
    found = Synonyms({"left": ["port", "leftwards"], "right": ["starboard"], "port": ["left"], "左边": ["左侧", "那边"]}).table
    assert found == {"left": ["leftwards"], "port": ["left"], "左边": ["左侧"]}


ROWS = [f"a dog on the {side} of house {i}" for i, side in enumerate(["left", "side"] * 12)]


def loader(folder: Path, synonyms: str | None, augment: list[str], seed: int = 0) -> Loader:
    if not folder.exists():
        rows = [{"id": str(i), "image": {"bytes": encoded(picture(i), "PNG")}, "captions": [c]} for i, c in enumerate(ROWS)]
        write_dataset(folder, {"train": rows}, {"image": "image", "captions": "text"})
    spec = image.Spec(size=32, resize="crop", resample="bicubic", mean=[0.5] * 3, std=[0.5] * 3, augment=augment)
    words = text.Reader(text.Spec(synonyms=synonyms, synonym_rate=0.5), Tokenizer(train_tokenizer(ROWS, 400), 24))
    inputs = {"image": Source("image", image, image.Reader(spec)), "text": Source("captions", text, words)}
    return Loader(open_dataset(folder), "train", inputs, 8, seed)


def shown(made: Loader, batches: int, position: int = 0) -> list[tuple[str, str, torch.Tensor]]:
    found = made.batches(position)
    try:
        taken = list(itertools.islice(found, batches))
    finally:
        found.close()
    return [
        (id, line, pixels)
        for batch in taken
        for id, line, pixels in zip(batch.ids, batch.said["text"], batch.inputs["image"]["pixels"], strict=True)
    ]


def test_one_draw_of_a_row_decides_its_words_and_its_picture(tmp_path: Path) -> None:
    path = written(tmp_path / "s.txt", "dog\thound, puppy\nhouse\tcottage\nside\tleft\n")
    whole = shown(loader(tmp_path / "data", path, ["flip"]), 9)
    again = shown(loader(tmp_path / "data", path, ["flip"]), 9)
    assert [(id, line) for id, line, _ in whole] == [(id, line) for id, line, _ in again]
    assert all(torch.equal(a[2], b[2]) for a, b in zip(whole, again, strict=True))
    resumed = shown(loader(tmp_path / "data", path, ["flip"]), 2, position=7)
    assert [(id, line) for id, line, _ in resumed] == [(id, line) for id, line, _ in whole[-16:]]
    other = shown(loader(tmp_path / "data", path, ["flip"], seed=1), 9)
    assert [line for _, line, _ in other] != [line for _, line, _ in whole]
    epochs = [dict((id, line) for id, line, _ in whole[n : n + 24]) for n in (0, 24, 48)]
    assert epochs[0] != epochs[1] != epochs[2]
    # the picture is told of the words as they are shown: `side` that became `left` keeps it from being mirrored
    plain = {id: pixels for id, _, pixels in shown(loader(tmp_path / "data", None, []), 3)}
    turned = {id: [] for id in plain}
    for id, line, pixels in whole:
        mirrored = not torch.equal(pixels, plain[id])
        assert not (mirrored and DIRECTIONS.search(line))
        turned[id].append((mirrored, "left" in line))
    odd = list(itertools.chain(*(turned[str(i)] for i in range(1, 24, 2))))
    assert (True, False) in odd
    assert (False, True) in odd


@pytest.fixture
def trained(run: Path, tmp_path: Path, invoke: Invoke) -> Path:
    """A folder with ./s.txt and ./runs/latest, which learned two steps with it."""
    (tmp_path / "data").symlink_to(run / "data")
    written(tmp_path / "s.txt", "circle\tdisc, round thing\nred\tcrimson, 红色的\n")
    typed = ("--set", "data.text.synonyms=s.txt", "--set", "data.text.synonym_rate=0.9", "--set", "train.checkpoint_every=1")
    outcome = invoke("train", "--steps", 2, "--limit", 64, "--batch-size", 32, *typed, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "s.txt (2 words and phrases have some)" in outcome.stderr
    return tmp_path


def unfinished(folder: Path) -> Path:
    path = folder / "runs" / "latest" / "config.toml"
    path.write_text(
        "".join(f"{line}\n" for line in path.read_text().splitlines() if not line.startswith(("finished", "weights")))
    )
    (newest, *_) = sorted((folder / "runs" / "latest" / "checkpoints").iterdir(), reverse=True)
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    return path


def test_a_run_keeps_the_hash_and_refuses_another_file(trained: Path, invoke: Invoke) -> None:
    config = unfinished(trained)
    assert f'synonyms_hash = "{read_synonyms(str(trained / "s.txt")).hash}"' in config.read_text()
    before = (trained / "s.txt").read_text()
    (trained / "s.txt").write_text(before + "blue\tazure\n")
    outcome = invoke("train", "--resume", "latest", cwd=trained)
    assert outcome.code == 1
    error, hint = outcome.stderr.splitlines()[-2:]
    assert error == "error: the synonyms have changed since the run began, s.txt"
    assert hint == "hint: put the file back as it was, or train a new run"
    (trained / "s.txt").write_text(before)
    assert invoke("train", "--resume", "latest", cwd=trained).code == 0


def test_only_training_sees_them(trained: Path, invoke: Invoke) -> None:
    reader = load_model(str(trained / "runs" / "latest"), "cpu").reader("text")
    assert reader.still
    tokens = reader.tokenizer.backend
    assert len(tokens.encode("crimson disc").tokens) < 6, "the tokenizer has met what training shows"
    (trained / "s.txt").unlink()  # nobody but training asks for the file
    assert invoke("eval", "recall@k", "--limit", 20, cwd=trained).code == 0
    outcome = invoke("train", "--steps", 1, "--set", "data.text.synonyms=s.txt", cwd=trained)
    assert outcome.stderr.splitlines()[-2].startswith("error: cannot read the synonyms")
