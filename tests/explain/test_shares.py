"""Shares of games whose answer is known."""

import itertools

import numpy as np
import pytest

from mmkit import bootstrap
from mmkit.explain.shares import ablation, normalised, shapley, shares


def game(k, worth):
    """The values of all coalitions, in the order of their bits: (1, 2^k)."""
    return np.array([[worth({i for i in range(k) if c >> i & 1}) for c in range(1 << k)]], float)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_an_additive_game_gives_each_its_term(k):
    terms = np.arange(1, k + 1) / 10
    values = game(k, lambda seen: 0.3 + sum(terms[i] for i in seen))
    assert np.allclose(shapley(values), terms)
    assert np.allclose(ablation(values), terms)


def test_an_interaction_is_split_evenly():
    values = game(3, lambda seen: 0.6 * (seen >= {0, 2}) + 0.1 * (1 in seen))
    assert np.allclose(shapley(values), [0.3, 0.1, 0.3])
    # without either the whole of it is lost
    assert np.allclose(ablation(values), [0.6, 0.1, 0.6])


def test_what_two_inputs_both_know_is_lost_by_no_ablation_and_shared_by_shapley():
    values = game(2, lambda seen: 0.5 * bool(seen))
    assert np.allclose(ablation(values), 0)
    assert np.allclose(shapley(values), 0.25)


def test_shapley_is_the_mean_over_all_orders():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 16))
    naive = np.zeros((6, 4))
    for order in itertools.permutations(range(4)):
        seen = 0
        for i in order:
            naive[:, i] += (values[:, seen | 1 << i] - values[:, seen]) / 24
            seen |= 1 << i
    assert np.allclose(shapley(values), naive)
    assert np.allclose(shapley(values).sum(1), values[:, -1] - values[:, 0])


def test_shares_sum_to_one_and_what_misleads_has_none():
    found = normalised(np.array([[3.0, 1.0], [2.0, -1.0], [0.0, 0.0], [-1.0, -2.0]]))
    assert np.allclose(found[:2], [[0.75, 0.25], [1.0, 0.0]])
    assert np.isnan(found[2:]).all()


def test_the_mean_comes_before_the_share():
    part = np.array([[0.4, 0.0], [0.0, 0.0], [0.0, 0.2], [-0.1, 0.0]] * 8)
    found = shares(["a", "b"], {("shapley", "mean"): part, ("gradient", None): np.zeros((32, 2))}, np.arange(32))
    assert [(one.modality, one.method, one.removal) for one in found] == [
        ("a", "shapley", "mean"),
        ("b", "shapley", "mean"),
        ("a", "gradient", None),
        ("b", "gradient", None),
    ]
    assert [one.share for one in found[:2]] == pytest.approx([0.6, 0.4])
    assert found[0].interval[0] < 0.6 < found[0].interval[1]
    assert [one.share for one in found[2:]] == [one.interval for one in found[2:]] == [None, None]


def test_without_a_sure_gain_of_all_there_is_nothing_to_share():
    """One input helps and the other misleads as much: the whole is worth no more than nothing."""
    helps = np.random.default_rng(0).normal(0.3, 0.1, 50)
    for misleads, known in ((0.4, False), (0.3, False), (0.1, True)):
        found = shares(["a", "b"], {("shapley", "mean"): np.stack([helps, np.full(50, -misleads)], 1)}, np.arange(50))
        assert [one.share for one in found] == ([1.0, 0.0] if known else [None, None])
        assert (found[0].interval is not None) == known


def test_intervals_are_of_rows_drawn_again_and_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        part = np.stack([rng.normal(0.3, 0.4, 60), rng.normal(0.1, 0.4, 60)], 1)
        one = shares(["a", "b"], {("ablation", "zero"): part}, np.arange(60), draws=200)[0]
        held += one.interval[0] <= 0.75 <= one.interval[1]
    assert 180 <= held <= 198


def test_the_samples_of_a_row_are_drawn_together():
    rng = np.random.default_rng(0)
    part = rng.uniform(size=(30, 2))
    groups = bootstrap.numbers(np.arange(30))
    alone = shares(["a", "b"], {("gradient", None): part}, groups)[0]
    fourfold = shares(["a", "b"], {("gradient", None): part.repeat(4, 0)}, groups.repeat(4))[0]
    assert fourfold.share == pytest.approx(alone.share)
    assert fourfold.interval == pytest.approx(alone.interval)
