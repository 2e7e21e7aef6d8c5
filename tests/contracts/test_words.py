"""No code knows one modality by name, but where it is about that one; and none knows a recipe by name."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmkit
from mmkit.config import recipes

ROOT = Path(mmkit.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
WORDS = {"image", "text", "audio", "video"}
# where a modality may be named: its own files, the columns of sources, what is drawn and said of pictures and captions, the words
# of the command line, and code about formats that others have published
OWN = (
    *("data/modalities/", "data/sources/", "encoders/", "views/", "cli/", "workflows/story.py"),
    *("data/checkpoint.py", "data/compressed.py", "data/depth.py", "data/images.py", "data/pixels.py", "data/pope_files.py"),
    *("foreign.py", "foreign_open.py", "foreign_vlm.py", "prompting.py"),
    # the columns of the embeddings file, and of the .npy files that extractors of pictures leave
    "vectors.py",
    # the extras that read sounds and videos
    *("data/sounds.py", "data/videos.py"),
    # words that stand in strangers' tables and names of folders
    *("data/cells.py", "data/levels.py", "data/reprs.py", "data/splits.py"),
)


def named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The literals that are the name of a modality, not counting keys of what `datasets` and clip_benchmark define."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in WORDS:
            yield node.lineno, str(node.value)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [p for p in FILES if not relative(p).startswith(OWN)], ids=relative)
def test_no_modality_is_named(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not list(named(tree)), f"{path}: {list(named(tree))}"
    holders = constants()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                assert (node.module, alias.name) not in holders, f"{path}:{node.lineno} imports {alias.name}"


@functools.cache
def constants() -> set[tuple[str, str]]:
    """(module, name) of the constants that hold such a literal."""
    found = set()
    for path in FILES:
        module = ".".join(["mmkit", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and node.value.value in WORDS:
                found |= {(module, target.id) for target in node.targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("path", [p for p in FILES if "recipes" not in p.name], ids=relative)
def test_no_code_branches_on_the_name_of_a_recipe(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare) and "recipe" in ast.unparse(node):
            compared = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
            assert not compared & set(recipes()), f"{path}:{node.lineno}"
