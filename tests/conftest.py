"""What the tests share: mmkit as a user types it, in a process of its own or in this one, and one small trained run."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmkit.files import DATASET_VERSION

COLOURS = {"red": (230, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 230)}


class Outcome(NamedTuple):
    """What an invocation left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[Any]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]


def run_mmkit(args: list[str], cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m mmkit ARGS` in a process of its own."""
    command = [sys.executable, "-m", "mmkit", *map(str, args)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, env=env, timeout=600)


def invoke_mmkit(*args: Any, cwd: Path | None = None, stdin: str = "") -> Outcome:
    """One invocation in this process: fast, with the exit code and both streams."""
    from mmkit.cli.app import main
    from mmkit.cli.console import console

    console.as_json = console.quiet = console.debug = False
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True), io.StringIO()
    before, sys.stdin = sys.stdin, io.StringIO(stdin)
    try:
        with chdir(cwd or Path.cwd()), redirect_stdout(out), redirect_stderr(err):
            code = main([str(arg) for arg in args])
    finally:
        sys.stdin = before
    return Outcome(int(code), out.buffer.getvalue().decode("utf-8", "replace"), err.getvalue())  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def mmkit() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`mmkit(args, cwd, stdin=None)` in a process of its own."""
    return run_mmkit


@pytest.fixture(scope="session")
def invoke() -> Callable[..., Outcome]:
    """`invoke(*args, cwd=None, stdin="")` in this process."""
    return invoke_mmkit


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ./data (200 scenes and their test split) and ./runs/latest after 5 steps; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    for args in (["prep", "shapes", "data", "--limit", 200], ["train", "--steps", 5]):
        outcome = invoke_mmkit(*args, cwd=folder)
        assert outcome.code == 0, outcome.stderr
    return folder


def write_dataset(folder: Path, rows: dict[str, list[dict[str, Any]]], columns: dict[str, str] | None = None) -> Path:
    """A dataset folder of split -> rows, without `prep`."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, items in rows.items():
        name = f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(items), folder / name, row_group_size=2)
        splits[split] = {"rows": len(items), "shards": [{"file": name, "sha256": f"{split}{len(items)}"}]}
    columns = columns or {"image": "image", "captions": "text", "label": "label"}
    manifest = {"version": DATASET_VERSION, "name": folder.name, "columns": columns, "splits": splits}
    (folder / "dataset.json").write_text(json.dumps(manifest))
    return folder


def coloured_row(name: str, colour: str, captions: list[str] | None = None) -> dict[str, Any]:
    """A row whose image is one flat colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), COLOURS[colour]).save(buffer, "PNG")
    image = {"bytes": buffer.getvalue(), "path": f"{name}.png"}
    return {"id": name, "image": image, "captions": captions or [f"a {colour} picture"], "label": colour}


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """./data of three test rows, red green blue with two captions each, and one train row."""
    test = [coloured_row(c, c, [f"a {c} picture", f"all of it is {c}"]) for c in COLOURS]
    return write_dataset(tmp_path / "data", {"train": [coloured_row("r", "red")], "test": test})


class SmallPixels:
    """Evaluation preprocessing to 2 x 2."""

    size = 2

    def __call__(self, image: Image.Image) -> Any:
        import numpy as np
        import torch

        return torch.from_numpy(np.array(image.resize((2, 2)))).permute(2, 0, 1)


class ColourModel:
    """The interface of `mmkit.model.Model` over the mean colour: it finds the picture of the colour that a text names."""

    dim, hash, folder, modalities, parameter_count = 3, "colours", None, ("image", "text"), 0
    made_of_hash = "2 x 2"

    def __init__(self, name: str = "colours", folder: Path | None = None) -> None:
        self.name, self.folder, self.pixels = name, folder, SmallPixels()

    def encode_images(self, images: Any) -> Any:
        import torch.nn.functional as F

        return F.normalize(images.float().mean((2, 3)), dim=-1)

    def encode_texts(self, texts: list[str]) -> Any:
        import torch
        import torch.nn.functional as F

        hot = [next((value for word, value in COLOURS.items() if word in text), (1, 1, 1)) for text in texts]
        return F.normalize(torch.tensor(hot).float(), dim=-1)

    def probabilities(self, image: Any, texts: Any) -> Any:
        return (10 * texts @ image).softmax(0)


@pytest.fixture
def colour_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ColourModel:
    """Every command loads the ColourModel, as if it were the run ./runs/colours."""
    import mmkit.model

    model = ColourModel("runs/colours", tmp_path / "runs" / "colours")
    model.folder.mkdir(parents=True)  # type: ignore[union-attr]
    monkeypatch.setattr(mmkit.model, "load_model", lambda name, device="auto", say=None: model)
    return model
