"""Generated scenes of one or two objects, with captions, questions, labels and boxes.

The test split shows 300 scenes of combinations that training never saw, each with a caption of its own.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Annotated, TypeVar

from typer import Option

from mmkit.data import scenes
from mmkit.data.scenes import COLOURS, INVERSE, PLACES, RADIUS, SHAPES, Object, Scene
from mmkit.data.schema import Ask, Picture, Row, Source

EXAMPLES = ("mmkit prep shapes", "mmkit prep shapes ./scenes --limit 2000 --seed 1", "mmkit prep shapes --phrases 0.4")
GENERATED = True
LICENSE = "CC0-1.0"
HELD_OUT = 0.2
TEST_SINGLES, TEST_PAIRS = 100, 200
VAL_SHARE = 0.1

Single = tuple[str, str, int]  # colour, shape, place
Kind = tuple[str, str]  # colour, shape
Pair = tuple[Kind, Kind, str]  # the first kind is the smaller one; its relation to the second
T = TypeVar("T")


def read(
    ask: Ask,
    *,
    limit: Annotated[
        int,
        Option(
            "--limit",
            metavar="N",
            min=1,
            help="Scenes of train and val together; test has 300 more.",
            rich_help_panel="Data",
        ),
    ] = 10_000,
    seed: Annotated[
        int,
        Option(
            "--seed",
            metavar="N",
            min=0,
            max=2**32 - 1,
            help="Another seed gives other scenes and other unseen combinations.",
            rich_help_panel="Data",
        ),
    ] = 0,
    phrases: Annotated[
        float | None,
        Option(
            "--phrases",
            metavar="SHARE",
            min=0,
            max=1,
            help="Share of the training scenes whose caption names one object alone, such as `a small red circle`.",
            show_default="0",
            rich_help_panel="Data",
        ),
    ] = None,
) -> Source:
    """Draw `limit` scenes for train and val, and always the same number of unseen combinations for test."""
    rng = random.Random(f"shapes-{seed}")
    singles, held_singles = _hold_out(all_singles(), rng)
    pairs, held_pairs = _hold_out(all_pairs(), rng)
    n_val = round(limit * VAL_SHARE)
    rows = [
        *_rows("train", _mixed(singles, pairs, limit - n_val, rng), seed, both_wordings=True, phrases=phrases or 0.0),
        *_rows("val", _mixed(singles, pairs, n_val, rng), seed),
        *_rows("test", _test_scenes(held_singles, held_pairs, rng), seed),
    ]
    seen, unseen = len(singles) + len(pairs), len(held_singles) + len(held_pairs)
    note = f"{limit:,} scenes of {seen:,} combinations; {TEST_SINGLES + TEST_PAIRS} for test of {unseen} others"
    facts = {"combinations": {"train": seen, "held_out": unseen}}
    return Source(rows, "generated", LICENSE, note, facts)


def all_singles() -> list[Single]:
    """The combinations of scenes with one object."""
    return list(itertools.product(COLOURS, SHAPES, range(len(PLACES))))


def all_pairs() -> list[Pair]:
    """The combinations of scenes with two objects; mirrored wordings are one, so each pair of kinds comes once a relation."""
    kinds = sorted(itertools.product(COLOURS, SHAPES))
    return [(a, b, relation) for a, b in itertools.combinations(kinds, 2) for relation in INVERSE]


def _hold_out(combinations: list[T], rng: random.Random) -> tuple[list[T], list[T]]:
    """Those of training and val, and those of test."""
    shuffled = rng.sample(combinations, len(combinations))
    n = round(len(shuffled) * HELD_OUT)
    return shuffled[n:], shuffled[:n]


def _mixed(singles: Sequence[Single], pairs: Sequence[Pair], count: int, rng: random.Random) -> Iterator[Scene]:
    """A third of the scenes with one object, the rest with two; every combination and size once before any comes again."""
    sized = list(itertools.product(singles, RADIUS))
    next_single, next_pair = _rounds(sized, rng), _rounds(pairs, rng)
    for i in range(count):
        if i % 3 == 0:
            single, size = next(next_single)
            yield _single_scene(single, size)
        else:
            yield _pair_scene(next(next_pair), rng)


def _rounds(items: Sequence[T], rng: random.Random) -> Iterator[T]:
    while True:
        yield from rng.sample(items, len(items))


def _test_scenes(singles: Sequence[Single], pairs: Sequence[Pair], rng: random.Random) -> Iterator[Scene]:
    """Scenes whose captions are true of none but their own scene.

    Every pair of kinds comes once at most, so a relation holds in one scene only; and no object with the size, colour,
    shape and place that a one-object caption names is part of another scene.
    """
    named = rng.sample(list(itertools.product(singles, RADIUS)), TEST_SINGLES)
    for single, size in named:
        yield _single_scene(single, size)
    taken = {_single_scene(single, size).objects[0] for single, size in named}
    by_kinds = {(a, b): (a, b, relation) for a, b, relation in rng.sample(pairs, len(pairs))}
    # a few pairs have no place left where neither object is named already: the next pair stands in for them
    tries = ((_pair_scene(pair, rng) for _ in range(100)) for pair in rng.sample(list(by_kinds.values()), len(by_kinds)))
    free = (next((scene for scene in drawn if taken.isdisjoint(scene.objects)), None) for drawn in tries)
    yield from itertools.islice((scene for scene in free if scene), TEST_PAIRS)


def _single_scene(single: Single, size: str) -> Scene:
    colour, shape, place = single
    return Scene((Object(size, colour, shape, place),))


def _pair_scene(pair: Pair, rng: random.Random) -> Scene:
    """Two objects in one row or column of the grid, in either order."""
    a, b, relation = pair
    low, high = sorted(rng.sample(range(3), 2))
    line = rng.randrange(3)
    first, second = (
        (3 * line + low, 3 * line + high) if relation in ("left of", "right of") else (3 * low + line, 3 * high + line)
    )
    if relation in ("right of", "below"):
        first, second = second, first
    things = [Object(rng.choice(list(RADIUS)), *kind, place) for kind, place in ((a, first), (b, second))]
    rng.shuffle(things)
    return Scene(tuple(things))


def _rows(split: str, drawn: Iterator[Scene], seed: int, both_wordings: bool = False, phrases: float = 0.0) -> Iterator[Row]:
    for i, scene in enumerate(drawn):
        name = f"{split}-{i:06d}"
        key = f"shapes-{seed}-{name}"
        things = scene.objects
        captions = scene.captions if both_wordings else scene.captions[:1]
        chance = random.Random(f"phrases-{key}")
        if chance.random() < phrases:
            captions = [chance.choice(things).phrase]
        yield Row(
            id=name,
            values={
                "image": Picture(key, functools.partial(scenes.draw, scene, key)),
                "captions": captions,
                "references": list(dict.fromkeys([*captions, *scene.captions])),
                "label": sorted({o.shape for o in things}),
                "questions": scenes.questions(scene, name, random.Random(f"questions-{key}")),
                "regions": {"boxes": scenes.boxes(scene, key), "phrases": [o.phrase for o in things]},
            },
            where=f"scene {name}",
            split=split,
        )
