"""Videos from strangers: looked at without decoding, and some of their frames, never all of them in memory.

Times are presentation times of the container in seconds, from that of the first frame.
"""

from __future__ import annotations

import bisect
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from mmkit.data.images import GREY, on_grey
from mmkit.errors import UserError, missing_extra

# to seek costs as much as to decode about so many frames
SEEK_FRAMES = 48
MISSING = 0.1  # of what the container says that it lasts, so much may be rounding
EDGE = 64  # bytes
PROBED = 3  # frames that a look decodes: of the beginning, the middle and the end


@dataclass(frozen=True, slots=True)
class Look:
    """What a video is, by its container alone.

    Args:
        size: (width, height) in pixels, upright.
        times: of its frames (N,), seconds, rising; the first is 0.
        seconds: until its last frame ends.
        keys: which of the frames can be decoded without those before (N,).
        start: time stamp of the first frame, in units of the container.
    """

    size: tuple[int, int]
    times: list[float]
    seconds: float
    keys: list[bool]
    start: int = 0


def look(source: bytes | str | Path) -> Look:
    """Measure a video, and decode a few frames of it.

    Raises:
        UserError: it is missing, damaged, truncated, or no video.
    """
    found = measure(source)
    for _, picture in frames(source, spread(found, PROBED), found):
        found = replace(found, size=picture.size)  # upright
    return found


def _ends(source: bytes | str | Path) -> bytes:
    """The last bytes."""
    if isinstance(source, bytes):
        return source[-EDGE:]
    with open(source, "rb") as f:
        f.seek(max(0, f.seek(0, os.SEEK_END) - EDGE))
        return f.read()


def measure(source: bytes | str | Path) -> Look:
    """Measure a video without decoding any of it; raises as `look`."""
    with _opened(source) as (container, stream):
        found, is_gif = _measured(container, stream), container.format.name == "gif"
    if is_gif and not _ends(source).rstrip(b"\0").endswith(b";"):  # of which FFmpeg says nothing
        raise UserError(f"truncated video: a GIF that ends after {len(found.times):,} frames without its end mark")
    return found


def mosaic(pictures: Sequence[Image.Image]) -> Image.Image:
    """Frames of one size in rows of two, in the order of reading."""
    width, height = pictures[0].size
    across, gap = min(2, len(pictures)), max(1, width // 50)
    down = -(-len(pictures) // across)
    whole = Image.new("RGB", (across * (width + gap) - gap, down * (height + gap) - gap), GREY)
    for i, picture in enumerate(pictures):
        whole.paste(picture, (i % across * (width + gap), i // across * (height + gap)))
    return whole


def spread(found: Look, count: int) -> list[int]:
    """Numbers of at most `count` frames, uniform in time: of each of as many equal parts of the video what is shown in its
    middle; all frames where there are no more than `count`."""
    n = len(found.times)
    if n <= count:
        return list(range(n))
    middles = ((i + 0.5) / count * found.seconds for i in range(count))
    numbers = [bisect.bisect_right(found.times, t + 1e-9) - 1 for t in middles]
    return sorted(set(numbers))


def frames(source: bytes | str | Path, numbers: Sequence[int], found: Look | None = None) -> Iterator[tuple[float, Image.Image]]:
    """(time in seconds, RGB picture) of some frames, decoded one by one in one pass that leaves out what it can.

    Args:
        numbers: of the frames, rising; see `spread`.
        found: what `look` gave of it.

    Raises:
        UserError: as `look`; a frame that the container tells of is not there.
    """
    found = found or measure(source)
    with _opened(source) as (container, stream):
        decoded = _Decoded(container, stream, found)
        for number in numbers:
            frame = decoded.at(number)
            yield found.times[number], _upright(frame)


class _Decoded:
    """The frames of an open video, asked for in rising order."""

    def __init__(self, container: Any, stream: Any, found: Look) -> None:
        self.container, self.stream, self.found = container, stream, found
        self.left = container.decode(stream)
        self.next = 0

    def at(self, number: int) -> Any:
        """The frame of that number.

        Raises:
            UserError: it cannot be decoded.
        """
        time = self.found.times[number]
        start = max((i for i in range(number + 1) if self.found.keys[i]), default=0)
        if start - self.next > SEEK_FRAMES:
            stamp = self.found.start + round(self.found.times[start] / self.stream.time_base)
            self.container.seek(stamp, stream=self.stream)
            self.left = self.container.decode(self.stream)
        with _reasons(""):
            for frame in self.left:
                if frame.pts is None:
                    continue
                # half a millisecond: containers round
                if float((frame.pts - self.found.start) * self.stream.time_base) >= time - 5e-4:
                    self.next = number + 1
                    return frame
        raise UserError(f"truncated video: the frame at {time:.2f} s of {self.found.seconds:.2f} s is not there")


def _measured(container: Any, stream: Any) -> Look:
    """The time stamps of all packets; nothing is decoded."""
    stamps: list[tuple[int, bool, int]] = []
    trimmed = False  # by an edit list, as phones do it: the container still counts the frames that it hides
    with _reasons(""):
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise UserError("damaged video: a packet of it is corrupt")
            trimmed |= packet.is_discard
            # the last packet is empty, and what an edit list hides is not shown
            if packet.pts is not None and packet.size and not packet.is_discard:
                stamps.append((packet.pts, packet.is_keyframe, packet.duration or 0))
    if not stamps:
        raise UserError("no frames in the video")
    if stream.frames and not trimmed and len(stamps) < stream.frames - 1:
        raise UserError(f"truncated video: {len(stamps):,} of {stream.frames:,} frames are there")
    stamps.sort()
    base, first = float(stream.time_base), stamps[0][0]
    times = [(pts - first) * base for pts, _, _ in stamps]
    # a last frame of no duration is shown as long as others
    last = stamps[-1][2] * base or (times[-1] / (len(times) - 1) if len(times) > 1 else 0.0)
    said = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
    if (stream.duration or not container.streams.audio) and times[-1] + last < (1 - MISSING) * said - last:
        raise UserError(f"truncated video: {times[-1] + last:.2f} s of {said:.2f} s are there")
    return Look(_size(stream), times, times[-1] + last, [key for _, key, _ in stamps], first)


def _size(stream: Any) -> tuple[int, int]:
    return stream.codec_context.width, stream.codec_context.height


def _upright(frame: Any) -> Image.Image:
    """A decoded frame as RGB, alpha composed on grey, turned as the container says."""
    alpha = any(component.is_alpha for component in frame.format.components) or frame.format.has_palette
    picture = on_grey(Image.fromarray(frame.to_ndarray(format="rgba"))) if alpha else frame.to_image()
    turn = round(getattr(frame, "rotation", 0) or 0) % 360
    return picture.rotate(turn, expand=True) if turn else picture


def library() -> Any:
    """PyAV, which is no dependency of mmkit.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError as e:
        raise missing_extra("av", "video") from e
    av.logging.set_level(av.logging.PANIC)  # what is wrong is raised, too
    return av


@contextmanager
def _opened(source: bytes | str | Path) -> Iterator[tuple[Any, Any]]:
    """A container and its first stream of video.

    Raises:
        UserError: it is missing, damaged, or none; or PyAV is not installed.
    """
    av = library()
    where = "" if isinstance(source, bytes) else str(source)
    if not source or (where and Path(where).is_file() and not Path(where).stat().st_size):
        raise UserError("the video file is empty", where)
    with _reasons(where):
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else where)
    with container:
        if not container.streams.video:
            raise UserError("no video in the file, but sound alone" if container.streams.audio else "no video in the file", where)
        yield container, container.streams.video[0]


@contextmanager
def _reasons(where: str) -> Iterator[None]:
    """What FFmpeg says of a file, in one line."""
    import av

    try:
        yield
    except av.error.FileNotFoundError:
        raise UserError("no such video", where) from None
    except av.error.FFmpegError as e:
        raise UserError(f"damaged video, or of a format that FFmpeg does not read ({e.strerror})", where) from e
