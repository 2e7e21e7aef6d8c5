"""Files of questions about pictures: the official ones of VQA, and lists as VizWiz, LAVIS and tools of one's own write them."""

from __future__ import annotations

import functools
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit.data.cells import text_of
from mmkit.data.data_files import split_of
from mmkit.data.photos import json_in, open_zip
from mmkit.data.sources.coco_captions import OTHER, json_files
from mmkit.errors import UserError
from mmkit.files import read_json

# v2_OpenEnded_mscoco_train2014_questions.json, v2_mscoco_train2014_annotations.json; v1 without v2_, and of drawn scenes
# abstract_v002; test-dev is a part of test
NAME = re.compile(
    r"(?P<version>v\d_|)(?P<task>OpenEnded_|MultipleChoice_|)(?P<data>mscoco|abstract_v\d+)_"
    r"(?P<subset>(?P<split>train|val|test)(?P<part>-\w+|)(?P<year>\d{4}))_(?P<kind>questions|annotations)\.json"
)
PACKED = re.compile(r"(v\d_)?(Questions|Annotations)_\w+\.zip", re.IGNORECASE)
SUFFIX = {"mscoco": "COCO_{subset}_{id:012d}.jpg"}
DRAWN = "{data}_{subset}_{id:012d}.png"
PROBED = 20  # files of other names that are looked into
IMAGE = ("image", "image_path", "image_name", "file_name", "filename", "image_id", "img_id")
ANSWER = ("answers", "answer", "label")
TYPE = ("answer_type", "type", "question_type")
ID = ("question_id", "qid", "id", "sent_id")

Load = Callable[[], Any]


@dataclass(slots=True)
class Photo:
    """A photo that is asked about.

    Args:
        name: what its file is called.
        questions: {id, question, answers, type} of each.
    """

    id: str
    name: str
    questions: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Asked:
    """What one file of questions says.

    Args:
        where: its path; inside a zip, that of the zip and its own.
        split: what its name says.
        photos: in the order of their ids.
        flaws: (id, place in the file, why) of what is no question.
    """

    where: str
    split: str | None
    photos: list[Photo]
    flaws: list[tuple[str, str, str]]


def asked(root: Path, say: Callable[[str], None]) -> list[Asked]:
    """What the files of questions below a folder say: the official ones of the latest release, else lists of questions.

    Raises:
        UserError: a file is damaged.
    """
    released = _released(root)
    if not released:
        return [found for path in _unofficial(root) if (found := _list(path, split_of(path.relative_to(root))))]
    # photos before drawn scenes, the latest version, questions without choices
    release = max(released, key=lambda key: (key[0] == "mscoco", key[1]))
    for data, version in sorted(released.keys() - {release}):
        say(f"{version.strip('_') or 'v1'} of {data} is there, too, and not read")
    return list(_read(released[release], say))


@dataclass(frozen=True, slots=True)
class _File:
    match: re.Match[str]
    where: str
    load: Load


def _released(root: Path) -> dict[tuple[str, str], list[_File]]:
    """(data, version) -> the official files of questions and annotations; files before zips."""
    found: dict[str, _File] = {}
    for path in json_files(root):
        if match := NAME.fullmatch(path.name):
            found.setdefault(path.name, _File(match, str(path), functools.partial(read_json, path, _lean)))
    for archive in sorted(path for path in root.glob("*.zip") if PACKED.fullmatch(path.name)):
        for name in open_zip(archive).namelist():
            if match := NAME.fullmatch(name.rpartition("/")[2]):
                load = functools.partial(json_in, archive, name, _lean)
                found.setdefault(match[0], _File(match, f"{archive}/{name}", load))
    groups: dict[tuple[str, str], list[_File]] = defaultdict(list)
    for file in found.values():
        groups[file.match["data"], file.match["version"]].append(file)
    return {key: files for key, files in groups.items() if any(file.match["kind"] == "questions" for file in files)}


def _read(files: list[_File], say: Callable[[str], None]) -> Iterator[Asked]:
    """Each subset of one release: train, val, test."""
    questions: dict[str, _File] = {}
    for file in sorted(files, key=lambda file: file.match["task"] != "OpenEnded_"):
        if file.match["kind"] == "questions":
            questions.setdefault(file.match["subset"], file)
    whole = {file.match["split"] for file in questions.values() if not file.match["part"]}
    for subset, file in sorted(questions.items()):
        split = file.match["split"]
        if file.match["part"] and split in whole:
            say(f"{file.where} is not read: its questions are a part of those of {split}")
            continue
        own = [f for f in files if f.match["kind"] == "annotations" and f.match["subset"] == subset]
        if not own and split != "test":
            say(f"no annotations of {subset} are there: its questions have no answers")
        yield _asked(file, {k: v for f in own for k, v in _annotations(f).items()}, split)


def _annotations(file: _File) -> dict[str, dict[str, Any]]:
    """question id -> {answers, type}"""
    try:
        return {
            text_of(one["question_id"]): {"answers": _answers(one), "type": _first(one, TYPE)}
            for one in file.load()["annotations"]
        }
    except (KeyError, TypeError, AttributeError) as e:
        raise UserError(f"not the annotations of VQA (no {e})", file.where) from e


def _asked(file: _File, annotations: dict[str, dict[str, Any]], split: str) -> Asked:
    facts = file.match.groupdict()
    # the photos of test-dev2015 are some of those of test2015
    subset = f"{facts['split']}{facts['year']}"
    form = SUFFIX.get(facts["data"], DRAWN)
    found = _Collected(file.where, split)
    try:
        for n, one in enumerate(file.load()["questions"], 1):
            number = one["image_id"]
            if isinstance(number, bool) or not isinstance(number, int):
                found.flaws.append((f"question {n}", f"question {n}", f"the id of its image is no number: {number!r}"))
                continue
            name = form.format(data=facts["data"], subset=subset, id=number)
            answered = annotations.get(text_of(one["question_id"]), {"answers": [], "type": None})
            found.add(n, f"{number:012d}", name, one | answered)
    except (KeyError, TypeError, AttributeError) as e:
        raise UserError(f"not the questions of VQA (no {e})", file.where) from e
    return found.all()


def _unofficial(root: Path) -> list[Path]:
    """JSON files that may be lists of questions."""
    return [path for path in json_files(root) if not path.name.startswith((*OTHER, "captions"))][:PROBED]


def _list(path: Path, split: str | None) -> Asked | None:
    """A file that is a list of objects, each with a question and the name of its image; None of another one.

    Raises:
        UserError: it is called like one and is not JSON.
    """
    try:
        content = read_json(path, _lean)
    except UserError:
        if any(word in path.name.lower() for word in ("question", "vqa")):
            raise
        return None  # something else of that suffix
    if isinstance(content, dict):
        content = next((content[key] for key in ("questions", "data", "annotations") if isinstance(content.get(key), list)), None)
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, dict) or "question" not in first or _first(first, IMAGE) is None:
        return None
    found = _Collected(str(path), split)
    for n, one in enumerate(content, 1):
        name = text_of(_first(one, IMAGE)).strip() if isinstance(one, dict) else ""
        if name:
            found.add(n, name, name, one | {"answers": _answers(one), "type": _first(one, TYPE)})
        else:
            found.flaws.append((f"question {n}", f"question {n}", "no image in it"))
    return found.all()


class _Collected:
    """Questions by photo."""

    def __init__(self, where: str, split: str | None) -> None:
        self.where, self.split = where, split
        self.photos: dict[str, Photo] = {}
        self.flaws: list[tuple[str, str, str]] = []
        self.seen: set[str] = set()

    def add(self, n: int, row: str, name: str, one: dict[str, Any]) -> None:
        """Question `n` of the file, about the photo called so."""
        id, found = text_of(_first(one, ID)) or f"{row}/{n}", one.get("question")
        question = found.strip() if isinstance(found, str) else ""
        flaw = "" if question else "no question in it"
        if flaw or id in self.seen:
            self.flaws.append((id, f"question {n}", flaw or f"the id {id} belongs to another question"))
            return
        self.seen.add(id)
        kind = one["type"]
        said = {"id": id, "question": question, "answers": one["answers"], "type": sys.intern(text_of(kind)) or None}
        self.photos.setdefault(row, Photo(row, name)).questions.append(said)

    def all(self) -> Asked:
        return Asked(self.where, self.split, [self.photos[row] for row in sorted(self.photos)], self.flaws)


def _answers(one: dict[str, Any]) -> list[str]:
    """The answers of all annotators, else the one that the file has."""
    found = _first(one, ANSWER)
    found = one.get("multiple_choice_answer") if found is None else found
    texts = map(text_of, found if isinstance(found, list) else [found])
    return [sys.intern(text.strip()) for text in texts if text.strip()]


def _lean(one: dict[str, Any]) -> Any:
    """An annotator's answer as its text alone: VQA 2 has four million of them in one file."""
    return (
        sys.intern(str(one["answer"]))
        if "answer" in one and not one.keys() - {"answer", "answer_confidence", "answer_id"}
        else one
    )


def _first(one: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((one[key] for key in keys if one.get(key) is not None), None)
