"""The rows of a prepared dataset with the features of regions of their pictures, for uniter.

--files takes what others have computed: a folder of one .npz a picture, or bottom-up attention's .tsv, found by the row's id or
the name of its picture. --detector takes a DETR of transformers. --encoder takes a run of yours or a checkpoint of an encoder
of pictures, and means its map over the row's own boxes or, with --grid, over those of a grid. All else of the rows is kept.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from mmkit import kinds
from mmkit.data.modalities import regions
from mmkit.data.schema import Ask, Later, Picture, Source
from mmkit.errors import UsageError, UserError

if TYPE_CHECKING:
    from mmkit.data.prepared import Rows
    from mmkit.data.region_files import Files

EXAMPLES = (
    "mmkit prep regions ./regions --source ./data --encoder runs/latest --grid 6",
    "mmkit prep regions ./regions --source ./data --files ~/bottom-up/trainval.tsv",
    "mmkit prep regions ./regions --source ./data --detector facebook/detr-resnet-50 --threshold 0.2",
)
# an option that names a model -> what it makes of a picture; imported when it is named
MADE_BY = {"detector": ("mmkit.regions.detector", "Detr"), "encoder": ("mmkit.regions.encoder", "OnMap")}
GUESSED = 36  # regions of a picture, for the size of shards

Make = Callable[[bytes, Any], dict[str, Any] | None]


def read(
    ask: Ask,
    *,
    files: Annotated[
        Path | None, Option("--files", metavar="FOLDER|TSV", help="Features that others have computed.", show_default=False)
    ] = None,
    detector: Annotated[
        str | None, Option("--detector", metavar="CKPT", help="A DETR of transformers, folder or hub id.", show_default=False)
    ] = None,
    encoder: Annotated[
        str | None,
        Option("--encoder", metavar="RUN|CKPT", help="A run, or an encoder of pictures of transformers.", show_default=False),
    ] = None,
    grid: Annotated[
        int | None,
        Option("--grid", metavar="N", min=1, max=32, help="With --encoder: N x N boxes.", show_default="the row's own boxes"),
    ] = None,
    threshold: Annotated[
        float, Option("--threshold", metavar="P", min=0, max=1, help="With --detector: surer than this, or of the 10 surest.")
    ] = 0.2,
    top: Annotated[int, Option("--top", metavar="N", min=1, help="With --detector: regions of a picture at most.")] = 100,
) -> Source:
    """The rows of the dataset in its order, each with regions that are made when its shard is written.

    Raises:
        UserError: there is no such dataset, it has no pictures, or what was named cannot be read.
    """
    named = [f"--{name}" for name, value in (("files", files), ("detector", detector), ("encoder", encoder)) if value]
    if len(named) != 1:
        what = f"{' and '.join(named)}: features come from one of them" if named else "nothing to take features from"
        raise UsageError(what, hint="--files FOLDER|TSV, --detector CKPT or --encoder RUN|CKPT")
    if ask.source is None or not ask.source.exists():
        raise UserError("no such dataset", str(ask.source or ask.out), "--source names a folder that `mmkit prep` made")
    from mmkit.data.prepared import Rows
    from mmkit.data.shards import open_dataset

    data = open_dataset(ask.source)
    rows = Rows(data)
    if files:
        from mmkit.data.region_files import Files

        note = _from_files(rows, Files(files.expanduser()), files)
    else:
        kind = "detector" if detector else "encoder"
        options = {"threshold": threshold, "top": top} if detector else {"grid": _grid(rows, grid)}
        note = _made(rows, kinds.load(MADE_BY[kind])(detector or encoder, **options), detector or encoder or "")
    facts = {"dataset": data.name, "data_hash": data.hash}
    return Source(rows.found, str(ask.source), data.manifest.get("license", "unknown"), f"{note}{rows.note}", facts)


def _grid(rows: Rows, grid: int | None) -> int | None:
    """As typed.

    Raises:
        UsageError: the rows have no boxes, and no grid is typed.
    """
    if grid is None and not any(row.values.get(regions.COLUMN) for row in rows.found):
        raise UsageError("the rows have no boxes of their own", rows.data.path, "--grid 6 takes those of a grid")
    return grid


def _made(rows: Rows, make: Any, name: str) -> str:
    """Let a model make the regions of each row; returns what is said of it."""
    for row in rows.found:
        own = row.values.get(regions.COLUMN)
        size = 4 * make.width * (len(own["boxes"]) if own else GUESSED)
        if row.picture:
            row.values[regions.COLUMN] = Later(functools.partial(_call, make, row.picture, own), size, f"{make.stamp} {own}")
    return f"{len(rows.found):,} rows of {rows.data.name}, regions of {name}, {make.width:,} values each"


def _call(make: Make, picture: Picture, own: dict[str, Any] | None) -> dict[str, Any] | None:
    """The regions of a picture."""
    found = make(picture.read(), own)
    return None if found is None else regions.store(found)


def _from_files(rows: Rows, files: Files, place: Path) -> str:
    """Give each row the regions of the file that is called like it.

    Raises:
        UserError: none is.
    """
    missing = []
    called = [
        [row.id, Path(row.id).stem, *([Path(path).stem] if path else [])]
        for row, path in zip(rows.found, rows.paths, strict=True)
    ]
    found = [files.find(names) for names in called]
    claims = Counter(found)
    for row, names, name in zip(rows.found, called, found, strict=True):
        row.values[regions.COLUMN] = None
        # a number that several rows end with says nothing of which one is meant
        if name is None or (name not in names and claims[name] > 1):
            missing.append(row.id)
            continue
        row.values[regions.COLUMN] = Later(functools.partial(_of_file, files.read[name]), 0, files.stamp(name))
    if len(missing) == len(rows.found):
        theirs = f"there: {next(iter(files.read))} …; in the dataset: {missing[0]} …"
        raise UserError("no row is called like any of the files of regions", str(place), theirs)
    said = f"; {len(missing):,} rows have none, e.g. {missing[0]}" if missing else ""
    return f"{len(rows.found):,} rows of {rows.data.name}, regions of {len(files.read):,} in {place.name}{said}"


def _of_file(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return regions.store(read())
