"""Videos: some frames of each, uniform in time, every one of them read as a picture is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.data.modalities import image
from mmkit.fields import doc

if TYPE_CHECKING:
    import random

    import torch
    from PIL import Image as PIL

    from mmkit.data.canvas import Canvas
    from mmkit.data.checkpoint import Checkpoint
    from mmkit.data.shards import Dataset

ROLE = COLUMN = "video"
# of `datasets`, which without this would want torchcodec to open the rows
FEATURE = {"decode": False, "_type": "Video"}
# a GIF is a picture where nothing says that it is a video
SUFFIXES = {".mp4", ".m4v", ".webm", ".avi", ".mov", ".mkv", ".gif"}
NAMES = ("video", "video_path", "video_file", "video_name", "clip", "clip_path", "movie", "mp4", "gif", "video_id", "videoid")
KINDS = ("video",)
PLURAL, FILES, READ_AS = "videos", "video files", "MP4"
UNREAD = {".wmv", ".flv", ".mpg", ".mpeg", ".3gp", ".ogv", ".mts"}
TEMPLATE = "a video of {label}"
# What dataset.json says was done to every video.
TREATMENT = "none: files are kept as they are; of several streams the first is looked at, and no sound"
ENCODER = "video"
LANGUAGE = False
LAID = "frames"

FRAMES = 12  # CLIP4Clip (arXiv:2104.08860, section 4.1)
PICTURED = 4  # frames of what is shown of a video
MATROSKA, HEAD = b"\x1aE\xdf\xa3", 64  # how these files begin, and in how many bytes they say of which kind they are


@dataclass
class Spec(image.Spec):
    frames: int | None = doc("frames that are looked at, uniform in time; all of a video that has fewer", least=1)


TRAINING = image.TRAINING


def holds(value: Any) -> bool:
    """The name of a video file, or the struct {bytes, path} of one."""
    return _suffix(value) in SUFFIXES - image.SUFFIXES


def may_hold(value: Any) -> bool:
    """The same, or that of a file which is a picture or a video."""
    return _suffix(value) in SUFFIXES


def _suffix(value: Any) -> str:
    path = value.get("path") if isinstance(value, dict) else value
    return Path(path.strip()).suffix.lower() if isinstance(path, str) else ""


def is_shown_by(path: Path) -> bool:
    """A file of a suffix that pictures have, too, is a video: it has several frames."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return bool(getattr(opened, "is_animated", False))
    except Exception:  # whatever Pillow's parsers raise of a damaged file
        return False


def ready() -> None:
    """Make sure that there is what decodes videos.

    Raises:
        UserError: PyAV is not installed.
    """
    from mmkit.data.videos import library

    library()


def store(raw: bytes, resize: int | None = None) -> dict[str, Any]:
    """The bytes of a video as they are, if they can be decoded.

    Raises:
        UserError: they cannot.
    """
    from mmkit.data.videos import look

    look(raw)
    return {"bytes": raw, "path": None}


def picture(value: dict[str, Any]) -> PIL.Image:
    """Some frames of a video in one picture, in rows of two.

    Raises:
        UserError: it cannot be decoded.
    """
    from mmkit.data.videos import frames, look, mosaic, spread

    source = _source(value)
    found = look(source)
    return mosaic([frame for _, frame in frames(source, spread(found, PICTURED), found)])


def shown(value: dict[str, Any]) -> dict[str, Any]:
    """What is said of one in words."""
    from mmkit.data.videos import look

    found = look(_source(value))
    return {"width": found.size[0], "height": found.size[1], "frames": len(found.times), "seconds": round(found.seconds, 3)}


def _source(value: Any) -> bytes | str:
    return value["bytes"] if value.get("bytes") is not None else value["path"]


def ending(data: bytes) -> str:
    """The suffix of a file of these bytes."""
    if data[:4] == MATROSKA:
        return ".webm" if b"webm" in data[:HEAD] else ".mkv"
    if data[4:8] == b"ftyp":
        return ".mov" if data[8:10] == b"qt" else ".mp4"
    return {b"GIF8": ".gif", b"RIFF": ".avi"}.get(data[:4], ".mp4")


def items(value: Any) -> list[Any]:
    return [value] if value else []


def of_file(path: str) -> Any:
    return {"bytes": None, "path": path}


def of_checkpoint(spec: Spec, checkpoint: Checkpoint) -> dict[str, str]:
    """Of an encoder of pictures."""
    return image.of_checkpoint(spec, checkpoint)


def fill(spec: Spec, data: Dataset, size: str, table: dict[str, Any]) -> dict[str, str]:
    reasons = image.fill_pixels(spec, data.manifest.get("video", {}), size, table, PLURAL)
    if spec.frames is None:
        spec.frames = FRAMES
        reasons["frames"] = f"{FRAMES} (uniform in time, as CLIP4Clip)"
    return reasons


def settle(spec: Spec, data: Dataset, still: bool) -> dict[str, str]:
    return image.settle(spec, data, still, ROLE)


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
    """A video, {bytes, path}, to {"pixels": uint8 (B, F, 3, S, S), "mask": bool (B, F), True = a frame}.

    Every frame is read by the Reader of pictures, and what is drawn is the same for all frames of a video.
    """

    def __init__(self, spec: Spec) -> None:
        assert spec.frames is not None, "resolved by now"
        self.spec, self.frames = spec, spec.frames
        self.picture = image.Reader(spec)

    @property
    def still(self) -> bool:
        return self.picture.still

    def over(self, spec: Spec) -> Reader:
        return Reader(spec)

    def given(self) -> dict[str, Any]:
        return self.picture.given() | {"frames": self.frames}

    def prepare(self, item: Any) -> Any:
        """Its frames, decoded one by one and shrunk; uint8 (F, 3, S, S) where nothing is drawn.

        Raises:
            UserError: the video cannot be decoded.
        """
        import torch

        from mmkit.data.videos import frames, measure, spread

        source = _source(item)
        found = measure(source)
        read = [self.picture.shrunk(frame) for _, frame in frames(source, spread(found, self.frames), found)]
        return torch.stack(read) if self.still else read

    def canvas(self, item: Any) -> Canvas:
        """The frames that are looked at, with their times.

        Raises:
            UserError: the video cannot be decoded.
        """
        import numpy as np

        from mmkit.data.canvas import Canvas
        from mmkit.data.videos import frames, measure, spread

        source = _source(item)
        found = measure(source)
        times, pictures = zip(*frames(source, spread(found, self.frames), found), strict=True)
        size = pictures[0].size
        return Canvas(list(pictures), size, self.picture.pixels.shown(*size), times=np.array(times))

    def without(self, prepared: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
        """Prepared frames with the mean colour of each in some of its patches, bool (F, h, w)."""
        import torch

        return torch.stack([self.picture.without(frame, own) for frame, own in zip(prepared, gone, strict=True)])

    def draw(self, prepared: Any, rng: random.Random, mates: list[str]) -> Any:
        import torch

        state = rng.getstate()
        drawn = []
        for frame in prepared:
            rng.setstate(state)
            drawn.append(self.picture.draw(frame, rng, mates))
        return torch.stack(drawn)

    def collate(self, drawn: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        import torch

        lengths = torch.tensor([len(one) for one in drawn])
        pixels = torch.nn.utils.rnn.pad_sequence(drawn, batch_first=True)
        return {"pixels": pixels, "mask": torch.arange(pixels.size(1)) < lengths[:, None]}

    @property
    def blank(self) -> Any:
        return self.picture.blank[None] if self.still else [self.picture.blank]

    def key(self, item: Any) -> int:
        """The same for two videos of the same bytes (or the same linked file)."""
        return self.picture.key(item)

    def weight(self, prepared: Any) -> int:
        return int(prepared.numel()) if self.still else sum(map(self.picture.weight, prepared))

    def length(self, prepared: Any) -> int:
        return len(prepared)

    def made_of(self) -> Any:
        return [{k: v for k, v in asdict(self.spec).items() if k not in TRAINING}, image.TREATMENT]

    def log(self, tensors: dict[str, torch.Tensor], said: list[str]) -> dict[str, float]:
        return {}

    def save(self, folder: Any, name: str) -> None:
        """Nothing: all of it is configuration."""
