"""What stands on stderr while a bar or a live view is on the screen."""

from __future__ import annotations

import pytest

from mmkit.cli.console import Console, console
from mmkit.cli.live import LiveView
from mmkit.cli.progress import bars

LONG = "a line with a path that nobody wants to find cut in two /" + "far/" * 60 + "picture.jpg [bold]"
ROW = {"step": 1, "train/loss": 3.0, "train/lr": 1e-3, "train/logit_scale": 14.0, "train/samples_per_second": 9.0}


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """A terminal of 60 columns."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Console, "live", True)
    console.quiet = False


def test_lines_above_the_live_view_are_whole_and_leave_it_as_it_is(capsys):
    with LiveView(console) as view:
        view.begin(2)
        view.row(ROW)
        console.say(LONG)
        console.warn(LONG)
    console.say("below")
    shown = capsys.readouterr().err
    assert shown.count(LONG) == 2
    assert f"warning: {LONG}" in shown
    assert shown.count("[bold]") == 2, "those of the two lines"
    assert "step 1/2" in shown
    assert shown.endswith("below\n")


def test_lines_above_a_bar_are_whole(capsys):
    with bars() as progress:
        progress("embed")(1, 2)
        console.say(LONG)
    assert LONG in capsys.readouterr().err
    assert console.above is None
