"""Errors and correlation of numbers against scikit-learn and numpy, and their intervals."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, mean_absolute_error

from mmkit.metrics import numbers


@pytest.fixture
def both():
    rng = np.random.default_rng(0)
    target = rng.choice(np.linspace(-3, 3, 31), 400)
    return target * 0.7 + rng.normal(0, 0.8, 400), target


def test_against_other_implementations(both):
    predicted, target = both
    found = numbers.measured(predicted, target, -3, 3)
    assert list(found) == ["mae", "pearson", "acc7", "acc2", "f1"]
    assert found["mae"] == pytest.approx(mean_absolute_error(target, predicted))
    assert found["pearson"] == pytest.approx(np.corrcoef(predicted, target)[0, 1])
    seven = [np.clip(np.round(each), -3, 3) for each in both]
    assert found["acc7"] == pytest.approx(np.mean(seven[0] == seven[1]))
    said, true = predicted >= 0, target >= 0
    assert found["acc2"] == pytest.approx(np.mean(said == true))
    assert found["f1"] == pytest.approx(f1_score(true, said, average="weighted"))


def test_a_large_offset_leaves_the_correlation(both):
    predicted, target = both
    far = numbers.measured(predicted + 1e6, target + 1e6, 1e6, 1e6 + 3)
    assert far["pearson"] == pytest.approx(np.corrcoef(predicted, target)[0, 1])
    assert list(far) == ["mae", "pearson"]  # no signs, and no sevenths


@pytest.mark.parametrize(("low", "high", "names"), [(-1, 1, 5), (-5, 5, 4), (1, 5, 2), (0, 1, 2), (-3, -1, 2)])
def test_what_can_be_told_follows_from_the_range(low, high, names):
    found = numbers.measured(np.array([low, high, low]), np.array([low, high, high]), low, high)
    assert list(found) == ["mae", "pearson", "acc7", "acc2", "f1"][:2] + (
        [] if names == 2 else ["acc2", "f1"] if names == 4 else ["acc7", "acc2", "f1"]
    )


def test_what_is_constant_correlates_with_nothing():
    target = np.array([-1.0, 0.5, 2.0])
    found = numbers.measured(np.full(3, 0.3), target, -3, 3)
    assert found["pearson"] == 0
    assert found["acc2"] == pytest.approx(2 / 3)
    assert numbers.measured(np.empty(0), np.empty(0), -3, 3) == {}


def test_intervals_hold_the_figure_and_narrow_with_rows(both):
    predicted, target = both
    ids = [str(i) for i in range(400)]
    found, value = numbers.intervals(predicted, target, -3, 3, ids), numbers.measured(predicted, target, -3, 3)
    assert list(found) == list(value)
    assert all(low <= value[name] <= high for name, (low, high) in found.items())
    few = numbers.intervals(predicted[:50], target[:50], -3, 3, ids[:50])
    assert all(few[name][1] - few[name][0] > high - low for name, (low, high) in found.items())
    # about twice the standard error of the mean
    assert found["mae"][1] - found["mae"][0] == pytest.approx(4 * np.abs(predicted - target).std() / 20, rel=0.1)
    # the rows of a sample are drawn together: a hundred copies are no more samples
    twice = numbers.intervals(np.tile(predicted, 3), np.tile(target, 3), -3, 3, ids * 3)
    assert twice["pearson"] == pytest.approx(found["pearson"], abs=1e-9)
