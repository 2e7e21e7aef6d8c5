"""Tables of a series a row, as the UCR archive has them: a class, then the numbers, without a header."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmkit.data.cells import DAMAGED, EXCESS
from mmkit.data.delimited import Delimited

COLUMNS = ["label", "series"]
# fewer columns are rather channels, with a time step a row
WIDE = 16
SAMPLE = 50


@dataclass(frozen=True, slots=True)
class RowSeries:
    """A table of numbers of which each row is a series and its class.

    Args:
        first: the class stands in front of the series, else behind it.
    """

    table: Delimited
    first: bool

    @property
    def note(self) -> str:
        """What was detected, for the user."""
        return f"{self.table.note}, a series a row with its class {'in front' if self.first else 'behind'}"

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(row number, row), as those of a table."""
        for n, row in self.table.rows():
            if flaw := next((key for key in (DAMAGED, EXCESS) if key in row), None):
                yield n, {flaw: row[flaw]}
                continue
            try:
                numbers = _numbers(row)
            except ValueError as e:
                yield n, {DAMAGED: str(e)}
                continue
            label = numbers.pop(0 if self.first else -1)
            # where series are of unequal length, NaN fills them up
            while numbers and math.isnan(numbers[-1]):
                numbers.pop()
            yield n, {"label": f"{label:g}", "series": numbers}


def row_series(table: Delimited) -> RowSeries | None:
    """The table as one of a series a row; None where it is something else."""
    if table.has_header or len(table.columns) < WIDE:
        return None
    try:
        sample = [_numbers(row) for _, row in itertools.islice(table.rows(), SAMPLE)]
    except ValueError:
        return None
    if not sample or any(len(numbers) != len(sample[0]) for numbers in sample):
        return None
    first, last = (_are_classes([numbers[i] for numbers in sample]) for i in (0, -1))
    whole = all(number.is_integer() for numbers in sample for number in numbers[1:-1])
    return RowSeries(table, first) if first != last and not whole else None


def _numbers(row: dict[str, Any]) -> list[float]:
    """The cells of a row as numbers; a blank one and NaN are missing.

    Raises:
        ValueError: one is no number.
    """
    return [float(cell) if cell and cell.strip() else math.nan for cell in row.values()]


def _are_classes(values: Sequence[float]) -> bool:
    """Whole numbers that occur again; those of time steps do not."""
    return all(value.is_integer() for value in values) and (len(set(values)) < len(values) or len(values) == 1)
