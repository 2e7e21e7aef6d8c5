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

COLUMNS = {"image": "image", "text": "captions"}
# models of the tests are so small that threads wait for each other longer than they compute; read when torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
# umap-learn's compiler gives torch as many threads as it takes itself
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

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


@pytest.fixture(scope="session")
def asked(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with red.png, ./colours (one label a row), ./shapes and the runs ./runs/classes, which tells colours apart,
    and after 2 steps ./runs/answers, ./runs/captions and ./runs/both, which compares and classifies; not to be changed."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "shapes").symlink_to(run / "data")
    Image.new("RGB", (8, 8), COLOURS["red"]).save(folder / "red.png")
    rows = [coloured_row(f"{colour}{n}", colour, [f"a {colour} picture {n}"]) for n in range(6) for colour in COLOURS]
    write_dataset(folder / "colours", {"train": rows, "val": rows[:3], "test": rows[:6]})
    for args in (
        ["colours", "--recipe", "classify", "--name", "classes", "--steps", 30, "--lr", "0.003"],
        ["shapes", "--recipe", "fusion-mid", "--name", "answers", "--steps", 2, "--limit", 32, "--batch-size", 16],
        ["shapes", "--recipe", "caption", "--name", "captions", "--steps", 2, "--limit", 32, "--batch-size", 16],
        ["colours", "--name", "both", "--steps", 2, "--set", "loss.task.kind=classify"],
    ):
        outcome = invoke_mmkit("train", *args, cwd=folder)
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


def colour_model_class() -> Any:
    """A Model whose encoders know colours and nothing else: it finds the picture of the colour that a text names."""
    import torch
    from torch import nn

    from mmkit import losses
    from mmkit.config import build
    from mmkit.data.modalities import image
    from mmkit.layers import Encoded
    from mmkit.model import Model

    class MeanColour(nn.Module):
        dim = 3

        def forward(self, pixels: Any) -> Encoded:
            mean = pixels.float().mean((2, 3))
            return Encoded(mean[:, None], torch.ones(len(mean), 1, dtype=torch.bool), mean)

    class NamedColour(nn.Module):
        dim = 3

        def forward(self, colour: Any) -> Encoded:
            return Encoded(colour[:, None], torch.ones(len(colour), 1, dtype=torch.bool), colour)

    class Words:
        """A text to the colour that it names, white where it names none."""

        blank = ""

        def prepare(self, item: str) -> str:
            return item

        def length(self, prepared: str) -> int:
            return len(prepared)

        def weight(self, prepared: str) -> int:
            return 0

        def collate(self, drawn: list[str]) -> Any:
            hot = [next((value for word, value in COLOURS.items() if word in text), (1, 1, 1)) for text in drawn]
            return {"colour": torch.tensor(hot).float()}

        def given(self) -> dict[str, Any]:
            return {}

    class ColourModel(Model):
        made_of_hash, parameter_count = "2 x 2", 0  # type: ignore[assignment]

        def __init__(self, name: str = "colours", folder: Path | None = None) -> None:
            nn.Module.__init__(self)
            tables = {"input": {m: {"column": c, "modality": m, "encoder": m} for m, c in COLUMNS.items()}, "project": {"dim": 3}}
            self.config = build(tables)
            self.name, self.folder, self.hash = name, folder, "colours"
            self.inputs = self.config.input
            square = image.Spec(size=2, resize="square", resample="bicubic", mean=[0.0] * 3, std=[1.0] * 3, augment=[])
            self.readers = {"image": image.Reader(square), "text": Words()}
            self.encoder = nn.ModuleDict({"image": MeanColour(), "text": NamedColour()})
            self.project = nn.ModuleDict({m: nn.Identity() for m in COLUMNS})
            pairs = {"kind": "infonce", "between": list(COLUMNS), "temperature": 0.1}
            self.loss = nn.ModuleDict({"itc": losses.build("itc", pairs, {"names": tuple(COLUMNS)})})
            self.fusion, self.head = nn.ModuleDict(), nn.ModuleDict()
            self.eval()

    return ColourModel


@pytest.fixture
def colour_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Every command loads the ColourModel, as if it were the run ./runs/colours."""
    import mmkit.loading

    model = colour_model_class()("runs/colours", tmp_path / "runs" / "colours")
    model.folder.mkdir(parents=True)
    monkeypatch.setattr(mmkit.loading, "load_model", lambda name, device="auto", say=None: model)
    return model
