"""Official splits and captions in plain-text files beside pictures, sounds and videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.data.schema import Ask, Reject, Row
from mmkit.data.sources.folder import read
from tests import raw


def tree(root: Path, *names: str) -> Path:
    """A picture for every name."""
    for i, name in enumerate(names):
        raw.jpeg(root / name, i)
    return root


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def splits(root: Path) -> dict[str, str | None]:
    return {row.id: row.split for row in read(Ask(root / "out", root)).rows if isinstance(row, Row)}


SEA_AND_LAND = ("sea/1.jpg", "sea/2.jpg", "land/3.jpg", "land/4.jpg")


def test_where_nothing_says_train_all_others_are_train_as_in_speech_commands(tmp_path: Path) -> None:
    tree(tmp_path, *SEA_AND_LAND, "_background_noise_/5.jpg")
    write(tmp_path / "validation_list.txt", "sea/2.jpg")
    write(tmp_path / "testing_list.txt", "land/4.jpg")
    write(tmp_path / "_background_noise_" / "README.md", "noise")
    assert splits(tmp_path) == {"sea/1.jpg": "train", "sea/2.jpg": "val", "land/3.jpg": "train", "land/4.jpg": "test"}
    source = read(Ask(tmp_path))
    assert "; left out, in folders that begin with _: 1 (_background_noise_)" in source.note
    assert "official splits validation_list.txt (val), testing_list.txt (test), all others train" in source.note
    assert not source.lists


@pytest.mark.parametrize("place", ["pets/ucfTrainTestlist", "ucfTrainTestlist", "pets", "."])
def test_the_first_of_several_sets_counts_wherever_they_lie_as_in_ucf_101(tmp_path: Path, place: str) -> None:
    names = [f"{label}/{i}.jpg" for label in ("sea", "land") for i in range(10)]
    tree(tmp_path / "pets", *names)
    write(tmp_path / place / "trainlist01.txt", *(f"{name} {1 + name.startswith('land')}" for name in names[2:-1]))
    write(tmp_path / place / "testlist01.txt", *names[:2])
    write(tmp_path / place / "trainlist02.txt", *names[:-2])
    write(tmp_path / place / "testlist02.txt", *names[-2:])
    write(tmp_path / place / "classInd.txt", "1 sea", "2 land")
    expected = {names[0]: "test", names[1]: "test"} | dict.fromkeys(names[2:-1], "train") | {names[-1]: None}
    assert splits(tmp_path / "pets") == expected
    source = read(Ask(tmp_path / "pets"))
    assert "official splits trainlist01.txt (train), testlist01.txt (test), the first of 2 sets of lists" in source.note
    # what no list names is left out, as papers leave it out
    assert source.lists


def test_names_may_lack_the_suffix_or_the_folder_around_as_in_food_101(tmp_path: Path) -> None:
    tree(tmp_path, *(f"images/{name}" for name in SEA_AND_LAND))
    write(tmp_path / "meta" / "train.txt", "sea/1", "land/3")
    write(tmp_path / "meta" / "test.txt", "sea/2", "land/4")
    assert splits(tmp_path) == {f"images/{name}": split for name, split in zip(SEA_AND_LAND, ("train", "test") * 2, strict=True)}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("train.txt", ("a text about trains", "another")),
        ("classes.txt", ("sea/1.jpg", "sea/2.jpg")),
        ("sea_test_split1.txt", ("sea/1.jpg 1", "sea/2.jpg 2")),
        ("test.txt", ("moon/1.jpg", "moon/2.jpg")),
        # in a folder beside the classes there are lists of another data set
        ("../test_list.txt", ("sea/1.jpg", "moon/2.jpg", "moon/3.jpg")),
    ],
)
def test_other_texts_say_nothing(tmp_path: Path, name: str, lines: tuple[str, ...]) -> None:
    write(tree(tmp_path / "pets", *SEA_AND_LAND) / name, *lines)
    assert set(splits(tmp_path / "pets").values()) == {None}
    assert "official" not in read(Ask(tmp_path / "pets")).note


def captions(root: Path) -> dict[str, list[str]]:
    return {row.id: row.values["captions"] for row in read(Ask(root / "out", root)).rows if isinstance(row, Row)}


def test_lines_that_begin_with_the_name_of_a_file_are_its_captions_as_in_librispeech(tmp_path: Path) -> None:
    tree(tmp_path, "train-clean/8/8-0.jpg", "train-clean/8/8-1.jpg", "dev-clean/9/9-0.jpg", "dev-clean/9/9-1.jpg")
    write(tmp_path / "train-clean/8/8.trans.txt", "8-0 GO DO YOU HEAR", "8-1 BUT IN LESS")
    write(tmp_path / "dev-clean/9/9.trans.txt", "9-0 AT THIS")
    write(tmp_path / "README.txt", "8-0 is a file", "and others are, too")
    write(tmp_path / "SPEAKERS.TXT", "8 | F | dev | 25.0 | a name")
    assert captions(tmp_path) == {
        "dev-clean/9/9-0.jpg": ["AT THIS"],
        "train-clean/8/8-0.jpg": ["GO DO YOU HEAR"],
        "train-clean/8/8-1.jpg": ["BUT IN LESS"],
    }
    assert set(splits(tmp_path).values()) == {"train", "val"}
    source = read(Ask(tmp_path))
    (lost,) = [row for row in source.rows if isinstance(row, Reject)]
    assert (lost.id, lost.reason.partition(" in ")[0]) == ("dev-clean/9/9-1.jpg", "no caption")
    assert "captions by their names in 2 files such as dev-clean/9/9.trans.txt" in source.note


def test_a_file_may_have_several_lines_of_captions_as_in_msvd(tmp_path: Path) -> None:
    tree(tmp_path, "clips/a_1_2.jpg", "clips/b_3_4.jpg")
    write(tmp_path / "all.txt", "# comment", "a_1_2 a man runs", "a_1_2 a man is running", "b_3_4 a dog sleeps")
    assert captions(tmp_path) == {"clips/a_1_2.jpg": ["a man runs", "a man is running"], "clips/b_3_4.jpg": ["a dog sleeps"]}


def test_captions_of_a_few_files_are_named_and_a_table_is_none(tmp_path: Path) -> None:
    tree(tmp_path, *SEA_AND_LAND)
    write(tmp_path / "some.txt", "1 waves and sand")
    write(tmp_path / "table.txt", *(f"{i}|a text|THE TEXT" for i in range(1, 5)))
    note = read(Ask(tmp_path)).note
    assert note == "4 pictures, class folders (some.txt has captions of 1 of them only: not read)"
