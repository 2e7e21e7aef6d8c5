"""Scenes in which a shape moves left or right, up or down, written as real GIF or MP4 files; the captions say which way."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
COLOURS = {"red": (220, 40, 40), "green": (40, 170, 70), "blue": (50, 80, 220), "yellow": (240, 200, 40)}
SHAPES = ("circle", "square")
SIDE, FRAMES = 64, 12
DURATIONS = (40, 120, 60, 100)  # milliseconds, in turn: frames are not evenly spread


def caption_of(colour: str, shape: str, way: str) -> str:
    return f"a {colour} {shape} moves {way}"


def scene(rng: random.Random, colour: str, shape: str, way: str, count: int = FRAMES, side: int = SIDE) -> list[Image.Image]:
    """The frames of one scene: there and back have the same ones, in opposite orders."""
    dx, dy = WAYS[way]
    size = side // 5
    far, across = side - size - 2, rng.randint(2, side - size - 2)
    frames = []
    for i in range(count):
        along = round(2 + (far - 2) * i / max(1, count - 1))
        along = along if dx + dy > 0 else far + 2 - along
        x, y = (along, across) if dx else (across, along)
        frame = Image.new("RGB", (side, side), (245, 245, 245))
        draw = ImageDraw.Draw(frame).ellipse if shape == "circle" else ImageDraw.Draw(frame).rectangle
        draw((x, y, x + size, y + size), fill=COLOURS[colour])
        frames.append(frame)
    return frames


def write_gif(path: Path, frames: list[Image.Image], durations: tuple[int, ...] = DURATIONS) -> list[float]:
    """Write a GIF; returns when each of its frames is shown, seconds."""
    shown = [durations[i % len(durations)] for i in range(len(frames))]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=shown, loop=0, disposal=2)
    return [sum(shown[:i]) / 1000 for i in range(len(shown))]


def write_mp4(path: Path, frames: list[Image.Image], rate: int = 10, codec: str = "mpeg4", gop: int = 12) -> list[float]:
    """Write a video with PyAV; returns when each of its frames is shown, seconds."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.bit_rate = 400_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return [i / rate for i in range(len(frames))]


def write_folder(folder: Path, rows: int, seed: int = 0, ending: str = ".gif") -> None:
    """Scenes beside text files, as `mmkit prep folder` reads them: every way, colour and shape in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for i in range(rows):
        way, colour, shape = (rng.choice(list(choices)) for choices in (WAYS, COLOURS, SHAPES))
        frames = scene(rng, colour, shape, way)
        (write_gif if ending == ".gif" else write_mp4)(folder / f"{i:05d}{ending}", frames)
        (folder / f"{i:05d}.txt").write_text(caption_of(colour, shape, way))
