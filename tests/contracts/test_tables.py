"""A row that a test adds to a table, through the table alone, trains, embeds, evaluates and retrieves like any other."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.batch import Batch, Take, Want
from mmkit.data.modalities import MODALITIES
from mmkit.encoders import ENCODERS
from mmkit.fields import doc
from mmkit.fusion import FUSIONS
from mmkit.layers import Encoded, everywhere
from mmkit.loading import load_model
from mmkit.losses import LOSSES
from mmkit.losses.objective import Got, Objective
from mmkit.metrics.evaluation import METRICS, Request, Result
from mmkit.model import Model
from mmkit.training.step import gradients
from tests.conftest import write_dataset

HERE = "tests.contracts.test_tables"
ROWS = 24


@dataclass
class Spec:
    scale: float = doc("what a number is divided by", 10.0, above=0)


class Reader:
    """A number to {"x": float32 (B, 1)}."""

    blank, still = 0.0, True

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def over(self, spec: Spec) -> Reader:
        return Reader(spec)

    def given(self) -> dict[str, Any]:
        return {}

    def prepare(self, item: float) -> float:
        return item / self.spec.scale

    def collate(self, drawn: list[float]) -> dict[str, Tensor]:
        return {"x": torch.tensor(drawn)[:, None]}

    def key(self, item: float) -> int:
        return int(item * 1000)

    def weight(self, prepared: float) -> int:
        return 8

    def length(self, prepared: float) -> int:
        return 0

    def made_of(self) -> Any:
        return [self.spec.scale]

    def log(self, tensors: Any, said: Any) -> dict[str, float]:
        return {}

    def save(self, folder: Any, name: str) -> None:
        pass


def number() -> Any:
    """The row of a modality of numbers."""
    row = types.SimpleNamespace(COLUMN="number", ROLE="number", NAMES=("number",), SUFFIXES=(".num",), KINDS=("number",))
    row.FEATURE = {"dtype": "float32", "_type": "Value"}
    row.ENCODER, row.LANGUAGE, row.Spec, row.TRAINING = "linear", False, Spec, ()
    row.holds = lambda value: isinstance(value, float)
    row.store = float
    row.items = lambda value: [] if value is None else [value]
    row.of_file = lambda path: float(Path(path).read_text())
    row.fill = row.settle = lambda *facts: {}
    row.learn = lambda spec, data, columns, limit: (Reader(spec), {})
    row.load = lambda spec, folder, name: Reader(spec)
    return row


class Linear(nn.Module):
    """The dummy encoder: two tokens a number."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.dim, self.layer = dim, nn.Linear(1, 2 * dim)

    def forward(self, x: Tensor) -> Encoded:
        tokens = self.layer(x).sin().unflatten(1, (2, self.dim))
        return Encoded(tokens, everywhere(tokens), tokens.mean(1))


class Average(nn.Module):
    """The dummy fusion."""

    reads = "pooled"

    def __init__(self, dim: int = 8, *, widths: dict[str, int]) -> None:
        super().__init__()
        self.dim, self.adapt = dim, nn.ModuleDict({name: nn.Linear(width, dim) for name, width in widths.items()})

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return {}

    def spans(self, parts: dict[str, Encoded]) -> dict[str, slice]:
        return {}

    def forward(self, parts: dict[str, Encoded]) -> Encoded:
        pooled = torch.stack([self.adapt[name](part.pooled) for name, part in parts.items()]).mean(0)
        return Encoded(pooled[:, None], torch.ones(len(pooled), 1, dtype=torch.bool), pooled)


class Match(Objective):
    """The dummy loss: tells rows from those with the text of another, chosen by the clean vectors within groups of rows."""

    whole, group, metric = False, 4, "dummy"

    def __init__(self, weight: float = 1.0, *, name: str = "") -> None:
        super().__init__(weight, of="fused", name=name)

    def head(self, width: int) -> nn.Module:
        return nn.Linear(width, 1)

    def wants(self) -> tuple[Want, ...]:
        return (Want(self.name, "logits"), Want(self.name, "logits", "swapped"))

    def sees(self) -> tuple[Want, ...]:
        return (Want("text", "pooled"),)

    def corrupt(self, batch: Batch, draw: str, clean: Got) -> dict[str, Batch | Take]:
        (vectors,) = clean.values()
        assert not vectors.requires_grad
        rows = torch.arange(batch.rows)
        # of its group the row whose text is the most alike, its own left out
        alike = (F.normalize(vectors, dim=-1) @ F.normalize(vectors, dim=-1).T).fill_diagonal_(-2)
        alike = alike.masked_fill(rows[:, None] // self.group != rows[None] // self.group, -2)
        return {"swapped": Take({"number": rows, "text": alike.argmax(1)})}

    def count(self, batch: Batch) -> Tensor:
        return torch.tensor(2.0 * batch.rows)

    def score(self, got: Got, batch: Batch) -> Tensor:
        right, wrong = (got[want].squeeze(1) for want in self.wants())
        return F.softplus(-right).sum() + F.softplus(wrong).sum()


class Hide(Objective):
    """A loss over a version of the batch whose numbers are hidden; what is hidden is drawn for each row alone."""

    whole = False

    def __init__(self, weight: float = 1.0, *, name: str = "") -> None:
        super().__init__(weight, name=name)

    @classmethod
    def names(cls, table: Any) -> list[str]:
        return ["number"]

    def alters(self) -> tuple[str, ...]:
        return ("number",)

    def wants(self) -> tuple[Want, ...]:
        return (Want("number", "pooled", "hidden"), Want("number", "pooled"))

    def corrupt(self, batch: Batch, draw: str, clean: Got) -> dict[str, Batch | Take]:
        kept = torch.tensor([[float(self.rng(draw, id).random() < 0.5)] for id in batch.ids])
        return {"hidden": Batch(batch.ids, {"number": {"x": batch.inputs["number"]["x"] * kept}}, batch.present)}

    def score(self, got: Got, batch: Batch) -> Tensor:
        hidden, clean = (got[want] for want in self.wants())
        return (hidden - clean).square().mean(1).sum()


def of_model(model: Model, data: Any, request: Request) -> list[Result]:
    """The dummy metric, of which this module is the row."""
    count = sum(data.splits.values())
    record = {"dataset": data.name, "model": model.name, "task": "dummy", "split": "all", "n": {"number": count}}
    return [
        Result(record | {"metrics": {"rows": float(count)}, "chance": {}, "data_hash": data.hash}, {"id": ["a"]}, "rows", "d")
    ]


def names(model: Model) -> list[str]:
    return ["rows"]


def during(model: Model, val: Any) -> Callable[[Model], Any]:
    from mmkit.talk import Measured

    return lambda model: Measured("rows", 1.0, {"rows": 1.0})


@pytest.fixture
def dummies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODALITIES, "number", number())
    monkeypatch.setitem(ENCODERS, "linear", ("number", HERE, "Linear"))
    monkeypatch.setitem(FUSIONS, "average", (HERE, "Average"))
    monkeypatch.setitem(LOSSES, "match", (HERE, "Match"))
    monkeypatch.setitem(LOSSES, "hide", (HERE, "Hide"))
    monkeypatch.setitem(METRICS, "dummy", HERE)


@pytest.fixture
def place(tmp_path: Path, dummies: None) -> Path:
    words = ("none", "one", "two", "three", "four", "five")
    rows = [{"id": str(i), "number": float(i % 6), "captions": [words[i % 6]], "label": words[i % 6][0]} for i in range(ROWS)]
    columns = {"number": "number", "captions": "text", "label": "label"}
    write_dataset(tmp_path / "data", {"train": rows, "val": rows[:6], "test": rows[6:12]}, columns)
    text = {"kind": "transformer", "dim": 8, "layers": 1, "heads": 2}
    recipe = {
        "encoder": {"text": text, "number": {"kind": "linear"}},
        "fusion": {"kind": "average", "inputs": ["number", "text"]},
        "loss": {"itc": {"kind": "infonce", "between": ["number", "text"]}, "itm": {"kind": "match"}, "mnm": {"kind": "hide"}},
        "train": {"steps": 60, "batch_size": 12, "lr": 0.02, "eval_every": 30},
        "data": {"number": {"scale": 5.0}},
    }
    import tomli_w

    (tmp_path / "dummy.toml").write_text(tomli_w.dumps(recipe))
    return tmp_path


def test_a_row_of_every_table_trains_embeds_evaluates_and_retrieves(place: Path, invoke: Callable[..., Any]) -> None:
    outcome = invoke("train", "--recipe", "dummy.toml", "--name", "dummy", cwd=place)
    assert outcome.code == 0, outcome.stderr
    rows = [json.loads(line) for line in (place / "runs/dummy/metrics.jsonl").read_text().splitlines()]
    losses = [row["train/loss/itm"] for row in rows if "train/loss/itm" in row]
    assert losses[-1] < losses[0]
    assert any("val/rows" in row and "val/mean_recall" in row for row in rows)
    assert invoke("train", "--resume", "runs/dummy", cwd=place).code == 0
    outcome = invoke("eval", "recall@1", "dummy", "--model", "runs/dummy", "--json", cwd=place)
    assert outcome.code == 0, outcome.stderr
    recall, dummy = outcome.lines
    assert recall["n"] == {"number": 6, "text": 6}
    assert recall["metrics"]["number_retrieval_recall@1"] >= 0.8
    assert dummy["metrics"] == {"rows": ROWS + 12.0}
    assert invoke("embed", "--model", "runs/dummy", cwd=place).code == 0
    outcome = invoke("retrieve", "two", "--model", "runs/dummy", "--top", 1, "--json", cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert (outcome.lines[0]["modality"], int(outcome.lines[0]["id"]) % 6) == ("number", 2)
    (place / "four.num").write_text("4.0")
    outcome = invoke("retrieve", "four.num", "--model", "runs/dummy", "--top", 1, "--find", "text", "--json", cwd=place)
    assert outcome.code == 0, outcome.stderr
    assert outcome.lines[0]["text"] == "four"


@pytest.mark.parametrize("parts", [2, 3])
def test_negatives_and_hidden_inputs_are_the_same_in_parts(place: Path, parts: int) -> None:
    """Takes stay within groups, and what is drawn for a row is drawn for it alone."""
    from mmkit.config import resolve
    from tests.core import plan

    made = plan(resolve(str(place / "dummy.toml"), None, [{"data": {"path": str(place / "data"), "workers": 1}}]))
    model = made.model.train()
    found = []
    for n in (1, parts):
        model.zero_grad()
        loss = gradients(model, made.first_batch, n, "fp32", "0 1")["loss"].item()
        found.append((loss, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert (found[0][1] - found[1][1]).norm() < 1e-5 * found[0][1].norm()


def test_a_loaded_model_has_the_dummies(place: Path, invoke: Callable[..., Any]) -> None:
    assert invoke("train", "--recipe", "dummy.toml", "--steps", 2, "--name", "brief", cwd=place).code == 0
    model = load_model(str(place / "runs" / "brief"), "cpu")
    assert type(model.encoder["number"]).__name__ == "Linear" and type(model.fusion["fused"]).__name__ == "Average"
    assert model.config.data["number"].scale == 5.0
