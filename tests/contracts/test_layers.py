"""An import may only point down the layers of the design, and a pretrained library is never imported at module level."""

import ast
from pathlib import Path

import pytest

import mmkit

ROOT = Path(mmkit.__file__).parent
# from the ground up; modules of one layer do not import each other's siblings unless they share a folder
LAYERS = [
    {"errors"},
    {"files", "fields", "durations", "kinds", "talk", "layers", "batch", "bootstrap", "tabular"},
    {"config"},
    {"ragged", "tune"},
    {"vectors"},
    {"vectors_writer"},
    {"data"},
    {"encoders", "project"},
    # what a loss hides of a picture are the patches of its encoder
    {"fusion", "losses"},
    {"forward"},
    {"model"},
    {"foreign"},
    {"loading"},
    {"encode"},
    {"embedding", "decoding", "regions"},
    {"given"},
    {"prompting", "sampling"},
    {"foreign_vlm"},
    {"foreign_open"},
    {"training", "metrics", "search", "space", "explain", "views"},
    {"workflows"},
    {"cli"},
]
LEVEL = {name: i for i, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mmkit"):
            module = node.module.split(".")
            if len(module) > 1:
                yield module[1], node.lineno
            else:
                yield from ((alias.name, node.lineno) for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[1], node.lineno) for alias in node.names if alias.name.startswith("mmkit."))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own.startswith("__"):
        return
    for name, line in imports(path):
        if own == name:
            continue
        assert LEVEL[name] < LEVEL[own], f"{path}:{line}: {own} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_heavy_import_at_module_level(path):
    heavy = {"transformers", "datasets", "matplotlib", "jinja2", "umap"} | (
        {"torch"} if path.parts[-2] == "cli" or path.name in ("config.py", "fields.py", "files.py") else set()
    )
    for node in ast.parse(path.read_text()).body:
        names = (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        assert not heavy & {n.split(".")[0] for n in names}, f"{path}:{node.lineno}"
