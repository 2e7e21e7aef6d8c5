"""Small raw data as users have it: pictures, and each source's layout of them."""

from __future__ import annotations

import csv
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WORDS = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "white")


def picture(number: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A picture that differs for every number."""
    image = Image.new("RGB", size, (40 * number % 256, 80, 200 - 13 * number % 200))
    ImageDraw.Draw(image).line(
        (0, number % size[1], size[0], size[1] - number % size[1]), fill=(250, 9 * number % 256, 0), width=3
    )
    return image


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """A picture as the bytes of a file."""
    sink = io.BytesIO()
    image.save(sink, form, **options)
    return sink.getvalue()


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write: values (H, W, C), colours or grey, with alpha or without."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    H, W, C = values.shape
    header = struct.pack(">IIBBBBB", W, H, 16, {2: 4, 3: 2, 4: 6}[C], 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def jpeg(path: Path, number: int) -> Path:
    """Write `picture(number)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture(number)))
    return path


def caption(number: int) -> str:
    """A caption that differs for every number below 64."""
    return f"a {WORDS[number % 8]} ground with a {WORDS[number // 8 % 8]} line"


def coco(root: Path, train: int = 12, val: int = 4) -> Path:
    """The official layout, with two captions a photo."""
    for split, numbers in (("train", range(1, train + 1)), ("val", range(101, 101 + val))):
        for i in numbers:
            jpeg(root / f"{split}2017" / f"{i:012d}.jpg", i)
        images = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in numbers]
        annotations = [{"id": 2 * i + k, "image_id": i, "caption": caption(i) + " again" * k} for i in numbers for k in (0, 1)]
        (root / "annotations").mkdir(exist_ok=True)
        path = root / "annotations" / f"captions_{split}2017.json"
        path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return root


def zipped(root: Path, target: Path) -> Path:
    """The official zip files of what `coco` made."""
    target.mkdir(parents=True, exist_ok=True)
    for folder in ("train2017", "val2017", "annotations"):
        name = "annotations_trainval2017" if folder == "annotations" else folder
        with zipfile.ZipFile(target / f"{name}.zip", "w") as pack:
            for path in sorted((root / folder).iterdir()):
                pack.write(path, f"{folder}/{path.name}")
    return target


def flickr(root: Path, count: int = 12) -> Path:
    """Photos in a subfolder and a token file of two captions each."""
    for i in range(count):
        jpeg(root / "Images" / f"{i:04d}.jpg", i)
    lines = [f"{i:04d}.jpg#{k}\t{caption(i)}{' again' * k}" for i in range(count) for k in (0, 1)]
    (root / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n")
    return root


def table(root: Path, count: int = 12) -> Path:
    """photos/ and pairs.csv beside it; returns the table."""
    for i in range(count):
        jpeg(root / "photos" / f"{i:04d}.jpg", i)
    path = root / "pairs.csv"
    with open(path, "w", newline="") as f:
        csv.writer(f).writerows([("image", "caption"), *((f"photos/{i:04d}.jpg", caption(i)) for i in range(count))])
    return path


def folder(root: Path, count: int = 12) -> Path:
    """Class folders cats and dogs."""
    for i in range(count):
        jpeg(root / ("cats" if i % 2 else "big_dogs") / f"{i:04d}.jpg", i)
    return root
