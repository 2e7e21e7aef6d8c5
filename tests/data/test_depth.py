"""Pictures of more than 8 bits and of floats keep their contrast, and no odd pixel turns them black or white."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmkit.data.images import load_rgb, treat
from tests.raw import encoded, png16


def ramp(low: float, high: float, kind: str = "float32") -> np.ndarray:
    """(4, 64) values from left to right."""
    return np.linspace(low, high, 64).round(6)[None].repeat(4, 0).astype(kind)


def shown(values: np.ndarray, form: str = "TIFF", **save: Any) -> np.ndarray:
    """The grey levels (H, W) that a picture of these values is shown with."""
    rgb = np.asarray(load_rgb(encoded(Image.fromarray(values), form, **save)))
    assert (rgb == rgb[..., :1]).all(), "grey"
    return rgb[..., 0].astype(int)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (ramp(0, 1), "a share of white"),
        (ramp(0, 255), "8-bit values kept as floats"),
        (ramp(0.5, 12), "metres"),
        (ramp(0, 0.02), "reflectance"),
        (ramp(-0.03, 1.02), "overshoot of a resize"),
        (ramp(-1024, 3071), "Hounsfield"),
        (ramp(1800, 2100), "heights"),
        (ramp(-1024, 3071, "int32"), "Hounsfield as integers"),
        (ramp(0, 255, "int32"), "8-bit values in 32 bits"),
        (ramp(0, 63, "int32"), "classes"),
        (ramp(100_000, 900_000, "int32"), "counts"),
        (ramp(0, 65535, "uint16"), "16 bits"),
        (ramp(0, 4095, "uint16"), "12 bits"),
        (ramp(0, 1023, "uint16"), "10 bits"),
        (ramp(0, 255, "uint16"), "8 bits in 16"),
    ],
)
def test_the_whole_contrast_is_kept(values: np.ndarray, why: str) -> None:
    grey = shown(values)
    assert grey[0, 0] <= 1, why
    assert grey[0, -1] == 255, why
    assert np.abs(grey - ramp(0, 255)).max() <= 5, why


def tiff(values: np.ndarray, order: str, packed: bool) -> bytes:
    """A TIFF of one strip, in either byte order, which Pillow does not write.

    Args:
        order: `<` or `>`.
    """
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if packed else data
    H, W = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    start = 8 + 2 + 12 * 10 + 4
    shorts = {256: W, 257: H, 258: 8 * values.itemsize, 259: 8 if packed else 1, 262: 1, 277: 1, 278: H, 339: kind}
    entries = {tag: struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in shorts.items()}
    entries |= {tag: struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in ((273, start), (279, len(data)))}
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(entries))
    return head + b"".join(entries[tag] for tag in sorted(entries)) + struct.pack(f"{order}I", 0) + data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "values", [ramp(0, 1), ramp(-900, 1000, "int16"), ramp(0, 65535, "uint16"), ramp(-90_000, 100_000, "int32")]
)
def test_either_byte_order_of_a_tiff(values: np.ndarray, order: str, packed: bool) -> None:
    grey = np.asarray(load_rgb(tiff(values, order, packed)))[..., 0].astype(int)
    assert np.abs(grey - ramp(0, 255)).max() <= 2


@pytest.mark.parametrize("white", [1023, 4095, 65535])
def test_16_bits_are_scaled_by_the_depth_that_holds_the_maximum(white: int) -> None:
    values = ramp(0, white, "uint16")
    values[values > 0.8 * white] = 0
    expected = np.rint(values * (255 / white)).astype(int)
    for form in ("PNG", "TIFF"):
        assert np.array_equal(shown(values, form), expected), form


def test_where_a_usual_range_is_half_filled_it_is_black_to_white() -> None:
    assert shown(ramp(0.2, 0.8))[0, [0, -1]].tolist() == [51, 204]
    assert shown(ramp(30, 220))[0, [0, -1]].tolist() == [30, 220]
    assert shown(ramp(30, 220, "int32"))[0, [0, -1]].tolist() == [30, 220]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (0.5, 12), (-5, 2000)])
def test_a_pixel_that_is_no_number_is_black_and_changes_no_other(odd: float, low: float, high: float) -> None:
    values = ramp(low, high)
    clean = shown(values)
    values[0, 20] = odd
    grey = shown(values)
    assert grey[0, 20] == 0
    grey[0, 20] = clean[0, 20]
    assert np.array_equal(grey, clean)


@pytest.mark.parametrize(
    ("low", "high", "no_data"),
    [(100, 2000, -9999), (-20, 4500, -32768), (0, 90, -3.4028234663852886e38), (1, 7, 1e10), (500, 600, 0), (300, 400, 65535)],
)
def test_a_far_value_is_no_data_and_black(low: float, high: float, no_data: float) -> None:
    values = ramp(low, high)
    clean = shown(values)
    values[:, :8] = no_data
    grey = shown(values)
    assert (grey[:, :8] == 0).all()
    # the lowest that is left is black
    assert grey[0, 9] < 15
    assert np.abs(grey[:, 32:] - clean[:, 32:]).max() < 25


def test_no_data_at_both_ends() -> None:
    values = ramp(10, 20)
    values[0, 0], values[0, 1] = -9999, 1e10
    grey = shown(values)
    assert grey[0, :2].tolist() == [0, 0]
    assert grey[1, -1] == 255


def test_what_a_file_declares_as_no_data_is_left_out() -> None:
    values = ramp(100, 200)
    values[:, :8] = 90
    assert shown(values)[0, 8] > 15
    grey = shown(values, tiffinfo={42113: "90"})
    assert grey[0, [0, 8, 63]].tolist() == [0, 0, 255]


def test_two_values_are_told_apart() -> None:
    for low, high in ((0, 1), (-9999, 5), (3, 4), (0, 200_000)):
        values = ramp(low, low, "int32")
        values[:, 32:] = high
        assert shown(values)[0, [0, -1]].tolist() == [0, 255], (low, high)


def test_one_value_is_one_colour() -> None:
    for value in (0.1, 7.0, -1000.0):
        assert np.unique(shown(ramp(value, value))).size == 1
    # rounding is no contrast
    assert np.unique(shown((ramp(4000, 4000) + ramp(0, 0.001)).astype("float32"))).size == 1
    assert not shown(ramp(np.nan, np.nan)).any()


def test_16_bit_colours_are_scaled_by_their_depth() -> None:
    values = np.stack([ramp(0, 4095), ramp(0, 2000), ramp(4095, 0)], axis=2).astype("uint16")
    rgb = np.asarray(load_rgb(png16(values)))
    assert np.array_equal(rgb, np.rint(values * (255 / 4095)))
    alpha = np.full((4, 64, 1), 65535, "uint16")
    assert np.array_equal(np.asarray(load_rgb(png16(np.concatenate([values, alpha], axis=2)))), rgb)
    grey = np.asarray(load_rgb(png16(np.concatenate([values[..., :1], alpha], axis=2))))
    assert np.array_equal(grey, rgb[..., :1].repeat(3, 2))
    assert np.array_equal(np.asarray(load_rgb(treat(png16(values)).data)), rgb), "as prep stores it"


def test_white_as_the_lowest_value_is_turned_round() -> None:
    values = ramp(0, 4095, "uint16")
    assert np.array_equal(shown(values, tiffinfo={262: 0}), 255 - shown(values))


def test_an_upright_deep_picture() -> None:
    values = ramp(0, 4095, "uint16")
    grey = shown(values, tiffinfo={274: 6})  # turned by 90 degrees
    assert grey.shape == (64, 4)
    assert (grey[0, 0], grey[-1, 0]) == (0, 255)
