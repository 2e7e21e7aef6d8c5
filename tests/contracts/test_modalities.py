"""What every row of MODALITIES keeps to at prep, and a new one that is added by its row alone; RAW needs one line for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmkit.data.cells import Blank
from mmkit.data.modalities import MODALITIES
from mmkit.data.schema import arrow_schema
from mmkit.data.shards import open_dataset
from tests import raw
from tests.conftest import Outcome

# modality -> a raw value, a cell of a table, and a raw value that holds nothing
RAW: dict[str, tuple[Any, Any, Any]] = {
    "image": (raw.encoded(raw.picture(1)), "1.jpg", None),
    "text": (["a b", "nan", " a b "], ["a b", "c"], ["", "nan"]),
    "series": ([[0.5, 1], [2, 3]], [0.5, 1.0], []),
}

every_modality = pytest.mark.parametrize("name", list(MODALITIES))


def plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


@every_modality
def test_what_it_stores_fits_its_column(name: str) -> None:
    pa = pytest.importorskip("pyarrow")
    modality = MODALITIES[name]
    stored = plain(modality.store(RAW[name][0]))
    schema = arrow_schema({modality.COLUMN: modality.FEATURE})
    assert pa.Table.from_pylist([{modality.COLUMN: stored}], schema=schema).to_pylist() == [{modality.COLUMN: stored}]
    if RAW[name][2] is not None:
        assert plain(modality.store(stored)) == stored
        with pytest.raises(Blank):
            modality.store(RAW[name][2])


@every_modality
def test_its_column_is_known_by_its_type(name: str) -> None:
    for other, (_, cell, _) in RAW.items():
        assert MODALITIES[name].holds(cell) == (name == other) or {name, other} == {"text", "series"}


@every_modality
def test_it_is_light(name: str) -> None:
    code = f"import sys, mmkit.data.modalities.{name}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "PIL", "numpy", "pyarrow"} & set(loaded)


def place(raw: Any) -> list[float]:
    """A point of a map, from `lat lon`."""
    numbers = [float(n) for n in raw.split()] if isinstance(raw, str) else raw
    if len(numbers) != 2:
        raise ValueError("not a latitude and a longitude")
    return numbers


PLACE = SimpleNamespace(
    ROLE="place",
    COLUMN="place",
    FEATURE={"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"},
    SUFFIXES=set(),
    NAMES=("place",),
    holds=lambda value: isinstance(value, str) and value.replace(".", "").replace(" ", "").isdigit(),
    store=place,
)


def test_a_new_row_is_prepared(tmp_path: Path, invoke: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODALITIES, "place", PLACE)
    rows = [{"where": f"{i}.5 7", "words": "a town"} for i in range(8)] + [{"where": "1", "words": "x y"}, {"words": "a b"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for column in ((), ("--column", "place=where")):
        outcome = invoke("prep", "table", "data", "--source", "t.jsonl", *column, "--force", cwd=tmp_path)
        assert outcome.code == 0, outcome.stderr
        assert "place column 'where'" in outcome.stderr
    data = open_dataset(tmp_path / "data")
    assert data.manifest["columns"] == {"captions": "text", "place": "place"}
    assert {row["id"]: row["place"] for row in data.rows()} == {f"row {i + 1}": [i + 0.5, 7] for i in range(8)}
    assert data.manifest["audit"]["filled"]["place"]["train"] == data.splits["train"]
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    assert reasons == ["not a latitude and a longitude", "no place in the row"]
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].column_names == ["id", "captions", "place"]
