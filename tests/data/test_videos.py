"""Frames of real GIF and video files: which, when, and what is refused."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from mmkit.config import build
from mmkit.data import videos
from mmkit.data.modalities import video
from mmkit.errors import UserError
from tests.core import wav
from tests.moving import scene, write_gif, write_mp4

av = pytest.importorskip("av")


def numbered(count: int, side: int = 32) -> list[Image.Image]:
    """Frames whose brightness is their number: 2 i."""
    return [Image.new("RGB", (side, side), (2 * i,) * 3) for i in range(count)]


def test_frame_times_of_a_gif_are_its_delays(tmp_path: Path) -> None:
    frames = scene(random.Random(0), "red", "circle", "left")
    times = write_gif(tmp_path / "a.gif", frames, (40, 120, 60, 100))
    found = videos.look(tmp_path / "a.gif")
    assert found.times == pytest.approx(times) and found.seconds == pytest.approx(times[-1] + 0.1)
    # uniform in time, not in number: each is what is shown in the middle of a fourth of it
    numbers = videos.spread(found, 4)
    middles = [(i + 0.5) / 4 * found.seconds for i in range(4)]
    assert numbers == [max(i for i, t in enumerate(times) if t <= m + 1e-9) for m in middles]
    # and they show what Pillow shows
    with Image.open(tmp_path / "a.gif") as opened:
        theirs = [frame.convert("RGB") for frame in ImageSequence.Iterator(opened)]
    for number, (time, picture) in zip(numbers, videos.frames(tmp_path / "a.gif", numbers), strict=True):
        assert time == pytest.approx(times[number])
        assert np.abs(np.asarray(picture, int) - np.asarray(theirs[number], int)).max() <= 2


@pytest.mark.parametrize(
    ("name", "codec", "gop"),
    [
        ("a.mp4", "mpeg4", 12),
        ("a.mp4", "libx264", 30),
        ("a.mov", "libx264", 250),
        ("a.webm", "libvpx", 30),
        ("a.mkv", "mpeg4", 50),
        ("a.avi", "mpeg4", 1),
    ],
)
def test_frames_of_a_video_are_those_of_a_full_decode(name: str, codec: str, gop: int, tmp_path: Path) -> None:
    times = write_mp4(tmp_path / name, numbered(120), rate=25, codec=codec, gop=gop)
    found = videos.look(tmp_path / name)
    assert found.times == pytest.approx(times, abs=1e-3) and found.seconds == pytest.approx(120 / 25, abs=0.05)
    with av.open(str(tmp_path / name)) as container:
        stamps = [
            frame.time - (container.streams.video[0].start_time or 0) * container.streams.video[0].time_base
            for frame in container.decode(video=0)
        ]
    for count in (1, 2, 12):  # to the one of the middle it seeks
        numbers = videos.spread(found, count)
        for number, (time, picture) in zip(numbers, videos.frames(tmp_path / name, numbers), strict=True):
            assert float(stamps[number]) == pytest.approx(time, abs=1e-3)
            assert abs(np.asarray(picture).mean() - 2 * number) < 4


def test_b_frames_come_in_the_order_of_their_time(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "b.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt, stream.codec_context.max_b_frames, stream.codec_context.gop_size = "yuv420p", 2, 10
        for picture in numbered(120):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    found = videos.look(tmp_path / "b.mp4")
    assert found.times == sorted(found.times) and len(found.times) == 120
    for count in (1, 2, 12):
        numbers = videos.spread(found, count)
        for number, (_, picture) in zip(numbers, videos.frames(tmp_path / "b.mp4", numbers), strict=True):
            assert abs(np.asarray(picture).mean() - 2 * number) < 4


def test_a_frame_far_on_is_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mp4(tmp_path / "a.mp4", numbered(120), gop=10)
    found, decoded = videos.look(tmp_path / "a.mp4"), []
    with videos._opened(tmp_path / "a.mp4") as (container, stream):
        at = videos._Decoded(container, stream, found)
        at.left = iter(())  # what is not sought is not there
        decoded.append(at.at(115).pts)
    assert decoded and at.next == 116


def test_one_pass_holds_one_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mp4(tmp_path / "a.mp4", numbered(120), gop=120)
    made = videos.frames(tmp_path / "a.mp4", videos.spread(videos.look(tmp_path / "a.mp4"), 12))
    decoded: list[Any] = []
    upright = videos._upright
    monkeypatch.setattr(videos, "_upright", lambda frame: decoded.append(frame.pts) or upright(frame))
    next(made)
    assert len(decoded) == 1  # nothing is decoded before it is asked for


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("a.mp4", truncated, "damaged video"),
        ("a.gif", truncated, "truncated video"),
        ("a.avi", truncated, "damaged video"),
        ("a.mkv", truncated, "truncated video"),
        ("a.mp4", lambda path: path.write_bytes(b""), "empty"),
        ("a.mp4", lambda path: path.write_bytes(b"no video at all" * 50), "damaged video"),
        ("a.mp4", lambda path: path.unlink(), "no such video"),
    ],
)
def test_what_is_damaged_says_so(name: str, spoil: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    (write_gif if name == "a.gif" else write_mp4)(path, numbered(40))
    videos.look(path)
    spoil(path)
    with pytest.raises(UserError, match=reason):
        videos.look(path)
    if path.exists():
        with pytest.raises(UserError, match=reason):
            video.store(path.read_bytes())


def test_a_frame_is_read_as_a_picture_is(tmp_path: Path) -> None:
    from mmkit.data.modalities import image

    write_mp4(tmp_path / "a.mp4", scene(random.Random(0), "blue", "square", "up", side=48))
    tables = {"size": 32, "resize": "crop", "resample": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3, "augment": []}
    spec = build({"data": {"video": {**tables, "frames": 5}, "image": tables}}).data
    reader, pictures = video.Reader(spec["video"]), image.Reader(spec["image"])
    item = video.of_file(str(tmp_path / "a.mp4"))
    prepared = reader.prepare(item)
    assert prepared.shape == (5, 3, 32, 32)
    found = videos.look(tmp_path / "a.mp4")
    read = [frame for _, frame in videos.frames(tmp_path / "a.mp4", videos.spread(found, 5))]
    for ours, frame in zip(prepared, read, strict=True):
        frame.save(tmp_path / "frame.png")
        assert (ours == pictures.prepare(image.of_file(str(tmp_path / "frame.png")))).all()
    short = reader.collate([prepared, prepared[:2]])
    assert short["pixels"].shape == (2, 5, 3, 32, 32) and short["mask"].tolist() == [[True] * 5, [True] * 2 + [False] * 3]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from Linux's /proc")
def test_memory_is_flat_over_a_thousand_clips(tmp_path: Path) -> None:
    def resident() -> float:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024  # MB

    for i in range(20):
        (write_mp4 if i % 2 else write_gif)(tmp_path / f"{i}{'.mp4' if i % 2 else '.gif'}", numbered(8))
    tables = {"size": 16, "resize": "crop", "resample": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3, "augment": []}
    reader = video.Reader(build({"data": {"video": {**tables, "frames": 4}}}).data["video"])
    after = []
    for i in range(1000):
        data = (tmp_path / f"{i % 20}{'.mp4' if i % 2 else '.gif'}").read_bytes()
        if i % 10 < 2:
            video.store(data)
        reader.prepare({"bytes": data, "path": None})
        if i in (99, 999):
            after.append(resident())
    assert after[1] - after[0] < 16


def test_what_is_no_video_is_told_from_what_is_a_short_one(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for data in ((tmp_path / "sound.mp4").read_bytes(), wav(np.ones(800))):
        with pytest.raises(UserError, match="no video in the file, but sound alone"):
            video.store(data)
    write_mp4(tmp_path / "one.mp4", numbered(1))
    assert video.shown({"bytes": (tmp_path / "one.mp4").read_bytes()})["frames"] == 1


def test_a_gif_cut_short_is_refused_by_who_reads_it_too(tmp_path: Path) -> None:
    write_gif(tmp_path / "a.gif", numbered(12))
    (tmp_path / "a.gif").write_bytes((tmp_path / "a.gif").read_bytes()[:-40])
    with pytest.raises(UserError, match="truncated video"):
        videos.measure(tmp_path / "a.gif")


def test_a_video_that_a_phone_has_trimmed(tmp_path: Path) -> None:
    """Its first half second is hidden by an edit list; the container counts all frames, and tells how long the rest lasts."""
    write_mp4(tmp_path / "whole.mp4", numbered(60), rate=25)
    hidden = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(tmp_path / "whole.mp4")) as source, av.open(str(tmp_path / "a.mp4"), "w", options=hidden) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                shift = int(0.5 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                container.mux(packet)
    found = videos.look(tmp_path / "a.mp4")
    assert found.seconds == pytest.approx(1.9, abs=0.05) and len(found.times) == pytest.approx(48, abs=1)
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"damaged video|truncated video"):
        videos.look(tmp_path / "cut.mp4")


def test_frames_of_a_varying_rate_are_uniform_in_time(tmp_path: Path) -> None:
    times = [0.03 * i if i < 20 else 0.6 + 0.2 * (i - 20) for i in range(30)]  # two thirds of the frames in a quarter of the time
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=100)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for time, picture in zip(times, numbered(30), strict=True):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = round(time * 100), Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = videos.look(tmp_path / "a.mkv")
    assert found.times == pytest.approx(times, abs=2e-3)
    numbers = videos.spread(found, 6)
    steps = np.diff([found.times[n] for n in numbers])
    assert steps.min() > 0.3 and sum(n >= 20 for n in numbers) == 5
    for number, (_, picture) in zip(numbers, videos.frames(tmp_path / "a.mkv", numbers), strict=True):
        assert abs(np.asarray(picture).mean() - 2 * number) < 4
