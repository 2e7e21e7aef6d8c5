"""What is searched: a dataset, an embeddings file or a folder of images, opened for one model; and the answers to a query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.data.modalities import MODALITIES, of_files
from mmkit.data.pictures import Held, column_of, is_shown, of_source
from mmkit.data.shards import MANIFEST, Dataset, open_dataset
from mmkit.data.splits import find_split
from mmkit.embedding import (
    called_as,
    cut_off,
    embed_dataset,
    embed_file,
    embed_folder,
    embed_texts,
    files_in,
    suffixes,
)
from mmkit.encode import Pace
from mmkit.errors import UserError
from mmkit.given import input_called, readable_as
from mmkit.ragged import Ragged
from mmkit.search.index import top, top_late
from mmkit.vectors import SUFFIXES, Embeddings, read_embeddings

if TYPE_CHECKING:
    from mmkit.model import Model

NAMED = 3  # files of which it is said that they could not be read


@dataclass(frozen=True)
class Answer:
    """One row that was found for a query.

    Args:
        query: the sentence or the image's path.
        rank: from 1, best first.
        score: cosine.
        path: of an image, its file where that is still there.
        split: of its dataset; ids are unique within one.
    """

    query: str
    rank: int
    score: float
    id: str
    modality: str
    text: str | None
    path: str | None
    split: str | None

    def record(self) -> dict[str, Any]:
        """As a JSON object."""
        return {key: value for key, value in asdict(self).items() if key != "split"}


@dataclass
class Gallery:
    """Embeddings that a model's queries are compared with."""

    model: Model
    found: Embeddings
    split: str | None = None
    note: str = ""
    _origins: dict[str, dict[tuple[str | None, str], str]] = field(default_factory=dict, repr=False)

    @property
    def source(self) -> str | None:
        """The dataset or folder that was embedded, as the embeddings say."""
        return (self.found.meta or {}).get("data")

    def answer(
        self,
        query: dict[str, Any],
        find: str | None = None,
        k: int = 10,
        plus: Sequence[dict[str, Any]] = (),
        minus: Sequence[dict[str, Any]] = (),
    ) -> list[Answer]:
        """The k nearest rows to a query, best first.

        Args:
            query: an input's name and its text or the path of its file, `{"text": sentence}`.
            find: the input to look for; by default another one than the query's, where the gallery has it. With `plus` or
                `minus` the query's own: such as pictures like this one, but blue.
            plus, minus: queries whose vectors are added to the query's and taken from it.

        Raises:
            UserError: the query's file cannot be read, a vector is not finite, nothing of that input is there, or queries are
                added of a model that compares several vectors of each.
        """
        name, asked = self.asked(query)
        vector = self._vector(query)
        if plus or minus:
            vector = self._sum(vector, [self._vector(one) for one in plus], [self._vector(one) for one in minus])
            asked = "".join(
                [asked, *(f" + {self.asked(one)[1]}" for one in plus), *(f" - {self.asked(one)[1]}" for one in minus)]
            )
        own = bool(plus or minus) and name in {str(m) for m in self.found.modality}
        wanted = find or (name if own and not self._said(name) else self._other(name))
        rows = self.found.rows(wanted, self.split)
        if not len(rows):
            there = ", ".join(sorted({str(m) for m in self.found.modality}))
            raise UserError(f"no {wanted} rows to find", str(self.found.path), f"it has: {there}")
        try:
            best = self._best(vector, k, rows)
        except UserError as e:
            e.where = str(self.found.path)
            raise
        return [self._answer(asked, n, row, score) for n, (row, score) in enumerate(best, 1)]

    def cut_off(self, query: dict[str, Any]) -> str:
        """What is to be said of a text that is longer than the model reads; nothing of any other query."""
        name, asked = self.asked(query)
        return cut_off(self.model, [asked], name) if self._said(name) else ""

    def _vector(self, query: dict[str, Any]) -> np.ndarray | Ragged:
        """How a query stands in the shared space."""
        name, asked = self.asked(query)
        return embed_texts(self.model, [asked], name) if self._said(name) else embed_file(self.model, name, asked)

    def _sum(self, vector: Any, plus: Sequence[Any], minus: Sequence[Any]) -> np.ndarray:
        """Normalised as vectors are."""
        if isinstance(vector, Ragged):
            raise UserError("a model that compares several vectors of an item adds no queries", self.model.name, "--model RUN")
        total = vector + sum(plus) - sum(minus)
        return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), vector.dtype)

    def _best(self, vector: np.ndarray | Ragged, k: int, rows: np.ndarray) -> list[tuple[int, float]]:
        if not isinstance(vector, Ragged):
            return top(vector[0], self.found.vectors, k, rows)
        if self.found.tokens is None:
            raise UserError("these embeddings have one vector an item, the model compares several", hint="`mmkit embed` again")
        return top_late(vector[0], self.found.tokens, k, rows)

    def asked(self, query: dict[str, Any]) -> tuple[str, str]:
        """The input that a query is of, and what it says.

        Raises:
            UserError: the model has no such input.
        """
        names = self.model.embedded
        for key, value in query.items():
            name = input_called(self.model, key)
            if key in MODALITIES and not name:
                # a suffix may be of several modalities: a GIF is a picture or a video
                name = called_as(self.model, names, str(value))
            if name:
                return name, value
            if key != "id":
                hint = f"it was trained on: {', '.join(names)}"
                if likely := readable_as(self.model, names, str(value)):
                    hint = f"{' or '.join(f'{name}={value}' for name in likely)}   says which input it is of; {hint}"
                raise UserError(f"the model has no {key} encoder", self.model.name, hint)
        raise UserError("the query is of no input of the model", self.model.name, f"it was trained on: {', '.join(names)}")

    def _said(self, name: str) -> bool:
        return self.model.config.is_language(name)

    def kind(self, name: str) -> str:
        """The modality of an input."""
        return str(self.model.inputs[name].modality) if name in self.model.inputs else name

    def pictures(self, answers: Sequence[Answer]) -> dict[Answer, Held]:
        """The images and what else can be shown among the answers, as files or as they are stored; those that are gone are left
        out."""
        wanted = defaultdict(list)
        for answer in answers:
            if is_shown(self.kind(answer.modality)):
                wanted[answer.split, answer.modality].append(answer)
        found: dict[Answer, Held] = {}
        for (split, name), images in wanted.items():
            ids = {answer.id for answer in images}
            held = of_source(self.source, ids, name, split, self._column(name))[1] if self.source else {}
            found |= {answer: held[answer.id] for answer in images if answer.id in held}
        return found

    def _column(self, name: str) -> str | None:
        """That an input was trained on."""
        return self.model.inputs[name].column if name in self.model.inputs else None

    def caption(self, answer: Answer) -> str | None:
        """The first text of the sample, for people to recognise an image by."""
        same = (self.found.ids == answer.id) & (self.found.text != None)  # noqa: E711  an array of texts and None
        rows = [row for row in np.flatnonzero(same).tolist() if self._split(row) == answer.split]
        return self.found.text[rows[0]] if len(rows) else None

    def _other(self, name: str) -> str:
        """What is looked for: another input, one of no words for words."""
        there = {str(m) for m in self.found.modality}
        others = [other for other in self.model.embedded if other in there and other != name]
        others.sort(key=lambda other: self._said(other) == self._said(name))
        return others[0] if others else name

    def _answer(self, asked: str, n: int, row: int, score: float) -> Answer:
        name = self.found.modality[row]
        path = self._path(row) if self.found.text[row] is None else None
        return Answer(asked, n, round(score, 6), self.found.ids[row], name, self.found.text[row], path, self._split(row))

    def _path(self, row: int) -> str | None:
        """The file of an image or a sound, if it is still there."""
        id = self.found.ids[row]
        if (self.found.meta or {}).get("folder"):
            path = Path(self.source or "", id)
            return str(path) if path.is_file() else None
        name = self.found.modality[row]
        if MODALITIES.get(self.kind(name)) not in of_files():
            return None
        found = self._data.original(self._paths(name).get((self._split(row), id))) if self._data else None
        return str(found) if found else None

    def _split(self, row: int) -> str | None:
        return self.found.split[row] or self.split

    @cached_property
    def _data(self) -> Dataset | None:
        """The dataset that was embedded, if it is still there."""
        return open_dataset(self.source) if self.source and (Path(self.source) / MANIFEST).is_file() else None

    def _paths(self, name: str) -> dict[tuple[str | None, str], str]:
        """(split, id) -> where the file of that input came from, as its row says."""
        assert self._data
        if name not in self._origins:
            column, _ = column_of(self._data, name, self._column(name)) or ("", "")
            rows = self._data.rows(self.split, ["id", f"{column}.path"]) if column else ()
            found = {(row["split"], row["id"]): path for row in rows if (path := (row.get(column) or {}).get("path"))}
            self._origins[name] = found
        return self._origins[name]


def open_gallery(where: str, model: Model, split: str | None = None, pace: Pace | None = None) -> Gallery:
    """Open a dataset folder, an embeddings file or a folder of images; what is not embedded yet is embedded first.

    Raises:
        UserError: it is none of these, or the embeddings were made by another model.
    """
    path = Path(where)
    if path.is_file() or path.suffix in SUFFIXES:
        return _of_file(path, model, split)
    plain = path.is_dir() and not (path / MANIFEST).exists()
    if plain and any(files_in(path, suffixes(model, name)) for name in model.embedded):
        if split:
            raise UserError("a plain folder of files has no splits", where, "leave --split out")
        found = read_embeddings(embed_folder(model, path, pace=pace))
        return Gallery(model, found, note=_unreadable((found.meta or {}).get("unreadable", [])))
    if "://" not in where and not path.exists():
        raise UserError("nothing to search there", where, "name a dataset folder, an embeddings file or a folder of pictures")
    data = open_dataset(where)
    return Gallery(model, read_embeddings(embed_dataset(model, data, split, pace=pace)))


def _of_file(path: Path, model: Model, split: str | None) -> Gallery:
    found = read_embeddings(path)
    there = {name for name in found.split if name is not None}
    if split:
        typed, split = split, find_split(split, there)
        if split is None:
            raise UserError(f"no split {typed!r}", str(path), f"splits: {', '.join(sorted(there)) or 'none'}")
    maker = found.meta or {}
    if not maker.get("model_hash"):
        return Gallery(model, found, split, f"{path} does not say which model made it; taken as it is")
    if maker["model_hash"] != model.hash:
        name = maker.get("model") or "another model"
        raise UserError(f"these embeddings were made by {name}, the query by {model.name}", str(path), f"--model {name}")
    if maker.get("preprocessing_hash", model.made_of_hash) != model.made_of_hash:
        raise UserError(
            f"{model.name} prepared pictures or texts otherwise when it made these embeddings", str(path), "`mmkit embed` again"
        )
    return Gallery(model, found, split)


def _unreadable(names: Sequence[str]) -> str:
    """What is said of the files of a folder that are left out."""
    if not names:
        return ""
    what = "1 file" if len(names) == 1 else f"{len(names):,} files"
    return f"{what} could not be read: {', '.join(names[:NAMED])}{' …' if len(names) > NAMED else ''}"
