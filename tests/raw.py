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

from mmkit.data.plan import Choices
from mmkit.data.schema import Ask
from mmkit.data.write import prepare
from tests.moving import write_mp4

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


def regions(root: Path, count: int = 12) -> Path:
    """A prepared dataset, and files/ beside it of three regions a picture as bottom-up attention gives them."""
    manifest = prepare("table", Ask(root / "prepared", table(root / "raw", count)), Choices(workers=1), {})
    assert manifest["rejected"] == 0
    (root / "files").mkdir()
    for i in range(count):
        np.savez(root / "files" / f"{i:04d}.npz", **bottom_up(i))
    return root / "prepared"


def bottom_up(i: int, width: int = 100, height: int = 50) -> dict[str, np.ndarray]:
    """What an NPZ of bottom-up attention holds of a picture of this size: three regions of four values."""
    rng = np.random.default_rng(i)
    boxes = np.array([[0, 0, 10, 10], [20, 10, 60, 30], [0, 0, width, height]], np.float32)
    features, soft = rng.normal(size=(3, 4)).astype(np.float32), rng.dirichlet(np.ones(5), 3).astype(np.float32)
    sizes = {"image_w": np.array(width), "image_h": np.array(height)}
    return {"features": features, "boxes": boxes, "conf": soft.max(1), "soft_labels": soft, **sizes}


def vqa(root: Path, version: str = "v2_", train: int = 12, val: int = 4, test: int = 3) -> Path:
    """The official layout of VQA: two questions a photo, ten answers each; those of test have none."""
    for subset, numbers in (
        ("train2014", range(1, train + 1)),
        ("val2014", range(101, 101 + val)),
        ("test2015", range(201, 201 + test)),
    ):
        questions, annotations = [], []
        for i in numbers:
            jpeg(root / subset / f"COCO_{subset}_{i:012d}.jpg", i)
            for k, (question, answer, kind) in enumerate(
                [(f"what is on the {WORDS[i % 8]} ground?", "line", "other"), ("Is it a line?", "yes", "yes/no")]
            ):
                id = 1000 * i + k
                questions.append({"image_id": i, "question": question, "question_id": id})
                ten = [{"answer": answer if n < 8 else "no", "answer_confidence": "yes", "answer_id": n + 1} for n in range(10)]
                annotations.append(
                    {"question_id": id, "image_id": i, "question_type": question[:7], "answer_type": kind, "answers": ten}
                    | {"multiple_choice_answer": answer}
                )
        path = root / f"{version}OpenEnded_mscoco_{subset}_questions.json"
        path.write_text(json.dumps({"info": {}, "data_subtype": subset, "data_type": "mscoco", "questions": questions}))
        if subset != "test2015":
            path = root / f"{version}mscoco_{subset}_annotations.json"
            path.write_text(json.dumps({"info": {}, "data_subtype": subset, "annotations": annotations}))
    return root


def easy_vqa(root: Path, train: int = 12, test: int = 4) -> Path:
    """The official layout of easy-VQA, with three questions a picture."""
    for split, count in (("train", train), ("test", test)):
        asked: list[list[object]] = []
        for i in range(count):
            path = root / split / "images" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(i + 100 * (split == "test")).save(path)
            shape, colour = ("circle", "triangle", "rectangle")[i % 3], WORDS[i % 8]
            asked += [[f"what is the {colour} shape?", shape, i], [f"what color is the {shape}?", colour, i]]
            asked.append([f"is there a {WORDS[i % 5]} shape?", "yes" if i % 5 == i % 8 else "no", i])
        (root / split / "questions.json").write_text(json.dumps(asked))
    (root / "answers.txt").write_text("\n".join(["circle", "triangle", "rectangle", "yes", "no", *WORDS]))
    return root


def nlvr(root: Path, train: int = 4, dev: int = 2) -> Path:
    """The official layout of NLVR: three of the six orders of each picture's boxes."""
    for split, count in (("train", train), ("dev", dev)):
        lines = []
        for i in range(count):
            identifier = f"{i}-{i % 4}"
            for k in range(3):
                path = root / split / "images" / str(i % 2) / f"{split}-{identifier}-{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture(6 * i + k + 50 * (split == "dev")).save(path)
            line = {"sentence": caption(i), "identifier": identifier, "directory": str(i % 2), "label": ("true", "false")[i % 2]}
            lines.append(json.dumps(line | {"structured_rep": [], "evals": {"r0": "true"}}))
        (root / split / f"{split}.json").write_text("\n".join(lines))
    return root


def nlvr2(root: Path, train: int = 6, dev: int = 2, test: int = 2) -> Path:
    """The official layout of NLVR2: two photographs for each two sentences; those of the test are called test1."""
    (root / "data").mkdir(parents=True)
    for split, count in (("train", train), ("dev", dev), ("test1", test)):
        lines = []
        for i in range(count):
            folder = root / "images" / split / (str(i) if split == "train" else "")
            folder.mkdir(parents=True, exist_ok=True)
            stem = f"{split}-{100 + i}-{i % 4}"
            picture(2 * i, (40, 30)).save(folder / f"{stem}-img0.png")
            # called PNG and a JPEG, as some are
            (folder / f"{stem}-img1.png").write_bytes(encoded(picture(2 * i + 1, (30, 60))))
            for k in (0, 1):
                line = {"sentence": f"{caption(i)} {k}", "identifier": f"{stem}-{k}", "label": ("True", "False")[(i + k) % 2]}
                lines.append(json.dumps(line | ({"directory": i} if split == "train" else {})))
        (root / "data" / f"{split}.json").write_text("\n".join(lines) + "\n")
    return root


def msrvtt(folder: Path) -> Path:
    """MSR-VTT as it is released: a JSON of twelve clips with two sentences each, in three splits, and the clips."""
    (folder / "videos").mkdir(parents=True)
    names = [f"video{i}" for i in range(12)]
    for i, name in enumerate(names):
        write_mp4(folder / "videos" / f"{name}.mp4", [picture(i + k, (32, 32)) for k in range(4)])
    splits = ["train"] * 8 + ["validate"] * 2 + ["test"] * 2
    content = {
        "info": {"contributor": "somebody"},
        "videos": [{"video_id": n, "category": 9, "url": "…", "id": i, "split": splits[i]} for i, n in enumerate(names)],
        "sentences": [
            {"sen_id": 2 * i + k, "video_id": n, "caption": f"{word} thing number {i}"}
            for i, n in enumerate(names)
            for k, word in enumerate(("a", "another"))
        ],
    }
    (folder / "MSRVTT_data.json").write_text(json.dumps(content))
    return folder
