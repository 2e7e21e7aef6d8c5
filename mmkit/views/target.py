"""Where a figure may be written: what one of ours is known by, so that nothing else is replaced."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from PIL.PdfParser import encode_text

from mmkit.files import MAKER, check_output
from mmkit.views.style import check_suffix

JPEG = b"\xff\xfe" + (2 + len(MAKER)).to_bytes(2) + MAKER.encode()
# the bytes by which a file shows that it is ours; they stand near its beginning or its end
SIGNS = {
    ".png": [f"tEXtSoftware\0{MAKER}".encode()],
    ".jpg": [JPEG],
    ".jpeg": [JPEG],
    # of Pillow, and of matplotlib
    ".pdf": [b"/Creator (" + encode_text(MAKER) + b")", f"/Creator ({MAKER})".encode()],
    ".svg": [f"<dc:title>{MAKER}</dc:title>".encode()],
    ".html": [f'name="generator" content="{MAKER}"'.encode()],
}
SIGNED_WITHIN = 4096  # bytes


def check_target(path: str | Path, formats: Collection[str], force: bool = False) -> None:
    """Refuse a path that no figure can be written to, before any work is done.

    Raises:
        UsageError: its suffix is none of `formats`.
        UserError: it is a folder, or without `force` a file that mmkit did not write.
    """
    signs = SIGNS[check_suffix(path, formats)]
    check_output(path, lambda there: _is_signed(there, signs), force)


def _is_signed(path: Path, signs: Collection[bytes]) -> bool:
    with open(path, "rb") as f:
        head = f.read(SIGNED_WITHIN)
        f.seek(max(len(head), path.stat().st_size - SIGNED_WITHIN))
        ends = head + f.read()
    return any(sign in ends for sign in signs)
