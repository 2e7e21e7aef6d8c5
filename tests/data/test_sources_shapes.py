"""Generated scenes: what is held out stays unseen, and a test caption is true of one test scene only."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmkit.data.scenes import COLOURS, PLACES, SHAPES
from mmkit.data.schema import Ask, Row
from mmkit.data.sources.shapes import read

SINGLE = re.compile(r"an? (small |large )?(\w+) (\w+) (?:at|in) the ([\w ]+)")
PAIR = re.compile(r"an? (\w+) (\w+) (left of|right of|above|below) an? (\w+) (\w+)")


@pytest.fixture(scope="module", params=[40, 3000])
def rows(request: pytest.FixtureRequest) -> list[Row]:
    return [row for row in read(Ask(Path("data")), limit=request.param, seed=3).rows if isinstance(row, Row)]


def of(rows: list[Row], split: str) -> list[Row]:
    return [row for row in rows if row.split == split]


def things(row: Row) -> list[dict[str, Any]]:
    """The objects of a scene from its boxes and phrases alone: size, colour, shape and centre in pixels."""
    assert row.values["regions"]
    found = []
    for (x1, y1, x2, y2), phrase in zip(row.values["regions"]["boxes"], row.values["regions"]["phrases"], strict=True):
        _, size, colour, shape = phrase.split()
        found.append({"size": size, "colour": colour, "shape": shape, "x": (x1 + x2) / 2, "y": (y1 + y2) / 2})
    return found


def place(thing: dict[str, Any]) -> str:
    return PLACES[3 * int(thing["y"] // 16) + int(thing["x"] // 16)]


def is_true(caption: str, row: Row) -> bool:
    """Read liberally: an object at the place, whatever else there is; left of wherever x is smaller at all."""
    if match := SINGLE.fullmatch(caption):
        size, colour, shape, where = match.groups()
        return any(
            (t["colour"], t["shape"], place(t)) == (colour, shape, where) and (not size or t["size"] == size.strip())
            for t in things(row)
        )
    match = PAIR.fullmatch(caption)
    assert match, caption
    first, second, how = match.group(1, 2), match.group(4, 5), match[3]
    holds = {"left of": lambda a, b: a["x"] < b["x"], "right of": lambda a, b: a["x"] > b["x"]}
    holds |= {"above": lambda a, b: a["y"] < b["y"], "below": lambda a, b: a["y"] > b["y"]}
    found = things(row)
    return any(
        (a["colour"], a["shape"]) == first and (b["colour"], b["shape"]) == second and holds[how](a, b)
        for a in found
        for b in found
        if a is not b
    )


def content(caption: str) -> tuple[Any, ...]:
    """The combination that a caption names: mirrored wordings are one, sizes are no part of it."""
    if match := SINGLE.fullmatch(caption):
        return match.groups()[1:]
    match = PAIR.fullmatch(caption)
    assert match, caption
    first, second, how = match.group(1, 2), match.group(4, 5), match[3]
    mirror = {"right of": "left of", "below": "above"}
    return (second, first, mirror[how]) if how in mirror else (first, second, how)


def test_counts(rows: list[Row]) -> None:
    train, val, test = (of(rows, split) for split in ("train", "val", "test"))
    assert len(train) + len(val) in (40, 3000)
    assert len(val) == round(0.1 * (len(train) + len(val)))
    assert Counter(len(things(row)) for row in test) == {1: 100, 2: 200}
    assert Counter(len(things(row)) for row in train)[1] == pytest.approx(len(train) / 3, abs=1)


def test_captions_are_true_of_their_own_scene(rows: list[Row]) -> None:
    assert all(is_true(caption, row) for row in rows for caption in row.values["captions"])
    assert {len(row.values["captions"]) for row in of(rows, "train") if len(things(row)) == 2} == {2}
    assert {len(row.values["captions"]) for row in of(rows, "test")} == {1}


def test_a_test_caption_is_true_of_no_other_test_scene(rows: list[Row]) -> None:
    test = of(rows, "test")
    captions = [row.values["captions"][0] for row in test]
    assert len(set(captions)) == 300
    assert [(a, b.id) for a, row in zip(captions, test, strict=True) for b in test if b is not row and is_true(a, b)] == []


def test_combinations_of_the_test_split_are_never_seen_before(rows: list[Row]) -> None:
    seen = {content(caption) for row in rows if row.split != "test" for caption in row.values["captions"]}
    unseen = {content(row.values["captions"][0]) for row in of(rows, "test")}
    assert not seen & unseen
    assert len(unseen) > 240  # 200 pairs, and 100 sized captions of 58 places at most


def test_a_fifth_of_the_combinations_is_held_out() -> None:
    facts = read(Ask(Path("data")), limit=10).facts["combinations"]
    assert facts["held_out"] == pytest.approx(0.2 * (facts["held_out"] + facts["train"]), abs=1)
    # 8 colours x 4 shapes x 9 places, and 32 x 31 / 2 pairs in 4 relations
    assert facts["held_out"] + facts["train"] == 288 + 1984


def test_captions_of_val_differ(rows: list[Row]) -> None:
    val = of(rows, "val")
    assert len({row.values["captions"][0] for row in val}) == len(val)


def test_questions_are_answered_by_the_scene(rows: list[Row]) -> None:
    answers: dict[str, Counter[str]] = {}
    for row in rows:
        kinds = {thing["colour"] + " " + thing["shape"] for thing in things(row)}
        for question in row.values["questions"] or []:
            (answer,) = question["answers"]
            answers.setdefault(question["type"], Counter())[answer] += 1
            if question["type"] == "existence":
                named = re.sub(r"is there an? (.*)\?", r"\1", question["question"])
                assert (named in kinds) == (answer == "yes")
            if question["type"] == "count":
                word = question["question"].split()[2].removesuffix("es" if "crosses" in question["question"] else "s")
                assert int(answer) == (len(kinds) if word == "object" else sum(word in kind.split() for kind in kinds))
        assert row.values["label"] == sorted({thing["shape"] for thing in things(row)})
    assert set(answers) == {"colour", "shape", "count", "existence", "relation", "place"}
    assert set(answers["colour"]) == set(COLOURS)
    assert set(answers["shape"]) == set(SHAPES)
    assert set(answers["relation"]) == {"left", "right", "above", "below"}
    for kind in ("count", "existence", "relation", "shape"):
        share = max(answers[kind].values()) / answers[kind].total()
        assert share < 1.35 / len(answers[kind]), (kind, answers[kind])


def test_the_pixels_show_what_the_boxes_say(rows: list[Row]) -> None:
    for row in rows[::97]:
        image = Image.open(io.BytesIO(row.values["image"].read()))
        assert image.size == (48, 48)
        pixels = np.asarray(image).astype(float)
        for thing in things(row):
            there = pixels[int(thing["y"]), int(thing["x"])]
            nearest = min(COLOURS, key=lambda name: float(np.abs(there - COLOURS[name]).sum()))
            assert nearest == thing["colour"]


def test_seeded() -> None:
    first, again, other = ([r for r in read(Ask(Path("x")), limit=30, seed=s).rows if isinstance(r, Row)] for s in (1, 1, 2))
    assert [r.values["captions"] for r in first] == [r.values["captions"] for r in again] != [r.values["captions"] for r in other]
    assert [r.values["image"].read() for r in first[:5]] == [r.values["image"].read() for r in again[:5]]


def test_the_test_split_does_not_hang_on_the_limit() -> None:
    few, many = ([r for r in read(Ask(Path("x")), limit=n).rows if isinstance(r, Row)] for n in (1, 50))
    assert len(of(few, "test")) == len(of(many, "test")) == 300
    assert len(of(few, "train")) == 1


def test_a_share_of_the_training_scenes_is_captioned_by_one_object_alone() -> None:
    plain, mixed = (list(read(Ask(Path("data")), limit=1000, phrases=share).rows) for share in (0.0, 0.4))
    again = list(read(Ask(Path("data")), limit=500, phrases=0.4).rows)
    bare = 0
    for before, row in zip(plain, mixed, strict=True):
        captions = row.values["captions"]
        if captions != before.values["captions"]:
            assert row.split == "train"
            assert len(captions) == 1 and captions[0] in row.values["regions"]["phrases"]
            bare += 1
    assert bare == pytest.approx(0.4 * len(of(mixed, "train")), rel=0.15)

    def chosen(rows: list[Any]) -> set[str]:
        return {row.id for row in rows if row.values["captions"][0] in row.values["regions"]["phrases"]}

    assert chosen(again) == {id for id in chosen(mixed) if id <= "train-000449"}, "drawn by the id, whatever else is there"
