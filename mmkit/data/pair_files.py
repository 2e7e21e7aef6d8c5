"""Benchmarks of pairs that differ in little, as their authors publish them: Winoground (arXiv:2204.03162) and SugarCrepe
(arXiv:2306.14610). Read as they are, with the pictures beside them; nothing is prepared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmkit.errors import UserError

SUFFIXES = (".json", ".jsonl", ".parquet")
FOUR = ("image_0", "image_1", "caption_0", "caption_1")  # Winoground
THREE = ("filename", "caption", "negative_caption")  # SugarCrepe
LAYOUT = "Winoground's examples.jsonl or parquet (image_0 …), or SugarCrepe's JSON files (filename …), with the pictures"


class Example(NamedTuple):
    """One or two pictures and two texts, of which text i is about picture i.

    Args:
        pictures: each a path, or the bytes of a file.
        subset: what it is counted by: the file of SugarCrepe, the tag of Winoground.
        where: file and number, for errors.
    """

    id: str
    pictures: tuple[Path | bytes, ...]
    texts: tuple[str, str]
    subset: str
    where: str


def read(path: Path, pictures: Path | None = None) -> list[Example]:
    """The examples of a file, or of all files of a folder.

    Args:
        pictures: the folder of the pictures, by default that of the files; they are found in its subfolders too.

    Raises:
        UserError: there is no such file, an example stands in two, or a picture or a field is missing.
    """
    if not path.exists():
        raise UserError("no such file or folder", str(path))
    folder = path if path.is_dir() else path.parent
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES)
    places = _places(pictures or folder)
    found: dict[tuple[bool, str, str], Example] = {}
    for file in files:
        for one in _of_file(file, places):
            key = (len(one.pictures) > 1, one.subset if len(one.pictures) == 1 else "", one.id)
            if key in found:
                raise UserError("an example stands there twice", f"{found[key].where} and {one.where}", f"--data {file}")
            found[key] = one
    if not found:
        raise UserError("no examples of pairs", str(path), f"expected: {LAYOUT}")
    return list(found.values())


def _places(folder: Path) -> dict[str, list[Path]]:
    """Name, with and without its suffix, -> the files that are called so."""
    if not folder.is_dir():
        raise UserError("no such folder of pictures", str(folder))
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix not in SUFFIXES and file.is_file():
            for name in {file.name, file.stem, str(file.relative_to(folder))}:
                found.setdefault(name, []).append(file)
    return found


def _of_file(file: Path, places: dict[str, list[Path]]) -> Iterator[Example]:
    """The examples of a file; none, where it is of something else."""
    for number, (id, row) in enumerate(_rows(file)):
        keys = next((keys for keys in (FOUR, THREE) if isinstance(row, dict) and all(key in row for key in keys)), None)
        if keys is None:
            if number:
                raise UserError(f"no {' and no '.join(key for key in FOUR if key not in row)}", f"{file} example {id}")
            return
        where = f"{file} example {id}"
        texts = tuple(row[key] for key in keys[-2:])
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise UserError("a caption is empty", where)
        shown = tuple(_picture(row[key], places, where) for key in keys[:-2])
        # of Winoground's two kinds of tags the one that its table 3 reports
        subset = str(row.get("collapsed_tag") or row.get("tag") or "") if keys is FOUR else file.stem
        yield Example(str(id), shown, (texts[0], texts[1]), subset, where)


def _rows(file: Path) -> Iterator[tuple[Any, Any]]:
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_table(file).to_pylist()
        yield from ((row.get("id", i), row) for i, row in enumerate(rows))
        return
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = json.loads(text)
    except ValueError as e:
        raise UserError(f"not valid JSON ({e})", str(file)) from e
    if isinstance(rows, dict):
        yield from rows.items()
    elif isinstance(rows, list):
        yield from ((row.get("id", i) if isinstance(row, dict) else i, row) for i, row in enumerate(rows))


def _picture(value: Any, places: dict[str, list[Path]], where: str) -> Path | bytes:
    """A picture by its name, or as datasets keep it: {bytes, path}."""
    if isinstance(value, dict) and value.get("bytes"):
        return bytes(value["bytes"])
    name = str(value.get("path") if isinstance(value, dict) else value)
    files = places.get(name) or places.get(Path(name).name) or []
    if len(files) != 1:
        what = f"{len(files)} pictures are called {name}" if files else f"no picture {name}"
        raise UserError(what, where, "--image-root FOLDER   is where the pictures are")
    return files[0]
