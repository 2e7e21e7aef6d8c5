"""Pictures of more than 8 bits a channel, of 32-bit integers and of floats, brought to 8 bits by one rule.

* 16 bits: white is the smallest of 255, 1023, 4095, 16383 and 65535 (8, 10, 12, 14 and 16 bits) that no value exceeds.
* Floats, 32-bit integers, and whatever has negative values: where the values lie in 0..1 or in 0..255 and fill at least half of
  it, that range is black to white; else the lowest value is black and the highest white, so the contrast stays.
* NaN, infinity and what the file declares as no data are black and count for nothing, as does a lowest or highest value that is
  further from all others than they are from each other (-9999 below heights, 1e10 behind a scene).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

DEPTHS = (255, 1023, 4095, 16383, 65535)
RANGES = (1, 255)
# floats that differ by less, relative to the largest, differ by rounding
ROUNDING = 1e-6
GREY = 128
# TIFF tags
BITS, PHOTOMETRIC, SAMPLE_FORMAT, NO_DATA = 258, 262, 339, 42113
MIN_IS_WHITE = 0
UNSIGNED = 1


def is_deep(image: Image.Image) -> bool:
    """One channel of more than 8 bits: 16-bit and 32-bit integers, floats."""
    return image.mode == "F" or image.mode.startswith("I")


def of_array(data: bytes) -> Image.Image:
    """The picture that an NPY file holds: (H, W) numbers, such as a map of depth, or (H, W, 3) bytes.

    Raises:
        ValueError: it holds no such array.
    """
    values = np.load(io.BytesIO(data), allow_pickle=False)
    colours = values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8
    if values.ndim == 3 and not colours and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if not (values.ndim == 2 or colours) or not values.size or values.dtype.kind not in "fiub":
        raise ValueError(f"an array of {' x '.join(map(str, values.shape))} {values.dtype} is no picture")
    return Image.fromarray(values if values.dtype in (np.uint8, np.uint16) else values.astype(np.float32))


def mend_order(image: Image.Image) -> None:
    """Have the values of a TIFF that is not loaded yet read in the order that libtiff unpacks them to, the machine's own.

    Pillow reads those of a compressed big-endian file, floats and signed ones, as if they were still as in the file.
    """
    orders = {"F;32BF": "F;32F", "I;16BS": "I;16S", "I;32BS": "I;32S"}
    opened: Any = image
    for i, tile in enumerate(opened.tile):
        if tile.codec_name == "libtiff" and (mode := orders.get(_raw_mode(tile))):
            opened.tile[i] = _read_as(tile, mode)


def grey_of(image: Image.Image) -> Image.Image:
    """A deep picture as it was opened, to 8-bit grey."""
    tags: Any = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if image.mode == "I" and tags.get(BITS) == (32,) and tags.get(SAMPLE_FORMAT, (UNSIGNED,)) == (UNSIGNED,):
        values = values.view(np.uint32)
    # Pillow opens a PGM of 16 bits, and a TIFF of signed ones, as 32-bit integers
    sixteen = image.mode != "F" and (image.mode != "I" or image.format == "PPM" or tags.get(BITS) == (16,))
    if not sixteen or values.min() < 0:
        return Image.fromarray(_stretched(values.astype(np.float64), _number(tags.get(NO_DATA))))
    grey = _by_depth(values)
    return Image.fromarray(255 - grey if tags.get(PHOTOMETRIC) == MIN_IS_WHITE else grey)


def restore_colours(image: Image.Image, data: bytes) -> None:
    """Scale a loaded RGB or RGBA picture of 16 bits a channel, of which Pillow keeps the high ones, by its depth, in place.

    Args:
        data: the encoded bytes that `image` was opened from.
    """
    if np.asarray(image)[..., :3].max() > DEPTHS[-2] >> 8:
        return
    values = _all_bits(image, data)
    if values is None:
        return
    parts = [_by_depth(values[..., :3])]
    if values.shape[2] == 4:
        alpha = values[..., 3:]
        parts.append((alpha >> 8).astype(np.uint8) if alpha.max() > DEPTHS[-2] else _by_depth(alpha))
    image.paste(Image.fromarray(np.concatenate(parts, axis=2)))


def _all_bits(image: Image.Image, data: bytes) -> np.ndarray | None:
    """uint16 (H, W, 3) or (H, W, 4) with alpha; None of a layout that is not known."""
    again = Image.open(io.BytesIO(data))
    raw = {_raw_mode(tile) for tile in again.tile}
    if raw == {"LA;16B"} and again.mode == "RGBA":
        # four bytes a pixel, read as if they were four channels: grey high and low, alpha high and low
        again.tile = [_read_as(tile, "RGBA") for tile in again.tile]
        split = np.asarray(again).astype(np.uint16)
        return (split[..., ::2] << 8 | split[..., 1::2])[..., [0, 0, 0, 1]]
    if len(raw) != 1 or not (mode := raw.pop()).startswith(("RGB;16", "RGBA;16")):
        return None
    # read in the other byte order, the low bytes are the high ones; N is the machine's own, little
    swapped = mode[:-1] + {"L": "B", "N": "B", "B": "L"}[mode[-1]]
    again.tile = [_read_as(tile, swapped) for tile in again.tile]
    return np.asarray(image).astype(np.uint16) << 8 | np.asarray(again)


def _by_depth(values: np.ndarray) -> np.ndarray:
    """16-bit values to uint8 of the same shape, by the smallest depth that holds them."""
    white = next(depth for depth in DEPTHS if values.max() <= depth)
    table = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)
    return table[values]


def _stretched(values: np.ndarray, no_data: float | None) -> np.ndarray:
    """float64 values to uint8 of the same shape, by their range."""
    grey = np.zeros(values.shape, np.uint8)
    known = np.isfinite(values)
    if no_data is not None:
        known &= ~np.isclose(values, no_data, rtol=ROUNDING, atol=0)
    if not known.any():
        return grey
    black, white = _range(values[known])
    known[known] = (values[known] >= black) & (values[known] <= white)
    if white - black <= ROUNDING * max(abs(black), abs(white)):
        grey[known] = GREY
    else:
        grey[known] = np.rint((values[known] - black) * (255 / (white - black)))
    return grey


def _range(values: np.ndarray) -> tuple[float, float]:
    """The values (n,) that become black and white."""
    lowest, highest = values.min(), values.max()
    for white in RANGES:
        if lowest >= 0 and highest <= white and highest - lowest >= white / 2:
            return 0, white
    # twice at the lower end: a far highest value hides that the lowest is far, too
    for end in (np.min, np.max, np.min):
        values = _without_outlier(values, end(values))
    return values.min(), values.max()


def _without_outlier(values: np.ndarray, extreme: float) -> np.ndarray:
    """The values without their lowest or highest where it stands alone, and at least three others are left."""
    rest = values[values != extreme]
    if not rest.size:
        return values
    low, high = rest.min(), rest.max()
    alone = min(abs(extreme - low), abs(extreme - high)) > high - low
    return rest if alone and ((rest > low) & (rest < high)).any() else values


def _number(text: Any) -> float | None:
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None


def _raw_mode(tile: Any) -> str:
    return tile.args if isinstance(tile.args, str) else str(tile.args[0])


def _read_as(tile: Any, mode: str) -> Any:
    return tile._replace(args=mode if isinstance(tile.args, str) else (mode, *tile.args[1:]))
