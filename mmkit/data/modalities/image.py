"""Pictures: how they are stored, what is configured about them, and how one becomes the square that an encoder sees."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.fields import doc

if TYPE_CHECKING:
    import random

    import torch
    from PIL import Image

    from mmkit.data.canvas import Canvas
    from mmkit.data.checkpoint import Checkpoint
    from mmkit.data.shards import Dataset

ROLE = COLUMN = "image"
FEATURE = {"_type": "Image"}
# the files that are looked for where a folder is searched
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".avif"}
NAMES = (
    *("image", "image_path", "image_file", "image_name", "path", "file_path", "filepath", "file_name", "filename", "file"),
    *("img", "img_path", "picture", "photo", "jpg", "png", "url", "image_id", "img_id", "imageid", "photo_id", "picture_id"),
)
# What dataset.json says was done to every picture; `mmkit.data.depth` states the rule for more than 8 bits.
TREATMENT = (
    "EXIF rotation applied, 10, 12, 14 and 16 bit scaled to 8, floats and 32 bit stretched to it, alpha composed on grey (128), "
    "any mode to RGB; of several frames or pages the first; bytes kept where nothing changes"
)
PLURAL, FILES, READ_AS = "pictures", "images", "JPEG"
# of phones, cameras and drawing programs, that no common reader opens
UNREAD = {".heic", ".heif", ".jxl", ".svg", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp"}
TEMPLATE = "a photo of {label}"
KINDS = ("image",)
ENCODER = "vit"
LANGUAGE = False
LAID = "patches"

AUGMENTATIONS = ("crop", "colour", "flip")
SIDES = {"tiny": 64, "small": 128, "base": 224, "large": 224}
HELD = 1024  # bytes of a picture in memory besides its pixels
PLACED, CAPTIONS_READ = 0.2, 1000  # a share, and rows


@dataclass
class Spec:
    size: int | None = doc("side of the square the encoder sees, pixels", least=8)
    resize: str | None = doc('"crop" (short side, then the centre) or "square" (squeezed)', one_of=("crop", "square"))
    resample: str | None = doc("nearest, bilinear, bicubic or lanczos", one_of=("nearest", "bilinear", "bicubic", "lanczos"))
    crop_size: int | None = doc("side of the centre crop where it differs from size (a checkpoint's)", least=8)
    mean: list[float] | None = doc("per channel, of pixels in 0..1", length=3)
    std: list[float] | None = doc("per channel, of pixels in 0..1", length=3, above=0)
    augment: list[str] | None = doc('any of "crop", "colour", "flip"; [] for none', one_of=AUGMENTATIONS)
    crop_scale: list[float] = doc(
        "smallest and largest share of the area a random crop keeps", [0.9, 1.0], above=0, most=1, length=2
    )


TRAINING = ("augment", "crop_scale")  # keys that say nothing of a trained model


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


def picture(value: dict[str, Any]) -> Image.Image:
    """As people see it.

    Raises:
        UserError: it cannot be read.
    """
    from mmkit.data.images import load_cell

    return load_cell(value)


def shown(value: dict[str, Any]) -> dict[str, Any]:
    """What is said of one in words."""
    from mmkit.data.images import bytes_of, size_of

    return dict(zip(("width", "height"), size_of(bytes_of(value)), strict=True))


def ending(data: bytes) -> str:
    """The suffix of a file of these bytes."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        return ENDINGS.get(opened.format or "", f".{(opened.format or 'img').lower()}")


def items(value: Any) -> list[Any]:
    return [value] if value else []


def of_file(path: str) -> Any:
    return {"bytes": None, "path": path}


def of_checkpoint(spec: Spec, checkpoint: Checkpoint) -> dict[str, str]:
    from mmkit.data.checkpoint import image_settings, image_source

    decided = {}
    found, source = image_settings(checkpoint), image_source(checkpoint)
    if spec.size is not None:  # a size of the user's own: no wider picture to cut from
        found = {k: v for k, v in found.items() if k not in ("size", "crop_size")}
    for key, value in found.items():
        if getattr(spec, key) is None:
            setattr(spec, key, value)
            # why pictures are squeezed concerns one key alone
            decided[key] = f"{value} ({source if key == 'resize' else source.split(', ')[0]})"
    return decided


def fill(spec: Spec, data: Dataset, size: str, table: dict[str, Any]) -> dict[str, str]:
    return fill_pixels(spec, data.manifest.get("image", {}), size, table, PLURAL)


def fill_pixels(spec: Spec, facts: dict[str, Any], size: str, table: dict[str, Any], plural: str) -> dict[str, str]:
    """As `fill`, of what dataset.json says of a column of pictures or of what else is made of pixels."""
    from mmkit.data.pixels import CLIP_MEAN, CLIP_STD

    reasons = {}
    if spec.size is None:
        side = SIDES[size]
        stored = int(min(facts.get(k) or side for k in ("median_width", "median_height")))
        patch = table.get("patch") or 1
        spec.size = min(side, max(patch * 2, stored // patch * patch))
        reasons["size"] = f"{spec.size} (size {size}, {plural} of {stored} px)"
    # CLIP's own (arXiv:2103.00020), where no checkpoint has said otherwise
    spec.resize, spec.resample = spec.resize or "crop", spec.resample or "bicubic"
    spec.mean, spec.std = spec.mean or CLIP_MEAN, spec.std or CLIP_STD
    return reasons


def settle(spec: Spec, data: Dataset, still: bool, name: str = ROLE) -> dict[str, str]:
    """Augmentation. A crop moves things and cuts some off, so it is off where captions say where things are (shapes, 850 steps:
    R@1 0.97 both ways without it, 0.83 and 0.84 with it).

    Args:
        name: what is read so, if it is not pictures.
    """
    if spec.augment is not None:
        return {}
    placed = 0.0 if still else speak_of_places(data)
    if still:
        spec.augment, why = [], f"the {name} encoder is frozen: its features are computed once"
    elif placed > PLACED:
        spec.augment, why = [], f"{placed:.0%} of the captions speak of directions, which a crop can make false"
    else:
        spec.augment, why = ["crop"], "flips and colour are off: captions may speak of them"
    return {"augment": f"{spec.augment} ({why})"}


def speak_of_places(data: Dataset) -> float:
    """Share of the captions of the first training rows that hold a word of direction."""
    from mmkit.data.augment import DIRECTIONS

    columns = data.columns_of("text")
    captions = [c for row in data.rows("train", columns, CAPTIONS_READ) for name in columns for c in row[name] or ()]
    return sum(bool(DIRECTIONS.search(c)) for c in captions) / max(1, len(captions))


def learn(spec: Spec, data: Dataset, columns: list[str], limit: int | None) -> tuple[Reader, dict[str, str]]:
    return Reader(plain(spec)), {}


def foreign(spec: Spec, checkpoint: Checkpoint) -> Reader:
    return Reader(plain(spec))


def load(spec: Spec, folder: Any, name: str) -> Reader:
    return Reader(plain(spec))


def plain(spec: Spec) -> Spec:
    """As a trained model reads: nothing is drawn."""
    return replace(spec, augment=[])


class Reader:
    """A picture, as a row holds it ({bytes, path}), to the square that the encoder sees: {"pixels": uint8 (B, 3, S, S)}."""

    grid, masked = True, 0.4  # 75 of 196 patches (BEiT, arXiv:2106.08254, section 2.3)

    def __init__(self, spec: Spec) -> None:
        from mmkit.data.augment import Augment
        from mmkit.data.pixels import Pixels

        self.spec = spec
        self.pixels = Pixels(spec)
        self.augment = Augment(spec, self.pixels)

    @property
    def still(self) -> bool:
        return self.augment.still

    def over(self, spec: Spec) -> Reader:
        return Reader(spec)

    def given(self) -> dict[str, Any]:
        return {"size": self.pixels.size, "mean": self.spec.mean, "std": self.spec.std}

    def prepare(self, item: Any) -> Any:
        """Decoded and shrunk; the square itself, uint8 (3, S, S), where nothing is drawn.

        Raises:
            UserError: the picture cannot be read.
        """
        from mmkit.data.images import load_rgb

        return self.shrunk(load_rgb(item["bytes"] if item["bytes"] is not None else item["path"]))

    def shrunk(self, image: Any) -> Any:
        """`prepare` of an RGB picture that is decoded already."""
        from mmkit.data.pixels import to_tensor

        image = self.augment.prepare(image)
        return to_tensor(image) if self.still else image

    def canvas(self, item: Any) -> Canvas:
        """The picture as it was given.

        Raises:
            UserError: it cannot be read.
        """
        from mmkit.data.canvas import Canvas

        found = picture(item)
        return Canvas([found], found.size, self.pixels.shown(*found.size))

    def without(self, prepared: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
        """A prepared picture whose mean colour stands in some of its patches, bool (h, w)."""
        import torch

        (h, w), at = gone.shape, torch.arange(prepared.size(-1))
        mean = prepared.float().mean((1, 2), keepdim=True).round().to(prepared.dtype)
        return torch.where(gone[(at * h // len(at))[:, None], (at * w // len(at))[None]], mean, prepared)

    def draw(self, prepared: Any, rng: random.Random, mates: list[str]) -> Any:
        from mmkit.data.pixels import to_tensor

        return to_tensor(self.augment(prepared, " ".join(mates), rng))

    def collate(self, drawn: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        import torch

        return {"pixels": torch.stack(drawn)}

    @property
    def blank(self) -> Any:
        from PIL import Image

        from mmkit.data.pixels import to_tensor

        grey = Image.new("RGB", (self.pixels.size, self.pixels.size), (128, 128, 128))
        return to_tensor(grey) if self.still else grey

    def key(self, item: Any) -> int:
        """The same for two pictures of the same bytes (or the same linked file)."""
        from mmkit.files import stable_hash

        return stable_hash(item["bytes"] if item["bytes"] is not None else item["path"])

    def weight(self, prepared: Any) -> int:
        if self.still:
            return int(prepared.numel())
        # Pillow holds four bytes a pixel, a pointer a row, and what a small picture costs besides
        return int((4 * prepared.width + 8) * prepared.height + HELD)

    def length(self, prepared: Any) -> int:
        return 0

    def made_of(self) -> Any:
        return [{k: v for k, v in asdict(self.spec).items() if k not in TRAINING}, TREATMENT]

    def log(self, tensors: dict[str, torch.Tensor], said: list[str]) -> dict[str, float]:
        return {}

    def units(self, tensors: dict[str, torch.Tensor], n: int) -> torch.Tensor:
        return tensors["pixels"].new_ones(tensors["pixels"].size(0), n).bool()

    def patches(self, tensors: dict[str, torch.Tensor], n: int, side: int) -> torch.Tensor:
        """Each of n = g * g patches at `side` pixels a side, float32 (B, n, 3, side, side) in 0..1."""
        import torch

        g = math.isqrt(n)
        pixels = tensors["pixels"].float() / 255
        if pixels.size(-1) != g * side:
            pixels = torch.nn.functional.interpolate(pixels, size=(g * side, g * side), mode="bicubic", antialias=True).clamp(
                0, 1
            )
        return pixels.unflatten(3, (g, side)).unflatten(2, (g, side)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)

    def hide(self, tensors: dict[str, torch.Tensor], hidden: torch.Tensor, rngs: list[random.Random]) -> dict[str, torch.Tensor]:
        """Hidden patches (B, g * g) are filled with the mean colour, so that no convolution sees what was there."""
        import torch

        pixels = tensors["pixels"]
        side = math.isqrt(hidden.size(1))
        where = hidden.view(-1, 1, side, side).float()
        where = torch.nn.functional.interpolate(where, size=pixels.shape[-2:], mode="nearest").bool()  # (B, 1, S, S)
        colour = torch.tensor(self.spec.mean, device=pixels.device).mul(255).round().to(pixels.dtype)
        return {"pixels": torch.where(where, colour[:, None, None], pixels)}

    def save(self, folder: Any, name: str) -> None:
        """Nothing: all of it is configuration."""
