"""The table of systems in the README: rows are merged, kept in order, and checked against their floors."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mmkit.cli.app import COMMANDS
from mmkit.config import recipes
from tests.benchmarks import systems
from tests.benchmarks.systems import BEGIN, END, HEAD, README, SYSTEMS, Figure, Measured, System, with_rows

ONE = System(
    "one", ("mmkit train shapes --recipe clip", "mmkit train more"), "ask", (Figure("R@1", "m", 0.5),), (Figure("chance", "c"),)
)


def test_a_row() -> None:
    trained = "`mmkit train shapes --recipe clip`<br>`mmkit train more`"
    assert (
        Measured(ONE, 259537, 147.6, (0.81234, 0.0033)).row()
        == f"| one | {trained} | 259,537 | 148 | R@1 0.812 | chance 0.0033 |"
    )


def test_figures_below_their_floor_are_named() -> None:
    assert not Measured(ONE, 1, 1, (0.5, 0.0)).below()
    assert Measured(ONE, 1, 1, (0.4999, 0.0)).below() == ["one: R@1 is 0.500, below 0.5"]
    assert Measured(ONE, 1, 1, (float("nan"), 0.0)).below()


def test_rows_are_replaced_added_and_kept_in_order() -> None:
    page = f"before\n{BEGIN}\n{END}\nafter\n"
    page = with_rows(page, {"b": "| b | 1 |"}, ["a", "b"])
    assert page == f"before\n{BEGIN}\n{HEAD}| b | 1 |\n{END}\nafter\n"
    page = with_rows(page, {"a": "| a | 2 |"}, ["a", "b"])
    assert page == f"before\n{BEGIN}\n{HEAD}| a | 2 |\n| b | 1 |\n{END}\nafter\n"
    page = with_rows(page, {"b": "| b | 3 |"}, ["a", "b"])
    assert page == f"before\n{BEGIN}\n{HEAD}| a | 2 |\n| b | 3 |\n{END}\nafter\n"
    assert with_rows(page, {}, ["b"]) == f"before\n{BEGIN}\n{HEAD}| b | 3 |\n{END}\nafter\n"
    with pytest.raises(SystemExit, match="lacks the lines"):
        with_rows("a page", {}, [])


def test_commands_are_run_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """From the commands of an entry to its row of the page."""
    say = "python -c \"import json; print(1); print(json.dumps({'m': {'x': 0.25}, 'cost': {'parameters': 7}}))\""
    make = "python -c \"open('made', 'w').write('')\""
    one = System("one", (make,), say, (Figure("X", "m.x", 0.5),), data=())
    page = tmp_path / "README.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    monkeypatch.setattr(systems, "SYSTEMS", (one,))
    monkeypatch.setattr(systems, "README", page)
    with pytest.raises(SystemExit) as e:
        systems.main(["one", "--check", "--folder", str(tmp_path / "scratch")])
    assert e.value.code == 1 and "one: X is 0.250, below 0.5" in capsys.readouterr().err
    assert (tmp_path / "scratch/one/made").exists() and "X" not in page.read_text()
    systems.main([])
    assert re.search(r"\| 7 \| \d+ \| X 0\.25 \|  \|$", page.read_text(), re.M)
    with pytest.raises(SystemExit, match="no system 'two'; there are: one"):
        systems.main(["two"])


def test_what_the_table_names_exists() -> None:
    assert len({system.name for system in SYSTEMS}) == len(SYSTEMS)
    page = README.read_text(encoding="utf-8")
    assert with_rows(page, {}, [system.name for system in SYSTEMS]) == page
    for system in SYSTEMS:
        for words in map(shlex.split, (*system.data, *system.train, *system.others, system.ask)):
            if words[0] == "mmkit":
                assert words[1] in COMMANDS
                named = [words[i + 1] for i, word in enumerate(words) if word == "--recipe"]
                assert set(named) <= set(recipes())
