"""Region features that others have computed: bottom-up attention's TSV, and folders of one NPZ a picture (UNITER, LXMERT, MCAN).

N regions, F values of a feature, C classes of a detector
"""

from __future__ import annotations

import base64
import csv
import functools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmkit.errors import UserError

# bottom-up attention (arXiv:1707.07998) and LXMERT (arXiv:1908.07490) write their TSV without a header
TSV = {
    6: ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features"),
    10: (
        *("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf"),
        *("num_boxes", "boxes", "features"),
    ),
}
# what one thing is called in the files of others; `norm_bb` are shares of the picture, of seven values
CALLED = {
    "id": ("image_id", "img_id"),
    "width": ("image_w", "img_w"),
    "height": ("image_h", "img_h"),
    "boxes": ("boxes", "bbox", "norm_bb"),
    "features": ("features", "x"),
    "scores": ("conf", "scores", "objects_conf"),
    "soft_labels": ("soft_labels", "cls_prob"),
}
Read = Callable[[], dict[str, Any]]
_NUMBER = re.compile(r"(\d+)$")


class Files:
    """The regions of many pictures by the picture's name.

    Args:
        place: a folder of .npz, or a .tsv.

    Raises:
        UserError: there is nothing of that kind.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        if place.is_dir():
            self.paths = {path.stem: path for path in sorted(place.rglob("*.npz"))}
            self.read: dict[str, Read] = {name: functools.partial(_npz, path) for name, path in self.paths.items()}
        elif place.is_file():
            self.paths, self.read = {}, _lines(place)
        else:
            raise UserError("no such file or folder of region features", str(place), "--files takes a folder of .npz, or a .tsv")
        if not self.read:
            raise UserError("no region features", str(place), "--files takes a folder of .npz, or a .tsv")
        self.numbers: dict[int, list[str]] = {}
        for name in self.read:
            if found := _NUMBER.search(name):
                self.numbers.setdefault(int(found[1]), []).append(name)

    def stamp(self, name: str) -> str:
        """Changes when the file does that holds the regions of a name."""
        stat = self.paths.get(name, self.place).stat()
        return f"{name} {stat.st_size} {stat.st_mtime_ns}"

    def find(self, names: Iterable[str]) -> str | None:
        """The first name that a file or line has, else the one that ends with the same number: COCO_train2014_00009 is 9."""
        names = list(names)
        for name in names:
            if name in self.read:
                return name
        for name in names:
            found = self.numbers.get(int(number[1]), []) if (number := _NUMBER.search(name)) else []
            if len(found) == 1:
                return found[0]
        return None


def _npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as found:
            return _regions({name: found[name] for name in found.files}, str(path))
    except (OSError, ValueError) as e:
        raise UserError(f"the file of regions cannot be read ({str(e).splitlines()[0]})", str(path)) from e


def _lines(path: Path) -> dict[str, Read]:
    """Where the line of each picture begins, by its id."""
    found: dict[str, Read] = {}
    names: tuple[str, ...] = ()
    with open(path, "rb") as f:
        while True:
            start = f.tell()
            line = f.readline()
            if not line:
                return found
            cells = line.rstrip(b"\r\n").split(b"\t")
            if not names:
                header = tuple(cell.decode(errors="replace") for cell in cells)
                names = header if _name_of(header, "features") else TSV.get(len(cells), ())
                if not names:
                    known = " or ".join(map(str, TSV))
                    raise UserError(f"a table of {len(cells)} columns, not of {known}", str(path), "bottom-up attention's TSV")
                if names == header:
                    continue
            key = names.index(str(_name_of(names, "id")))
            if len(cells) != len(names):
                raise UserError(f"a line of {len(cells)} cells among lines of {len(names)}", f"{path} byte {start}")
            found[cells[key].decode(errors="replace")] = functools.partial(_line, path, start, names)


def _line(path: Path, start: int, names: tuple[str, ...]) -> dict[str, Any]:
    """The line of a TSV that begins at a byte; its arrays are float32 in base64."""
    with open(path, "rb") as f:
        f.seek(start)
        text = f.readline().decode(errors="replace").rstrip("\r\n")
    cells = dict(zip(names, next(csv.reader([text], delimiter="\t", quoting=csv.QUOTE_NONE)), strict=True))
    where = f"{path} byte {start}"
    try:
        n = int(cells["num_boxes"])
        values: dict[str, Any] = {}
        for name, shape in (("boxes", (n, 4)), ("features", (n, -1)), ("scores", (n,)), ("soft_labels", (n, -1))):
            if called := _name_of(names, name):
                values[called] = np.frombuffer(base64.b64decode(cells[called]), np.float32).reshape(shape)
        for name in ("width", "height"):
            if called := _name_of(names, name):
                values[called] = float(cells[called])
    except (KeyError, ValueError) as e:
        raise UserError(f"the line of regions cannot be read ({e})", where) from e
    return _regions(values, where)


def _name_of(names: Iterable[str], what: str) -> str | None:
    return next((name for name in CALLED[what] if name in names), None)


def _regions(found: dict[str, Any], where: str) -> dict[str, Any]:
    """{boxes, features, scores, soft_labels, width, height}, whatever they are called; width and height, of the picture that
    the boxes are in the pixels of, None where they are not said."""
    values = {what: found[name] for what in CALLED if (name := _name_of(found, what)) is not None}
    if "boxes" not in values or "features" not in values:
        raise UserError("the file holds no boxes and features", where, f"it holds: {', '.join(found)}")
    features, boxes = (np.asarray(values[name], np.float32) for name in ("features", "boxes"))
    if features.ndim == 2 and len(features) != len(boxes) == features.shape[1]:
        features = features.T  # MCAN's have the axes the other way round
    width, height = (None if values.get(name) is None else float(values[name]) for name in ("width", "height"))
    if "boxes" not in found and "bbox" not in found:
        width, height = width or 1.0, height or 1.0
        boxes = boxes[:, :4] * np.array([width, height] * 2, np.float32)
    scores, soft = values.get("scores"), values.get("soft_labels")
    return {
        "boxes": boxes[:, :4].tolist(),
        "features": list(features),
        "scores": None if scores is None else np.asarray(scores, np.float32).reshape(-1).tolist(),
        "soft_labels": None if soft is None else list(np.asarray(soft, np.float32)),
        "width": width,
        "height": height,
    }
