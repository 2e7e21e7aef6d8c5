"""--help as a person reads it: options under headings, placeholders in words, colours where there is a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from mmkit.cli.help import TERM_WIDTH
from tests.test_docs import PAGES, command

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
HEADING = re.compile(r"^([A-Z].*):$", re.M)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def test_the_options_of_train_stand_under_headings(invoke):
    page = invoke("train", "--help").stdout
    headings = HEADING.findall(page)
    assert headings == [
        *("What to train on", "Model", "Length and learning", "Configuration", "Memory and precision", "Machine", "Output"),
        *("Global options", "Examples"),
    ]
    of = dict(zip(headings, re.split(HEADING, page)[2::2], strict=True))
    assert "[DATA]" in of["What to train on"]
    assert "--image-encoder KIND|CHECKPOINT" in of["Model"]
    assert "--steps DURATION" in of["Length and learning"]
    assert "--accumulate N" in of["Memory and precision"]
    assert "-o, --out FILE" in of["Output"]
    assert "-h, --help" in of["Global options"]


def test_the_commands_stand_under_headings(invoke):
    page = invoke("--help").stdout
    assert page.index("Data:") < page.index("\n  prep ") < page.index("Train:") < page.index("\n  train ")
    assert invoke("prep", "--help").stdout.count("\n  table ") == 1


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_placeholders_are_words_and_many_options_have_headings(page):
    shown = [p for p in command(page).params if not p.hidden]
    completion = ("install_completion", "show_completion")
    own = [p for p in shown if p.name not in completion]
    for param in own:
        if param.param_type_name == "argument" or not (param.is_flag or param.count):
            assert param.metavar, f"{param.name} has no placeholder"
            assert not re.search(r"INTEGER|FLOAT|TEXT\b|PATH|BOOLEAN", param.metavar) or param.metavar == "TEXT"
    if len(own) > 6:
        assert all(p.rich_help_panel for p in own if p.param_type_name == "option")


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
@pytest.mark.parametrize("columns", [60, 80, 140])
def test_no_line_but_an_example_is_wider_than_the_terminal(invoke, monkeypatch, page, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    prose = invoke(*page, "--help").stdout.partition("Examples:")[0]
    longest = max(map(len, prose.splitlines()))
    assert longest <= min(columns, 100)
    assert len(prose.splitlines()) < 120


def test_explanations_begin_in_one_column(invoke):
    page = invoke("train", "--help").stdout
    prose = page.partition("Examples:")[0].splitlines()
    rows = [line for line in prose if re.search(r"\S {2,}\S", line)]
    assert len(rows) > 20
    begin = 2 + TERM_WIDTH + 2
    assert all(row[begin - 2 : begin] == "  " and row[begin] != " " for row in rows)


@pytest.mark.parametrize("page", [[], ["train"], ["prep", "table"]], ids=" ".join)
def test_colours_change_nothing_but_the_colour(invoke, monkeypatch, page):
    plain = invoke(*page, "--help").stdout
    assert "\x1b" not in plain, "stdout is no terminal"
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = invoke(*page, "--help").stdout
    assert COLOUR.search(coloured)
    assert COLOUR.sub("", coloured) == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert invoke(*page, "--help").stdout == plain


@pytest.mark.parametrize(("variables", "colours"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_a_terminal_shows_colours(variables, colours):
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "80"} | variables
    subprocess.run([sys.executable, "-m", "mmkit", "prep", "-h"], stdout=theirs, env=env, check=True, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert bool(COLOUR.search(shown)) == colours
    assert "folder" in shown


def test_a_default_is_not_torn(invoke, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "[default: one per core]" in invoke("train", "--help").stdout
    assert "[default: the table's folder]" in " ".join(invoke("prep", "table", "--help").stdout.split())
