"""Which columns of a stranger's table hold the pictures and the captions: as typed, by name, and by what is in them."""

from __future__ import annotations

from typing import Any

from mmkit.data.cells import has_words, is_image, is_text, texts_of
from mmkit.data.tables import Table
from mmkit.errors import UserError

# lower-case names of columns, the most telling first
IMAGE_NAMES = (
    *("image", "image_path", "image_file", "image_name", "path", "file_path", "filepath", "file_name", "filename", "file"),
    *("img", "img_path", "picture", "photo", "jpg", "png", "url", "image_id", "img_id", "imageid", "photo_id", "picture_id"),
)
CAPTION_NAMES = (
    *("captions", "caption", "texts", "text", "sentences", "sentence", "descriptions", "description", "title"),
    *("alt_text", "alt", "raw", "comment", "prompt", "name", "product_name"),
)
# of these names the column is what it says, whatever its values look like
SURELY_IMAGE, SURELY_CAPTION = ("image",), ("captions", "caption")


def chosen(name: str | None, option: str, table: Table, sample: list[dict[str, Any]]) -> str | None:
    """A column as typed; `names.zh` is a key of the objects in `names`, `1` is `column 1` of a table without header."""
    if name is None or name in table.columns:
        return name
    if f"column {name}" in table.columns:
        return f"column {name}"
    if "." in name and any(value_of(row, name) is not None for row in sample):
        return name
    raise UserError(f"no column {name!r}", f"{option} {name} of {table.path}", f"columns: {', '.join(table.columns)}")


def value_of(row: dict[str, Any], column: str) -> Any:
    """What a row has in a column, or under a key such as `names.zh`; None where there is none."""
    if column in row:
        return row[column]
    first, _, rest = column.partition(".")
    inner = row.get(first)
    return inner.get(rest) if isinstance(inner, dict) else None


def image_column(table: Table, sample: list[dict[str, Any]]) -> str:
    """The column that holds the pictures.

    Raises:
        UserError: there is none; the columns are named.
    """
    found = _sure(sample, table.columns, SURELY_IMAGE)
    holding = [name for name in table.columns if _share(sample, name, is_image) > 0.5]
    found = found or sorted(holding, key=lambda name: _rank(name, IMAGE_NAMES))
    # a name is enough where the values do not tell: paths without a suffix, or a column that the first rows leave blank
    named = [name for name in table.columns if name.lower() in IMAGE_NAMES]
    found = found or sorted(named, key=lambda name: _rank(name, IMAGE_NAMES))
    if not found:
        raise UserError(
            "no image column found", str(table.path), f"name it with --image-column; columns: {', '.join(table.columns)}"
        )
    return found[0]


def caption_column(table: Table, sample: list[dict[str, Any]], image: str) -> str:
    """The column that holds the captions of the pictures in column `image`.

    Raises:
        UserError: there is none; the columns are named.
    """
    free = [name for name in table.columns if name not in (image, "id", "split", "label")]
    others = [name for name in free if _share(sample, name, is_text) > 0.5]
    found = _sure(sample, free, SURELY_CAPTION)
    usual = [name for name in others if name.lower() in CAPTION_NAMES]
    found = found or sorted(usual, key=lambda name: _rank(name, CAPTION_NAMES))
    # one that the first rows leave blank may be filled below
    found = found or [name for name in free if name.lower() in SURELY_CAPTION]
    # no usual name: the column with the longest texts that are sentences rather than paths or codes
    found = found or sorted((n for n in others if _share(sample, n, has_words) > 0.5), key=lambda n: -_length(sample, n))
    # a single column of text is what there is, whatever its name
    found = found or (others if len(others) == 1 else [])
    if not found:
        raise UserError(
            "no caption column found", str(table.path), f"name it with --caption-column; columns: {', '.join(table.columns)}"
        )
    return found[0]


def _filled(sample: list[dict[str, Any]], name: str) -> bool:
    return any(row.get(name) not in (None, "") for row in sample)


def _sure(sample: list[dict[str, Any]], columns: list[str], names: tuple[str, ...]) -> list[str]:
    found = [name for name in columns if name.lower() in names and _filled(sample, name)]
    return sorted(found, key=lambda name: _rank(name, names))


def _rank(name: str, names: tuple[str, ...]) -> int:
    return names.index(name.lower()) if name.lower() in names else len(names)


def _share(sample: list[dict[str, Any]], name: str, test: Any) -> float:
    values = [value for row in sample if (value := row.get(name)) not in (None, "")]
    return sum(map(test, values)) / len(values) if values else 0.0


def _length(sample: list[dict[str, Any]], name: str) -> float:
    texts = [text for row in sample for text in texts_of(row.get(name))]
    return sum(map(len, texts)) / max(1, len(texts))
