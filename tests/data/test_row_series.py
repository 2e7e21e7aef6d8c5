"""Tables of a series a row, without a header, and other tables of numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmkit.data.row_series import WIDE
from mmkit.data.schema import Ask, Row
from mmkit.data.sources import reader
from mmkit.data.tables import open_table
from mmkit.errors import UserError

SERIES = np.random.default_rng(0).normal(size=(6, WIDE)).round(3)
LABELS = [1, 2, -1, 1, 2, 2]


def write(path: Path, rows: list[list[object]], separator: str = "\t") -> Path:
    path.write_text("".join(separator.join(map(str, row)) + "\n" for row in rows))
    return path


def ucr(path: Path, behind: bool = False, separator: str = "\t") -> Path:
    """A class and a series a row."""
    rows: list[list[object]] = [
        [*series, label] if behind else [label, *series] for label, series in zip(LABELS, SERIES.tolist(), strict=True)
    ]
    return write(path, rows, separator)


def test_the_ucr_archive_is_read_as_series_with_their_classes(tmp_path: Path) -> None:
    place = tmp_path / "GunPoint"
    place.mkdir()
    ucr(place / "GunPoint_TRAIN.tsv")
    ucr(place / "GunPoint_TEST.tsv")
    source = reader("table")(Ask(tmp_path / "out", place))
    rows = [row for row in source.rows if isinstance(row, Row)]
    assert [row.split for row in rows] == ["test"] * 6 + ["train"] * 6
    assert [row.values["label"] for row in rows[:6]] == ["1", "2", "-1", "1", "2", "2"]
    np.testing.assert_allclose(np.array(rows[1].values["series"])[0], SERIES[1])
    assert "no header, a series a row with its class in front" in source.note
    for root, what in ((tmp_path, "a table of a series a row"), (place, "no pictures, sounds, series or videos")):
        with pytest.raises(UserError, match=what) as e:
            reader("folder")(Ask(tmp_path / "out", root))
        assert e.value.hint.startswith(f"mmkit prep table ./data --source {place} ")


def test_the_class_may_stand_behind_and_missing_numbers_fill_the_end(tmp_path: Path) -> None:
    table = open_table(ucr(tmp_path / "beats.csv", behind=True, separator=","))
    assert [row["label"] for _, row in table.rows()][:3] == ["1", "2", "-1"]
    lines = [[label, *series[:-1], "NaN"] for label, series in zip(LABELS, SERIES.tolist(), strict=True)]
    (_, row), *_ = open_table(write(tmp_path / "unequal.tsv", lines)).rows()
    assert row["series"] == SERIES[0, :-1].tolist()


@pytest.mark.parametrize(
    "rows",
    [
        # few columns, steps of time in front, and whole numbers alone, as of pixels
        [[1, 0.5, 0.1], [1, 0.2, 0.3]],
        [[i, *SERIES[i].tolist()] for i in range(6)],
        [[1, *range(3, WIDE + 3)], [1, *range(5, WIDE + 5)]],
        [[1, *SERIES[0].tolist()], [1, *["word"] * WIDE]],
    ],
)
def test_other_tables_of_numbers_are_none(tmp_path: Path, rows: list[list[object]]) -> None:
    table = open_table(write(tmp_path / "t.tsv", rows))
    assert table.columns[:2] == ["column 1", "column 2"]
    assert [n for n, _ in table.rows()] == list(range(1, len(rows) + 1))


def test_columns_that_are_counted_are_a_header(tmp_path: Path) -> None:
    assert open_table(write(tmp_path / "t.csv", [[0, 1, 2], [0.5, 0.1, 0.3]], ",")).columns == ["0", "1", "2"]
