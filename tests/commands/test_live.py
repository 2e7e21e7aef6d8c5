"""What stands on stderr while something runs: the live view and the bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import pty
import re
import select
from contextlib import redirect_stderr

import pytest

from mmkit.cli import live, progress
from mmkit.cli.console import Console, console
from mmkit.cli.live import LiveView
from mmkit.cli.progress import Screen, bars

LONG = "a line with a path that nobody wants to find cut in two /" + "far/" * 60 + "picture.jpg [bold]"
ROW = {"step": 1, "train/loss": 3.0, "train/lr": 1e-3, "train/logit_scale": 14.0, "train/samples_per_second": 9.0}
VAL = {
    **{"step": 2, "val/mean_recall": 0.05},
    **{f"val/{way}_retrieval_recall@{k}": k / 100 for way in ("image", "text") for k in (1, 5, 10)},
    "val/chance@1": 0.005,
}
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def quiet_is_off(monkeypatch):
    monkeypatch.setattr(console, "quiet", False)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (live, progress):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 60 columns."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(Console, "live", True)


@pytest.fixture
def frame(capsys):
    """`frame(screen)`: the lines that it shows now."""

    def shown(screen):
        capsys.readouterr()
        screen.draw()
        return ESCAPE.sub("", capsys.readouterr().err).splitlines()

    return shown


def run_steps(view, clock, steps, seconds=2.0):
    for done in steps:
        clock.now += seconds
        view.step(done, seconds)


def test_lines_above_the_live_view_are_whole_and_leave_it_as_it_is(terminal, capsys):
    with LiveView(console) as view:
        view.begin(2, 8)
        view.step(0, 0.0)
        view.row(ROW)
        view.step(1, 1.0)
        console.say(LONG)
        console.warn(LONG)
    console.say("below")
    shown = capsys.readouterr().err
    assert shown.count(LONG) == 2
    assert f"warning: {LONG}" in shown
    assert shown.count("[bold]") == 2, "those of the two lines"
    assert "step 1/2" in shown
    assert shown.endswith("below\n")


def test_lines_above_a_bar_are_whole(terminal, capsys):
    with bars() as start:
        start("embedded")(1, 2)
        console.say(LONG)
    assert LONG in capsys.readouterr().err
    assert console.above is None


def test_the_live_view_moves_with_every_step_and_without_a_row(terminal, clock, frame, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with LiveView(console) as view:
        view.begin(120, 64)
        view.step(0, 0.0)
        assert "step   0/120" in frame(view.screen)[-1]
        clock.now += 3
        assert "ETA ?, 0:03 elapsed" in frame(view.screen)[-1], "also while the first step runs"
        run_steps(view, clock, [1])
        assert "step   1/120" in (line := frame(view.screen)[-1])
        assert "ETA 9:55, 0:05 elapsed, 32 samples/s" in line
        # the first step took longer, so it says nothing of the rest
        run_steps(view, clock, [2])
        assert "ETA 3:56, 0:07 elapsed, 32 samples/s" in frame(view.screen)[-1]
        run_steps(view, clock, [3])
        assert "ETA 3:54, 0:09 elapsed, 32 samples/s" in frame(view.screen)[-1]


def test_figures_stay_with_the_step_that_they_are_of(terminal, clock, frame, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with LiveView(console) as view:
        view.begin(4, 8)
        view.step(0, 0.0)
        view.row(ROW)
        run_steps(view, clock, [1])
        assert frame(view.screen)[-1] == "loss 3  lr 0.001  logit_scale 14"
        run_steps(view, clock, [2])
        view.row(VAL)
        run_steps(view, clock, [3])
        shown = frame(view.screen)[-4:]
    assert "step 3/4" in shown[0]
    assert shown[1:] == [
        "loss 3  lr 0.001  logit_scale 14  at step 1",
        "val image_retrieval  R@1 0.010  R@5 0.050  R@10 0.100",
        "val text_retrieval   R@1 0.010  R@5 0.050  R@10 0.100  at step 2",
    ]


CLASSES = {"step": 2, "val/acc1": 0.5, "val/macro_f1": 0.25}
QUESTIONS = {
    "step": 2,
    "val/vqa_accuracy": 0.5,
    "val/vqa_accuracy/count": 0.25,
    "val/vqa_accuracy/colour": 1.0,
    "val/vqa_accuracy/shape": 0.5,
}
CHOSEN = {"step": 2, "val/text_retrieval_recall@5": 0.05, **VAL}


@pytest.mark.parametrize(
    ("row", "lines", "said"),
    [
        (CLASSES, ["val  acc1 0.500  macro_f1 0.250"], "val acc1 0.500"),
        (QUESTIONS, ["val  vqa_accuracy 0.500  count 0.250  colour 1.000"], "val vqa accuracy 0.500"),
        (CHOSEN, None, "val text retrieval recall@5 0.050"),
        (
            {"step": 2, "val/mean_recall": 0.5, "val/image-text/image_retrieval_recall@1": 0.5, "val/acc1": 0.125},
            ["val image-text/image_retrieval  R@1 0.500", "val                             acc1 0.125"],
            "val mean recall 0.500",
        ),
    ],
)
def test_what_a_run_is_measured_by_is_shown_whatever_it_is(terminal, clock, frame, monkeypatch, capsys, row, lines, said):
    monkeypatch.setenv("COLUMNS", "100")
    with LiveView(console) as view:
        view.begin(4, 8)
        view.step(0, 0.0)
        run_steps(view, clock, [1, 2])
        view.row(row)
        shown = frame(view.screen)[1:]
    assert lines is None or shown == [*lines[:-1], f"{lines[-1]}  at step 2"]
    monkeypatch.setattr(Console, "live", False)
    capsys.readouterr()
    with LiveView(console) as view:
        view.begin(4, 8)
        view.row(row)
    assert capsys.readouterr().err == f"step 2/4  {said}\n"


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 140])
def test_no_line_of_a_view_wraps(terminal, clock, frame, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    with LiveView(console) as view:
        view.begin(100_000, 4096)
        view.step(0, 0.0)
        view.row(ROW)
        run_steps(view, clock, [1, 2])
        view.row(VAL)
        view.progress("image features of train")(640, 5_000)
        shown = frame(view.screen)
        assert len(shown) == 5
        assert all(len(line) < columns for line in shown)


def test_a_job_before_the_first_step_is_shown_in_the_same_view(terminal, clock, frame):
    with LiveView(console) as view:
        report = view.progress("image features of train")
        clock.now += 2
        report(640, 5_000)
        assert "640 of 5,000, 320/s, 0:13 left" in frame(view.screen)[-1]
        report(5_000, 5_000)
        view.begin(2, 8)
        view.step(0, 0.0)
        shown = "\n".join(frame(view.screen))
        assert "step 0/2" in shown
        assert "features" not in shown


def test_there_is_one_bar_however_many_jobs_follow_each_other(terminal, clock, frame, monkeypatch):
    screens = []
    monkeypatch.setattr(progress, "Screen", lambda *args: screens.append(Screen(*args)) or screens[-1])
    with bars() as start:
        first, second = start("embedded"), start("ranked")
        for done in range(64, 5_001, 64):
            clock.now += 0.1
            first(done, 5_000)
        shown = frame(screens[0])
        assert shown == [shown[-1]]
        assert shown[0].startswith("embedded  ━")
        assert shown[0].endswith("4,992 of 5,000, 640/s, 0:00 left")
        first(5_000, 5_000)
        second(10, 20)
        assert [line.split()[0] for line in frame(screens[0])] == ["ranked"]
    assert len(screens) == 1


def test_work_that_is_done_already_shows_no_bar(terminal, capsys):
    with bars() as start:
        start("embedded")(5, 5)
    assert capsys.readouterr().err == ""


def test_a_bar_in_a_terminal_is_one_line_and_leaves_nothing(monkeypatch):
    for name, value in {"TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    ours, theirs = pty.openpty()
    with open(theirs, "w") as stderr, redirect_stderr(stderr):
        with bars() as start:
            report = start("embedded")
            for done in (10, 20, 30):
                report(done, 40)
        stderr.flush()
        written = b""
        while select.select([ours], [], [], 0)[0]:
            written += os.read(ours, 65536)
    os.close(ours)
    written = written.decode()
    assert "embedded" in written
    assert "\n" not in ESCAPE.sub("", written).strip("\n")
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert written.index(hidden) < written.rindex(shown), "the cursor is given back"
    assert written.endswith("\x1b[2K"), "the line is erased"
    assert console.above is None


def test_without_a_terminal_a_long_job_says_a_line_every_few_seconds(clock, capsys):
    with bars() as start:
        report = start("embedded")
        for done in range(0, 5_001, 30):
            clock.now += 0.1
            report(done, 5_000)
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["embedded 1,470 of 5,000, 300/s, 0:11 left", "embedded 2,970 of 5,000, 300/s, 0:06 left"]
    assert len(said) == 3


def test_without_a_terminal_a_short_job_and_a_quiet_one_say_nothing(clock, capsys, monkeypatch):
    with bars() as start:
        report = start("embedded")
        for done in range(0, 200, 4):
            clock.now += 0.09
            report(done, 200)
    monkeypatch.setattr(console, "quiet", True)
    with bars() as start:
        report = start("embedded")
        for done in range(0, 200, 4):
            clock.now += 9
            report(done, 200)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_a_training_says_a_line_every_few_seconds_whatever_is_logged(clock, capsys):
    with LiveView(console) as view:
        view.begin(12, 64)
        view.step(0, 0.0)
        view.row(ROW)
        run_steps(view, clock, range(1, 10))
        view.row(VAL | {"step": 9})
        run_steps(view, clock, range(10, 13))
    said = capsys.readouterr().err.splitlines()
    figures = "loss 3  lr 0.001  logit_scale 14"
    assert said == [
        f"step  1/12  ETA 0:22, 0:02 elapsed, 32 samples/s  {figures}",
        f"step  4/12  ETA 0:16, 0:08 elapsed, 32 samples/s  {figures}  at step 1",
        f"step  7/12  ETA 0:10, 0:14 elapsed, 32 samples/s  {figures}  at step 1",
        "step 9/12  loss 3  val R@1 0.010 text-to-image, 0.010 image-to-text (chance 0.005)",
        f"step 10/12  ETA 0:04, 0:20 elapsed, 32 samples/s  {figures}  at step 1",
        f"step 12/12  ETA 0:00, 0:24 elapsed, 32 samples/s  {figures}  at step 1",
    ]


def test_a_download_that_goes_on_is_as_fast_as_what_it_fetches(clock):
    pace = progress.Pace()
    for seconds, done in ((1, 500), (2, 520), (2, 540)):
        clock.now += seconds
        pace.at(done, 600)
    assert str(pace) == "540 of 600, 10/s, 0:06 left"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7.9, "0:07"), (80, "1:20"), (750, "12:30"), (3723, "1:02:03")])
def test_durations(seconds, text):
    assert progress.duration(seconds) == text
