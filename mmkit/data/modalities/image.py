"""Pictures: encoded bytes, upright 8-bit RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROLE = COLUMN = "image"
FEATURE = {"_type": "Image"}
# the files that are looked for where a folder is searched
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".avif"}
NAMES = (
    *("image", "image_path", "image_file", "image_name", "path", "file_path", "filepath", "file_name", "filename", "file"),
    *("img", "img_path", "picture", "photo", "jpg", "png", "url", "image_id", "img_id", "imageid", "photo_id", "picture_id"),
)


def holds(value: Any) -> bool:
    """Bytes, the struct {bytes, path} that `datasets` writes, or the name of an image file."""
    if isinstance(value, str):
        return Path(value.split("?")[0].strip()).suffix.lower() in SUFFIXES
    return isinstance(value, bytes) or (isinstance(value, dict) and bool({"bytes", "path"} & value.keys()))


def store(raw: bytes, resize: int | None = None) -> dict[str, Any]:
    """The bytes of a picture as `prep` keeps them.

    Raises:
        UserError: it cannot be read.
    """
    from mmkit.data.images import treat

    return {"bytes": treat(raw, resize).data, "path": None}
