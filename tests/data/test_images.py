"""Pictures: what is kept, what is brought to RGB, and what is refused with which reason."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmkit.data.images import load_rgb, size_of, treat
from mmkit.errors import UserError
from tests.raw import encoded, picture, png16


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_plain_rgb_picture_keeps_its_bytes(form: str) -> None:
    data = encoded(picture(1), form)
    assert treat(data).data is data


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    data = encoded(picture(1, (40, 20)), "JPEG", exif=exif)
    treated = treat(data)
    assert treated.size == (20, 40)
    assert size_of(treated.data) == load_rgb(data).size == (20, 40)
    assert Image.open(io.BytesIO(treated.data)).getexif().get(0x0112, 1) == 1


def test_16_bit_is_scaled_and_not_clipped() -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    data = encoded(Image.fromarray(values), "PNG")
    assert np.asarray(load_rgb(data))[0, :, 0].tolist() == [0, 1, 128, 255]
    assert np.asarray(load_rgb(treat(data).data))[0, :, 1].tolist() == [0, 1, 128, 255]


def test_a_16_bit_rgb_png_is_stored_with_8_bits() -> None:
    data = png16(np.array([[[65535, 32896, 0]]]))
    treated = treat(data)
    assert treated.data != data
    assert treated.data[24] == 8  # the bit depth of a PNG
    assert load_rgb(treated.data).getpixel((0, 0)) == (255, 128, 0)


def test_alpha_is_composed_on_grey() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    assert [load_rgb(encoded(image, "PNG")).getpixel((x, 0)) for x in (0, 1)] == [(128, 128, 128), (255, 0, 0)]


def test_a_palette_with_transparency_is_composed_too() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    data = encoded(image, "PNG", transparency=0)
    assert [load_rgb(data).getpixel((x, 0)) for x in (0, 1)] == [(128, 128, 128), (0, 0, 255)]


@pytest.mark.parametrize(
    ("mode", "form", "stored"),
    [("L", "PNG", "PNG"), ("L", "JPEG", "JPEG"), ("CMYK", "JPEG", "JPEG"), ("P", "GIF", "PNG"), ("1", "TIFF", "PNG")],
)
def test_any_mode_becomes_rgb_and_lossless_stays_lossless(mode: str, form: str, stored: str) -> None:
    data = encoded(picture(1).convert(mode), form)
    result = Image.open(io.BytesIO(treat(data).data))
    assert (result.mode, result.format) == ("RGB", stored)
    if stored == "PNG":
        assert np.array_equal(np.asarray(result), np.asarray(load_rgb(data)))


def test_resize_shrinks_the_short_side_and_never_enlarges() -> None:
    data = encoded(picture(1, (100, 50)))
    treated = treat(data, resize=20)
    assert treated.size == size_of(treated.data) == (40, 20)
    assert treated.scale == (0.4, 0.4)
    assert treat(data, resize=64).data is data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the image file is empty"),
        (b"hello", "not an image"),
        (encoded(picture(1))[:-200], "truncated image"),
        (encoded(picture(1), "PNG")[:-60], "truncated image"),
        (encoded(picture(1), "PNG")[:20], "image"),
    ],
)
def test_what_is_no_whole_picture_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        treat(data)
    with pytest.raises(UserError, match=reason):
        load_rgb(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_without_decoding_it() -> None:
    for side in (9_500, 20_000):  # Pillow warns of the first and refuses the second
        data = encoded(Image.new("1", (side, side)), "PNG")
        with pytest.raises(UserError, match="decompression bomb"):
            treat(data)


def test_a_file_is_named_where_it_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such image, .*nope\.jpg"):
        load_rgb(tmp_path / "nope.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"not an image.*bad\.jpg"):
        load_rgb(str(tmp_path / "bad.jpg"))
