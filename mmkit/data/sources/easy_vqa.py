"""easy-VQA: drawn shapes and questions about them, as github.com/vzhou842/easy-VQA lays them.

train/questions.json and test/questions.json hold [question, answer, number of the picture], train/images/0.png … the
pictures; the folder above them, or a clone of the repository, is --source. Official splits; a row is a picture with all of
its questions. The type of a question is yes/no, colour or shape.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

from mmkit.data.data_files import split_of
from mmkit.data.schema import Ask, Picture, Reject, Row, Source
from mmkit.data.walk import walk
from mmkit.errors import UserError
from mmkit.files import read_json

EXAMPLES = (
    "mmkit prep easy-vqa ./data --source ~/easy-VQA/easy_vqa/data",
    "mmkit prep easy-vqa ./data --source ~/easy-VQA --limit 1000",
)
LICENSE = "MIT"
LAYOUT = "train/questions.json, train/images/0.png … and the same in test/"
FILE = "questions.json"
DEPTH = 3  # folders from the root of a clone to those of the splits


def read(ask: Ask) -> Source:
    """The pictures that have questions, in the order of their numbers, train first.

    Raises:
        UserError: the layout is not there, or a file of questions is damaged.
    """
    root = ask.folder
    if not root.is_dir():
        raise UserError("no such folder", str(root), f"--source holds {LAYOUT}")
    found = [(split_of(folder / "_"), root / folder / FILE) for folder, names in walk(root, DEPTH) if FILE in names]
    files = sorted(((split, path) for split, path in found if split), key=lambda f: (f[0] != "train", *f))
    if not files:
        raise UserError("no easy-VQA found", str(root), f"looked for {LAYOUT}")
    splits = [split for split, _ in files]
    if len(set(splits)) < len(splits):
        places = ", ".join(str(path) for _, path in files)
        raise UserError(
            f"several easy-VQA found: {places}", str(root), f"--source {shlex.quote(str(files[0][1].parent.parent))}   reads one"
        )
    rows = [row for split, path in files for row in _rows(path, split)]
    asked = [len(row.values["questions"]) for row in rows if isinstance(row, Row)]
    note = f"{sum(asked):,} questions about {len(asked):,} pictures, official splits {', '.join(splits)}"
    return Source(rows, "." if ask.source is None else str(root), LICENSE, note)


def _rows(path: Path, split: str) -> list[Row | Reject]:
    content = read_json(path)
    if not isinstance(content, list):
        raise UserError("not the questions of easy-VQA: no list", str(path), f"looked for {LAYOUT}")
    rows: list[Row | Reject] = []
    asked: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for n, item in enumerate(content, 1):
        if flaw := _flaw(item):
            rows.append(Reject(f"{split} question {n}", f"{path} question {n}", flaw))
        else:
            question, answer, number = item
            asked[number].append((question.strip(), answer.strip()))
    return rows + [_row(path, split, number, asked[number]) for number in sorted(asked)]


def _row(path: Path, split: str, number: int, asked: list[tuple[str, str]]) -> Row | Reject:
    id, where = f"{split}-{number:05d}", f"{path} picture {number}"
    try:
        picture = Picture.file(path.parent / "images" / f"{number}.png")
    except OSError as e:
        reason = "missing file" if isinstance(e, FileNotFoundError) else f"cannot read the file ({e.strerror})"
        return Reject(id, where, f"{reason} images/{number}.png, of {len(asked):,} questions")
    questions = [
        {"id": f"{id}/{k}", "question": question, "answers": [answer], "type": type_of(question, answer)}
        for k, (question, answer) in enumerate(asked)
    ]
    return Row(id, {"image": picture, "questions": questions}, where, split)


def _flaw(item: Any) -> str:
    """Why an item is no question with its answer and the number of a picture."""
    if not isinstance(item, list) or len(item) != 3 or not isinstance(item[2], int):
        return f"not [question, answer, number of the picture]: {item!r:.80}"
    texts = zip(("question", "answer"), item, strict=False)
    blank = next((name for name, text in texts if not isinstance(text, str) or not text.strip()), "")
    return f"no {blank} in the item" if blank else ""


def type_of(question: str, answer: str) -> str:
    """What is asked for: `yes/no`, `colour` or `shape`.

    >>> type_of("what is the color of the triangle?", "red"), type_of("what is the red shape?", "circle")
    ('colour', 'shape')
    """
    if answer.lower() in ("yes", "no"):
        return "yes/no"
    return "colour" if "color" in question.lower() or "colour" in question.lower() else "shape"
