"""README, --help and the tool say the same; no --help loads what it does not need."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mmkit.cli.app import COMMANDS, app
from mmkit.data.sources import SOURCES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEAVY = ("torch", "transformers", "datasets", "matplotlib", "jinja2", "umap", "numpy", "pyarrow", "rich")
PAGES = [[], *[[name] for name in COMMANDS], *[["prep", source] for source in SOURCES], ["prep", "audit"], ["recipes", "show"]]


def command(path):
    found = typer.main.get_command(app)
    for name in path:
        found = found.get_command(typer.Context(found), name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_help_loads_nothing_heavy_and_ends_with_invocations(page):
    code = (
        f"import sys; sys.argv = ['mmkit', *{[*page, '--help']!r}]\nfrom mmkit.cli.app import main\nmain()\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"COLUMNS": "100"}, timeout=60
    )
    text, _, loaded = done.stdout.partition("LOADED")
    assert not set(HEAVY) & set(loaded.split())
    examples = text.partition("Examples:")[2].strip().splitlines()
    assert len(examples) >= 2
    assert all(line.strip().startswith(("mmkit ", "printf ", "cat ", "echo ", "torchrun ")) for line in examples), examples


def test_every_command_stands_in_the_readme():
    for name in COMMANDS:
        assert f"mmkit {name}" in README
    for source in SOURCES:
        assert f"mmkit prep {source}" in README


def test_every_command_and_option_of_the_readme_exists():
    for line in re.findall(r"^(?:\$ )?(mmkit [^#\n]*)", README, re.M):
        for part in re.split(r"&&|\||;|>", line):
            words = part.split()
            if words[:1] != ["mmkit"] or len(words) < 2 or words[1].startswith(("-", "COMMAND")):
                continue
            path = words[1:3] if words[1] == "prep" and words[2] in (*SOURCES, "audit") else words[1:2]
            found = command(path)
            options = {option for p in found.params for option in (*p.opts, *p.secondary_opts)}
            assert {w for w in words if re.match(r"--[a-z]", w)} <= options | {"--help"}, part


def test_the_tree_in_the_readme_is_the_tree_on_disk():
    block = re.search(r"```\n(mmkit/\n.*?)```", README, re.S)
    assert block
    listed = {line.split()[0].rstrip("/") for line in block[1].splitlines()[1:] if line.startswith("  ")}
    on_disk = {p.name for p in (ROOT / "mmkit").iterdir() if not p.name.startswith("__")}
    assert listed == on_disk


def test_the_readme_names_the_two_commands():
    assert "pip install . && mmkit demo" in README
    assert "pip install '.[test]' && pytest" in README
