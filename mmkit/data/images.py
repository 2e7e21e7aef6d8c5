"""Pictures from strangers: opened safely, brought to 8-bit RGB, and stored untouched where nothing has to change."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from mmkit.data.modalities.image import SUFFIXES as SUFFIXES
from mmkit.errors import UserError

GREY = (128, 128, 128)
KEPT_FORMATS = {"JPEG", "MPO", "PNG", "WEBP"}
# Pillow's own default, 89 million pixels: 256 MB as RGB
MAX_PIXELS = 89_478_485
ORIENTATION = 0x0112
BITS_PER_SAMPLE = 258
# the orientations that exchange width and height
ARRAY = b"\x93NUMPY"  # how an NPY file begins
SIDEWAYS = (5, 6, 7, 8)
QUALITY = 95
# with fewer levels than this, of 256, a picture shows little beyond the noise of 8 bits
FLAT = 16

# Pillow only warns up to twice its limit; a picture this large is an error here
warnings.simplefilter("error", Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Treated:
    """A picture as it is stored.

    Args:
        data: encoded bytes that decode to RGB.
        size: (width, height) in pixels as stored.
        scale: (x, y) factors from the pixels of the upright original, for boxes.
    """

    data: bytes
    size: tuple[int, int]
    scale: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture shows at a glance.

    Args:
        size: (width, height) in pixels, upright.
        levels: of 256, from the darkest to the brightest value of the channel that has most; 1 if it is of one colour.
    """

    size: tuple[int, int]
    levels: int


def load_rgb(source: bytes | str | Path) -> Image.Image:
    """A picture as 8-bit RGB (W, H), upright, treated as `mmkit prep` treats it.

    Raises:
        UserError: the file is missing, is not an image, is truncated or is a decompression bomb.
    """
    where = "" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read(Path(source))
    return _upright_rgb(_open(data, where), data, where)


def load_cell(value: dict[str, Any]) -> Image.Image:
    """A picture as a dataset holds it, {bytes, path}: as `load_rgb`."""
    return load_rgb(value["bytes"] if value.get("bytes") else value["path"])


def bytes_of(value: dict[str, Any] | None) -> bytes:
    """The encoded bytes of a picture as a dataset holds it, {bytes, path}: those in the row, else of the file at the path.

    Raises:
        UserError: there is neither.
        OSError: the file cannot be read.
    """
    if not value or (value["bytes"] is None and not value["path"]):
        raise UserError("a row without a picture")
    return value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()


def treat(data: bytes, resize: int | None = None) -> Treated:
    """Bring encoded bytes to RGB; they come back untouched if they are that already.

    Args:
        resize: the short side in pixels that larger pictures are shrunk to.

    Raises:
        UserError: what is wrong with the picture.
    """
    image = _open(data, "")
    keep = _is_plain(image, data)
    lossless = _is_lossless(image, data)
    rgb = _upright_rgb(image, data, "")
    upright = rgb.size
    if resize and min(upright) > resize:
        rgb = rgb.resize(_shrunk(upright, resize), Image.Resampling.BICUBIC, reducing_gap=3.0)
        keep = False
    scale = (rgb.width / upright[0], rgb.height / upright[1])
    return Treated(data if keep else _encode(rgb, lossless), rgb.size, scale)


def look(data: bytes) -> Look:
    """Measure a picture as a model would see it.

    Raises:
        UserError: as `load_rgb`.
    """
    image = _open(data, "")
    size = image.size[::-1] if _orientation(image) in SIDEWAYS else image.size
    if image.format in ("JPEG", "MPO"):
        # an eighth of the size, of the means of 8 x 8 pixels, is decoded several times as fast, and its levels are no more
        image.draft(None, (image.width // 8, image.height // 8))
        levels = _levels(_upright_rgb(image, data, ""))
        if levels >= FLAT:
            return Look(size, levels)
        image = _open(data, "")
    return Look(size, _levels(_upright_rgb(image, data, "")))


def _levels(rgb: Image.Image) -> int:
    return 1 + max(high - low for low, high in rgb.getextrema())  # type: ignore[misc, operator]


def on_grey(image: Image.Image) -> Image.Image:
    """A picture with transparency as RGB, its alpha composed on grey."""
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (*GREY, 255)), rgba).convert("RGB")


def side_by_side(left: bytes, right: bytes) -> bytes:
    """Two pictures as one, the higher one shrunk to the height of the other; lossless where both are.

    Raises:
        UserError: what is wrong with one of them.
    """
    both = [_open(data, "") for data in (left, right)]
    lossless = all(_is_lossless(image, data) for image, data in zip(both, (left, right), strict=True))
    rgb = [_upright_rgb(image, data, "") for image, data in zip(both, (left, right), strict=True)]
    height = min(image.height for image in rgb)
    rgb = [image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.BICUBIC) for image in rgb]
    whole = Image.new("RGB", (sum(image.width for image in rgb), height))
    whole.paste(rgb[0], (0, 0))
    whole.paste(rgb[1], (rgb[0].width, 0))
    return _encode(whole, lossless)


def size_of(data: bytes) -> tuple[int, int]:
    """(width, height) from the header alone; of a stored picture, which is upright."""
    return _open(data, "").size


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError("no such image", str(path)) from None
    except OSError as e:
        raise UserError(f"cannot read the image ({e.strerror})", str(path)) from e


def _open(data: bytes, where: str) -> Image.Image:
    if not data:
        raise UserError("the image file is empty", where)
    try:
        image = Image.open(io.BytesIO(data)) if not data.startswith(ARRAY) else _of_array(data)
    except UnidentifiedImageError:
        raise UserError("not an image, or of a format that Pillow does not read", where) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _bomb(where) from None
    except Exception as e:  # Pillow's parsers raise whatever a damaged header leads them to
        raise _damage(e, where) from e
    if image.width * image.height > MAX_PIXELS:
        raise _bomb(where)
    return image


def _of_array(data: bytes) -> Image.Image:
    from mmkit.data import depth

    return depth.of_array(data)


def _bomb(where: str) -> UserError:
    return UserError(f"decompression bomb: more than {MAX_PIXELS:,} pixels", where, "shrink the picture first")


def _upright_rgb(image: Image.Image, data: bytes, where: str) -> Image.Image:
    try:
        if image.format == "TIFF":
            from mmkit.data import depth

            depth.mend_order(image)
        image.load()
        turn = _orientation(image)
        rgb = _to_rgb(image, data)
        if turn == 1:
            return rgb
        rgb.getexif()[ORIENTATION] = turn
        return ImageOps.exif_transpose(rgb)
    except Exception as e:  # as in _open; a truncated file is met here, while it is decoded
        raise _damage(e, where) from e


def _damage(e: Exception, where: str) -> UserError:
    reason = "truncated image" if "truncated" in str(e).lower() else "damaged image"
    return UserError(f"{reason} ({' '.join(str(e).split()) or type(e).__name__})", where)


def _to_rgb(image: Image.Image, data: bytes) -> Image.Image:
    # numpy is imported only where it is needed: the names of files are looked at by commands that decode nothing
    from mmkit.data import depth

    if depth.is_deep(image):
        # a plain convert("RGB") clips at 255: the picture turns white, or black
        return depth.grey_of(image).convert("RGB")
    if _is_16_bit(image, data):
        depth.restore_colours(image, data)
    if image.has_transparency_data:
        return on_grey(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing about the pixels, which may be fine
        return 1


def _is_plain(image: Image.Image, data: bytes) -> bool:
    plain = image.mode == "RGB" and image.format in KEPT_FORMATS and not image.has_transparency_data
    still = image.format == "MPO" or not getattr(image, "is_animated", False)
    return plain and still and _orientation(image) == 1 and not _is_16_bit(image, data)


def _is_16_bit(image: Image.Image, data: bytes) -> bool:
    """Its colours have 16 bits a channel, of which Pillow keeps the high ones; other readers would see all of them."""
    bits = data[24:25] if image.format == "PNG" else getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, ())
    return image.mode in ("RGB", "RGBA") and 16 in tuple(bits)


def _is_lossless(image: Image.Image, data: bytes) -> bool:
    if image.format == "WEBP":
        return b"VP8L" in data[:64]
    return image.format not in ("JPEG", "MPO", "JPEG2000", "AVIF")


def _shrunk(size: tuple[int, int], short: int) -> tuple[int, int]:
    w, h = size
    return (short, max(short, round(h * short / w))) if w <= h else (max(short, round(w * short / h)), short)


def _encode(image: Image.Image, lossless: bool) -> bytes:
    sink = io.BytesIO()
    if lossless:
        image.save(sink, "PNG")
    else:
        image.save(sink, "JPEG", quality=QUALITY, subsampling=0)
    return sink.getvalue()
