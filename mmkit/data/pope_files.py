"""Questions to which the answer is yes or no, as POPE publishes them (arXiv:2305.10355): a JSONL file of `image` (the name of a
picture), `text` and `label`. Read as they are, with the pictures beside them; nothing is prepared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from mmkit.errors import UserError

KEYS = ("image", "text", "label")
LINE = '{"question_id": 1, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "yes"}'
LABELS = {"yes": True, "no": False}


class Question(NamedTuple):
    """A question about a picture, and whether yes is true."""

    id: str
    picture: Path
    text: str
    label: bool


def read(path: Path, pictures: Path | None = None) -> list[Question]:
    """The questions of a file.

    Args:
        pictures: the folder of the pictures, by default that of the file; they are found in its subfolders too.

    Raises:
        UserError: a line is no such question, or its picture is not there.
    """
    if not path.is_file():
        raise UserError("no such file of questions", str(path), f"lines of {LINE}")
    folder = pictures or path.parent
    if not folder.is_dir():
        raise UserError("no such folder of pictures", str(folder))
    found: list[Question] = []
    elsewhere: dict[str, Path] | None = None
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path} line {number}"
            row = _row(line, where)
            picture = folder / row["image"]
            if not picture.is_file():
                if elsewhere is None:  # a walk through a large folder is for those who need it
                    elsewhere = {file.name: file for file in sorted(folder.rglob("*")) if file.is_file()}
                picture = elsewhere.get(Path(row["image"]).name, picture)
            if not picture.is_file():
                raise UserError(f"no picture {row['image']} in {folder}", where, "--image-root FOLDER")
            found.append(Question(str(row.get("question_id", number)), picture, row["text"], LABELS[row["label"]]))
    if not found:
        raise UserError("no questions", str(path), f"lines of {LINE}")
    return found


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as e:
        raise UserError(f"not valid JSON ({e})", where, LINE) from e
    lacking = [key for key in KEYS if not isinstance(row, dict) or not isinstance(row.get(key), str) or not row[key].strip()]
    if lacking:
        raise UserError(f"no {' and no '.join(lacking)}", where, LINE)
    row["label"] = row["label"].strip().lower()
    if row["label"] not in LABELS:
        raise UserError(f"the label {row['label']!r} is neither yes nor no", where, LINE)
    return dict(row)
