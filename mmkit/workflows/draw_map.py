"""A map in the form that a file's suffix, or a terminal, asks for."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from mmkit.data.pictures import of_source, shown, shown_of
from mmkit.errors import UserError
from mmkit.space import coordinates
from mmkit.views import fonts, style, target
from mmkit.views.groups import Groups
from mmkit.workflows.maps import Map, method_name

FORMATS = (*style.FORMATS, *coordinates.FORMATS)


def check_target(out: str, force: bool) -> None:
    """Refuse a path that a map cannot be written to, before any work is done.

    Raises:
        UsageError: another suffix.
        UserError: it is a folder, or without `force` a file that mmkit did not write.
    """
    if out == "-":
        return
    if Path(out).suffix.lower() in coordinates.FORMATS:
        coordinates.check_target(out, force=force)
    else:
        style.check_suffix(out, FORMATS)
        target.check_target(out, style.FORMATS, force)


def write(made: Map, out: str, by: str | None = None, lines: bool = True, thumbnails: int = 2000) -> list[str]:
    """Write a map to `out`: a figure, a page or a table of coordinates by suffix; `-` is CSV on stdout.

    Args:
        by: what it is coloured by, one of `COLOURINGS`.
        lines: joins what belongs together, in a figure.
        thumbnails: of at most so many pictures, in a page.

    Returns:
        What the user should know of it.

    Raises:
        UserError: no row has what it is to be coloured by.
    """
    suffix = Path(out).suffix.lower()
    if out == "-" or suffix in coordinates.FORMATS:
        named = made.cluster if by in (None, "cluster") else None
        coordinates.write_coordinates(out, coordinates.table_of(made.found, made.points, named, made.settings))
        return []
    if suffix == ".html":
        return _page(made, out, by, thumbnails)
    from mmkit.views.scatter import space_map

    groups = made.colouring(by)
    note = "\n".join([f"{method_name(made)}, {len(made.points):,} points, by {groups.by}", *made.facts()])
    figure = space_map(made.points, groups, made.modality, made.pairs if lines else made.pairs[:0], note=note, ground=made.ground)
    style.save(figure, out)
    return fonts.lacking(groups.names)


def keep(made: Map, path: str) -> None:
    """Write the map with its vectors, so that others can be placed on it."""
    coordinates.write_coordinates(path, coordinates.table_of(made.found, made.points, made.cluster, made.settings, vectors=True))


def screen(made: Map, by: str | None, columns: int, lines: int, colour: bool) -> list[str]:
    """The map in lines of a terminal."""
    from mmkit.views.braille import plot

    groups = made.colouring(by)
    title = f"{method_name(made)}, {len(made.points):,} points, by {groups.by}"
    return [title, *plot(made.points, groups, columns, lines, colour, made.ground)]


def _page(made: Map, out: str, by: str | None, thumbnails: int) -> list[str]:
    from mmkit.views.map_page import MapPage, write_map

    first = made.colouring(by)
    pictures, all_pictures = _thumbnails(made, thumbnails)
    page = MapPage(
        title=f"{_name(made)}: a map of {len(made.points):,} points",
        points=made.points,
        groups=_first(first, made.colourings()),
        ids=made.found.ids.tolist(),
        modality=made.modality.tolist(),
        split=made.found.split.tolist(),
        label=made.found.label.tolist(),
        captions=[texts[0] if texts else "" for texts in made.captions],
        pairs=made.pairs,
        pictures=pictures,
        ground=made.ground,
        facts=[method_name(made), *made.facts()],
    )
    write_map(page, out)
    some = 0 < len(pictures) < all_pictures and thumbnails
    return [f"thumbnails of {len(pictures):,} of {all_pictures:,} pictures (--thumbnails N for more)"] if some else []


def _first(first: Groups, others: list[Groups]) -> list[Groups]:
    return [first, *(one for one in others if one.by != first.by)]


def _name(made: Map) -> str:
    return (made.found.meta or {}).get("data_name") or made.found.path.stem


def _thumbnails(made: Map, most: int) -> tuple[dict[int, bytes], int]:
    """row -> small JPEG, evenly spaced over the rows of which there is a picture, and how many of these there are."""
    from mmkit.views.map_page import thumbnail

    meta = made.found.meta or {}
    source, columns = meta.get("data"), meta.get("columns", {})
    rows = np.flatnonzero(np.isin(made.found.modality, shown_of(source, np.unique(made.found.modality).tolist(), columns)))
    if not source or not most or not len(rows):
        return {}, len(rows)
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
    wanted: dict[Any, dict[str, int]] = defaultdict(dict)
    for row in chosen.tolist():
        wanted[made.found.split[row], made.found.modality[row]][made.found.ids[row]] = row
    found: dict[int, bytes] = {}
    for (split, name), ids in wanted.items():
        try:
            modality, stored = of_source(source, ids, name, split, columns.get(name))
        except UserError:  # the dataset has moved or is another one now: the map itself needs none of it
            continue
        found |= {ids[id]: thumbnail(shown(modality, held)) for id, held in stored.items()}
    return found, len(rows)
