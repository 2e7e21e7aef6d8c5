from __future__ import annotations

import pytest

from mmkit.cli.app import COMMANDS


@pytest.mark.parametrize(("args", "code"), [([], 2), (["-h"], 0), (["--help"], 0)])
def test_the_page_of_all_commands(invoke, args, code):
    outcome = invoke(*args)
    assert outcome.code == code
    assert outcome.stderr == ""
    assert all(name in outcome.stdout for name in COMMANDS)


def test_a_command_has_the_short_help_too(invoke):
    short, long = (invoke("eval", word).stdout for word in ("-h", "--help"))
    assert short == long
    assert "FILE-1.json" in short


def test_json_before_a_double_dash_only(invoke):
    # after it, the word is a query
    assert invoke("retrieve", "--nope", "--", "--json").stderr.startswith("error: ")
    assert invoke("retrieve", "--nope", "--json").stderr.startswith("{")
