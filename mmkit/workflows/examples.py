"""Answers of a model for a reader to judge: queries that were found at once, those furthest from it, and answers of its head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mmkit.data import pictures
from mmkit.data.modalities import plural
from mmkit.data.shards import Dataset
from mmkit.metrics.ranking import Scores, Vectors, rank
from mmkit.ragged import Ragged
from mmkit.vectors import Embeddings
from mmkit.views.sheet import Strip, Tile, verdicts

ANSWERS = 6
RIGHT, WRONG, REVERSE = 4, 4, 3
MARKS = (
    "✓ and a green frame: what belongs to the query. ✗ and a red frame: another one that was placed before it. The number is how "
    "alike they are; 1 is the most there can be."
)
WRITTEN = (
    "Beside a picture what the model wrote, with its CIDEr-D (0 to 10), ✓ where its words are those of a reference; then some "
    "references."
)
VERDICTS = "✓ and a green frame: a right answer. ✗ and a red frame: a wrong one, and beside it what most would have said."

Group = tuple[str, list[Strip]]


class Side:
    """The items of one input: how they are compared, and how they are shown."""

    def __init__(self, found: Embeddings, name: str, data: Dataset, split: str | None) -> None:
        self.found, self.name, self.rows, self.split = found, name, found.rows(name), split
        self.vectors: Vectors = found.take(self.rows)
        self.data, self.photos = data, dict[str, pictures.Shown]()

    @property
    def ids(self) -> np.ndarray:
        return self.found.ids[self.rows]

    def fetch(self, items: Iterable[int]) -> None:
        """Read the pictures of some items, where it has any."""
        column = (self.found.meta or {}).get("columns", {}).get(self.name)
        if pictures.column_of(self.data, self.name, column):
            wanted = {self.ids[i] for i in items} - self.photos.keys()
            self.photos |= pictures.of_dataset(self.data, wanted, self.name, self.split, column)

    def tile(self, item: int, score: float | None = None, mark: bool | None = None) -> Tile:
        """An item as a picture, as its text, or else by its id."""
        row, id = self.rows[item], self.ids[item]
        photo = self.photos.get(id)
        text = self.found.text[row] or ("" if photo else id)
        return Tile(text, photo.picture, score, mark, photo.listen) if photo else Tile(text, None, score, mark)


def of_retrieval(found: Embeddings, names: tuple[str, str], data: Dataset, split: str | None) -> list[Group]:
    """Of two inputs: queries of the second that found theirs of the first at once, those furthest from it, and the other way
    round.

    Args:
        names: of the inputs that were compared, that of words last.
        split: that `found` is of.
    """
    gallery, queries = (Side(found, name, data, split) for name in names)
    numbers = alike(found)
    places = rank(queries.vectors, numbers[queries.rows], gallery.vectors, numbers[gallery.rows])
    # spread over the queries, long and short, instead of the first ones
    at_once = spread(np.flatnonzero(places == 1), RIGHT)
    furthest = np.argsort(-np.nan_to_num(places), kind="stable")[:WRONG]
    missed = [int(q) for q in furthest if places[q] > 1]
    back = spread(np.arange(len(gallery.rows)), REVERSE)
    return [
        ("Found at once", _strips(queries, gallery, at_once, places, numbers)),
        ("Not found at once: the hardest cases", _strips(queries, gallery, missed, places, numbers)),
        (f"The other way round: {plural(names[1])} for {_one(names[0])}", _strips(gallery, queries, back, None, numbers)),
    ]


def alike(found: Embeddings) -> np.ndarray:
    """A number for the sample of each row; samples of the same texts, which no query can tell apart, have one."""
    said: dict[str, set[str]] = {}
    for id, text in zip(found.ids.tolist(), found.text.tolist(), strict=True):
        if text is not None:
            said.setdefault(id, set()).add(text)
    keys = ["\n".join(sorted(said[id])) if id in said else id for id in found.ids.tolist()]
    return np.unique(keys, return_inverse=True)[1]


def _one(name: str) -> str:
    return "a picture" if pictures.is_picture(name) else f"one {name}"


def _strips(
    queries: Side, gallery: Side, chosen: Sequence[int] | np.ndarray, places: np.ndarray | None, numbers: np.ndarray
) -> list[Strip]:
    """Queries with their best answers. What stands below the right one is neither right nor wrong."""
    if not len(chosen):
        return []
    best, scores = _best(queries.vectors, gallery.vectors, chosen, ANSWERS if places is not None else ANSWERS // 2)
    gallery.fetch(best.ravel())
    queries.fetch(chosen)
    strips = []
    for q, items, values in zip(chosen, best, scores, strict=True):
        own = numbers[queries.rows[q]]
        marks = verdicts([numbers[gallery.rows[i]] == own for i in items])
        tiles = [gallery.tile(i, float(s), mark) for i, s, mark in zip(items, values, marks, strict=True)]
        note = ""
        if places is not None and places[q] > 1:
            note = f"what belongs to it came at place {places[q]:g}"
            note += f", behind these {len(tiles)}" if own not in numbers[gallery.rows[items]] else ""
        strips.append(Strip(queries.tile(q), tiles, note))
    return strips


def _best(queries: Vectors, gallery: Vectors, chosen: Sequence[int] | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest items of each chosen query, best first, and how alike they are: (n, k) each."""
    score, found = Scores(gallery), []
    for q in chosen:
        one = queries.take(np.array([q])) if isinstance(queries, Ragged) else queries[q : q + 1]
        found.append(score(one, 0, 1, np.empty((1, len(gallery)), np.float32))[0])
    scores = np.array(found)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return best, np.take_along_axis(scores, best, 1)


def spread(items: np.ndarray, count: int) -> np.ndarray:
    """`count` of the items, evenly spaced."""
    if not len(items):
        return items
    return items[np.unique(np.linspace(0, len(items) - 1, count + 2).round().astype(int)[1:-1])]


def of_captions(rows: dict[str, Any], data: Dataset, split: str | None) -> list[Group]:
    """Of a model that writes captions: some of those nearest to a reference by CIDEr-D, of the middle, and furthest from all.

    Args:
        rows: what `eval` found of each row: `id`, `caption`, `references`, `exact_match` and `CIDEr`.
    """
    order = np.argsort(-np.asarray(rows["CIDEr"]), kind="stable")
    thirds = np.array_split(order, 3)
    chosen = {
        "Captions near to what people wrote": spread(thirds[0], RIGHT),
        "Captions of the middle": spread(thirds[1], REVERSE),
        "Captions furthest from it": thirds[2][::-1][:WRONG],
    }
    photos = _photos(data, split, (rows["id"][i] for items in chosen.values() for i in items))

    def strip(i: int) -> Strip:
        photo = photos.get(rows["id"][i])
        said = Tile(rows["caption"][i] or "nothing", None, rows["CIDEr"][i], True if rows["exact_match"][i] else None)
        true = [Tile(f"written: {text}") for text in rows["references"][i][:2]]
        return Strip(_query("", photo, rows["id"][i]), [said, *true])

    return [(heading, [strip(int(i)) for i in items]) for heading, items in chosen.items() if len(items)]


def of_numbers(rows: dict[str, Any], data: Dataset, split: str | None) -> list[Group]:
    """Of a model that predicts numbers: some it came closest to, and those it is furthest from.

    Args:
        rows: what `eval` found of each: `id`, `target` and `predicted`.
    """
    order = np.argsort(np.abs(np.asarray(rows["predicted"]) - np.asarray(rows["target"])), kind="stable")
    wrong = order[::-1][: min(WRONG, len(order) // 2)]
    chosen = {"Predicted closely": spread(order[: len(order) // 4], RIGHT), "Predicted worst": wrong.tolist()}
    ids = rows["id"]
    photos = _photos(data, split, (ids[i] for items in chosen.values() for i in items))

    def strip(i: int) -> Strip:
        photo = photos.get(ids[i])
        said = Tile(f"{rows['predicted'][i]:.2f}"), Tile(f"right would be: {rows['target'][i]:.2f}")
        return Strip(_query("", photo, ids[i]), list(said))

    return [(heading, [strip(int(i)) for i in items]) for heading, items in chosen.items()]


def _query(asked: str, photo: pictures.Shown | None, id: str) -> Tile:
    return Tile(asked, photo.picture, listen=photo.listen) if photo else Tile(asked or id)


def _photos(data: Dataset, split: str | None, ids: Iterable[str]) -> dict[str, pictures.Shown]:
    """The pictures of some rows, where the data has any."""
    kind = pictures.shown_in(data)
    return pictures.of_dataset(data, set(ids), kind, split) if kind else {}


def of_answers(rows: dict[str, Any], data: Dataset, split: str | None) -> list[Group]:
    """Of a classifier, or of a model that answers questions or matches: some it got right, and some it got wrong.

    Args:
        rows: what `eval` found of each item: `sample` or `id` of its row, `question` or `caption` where there is one, `answer`
            or `predicted`, `truth` or `target`, and how right it is, `vqa_accuracy` or by comparison.
    """
    said: list[str] = rows["answer"] if "answer" in rows else rows["predicted"]
    truth: list[str] | None = rows.get("truth", rows.get("target"))
    ids = rows.get("sample", rows["id"])
    worth = np.asarray(
        rows["vqa_accuracy"] if "vqa_accuracy" in rows else [a == b for a, b in zip(said, truth or [], strict=True)]
    )
    beside = rows.get("question", rows.get("caption"))
    done = "Answered" if "caption" not in rows else "Matched"
    chosen = {
        f"{done} rightly": spread(np.flatnonzero(worth == 1), RIGHT),
        f"{done} wrongly": spread(np.flatnonzero(worth == 0), WRONG),
    }
    photos = _photos(data, split, (ids[i] for items in chosen.values() for i in items))

    def strip(i: int) -> Strip:
        asked = beside[i] if beside else ""
        photo = photos.get(ids[i])
        query = _query(asked, photo, ids[i])
        tiles = [Tile(said[i] or "nothing", None, None, bool(worth[i] == 1))]
        if worth[i] != 1 and truth is not None:
            tiles.append(Tile(f"right would be: {truth[i]}"))
        return Strip(query, tiles)

    return [(heading, [strip(int(i)) for i in items]) for heading, items in chosen.items()]
