"""The table of an ablation against plain loops over what eval saved."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmkit.workflows import ablation_table as table
from mmkit.workflows.ablation import CELL, CELLS, Ablation
from mmkit.workflows.ablation_cells import Grid

ITEMS, SEEDS = 60, 3


def values(cell: int, seed: int) -> np.ndarray:
    """Of each question; those of the second cell are better by 0.2, two of one picture alike."""
    rng = np.random.default_rng(100 * cell + seed)
    return (rng.random(ITEMS) < 0.4 + 0.2 * cell).astype(float)


@pytest.fixture
def ablation(tmp_path):
    made = Ablation(tmp_path, Grid({"a.b.c": [1, 2, 3]}, [], list(range(SEEDS))), {"": {}})
    for name, (cell, seed) in made.names().items():
        number = int(cell.values["a.b.c"]) - 1
        failed = number == 2
        path = tmp_path / f"{name}.rows.parquet"
        own = values(number, seed)
        # another order of the items in every run: they are told by their id, not by their place
        order = np.random.default_rng(seed).permutation(ITEMS // 2)
        ids = [f"picture{i}" for i in order for _ in range(2)]
        pq.write_table(pa.table({"id": ids, "vqa_accuracy": own[[2 * i + k for i in order for k in range(2)]]}), path)
        row = {"cell": dict(cell.values), "drop": [], "seed": seed, "metrics": {"vqa_accuracy": own.mean()}, "parameters": 7}
        row |= {"seconds": 1.0, "run": "run", "error": None}
        if failed:
            row |= {"metrics": {}, "parameters": None, "error": "out of memory"}
        (tmp_path / CELLS / name).mkdir(parents=True)
        told = {"row": row, "tables": [] if failed else [["", path.name]]}
        (tmp_path / CELLS / name / CELL).write_text(json.dumps(told))
    return made


def test_mean_deviation_and_difference_are_those_of_a_plain_loop(ablation):
    first, second, third = table.lines(ablation)
    for number, line in enumerate((first, second)):
        means = [values(number, seed).mean() for seed in range(SEEDS)]
        assert line.mean["vqa_accuracy"] == pytest.approx(np.mean(means))
        assert line.std["vqa_accuracy"] == pytest.approx(np.std(means, ddof=1))
        assert (line.seeds, line.parameters, line.title) == (3, 7, f"b.c={number + 1}")
    assert first.difference == {}
    each = np.mean([values(1, seed) - values(0, seed) for seed in range(SEEDS)], 0)
    value, (low, high) = second.difference["vqa_accuracy"]
    assert value == pytest.approx(each.mean())
    # pictures are drawn again, not questions: the naive bootstrap over the mean of each pair
    rng = np.random.default_rng(1)
    pictures = each.reshape(-1, 2).mean(1)
    draws = [rng.choice(pictures, len(pictures)).mean() for _ in range(4000)]
    assert [low, high] == pytest.approx(np.quantile(draws, [0.025, 0.975]).tolist(), abs=0.02)
    assert third.failed == ("out of memory",) * 3


def test_as_text(ablation):
    found = table.lines(ablation)
    columns, rows = table.cells_of(found, table.main_metrics(found))
    assert columns == ["cell", "seeds", "vqa accuracy", "difference", "parameters", "seconds"]
    assert rows[0][:4] == ["b.c=1", "3", f"{found[0].mean['vqa_accuracy']:.3f} ± {found[0].std['vqa_accuracy']:.3f}", ""]
    assert rows[2][:3] == ["b.c=3", "0 (3 failed)", "failed"]
    assert len(table.table_csv(found).splitlines()) == 3


def test_the_metrics_that_a_table_has_room_for():
    names = ["vqa_accuracy", "vqa_accuracy/count", "t_recall@10", "t_recall@1", "x-y/t_recall@5", "median_rank"]
    line = table.Line(
        "a", Grid({}, [], [0]).cells()[0], dict.fromkeys(names, 0.5), difference=dict.fromkeys(names[:-1], (0.0, [0.0, 0.0]))
    )
    assert table.main_metrics([line]) == ["vqa_accuracy", "t_recall@1", "x-y/t_recall@5"]
